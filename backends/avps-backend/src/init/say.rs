//! What the first process says: into the kernel's log, which shows it on the console and keeps it.

use std::fs::OpenOptions;
use std::io::Write;

/// How much it matters (Linux: include/linux/kern_levels.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Error,
    Warning,
    Info,
}

impl Urgency {
    fn level(self) -> u8 {
        match self {
            Urgency::Error => 3,
            Urgency::Warning => 4,
            Urgency::Info => 6,
        }
    }
}

/// Says one line. Before there is a log to write to, the console has to do.
pub(super) fn say(urgency: Urgency, text: &str) {
    let text = printable::line(text);
    let line = format!("<{}>avps-backend: {text}\n", urgency.level());
    let logged = OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")
        // One write, one record.
        .and_then(|mut log| log.write_all(line.as_bytes()));
    if logged.is_err() {
        // There is no other place to tell that this failed.
        let _ = writeln!(std::io::stderr(), "avps-backend: {text}");
    }
}
