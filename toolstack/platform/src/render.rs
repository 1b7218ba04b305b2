//! Findings for people: the line, underlined, and what to do.
//!
//! Text that comes from the document is shown without its control characters: a document must not
//! be able to send escape sequences to the terminal of the person who checks it.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::finding::{Finding, Severity, Span, floor_char_boundary};

/// Findings shown in full; further ones are only counted.
const MAX_SHOWN: usize = 50;

/// How findings are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Use ANSI colours.
    pub color: bool,
    /// Use box-drawing characters; otherwise plain ASCII.
    pub unicode: bool,
    /// Columns to wrap at.
    pub width: usize,
}

impl Style {
    /// Plain text, 80 columns: for files and tests.
    pub const PLAIN: Style = Style {
        color: false,
        unicode: false,
        width: 80,
    };
}

/// Draws the findings of one document. `name` is what the user called the document.
pub fn render(name: &str, text: &str, findings: &[Finding], style: Style) -> String {
    let source = NamedSource::new(printable(name), printable(text));
    let handler = GraphicalReportHandler::new_themed(theme(style))
        .with_width(style.width.max(40))
        .with_links(false)
        .with_context_lines(1);
    let mut out = String::new();
    for finding in findings.iter().take(MAX_SHOWN) {
        let shown = Shown {
            finding,
            text,
            message: printable(&finding.message),
            source: &source,
        };
        if handler.render_report(&mut out, &shown).is_err() {
            // A String accepts everything, so only the source's own reader can refuse: then the
            // message alone is still worth showing.
            out.push_str(&format!("{}: {}\n", finding.rule.id, shown.message));
        }
        out.push('\n');
    }
    if let Some(more) = findings.len().checked_sub(MAX_SHOWN).filter(|n| *n > 0) {
        out.push_str(&format!("… and {more} more findings\n"));
    }
    out
}

fn theme(style: Style) -> GraphicalTheme {
    match (style.unicode, style.color) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme {
            characters: miette::ThemeCharacters::ascii(),
            ..GraphicalTheme::unicode()
        },
        (false, false) => GraphicalTheme::none(),
    }
}

/// The same number of bytes, so that places in it stay right.
fn printable(text: &str) -> String {
    printable::lines(text).into_owned()
}

/// A finding in the form miette draws.
struct Shown<'a> {
    finding: &'a Finding,
    text: &'a str,
    message: String,
    source: &'a NamedSource<String>,
}

impl Shown<'_> {
    /// A span inside the text, on character boundaries, at least one byte long where there is one.
    fn clamp(&self, span: &Span) -> (usize, usize) {
        let start = floor_char_boundary(self.text, span.start);
        let end = floor_char_boundary(self.text, span.end).max(start);
        (start, end - start)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.rule.id))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity() {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(printable(&self.finding.help)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.finding
            .span
            .as_ref()
            .map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.finding.span.as_ref()?;
        let primary = LabeledSpan::new_primary_with_span(
            Some(printable(&self.finding.label)),
            self.clamp(span),
        );
        let related = self.finding.related.iter().filter_map(|related| {
            let span = related.span.as_ref()?;
            Some(LabeledSpan::new_with_span(
                Some(printable(&related.label)),
                self.clamp(span),
            ))
        });
        Some(Box::new(std::iter::once(primary).chain(related)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn a_document_cannot_send_escape_sequences_to_the_terminal() {
        let text = "name = \"\u{1b}[2J\u{9b}x\"\n";
        let finding = Finding::new(&rules::DOMAIN_NAME, "x", "bad \u{1b}[2J name").span(7..14);
        let shown = render("\u{7}doc", text, &[finding], Style::PLAIN);
        assert!(
            shown.chars().all(|c| c == '\n' || !c.is_control()),
            "{shown:?}"
        );
        assert!(shown.contains("AVPS0101"));
    }

    #[test]
    fn a_span_outside_the_text_is_shown_at_its_end() {
        let finding = Finding::new(&rules::DOMAIN_NAME, "x", "bad").span(50..90);
        assert!(render("doc", "a = 1\n", &[finding], Style::PLAIN).contains("bad"));
    }

    #[test]
    fn only_the_first_findings_are_drawn_and_the_rest_is_counted() {
        let finding = Finding::new(&rules::DOMAIN_NAME, "x", "bad").span(0..1);
        let many = vec![finding; MAX_SHOWN + 7];
        let shown = render("doc", "a = 1\n", &many, Style::PLAIN);
        assert!(shown.contains("7 more findings"));
    }
}
