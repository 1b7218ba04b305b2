//! Progress on standard error: every step that takes over a second says so.
//!
//! On a terminal a step is one line with a spinner, its state and the elapsed time, and becomes one line
//! `✓ name  detail  time` at its end. Elsewhere (CI, a pipe) plain lines are printed: when the step has lasted
//! a second, every fifteen seconds after that, and at its end. Steps under a second print nothing.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const QUIET: Duration = Duration::from_secs(1);
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(120);

/// The steps under way on a terminal; several threads may have one each.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints something above the steps under way.
pub(crate) fn above<T>(print: impl FnOnce() -> T) -> T {
    BARS.suspend(print)
}

/// One step under way. Dropped without [`Step::done`], it counts as failed and its line vanishes.
pub(crate) struct Step {
    name: String,
    begun: Instant,
    view: View,
}

enum View {
    Terminal(ProgressBar),
    Plain {
        state: Arc<Mutex<String>>,
        stop: Sender<()>,
        thread: Option<JoinHandle<()>>,
    },
}

impl Step {
    /// Begins a step. `name` is what is being worked on (`linux`), `state` what is done with it (`unpacking`).
    pub(crate) fn begin(name: impl Into<String>, state: impl Into<String>) -> Self {
        let name = name.into();
        let state = state.into();
        let view = if std::io::stderr().is_terminal() {
            terminal(&name, state)
        } else {
            plain(&name, state)
        };
        Self {
            name,
            begun: Instant::now(),
            view,
        }
    }

    /// Says what is being done now.
    pub(crate) fn state(&self, text: impl Into<String>) {
        let text = text.into();
        match &self.view {
            View::Terminal(bar) => bar.set_message(text),
            View::Plain { state, .. } => {
                *state.lock().unwrap_or_else(PoisonError::into_inner) = text
            }
        }
    }

    /// Prints a line above the progress display.
    pub(crate) fn note(&self, text: &str) {
        above(|| eprintln!("  {}: {text}", self.name));
    }

    /// Ends the step well. Printed only if it took over a second.
    pub(crate) fn done(self, detail: &str) {
        let elapsed = self.begun.elapsed();
        let name = self.name.clone();
        drop(self);
        if elapsed >= QUIET {
            above(|| eprintln!("✓ {name:<18} {detail}  {}", duration(elapsed)));
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        match &mut self.view {
            View::Terminal(bar) => bar.finish_and_clear(),
            View::Plain { stop, thread, .. } => {
                let _ = stop.send(());
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}

fn terminal(name: &str, state: String) -> View {
    let bar = BARS.add(ProgressBar::new_spinner());
    let template = "{spinner} {prefix:18!} {wide_msg} {elapsed}";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar.set_prefix(name.to_owned());
    bar.set_message(state);
    bar.enable_steady_tick(TICK);
    View::Terminal(bar)
}

fn plain(name: &str, state: String) -> View {
    let state = Arc::new(Mutex::new(state));
    let (stop, stopped) = channel();
    let thread = std::thread::spawn({
        let name = name.to_owned();
        let state = Arc::clone(&state);
        move || print_at_intervals(&name, &state, &stopped)
    });
    View::Plain {
        state,
        stop,
        thread: Some(thread),
    }
}

fn print_at_intervals(name: &str, state: &Mutex<String>, stopped: &Receiver<()>) {
    let begun = Instant::now();
    let mut wait = QUIET;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
        let text = state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        eprintln!("  {name}: {text} ({})", duration(begun.elapsed()));
        wait = PLAIN_INTERVAL;
    }
}

/// A duration for people: `0.4 s`, `12.3 s`, `10 min 02 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// A size for people: `312 B`, `4.7 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{duration, size};
    use std::time::Duration;

    #[test]
    fn durations_and_sizes_are_told_in_units_people_use() {
        assert_eq!(duration(Duration::from_millis(400)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(602)), "10 min 02 s");
        assert_eq!(size(312), "312 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(164_108_840), "156.5 MiB");
    }
}
