//! Text in a picture: what may stand in XML, and how much room it takes in a font that is not known.

/// Widths of printable ASCII in DejaVu Sans, in thousandths of the font's size. It is the widest of the fonts that the style
/// asks for, so that a text takes less room than is kept for it.
const WIDTHS: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318,
    337, // blank to /
    636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, // 0 to ?
    1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787, // @ to O
    603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, // P to _
    500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, // ` to o
    635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838, // p to ~
];
/// What is kept for a character of another script: a little more than its height.
const OTHER: u16 = 1100;

/// Room for a text in pixels, for a font of this size.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let sum: f64 = text.chars().map(|c| f64::from(advance(c))).sum();
    let wider = if bold { 1.16 } else { 1.03 };
    sum * size * wider / 1000.0
}

fn advance(c: char) -> u16 {
    let index = u32::from(c).checked_sub(0x20);
    let width = index.and_then(|index| WIDTHS.get(usize::try_from(index).ok()?));
    match c {
        '·' => 318,
        '–' | '×' | '→' | '↔' | '≈' => 838,
        '…' => 1000,
        _ => width.copied().unwrap_or(OTHER),
    }
}

/// The text, cut to this width with a mark at its end.
pub(super) fn fit(text: &str, size: f64, bold: bool, room: f64) -> String {
    if width(text, size, bold) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept, size, bold) + width("…", size, bold) > room {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

/// A text that is safe to show: no character that XML forbids, that is invisible, or that turns the direction of what follows.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => ' ',
            // Joiners, whose effect cannot be measured, and what XML forbids.
            '\u{200c}' | '\u{200d}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
            c if printable::is_control(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A text between tags or in an attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_does_not_fit_is_cut_and_marked() {
        assert_eq!(fit("cluster", 12.0, false, 100.0), "cluster");
        let cut = fit("a-very-long-name-of-a-domain", 12.0, false, 100.0);
        assert!(
            cut.ends_with('…') && width(&cut, 12.0, false) <= 100.0,
            "{cut}"
        );
    }

    #[test]
    fn nothing_in_a_name_can_become_markup_or_turn_the_text_around() {
        assert_eq!(
            escape("<a href='\"'>&"),
            "&lt;a href=&#39;&quot;&#39;&gt;&amp;"
        );
        assert_eq!(clean("a\u{202e}b\u{0}c\nd"), "a\u{fffd}b\u{fffd}c d");
    }
}
