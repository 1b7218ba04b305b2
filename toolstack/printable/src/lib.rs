//! Text from outside, made safe for a terminal, a log or a table.
//!
//! XenStore keys, names of guests, reports of workers, names of counters: none of them is written by the program that shows
//! them, and most can be written by another domain. A terminal obeys control characters, and a reader believes what a line
//! seems to say. So every program of this project passes such text through this crate before it shows it, and through
//! nothing else.
//!
//! What is replaced ([`is_control`]): the C0 and C1 control characters, the Unicode line and paragraph separators, the
//! controls of text direction, and format characters that are invisible. Everything else stays as it is, in any script.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::borrow::Cow;
use std::fmt::Write;

/// Text as one line: line feeds and tabs become blanks, each byte of another control character a question mark.
///
/// The result has as many bytes as the text.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_control)
}

/// Text that may have several lines: as [`line`], but line feeds and tabs stay.
///
/// The result has as many bytes as the text, and its lines begin at the same places. Use it only where no line of the text
/// can be mistaken for one of the program's own.
pub fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_control(c) && c != '\n' && c != '\t')
}

/// JSON with every control character inside its strings written as an escape; it means the same as before.
///
/// Serialisers escape only what JSON demands, which is the C0 characters. Outside of strings JSON has no other control
/// characters than line feeds, carriage returns and tabs, and they stay.
pub fn json(text: &str) -> Cow<'_, str> {
    let escape = |c: char| is_control(c) && !matches!(c, '\n' | '\r' | '\t');
    if !text.contains(escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if escape(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a character acts on a terminal, or changes how the text around it looks, instead of being shown.
///
/// The joiners U+200C and U+200D are none: some scripts cannot be written without them.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Line and paragraph separator.
            '\u{2028}' | '\u{2029}'
            // Direction (Unicode Standard Annex 9, table 3): marks, embeddings, overrides, isolates.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Invisible: zero-width space, word joiner and invisible operators, old format characters, byte order mark,
            // annotations, tags.
            | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
        )
}

fn replaced(text: &str, forbidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&forbidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !forbidden(c) => out.push(c),
            '\t' | '\n' => out.push(' '),
            c => out.extend(std::iter::repeat_n('?', c.len_utf8())),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each range, with its neighbours on both sides where those are harmless.
    const CONTROLS: &str = "\u{0}\u{7}\u{8}\u{1b}\u{1f}\u{7f}\u{80}\u{9b}\u{9d}\u{9f}\u{2028}\u{2029}\u{61c}\u{200b}\u{200e}\
                            \u{200f}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{206f}\u{feff}\u{fff9}\u{e0001}\u{e007f}";

    #[test]
    fn no_control_character_is_left() {
        for c in CONTROLS.chars() {
            let text = format!("a{c}b");
            let expected = format!("a{}b", "?".repeat(c.len_utf8()));
            assert_eq!(line(&text), expected, "{c:?}");
            assert_eq!(lines(&text), expected, "{c:?}");
        }
    }

    #[test]
    fn a_line_stays_one_line_and_lines_keep_their_places() {
        let text = "one\ntwo\tthree\r\nfour\u{b}\u{c}\u{85}";
        assert_eq!(line(text), "one two three? four????");
        assert_eq!(lines(text), "one\ntwo\tthree?\nfour????");
    }

    #[test]
    fn every_other_text_is_untouched_and_not_copied() {
        for text in [
            "",
            "cluster",
            "Größe 8 µs → ok",
            "日本語",
            "\u{645}\u{200c}\u{62e}",
            "👩\u{200d}💻",
        ] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
            assert!(matches!(lines(text), Cow::Borrowed(same) if same == text));
            assert!(matches!(json(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn the_number_of_bytes_is_kept() {
        for c in '\u{0}'..='\u{ffff}' {
            let text = String::from(c);
            assert_eq!(line(&text).len(), text.len(), "{c:?}");
            assert_eq!(lines(&text).len(), text.len(), "{c:?}");
        }
    }

    #[test]
    fn json_means_the_same_and_has_no_control_character() {
        assert_eq!(
            json("{\n  \"a\": \"\u{9b}31m\u{202e}\u{7f}\u{e0041}\"\n}"),
            "{\n  \"a\": \"\\u009b31m\\u202e\\u007f\\udb40\\udc41\"\n}"
        );
    }
}
