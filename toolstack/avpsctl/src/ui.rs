//! What people and programs see: results on standard output, everything else on standard error.
//!
//! Writing never panics: who reads our output may go away at any time (`avpsctl list | head -1`).

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{ContentArrangement, Table, presets};
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

    /// A result for people.
    pub fn line(&self, text: &str) {
        let _ = writeln!(stdout(), "{text}");
    }

    /// A text as it is, on standard output.
    pub fn raw(&self, text: &str) {
        let _ = stdout().write_all(text.as_bytes());
    }

    /// A result for programs.
    pub fn json(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.line(&text);
    }

    /// Something worth knowing beside the result.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr(), "{text}");
        }
    }

    /// A text as it is, on standard error.
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
        if self.json {
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
        let _ = writeln!(err, "{red}error:{off} {error}");
        if let Some(help) = error.help() {
            let _ = writeln!(err, "{cyan}help:{off} {help}");
        }
    }

    /// An empty table in this program's form.
    pub fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(header.to_vec());
        if !stdout().is_terminal() {
            // Programs that cut columns want whole lines.
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table
    }

    /// Prints a table without the blanks at the ends of its lines.
    pub fn show(&self, table: &Table) {
        for line in table.to_string().lines() {
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

/// Progress as lines on standard error.
struct Lines;

impl Observer for Lines {
    fn observe(&self, event: Event) {
        let _ = writeln!(stderr(), "{event}");
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
        match &event {
            Event::Creating { .. }
            | Event::Created { .. }
            | Event::Waiting { .. }
            | Event::Removing { .. }
            | Event::ShuttingDown { .. } => {
                self.bar.enable_steady_tick(Duration::from_millis(100));
                self.bar.set_message(event.to_string());
            }
            _ => self.bar.println(event.to_string()),
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
        let _ = self.append(&format!("{} {event}\n", now.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
