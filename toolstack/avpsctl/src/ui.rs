//! What people and programs see: results on standard output, everything else on standard error.
//!
//! Everything passes through crate `printable` here: names, keys and reports come from other domains, and none of them may
//! command the terminal or forge a line.
//!
//! Writing never panics: who reads our output may go away at any time (`avpsctl list | head -1`).

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{ContentArrangement, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::cli::{ColorChoice, Global};
use crate::error::Error;
use crate::observe::{Event, Observer};

/// How this run talks.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// Results as JSON.
    pub json: bool,
    /// Results and errors only.
    pub quiet: bool,
    /// More about what happens.
    pub verbose: u8,
    /// Colours on standard output.
    pub color_out: bool,
    /// Colours on standard error.
    pub color_err: bool,
}

impl Ui {
    /// From the global options and the environment.
    pub fn new(global: &Global) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = |terminal: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Ui {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            color_out: color(stdout().is_terminal()),
            color_err: color(stderr().is_terminal()),
        }
    }

    /// A result for people: one line.
    pub fn line(&self, text: &str) {
        let _ = writeln!(stdout(), "{}", printable::line(text));
    }

    /// A file's content on standard output: exact, except on a terminal.
    pub fn raw(&self, text: &str) {
        let mut out = stdout();
        let text = match out.is_terminal() {
            true => printable::lines(text),
            false => text.into(),
        };
        let _ = out.write_all(text.as_bytes());
    }

    /// Lines that were made for people and may have colours; their maker has cleaned what they quote.
    pub fn rendered(&self, text: &str) {
        let _ = stdout().write_all(text.as_bytes());
    }

    /// A result for programs.
    pub fn json(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.json_text(&text);
    }

    /// The same, in one line: one of many.
    pub fn json_line(&self, value: &impl Serialize) {
        self.json_text(&serde_json::to_string(value).unwrap_or_default());
    }

    /// JSON that is text already.
    pub fn json_text(&self, text: &str) {
        let _ = writeln!(stdout(), "{}", printable::json(text.trim_end()));
    }

    /// Something worth knowing beside the result: one line.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{}", printable::line(text));
        }
    }

    /// The same as [`Ui::rendered`], on standard error.
    pub fn complaint(&self, text: &str) {
        let _ = stderr().write_all(text.as_bytes());
    }

    /// Why the command failed, and what to do. With `--json` the same as an object on standard
    /// output, schema `avps-error/1`.
    pub fn error(&self, error: &Error) {
        // Shown in full before; programs have them in an object of their own.
        if let Error::Findings { .. }
        | Error::HostFindings { .. }
        | Error::Differences(_)
        | Error::DocumentsDiffer = error
        {
            return;
        }
        // The result of up has them at the domains.
        if self.json && !matches!(error, Error::NotStarted { running, .. } if !running.is_empty()) {
            self.json(&json!({
                "schema": "avps-error/1",
                "error": error.to_string(),
                "help": error.help(),
                "exit_code": error.exit() as u8,
            }));
        }
        let (red, cyan, off) = if self.color_err {
            ("\x1b[1;31m", "\x1b[36m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let mut err = stderr();
        let _ = writeln!(err, "{red}error:{off} {}", indented(&error.to_string()));
        if let Some(help) = error.help() {
            let _ = writeln!(err, "{cyan}help:{off} {}", indented(&help));
        }
    }

    /// An empty table in this program's form.
    pub fn table(&self, header: &[&str]) -> Table {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(header.to_vec());
        if !stdout().is_terminal() {
            // Programs that cut columns want whole lines.
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        Table(table)
    }

    /// Whether results for people go to a terminal, where they can replace each other.
    pub fn is_screen(&self) -> bool {
        !self.json && stdout().is_terminal()
    }

    /// Begins a new screen on a terminal.
    pub fn clear_screen(&self) {
        let _ = stdout().write_all(b"\x1b[H\x1b[2J");
    }

    /// Prints a table without the blanks at the ends of its lines.
    pub fn show(&self, table: &Table) {
        for line in table.0.to_string().lines() {
            self.line(line.trim_end());
        }
    }

    /// Who shows progress: a spinner on a terminal, lines elsewhere, nobody when quiet.
    pub fn observer(&self) -> Box<dyn Observer> {
        if self.quiet {
            Box::new(crate::observe::Silent)
        } else if stderr().is_terminal() {
            Box::new(Spinner::new())
        } else {
            Box::new(Lines)
        }
    }
}

/// Text of several lines, none of which begins like one of ours.
fn indented(text: &str) -> String {
    printable::lines(text.trim_end()).replace('\n', "\n  ")
}

/// A table whose cells are one line each.
pub struct Table(comfy_table::Table);

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Table {
    /// Adds a row.
    pub fn add_row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter();
        let cells: Vec<String> = cells
            .map(|cell| printable::line(cell.as_ref()).into_owned())
            .collect();
        self.0.add_row(cells);
    }
}

/// Progress as lines on standard error.
struct Lines;

impl Observer for Lines {
    fn observe(&self, event: Event) {
        let _ = writeln!(stderr(), "{}", printable::line(&event.to_string()));
    }
}

/// Progress on a terminal: what is done as lines, what goes on in one that moves.
struct Spinner {
    bar: ProgressBar,
}

impl Spinner {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Spinner { bar }
    }
}

