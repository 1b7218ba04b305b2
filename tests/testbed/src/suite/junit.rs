//! JUnit's XML, as CI systems read it.

use super::case::{Case, Verdict};
use std::fmt::Write;

/// The whole document. `notes` become properties: what was run is not quite what the reader expects.
pub(super) fn document(cases: &[Case], notes: &[String]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut suites: Vec<&str> = Vec::new();
    for case in cases {
        if !suites.contains(&case.suite.as_str()) {
            suites.push(&case.suite);
        }
    }
    out.push_str("<testsuites name=\"avps\">\n");
    for suite in suites {
        let of_suite: Vec<&Case> = cases.iter().filter(|case| case.suite == suite).collect();
        let count = |is: fn(&Case) -> bool| of_suite.iter().filter(|case| is(case)).count();
        let failures = count(|case| case.failure().is_some());
        let flakes = count(|case| case.flaky().is_some());
        let time: f64 = of_suite.iter().map(|case| case.time.as_secs_f64()).sum();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" flakes=\"{flakes}\" errors=\"0\" time=\"{time:.3}\">",
            escape(suite),
            of_suite.len()
        );
        for case in of_suite {
            let _ = write!(
                out,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                escape(suite),
                escape(&case.name),
                case.time.as_secs_f64()
            );
            let (element, text) = match &case.verdict {
                Verdict::Passed => {
                    out.push_str("/>\n");
                    continue;
                }
                Verdict::Failed(text) => ("failure", text),
                // As Maven Surefire has it: the first try of a test that passed later.
                Verdict::Flaky(text) => ("flakyFailure", text),
            };
            let first = text.lines().next().unwrap_or_default();
            let _ = writeln!(
                out,
                ">\n      <{element} message=\"{}\">{}</{element}>\n    </testcase>",
                escape(first),
                escape(text)
            );
        }
        out.push_str("  </testsuite>\n");
    }
    if !notes.is_empty() {
        out.push_str("  <testsuite name=\"notes\" tests=\"0\" failures=\"0\" errors=\"0\">\n    <properties>\n");
        for note in notes {
            let _ = writeln!(
                out,
                "      <property name=\"note\" value=\"{}\"/>",
                escape(note)
            );
        }
        out.push_str("    </properties>\n  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// XML 1.0 has no way to write most control characters: they become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            other if other.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn failures_are_counted_and_what_was_seen_is_escaped() {
        let time = Duration::from_millis(1500);
        let flaky = Case {
            verdict: Verdict::Flaky("late".into()),
            ..Case::new("bed", "d", time, None)
        };
        let seen = "saw <x> & \"y\"\u{1b}\nmore".to_owned();
        let cases = [
            Case::new("bed", "a: b", time, None),
            Case::new("bed", "c", time, Some(seen)),
            flaky,
        ];
        let text = document(&cases, &["linux is not the pinned one".to_owned()]);
        assert!(
            text.contains(r#"<property name="note" value="linux is not the pinned one"/>"#),
            "{text}"
        );
        assert!(
            text.contains(
                r#"<testsuite name="bed" tests="3" failures="1" flakes="1" errors="0" time="4.500">"#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#"message="saw &lt;x&gt; &amp; &quot;y&quot;�""#),
            "{text}"
        );
        assert!(text.contains(r#"name="a: b" time="1.500"/>"#), "{text}");
        assert!(
            text.contains(r#"<flakyFailure message="late">late</flakyFailure>"#),
            "{text}"
        );
    }
}
