//! The safety report: what a reviewer has to see of a platform, as Markdown.
//!
//! It repeats what the plan says, what the checks found, and what somebody answers for; it judges nothing beyond that,
//! and says so. The same document gives the same report, byte for byte: no date, no host, no version of this program.

mod evidence;
mod tables;
mod trust;

use std::fmt::Write;

use crate::check::parties::{highest, level};
use crate::finding::{Finding, Severity};
use crate::plan::Plan;
use crate::waive::Waived;

/// Writes the report.
pub fn emit(plan: &Plan, findings: &[Finding], waived: &[Waived]) -> String {
    let mut out = Markdown::default();
    out.line(&format!("# Safety report: {}", text(&plan.platform)));
    if let Some(description) = &plan.description {
        out.paragraph(&text(description));
    }
    out.paragraph(
        "This report shows what the platform document asks of the machine, of Xen and of the domains, and what the rules of \
         `avpsctl check` found in it. It is evidence for a safety case. It is not a certificate, it claims no ASIL for Xen or \
         for any domain, and it says nothing about the software inside the domains.",
    );
    summary(&mut out, plan, findings, waived);
    tables::domains(&mut out, plan);
    tables::cpus(&mut out, plan);
    tables::memory(&mut out, plan);
    tables::shared(&mut out, plan);
    trust::memory(&mut out, plan);
    trust::stopping(&mut out, plan);
    trust::levels(&mut out, plan);
    evidence::findings(&mut out, findings);
    evidence::waived(&mut out, waived);
    evidence::features(&mut out, plan);
    evidence::requirements(&mut out, plan);
    evidence::limits(&mut out);
    out.text
}

fn summary(out: &mut Markdown, plan: &Plan, findings: &[Finding], waived: &[Waived]) {
    let count = |severity| {
        let findings = findings
            .iter()
            .filter(|finding| finding.severity() == severity);
        findings.count().to_string()
    };
    let machine = &plan.machine;
    let known = |value: Option<String>| value.unwrap_or_else(|| "not known".to_owned());
    out.heading("Platform");
    out.table(
        &["", ""],
        [
            ["Xen", &plan.xen.version.to_string()],
            ["Command line", &code(&plan.xen.cmdline)],
            ["CPUs", &known(machine.cpus.map(|cpus| cpus.to_string()))],
            [
                "Interrupt controller",
                &known(machine.gic.map(|gic| format!("GIC{}", gic.word()))),
            ],
            [
                "IOMMU",
                &known(machine.iommu.map(|iommu| iommu.word().to_owned())),
            ],
            ["Domains", &plan.domains.len().to_string()],
            ["Highest level", &level(highest(plan))],
            ["Errors", &count(Severity::Error)],
            ["Warnings", &count(Severity::Warning)],
            ["Accepted findings", &waived.len().to_string()],
        ]
        .map(|row| row.map(str::to_owned)),
    );
}

/// A Markdown text that grows. Whatever a document holds stays inside its cell.
#[derive(Debug, Default)]
struct Markdown {
    text: String,
}

impl Markdown {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn paragraph(&mut self, paragraph: &str) {
        let _ = writeln!(self.text, "\n{paragraph}");
    }

    fn heading(&mut self, heading: &str) {
        let _ = writeln!(self.text, "\n## {heading}");
    }

    fn items(&mut self, items: impl IntoIterator<Item = String>) {
        self.line("");
        for item in items {
            self.line(&format!("- {item}"));
        }
    }

    /// A table; without rows, a sentence that there is nothing.
    fn table<const N: usize>(
        &mut self,
        head: &[&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            self.paragraph("None.");
            return;
        }
        self.line("");
        self.line(&format!("| {} |", head.join(" | ")));
        self.line(&format!("|{}", " --- |".repeat(N)));
        for row in rows {
            self.line(&format!(
                "| {} |",
                row.map(|cell| filled(&cell)).join(" | ")
            ));
        }
    }
}

fn filled(cell: &str) -> String {
    match cell {
        "" => "–".to_owned(),
        cell => cell.to_owned(),
    }
}

/// A text of the document: on one line, and without a meaning in Markdown or HTML.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c if printable::is_control(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A text of the document as code; nothing for an empty one.
fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    // Within code only the mark itself and the border of a cell have a meaning.
    let plain: String = text
        .chars()
        .map(|c| match c {
            '`' => '\'',
            c if printable::is_control(c) => ' ',
            c => c,
        })
        .collect();
    format!("`{}`", plain.replace('|', "\\|"))
}

/// Numbers as people write them: `0-3, 6`.
fn numbers(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let words = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_document_leaves_its_cell() {
        assert_eq!(text("a|b\n# <c>"), "a\\|b \\# \\<c\\>");
        assert_eq!(code("a`|b"), "`a'\\|b`");
        assert_eq!(code(""), "");
    }

    #[test]
    fn numbers_are_written_as_ranges() {
        assert_eq!(numbers(&[]), "");
        assert_eq!(numbers(&[0, 1, 2, 6]), "0-2, 6");
        assert_eq!(numbers(&[u32::MAX]), u32::MAX.to_string());
    }
}