impl Observer for Spinner {
    fn observe(&self, event: Event) {
        let text = printable::line(&event.to_string()).into_owned();
        match event {
            Event::Creating { .. }
            | Event::Created { .. }
            | Event::Waiting { .. }
            | Event::Removing { .. }
            | Event::ShuttingDown { .. } => {
                self.bar.enable_steady_tick(Duration::from_millis(100));
                self.bar.set_message(text);
            }
            _ => self.bar.println(text),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Longest log before it is put aside, in bytes; one older part is kept.
const MAX_LOG: u64 = 256 * 1024;

/// Progress as lines of a file that does not grow without bound.
pub struct LogFile {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl LogFile {
    /// Appends to this file.
    pub fn new(path: PathBuf) -> Self {
        LogFile {
            path,
            file: Mutex::new(None),
        }
    }

    fn append(&self, text: &str) -> std::io::Result<()> {
        let mut guard = self
            .file
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(file) = guard.as_ref()
            && file.metadata()?.len() > MAX_LOG
        {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *guard = None;
        }
        if guard.is_none() {
            *guard = Some(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&self.path)?,
            );
        }
        match guard.as_mut() {
            Some(file) => file.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }
}

impl Observer for LogFile {
    fn observe(&self, event: Event) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // A supervisor must go on when its log cannot be written.
        let text = event.to_string();
        let _ = self.append(&format!("{} {}\n", now.as_secs(), printable::line(&text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another domain would write to command a terminal, and to forge a line.
    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{202e}b\nerror: forged";

    #[test]
    fn an_event_is_one_harmless_line_of_the_log() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("demo.log");
        LogFile::new(path.clone()).observe(Event::Note(HOSTILE.into()));
        let text = fs::read_to_string(path).expect("readable");
        let (_, text) = text.split_once(' ').expect("a time");
        assert_eq!(text, "a?[2J??31m???b error: forged\n");
    }

    #[test]
    fn a_cell_of_a_table_is_one_harmless_line() {
        let mut table = Table(comfy_table::Table::new());
        table.add_row([HOSTILE]);
        let text = table.0.to_string();
        assert!(text.contains("a?[2J??31m???b error: forged"), "{text}");
        assert!(
            !text.contains(|c| c != '\n' && printable::is_control(c)),
            "{text:?}"
        );
    }

    #[test]
    fn no_line_of_an_error_begins_like_one_of_ours() {
        assert_eq!(indented(HOSTILE), "a?[2J??31m???b\n  error: forged");
    }

    #[test]
    fn a_log_does_not_grow_without_bound() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let log = LogFile::new(dir.path().join("demo.log"));
        for _ in 0..30_000 {
            log.observe(Event::Note(
                "a line of some length, as they usually are".into(),
            ));
        }
        let total: u64 = fs::read_dir(dir.path())
            .expect("readable")
            .map(|entry| {
                entry
                    .and_then(|entry| entry.metadata())
                    .expect("readable")
                    .len()
            })
            .sum();
        assert!(total > MAX_LOG && total <= 2 * MAX_LOG + 200, "{total}");
    }
}
