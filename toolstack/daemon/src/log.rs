//! The log of a daemon: lines on standard error, which systemd or the console keeps.

use std::fmt::Debug;

use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Starts the log of this process. Where one was started before, that one goes on.
pub fn start(level: LevelFilter, colors: bool) {
    // Fails only when a log was started before.
    let _ = tracing::subscriber::set_global_default(subscriber(level, colors, std::io::stderr));
}

fn subscriber<W>(level: LevelFilter, colors: bool, to: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(to)
        .with_ansi(colors)
        .with_target(false)
        .fmt_fields(debug_fn(field).delimited(" "))
        .finish()
}

/// A message as it is, anything else behind its name; neither commands a terminal nor begins a line.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    writer.write_str(&printable::line(&value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_others_say_is_one_harmless_line() {
        let kept = Kept::default();
        let to = kept.clone();
        let log = subscriber(LevelFilter::INFO, false, move || to.clone());
        let said = "a\u{1b}[2J\u{9b}31m\u{202e}b\n2026-01-01 ERROR forged";
        tracing::subscriber::with_default(log, || {
            tracing::warn!(irq = 33, name = %said, "guest 3: {said}");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let clean = "a?[2J??31m???b 2026-01-01 ERROR forged";
        assert!(
            text.ends_with(&format!(" WARN guest 3: {clean} irq=33 name={clean}\n")),
            "{text:?}"
        );
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
}
