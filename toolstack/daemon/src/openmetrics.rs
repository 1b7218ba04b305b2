//! Names and labels of OpenMetrics text (version 1.0.0), as Prometheus reads it.

/// A metric's name: letters, digits and underscores only.
pub fn name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// The labels of a sample, in braces.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let labels: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", label(value)))
        .collect();
    format!("{{{}}}", labels.join(","))
}

/// A label's value: it cannot end early, begin a line, or command a terminal.
fn label(value: &str) -> String {
    let mut text = String::new();
    for part in value.split_inclusive('\n') {
        let (part, end) = match part.strip_suffix('\n') {
            Some(part) => (part, "\\n"),
            None => (part, ""),
        };
        for c in printable::line(part).chars() {
            if matches!(c, '\\' | '"') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_label() {
        assert_eq!(
            labels(&[("domain", "a\"} 1\n# EOF\\"), ("device", "")]),
            r##"{domain="a\"} 1\n# EOF\\",device=""}"##
        );
        assert_eq!(
            labels(&[("domain", "\u{1b}[2J\u{9b}\u{202e}")]),
            r#"{domain="?[2J?????"}"#
        );
    }

    #[test]
    fn a_name_is_letters_digits_and_underscores() {
        assert_eq!(name("requests_2\n# EOF{\u{1b}é"), "requests_2___EOF___");
    }
}
