//! The holder as a child: started, started again, asked to give up.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use super::say::{Urgency, say};
use super::words::Words;
use crate::cli::{LogLevel, Polling, SandboxMode};
use crate::holder::restart::Restarts;

/// What `serve` is told.
#[derive(Clone, Debug)]
pub(super) struct Serve {
    log: LogLevel,
    sandbox: SandboxMode,
    polling: Polling,
}

impl Serve {
    pub(super) fn of(words: &Words) -> Self {
        Self {
            log: words.log,
            sandbox: words.sandbox,
            polling: words.polling,
        }
    }

    fn arguments(&self) -> [&'static str; 7] {
        [
            "serve",
            "--log-level",
            self.log.word(),
            "--sandbox",
            self.sandbox.word(),
            "--polling",
            self.polling.word(),
        ]
    }
}

/// The holder, running or about to.
#[derive(Debug)]
pub(super) struct Served {
    serve: Serve,
    running: Option<(Pid, Instant)>,
    start_at: Instant,
    restarts: Restarts,
}

impl Served {
    /// To be started at once.
    pub(super) fn new(serve: Serve) -> Self {
        let now = Instant::now();
        Self {
            serve,
            running: None,
            start_at: now,
            restarts: Restarts::new(now),
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// How long until it has to be started; none while it runs.
    pub(super) fn until_due(&self, now: Instant) -> Option<Duration> {
        match self.running {
            Some(_) => None,
            None => Some(self.start_at.saturating_duration_since(now)),
        }
    }

    pub(super) fn start_if_due(&mut self, now: Instant) {
        if self.running.is_some() || self.start_at > now {
            return;
        }
        let child = Command::new("/proc/self/exe")
            .arg0("avps-backend")
            .args(self.serve.arguments())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .spawn();
        // It is reaped with all others, by number.
        let pid = child.map(|child| i32::try_from(child.id()).ok().and_then(Pid::from_raw));
        match pid {
            Ok(Some(pid)) => self.running = Some((pid, now)),
            Ok(None) => self.again("it has no process number", None, now),
            Err(error) => self.again(&format!("it cannot be started: {error}"), None, now),
        }
    }

    /// A process has ended; if it was the holder, the next one is due.
    pub(super) fn died(&mut self, pid: Pid, status: WaitStatus, now: Instant) {
        let Some((_, since)) = self.running.filter(|(own, _)| *own == pid) else {
            return;
        };
        self.running = None;
        // One that ends by itself in trouble has served nobody, however long it took to find that out.
        let served_since = (status.exit_status().unwrap_or(0) == 0).then_some(since);
        self.again(&how(status), served_since, now);
    }

    /// As [`Served::died`], when no next one is wanted.
    pub(super) fn ended(&mut self, pid: Pid, status: WaitStatus) {
        if self.running.is_some_and(|(own, _)| own == pid) {
            self.running = None;
            if status.exit_status() != Some(0) {
                say(
                    Urgency::Warning,
                    &format!("the holder ended ({})", how(status)),
                );
            }
        }
    }

    /// Has it end all ioreq servers, then itself.
    pub(super) fn give_up(&self) {
        self.signal(Signal::USR1);
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some((pid, _)) = self.running {
            // Fails only when it has ended, which is what is wanted; its number is not used again before it is reaped.
            let _ = kill_process(pid, signal);
        }
    }

    fn again(&mut self, how: &str, served_since: Option<Instant>, now: Instant) {
        let verdict = self.restarts.died(now, served_since);
        self.start_at = now.checked_add(verdict.pause).unwrap_or(now);
        let urgency = if verdict.trouble {
            Urgency::Error
        } else {
            Urgency::Warning
        };
        say(
            urgency,
            &format!(
                "the holder ended ({how}); next start in {} ms, {} so far",
                verdict.pause.as_millis(),
                self.restarts.total()
            ),
        );
    }
}

fn how(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "unknown exit status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Arguments, Command as Wanted};
    use clap::Parser;
    use rustix::process::{WaitOptions, waitpid};

    fn serve(line: &str) -> Serve {
        Serve::of(&Words::parse(line))
    }

    /// A child of the test in the holder's place, which has ended in this way.
    #[expect(clippy::zombie_processes, reason = "waited for by its number")]
    fn ended(script: &str) -> (Pid, WaitStatus) {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap()
    }

    #[test]
    fn what_the_kernels_words_say_reaches_the_holder() {
        let serve = serve("avps.log=debug avps.sandbox=best-effort avps.polling=off");
        let words = ["avps-backend"].into_iter().chain(serve.arguments());
        let Wanted::Serve(serve) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("something else would be started");
        };
        assert_eq!(serve.log_level, LogLevel::Debug);
        assert_eq!(serve.sandbox, SandboxMode::BestEffort);
        assert_eq!(serve.polling, Polling::Off);
    }

    #[test]
    fn a_killed_holder_is_replaced_at_once_and_one_that_cannot_work_ever_later() {
        let now = Instant::now();
        let mut served = Served::new(serve(""));
        let (pid, status) = ended("kill -9 $$");
        served.running = Some((pid, now));
        let later = now + Duration::from_secs(1);
        served.died(pid, status, later);
        assert_eq!(served.until_due(later), Some(Duration::ZERO));

        let mut pause = Duration::ZERO;
        for _ in 0..12 {
            let (pid, status) = ended("exit 3");
            served.running = Some((pid, now));
            served.died(pid, status, later);
            let next = served.until_due(later).unwrap();
            assert!(next >= pause);
            pause = next;
        }
        assert_eq!(pause, Duration::from_secs(30));
    }

    #[test]
    fn the_end_of_another_process_is_none_of_the_holders() {
        let mut served = Served::new(serve(""));
        let own = Pid::from_raw(1).unwrap();
        served.running = Some((own, Instant::now()));
        let (pid, status) = ended("exit 0");
        served.died(pid, status, Instant::now());
        served.ended(pid, status);
        assert!(served.runs());
    }
}
