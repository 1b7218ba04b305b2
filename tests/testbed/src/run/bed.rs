//! One running machine, from QEMU's start to its end.

use super::folder::Folder;
use super::logs::{Keeper, tail};
use super::media::Media;
use super::qemu::{Machine, QEMU_LOG, Qemu, SERIAL_LOG};
use super::{Error, Result};
use crate::interrupt::interrupted;
use agent::client::{Client, Remote};
use agent::message::{Hello, Step};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From QEMU's start to dom0's agent. A warm boot takes 4 s on an idle machine; CI machines are not idle.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const POWEROFF_LIMIT: Duration = Duration::from_secs(20);
/// A warm boot on an idle host with two cores.
const IDLE_BOOT: Duration = Duration::from_secs(5);
/// A machine slower than this many times is not worth waiting for.
const MOST_PACE: f64 = 6.0;

/// A booted machine. Dropped, it is switched off hard.
pub(crate) struct Bed {
    qemu: Qemu,
    client: Client,
    keeper: Mutex<Option<Keeper>>,
    folder: Folder,
    times: Times,
    policy_source: Option<PathBuf>,
    /// Bytes of Xen's console when the lines that are looked at began.
    lines_from: AtomicU64,
}

/// How long the boot took.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// From QEMU's start until Xen started dom0's kernel.
    pub(crate) xen: Duration,
    /// From there until its agent served, Xen's daemons being up.
    pub(crate) dom0: Duration,
    /// dom0's own steps.
    pub(crate) steps: Vec<Step>,
}

impl Bed {
    /// Boots. `kind` is the name of the run's log folder.
    pub(crate) fn boot(media: &Media, machine: &Machine, kind: &str) -> Result<Self> {
        let folder = Folder::new(kind)?;
        let began = Instant::now();
        let qemu = Qemu::start(machine, media, &folder)?;
        let (client, hello) = match connect(&qemu, &folder, began) {
            Ok(connected) => connected,
            Err(error) => {
                qemu.kill();
                return Err(error);
            }
        };
        let total = began.elapsed();
        let dom0 = Duration::from_millis(hello.uptime_ms).min(total);
        let times = Times {
            xen: total - dom0,
            dom0,
            steps: hello.steps.clone(),
        };
        let bed = Self {
            qemu,
            client,
            keeper: Mutex::new(None),
            folder,
            times,
            policy_source: media.policy_source.clone(),
            lines_from: AtomicU64::new(0),
        };
        bed.judge(&hello)?;
        *bed.keeper() = Some(Keeper::start(&bed.dom0(), bed.logs())?);
        Ok(bed)
    }

    /// What FLASK policies of its hypervisor are made of, as [`Media::policy_source`].
    pub(crate) fn policy_source(&self) -> Option<&Path> {
        self.policy_source.as_deref()
    }

    fn judge(&self, hello: &Hello) -> Result<()> {
        let failed: Vec<String> = hello
            .steps
            .iter()
            .filter_map(|step| {
                step.error
                    .as_ref()
                    .map(|error| format!("{}: {error}", step.name))
            })
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::Boot {
            what: format!("dom0 came up with errors: {}", failed.join("; ")),
            said: tail(&self.folder.log(SERIAL_LOG)),
            logs: self.logs().to_path_buf(),
        })
    }

    /// dom0's agent. Its time limits are for an idle host, and longer here where the boot took longer.
    pub(crate) fn dom0(&self) -> Remote {
        self.client.dom0().with_pace(self.pace())
    }

    /// The control channel.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A running guest's agent, over its console. Call it again after the guest was restarted.
    pub(crate) fn guest(&self, name: &str, time: Duration) -> Result<Remote> {
        let domid = self.dom0().command(["xl", "domid", name]).text()?;
        let domid = domid
            .trim()
            .parse()
            .map_err(|_| agent::client::Error::Protocol {
                who: "xl domid".into(),
                what: format!("{domid:?}"),
            })?;
        Ok(self.dom0().attach(domid, name, time)?)
    }

    /// Where this run's logs are.
    pub(crate) fn logs(&self) -> &Path {
        self.folder.logs()
    }

    /// A socket of this run.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.folder.socket(name)
    }

    /// How long the boot took.
    pub(crate) fn times(&self) -> &Times {
        &self.times
    }

    /// How many times longer than on an idle host things take here: the boot is the measure. At least 1.
    pub(crate) fn pace(&self) -> f64 {
        let boot = self.times.xen + self.times.dom0;
        (boot.as_secs_f64() / IDLE_BOOT.as_secs_f64()).clamp(1.0, MOST_PACE)
    }

    /// From here on lines of Xen's console belong to another test.
    pub(crate) fn begin_lines(&self) {
        let length = std::fs::metadata(self.folder.log(SERIAL_LOG)).map_or(0, |file| file.len());
        self.lines_from.store(length, Ordering::SeqCst);
    }

    /// Whether the kernel says, since [`Self::begin_lines`], that a CPU's timer did not fire for seconds. QEMU's emulation
    /// loses a timer now and then; a component under test cannot.
    pub(crate) fn lost_a_timer(&self) -> bool {
        let console = std::fs::read(self.folder.log(SERIAL_LOG)).unwrap_or_default();
        let from = usize::try_from(self.lines_from.load(Ordering::SeqCst)).unwrap_or(0);
        let own = console.get(from..).unwrap_or_default();
        tells_of_lost_timer(&String::from_utf8_lossy(own))
    }

    /// QEMU still runs.
    pub(crate) fn alive(&self) -> bool {
        self.qemu.ended().is_none()
    }

    /// Switches off hard, at once: everything that waits for an answer gets an error.
    pub(crate) fn kill(&self) {
        self.qemu.kill();
    }

    /// Waits for QEMU's end.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        self.qemu.wait(time)
    }

    /// Switches off in good order: logs are complete, dom0 says goodbye. True if it did as told.
    pub(crate) fn poweroff(self) -> bool {
        self.collect_logs();
        if self.dom0().poweroff().is_err() {
            return false;
        }
        self.qemu.wait(POWEROFF_LIMIT)
    }

    /// Brings the logs on this host up to date and ends their following.
    pub(crate) fn collect_logs(&self) {
        if let Some(keeper) = self.keeper().take() {
            keeper.finish();
        }
    }

    fn keeper(&self) -> std::sync::MutexGuard<'_, Option<Keeper>> {
        self.keeper
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What Linux says when a CPU of the machine gets no timer interrupts: a warning of the timer code (kernel/time/hrtimer.c),
/// and stalls told by RCU (kernel/rcu/tree_stall.h).
fn tells_of_lost_timer(console: &str) -> bool {
    console.lines().any(|line| {
        line.contains("kthread timer wakeup didn't happen")
            || line.contains("WARNING:") && line.contains("hrtimer_forward")
            || line.contains("rcu:") && line.contains("detected") && line.contains("stall")
    })
}

/// Connects to the control channel and waits for its agent.
pub(super) fn connect(qemu: &Qemu, folder: &Folder, began: Instant) -> Result<(Client, Hello)> {
    let path = folder.socket("control");
    let stream = loop {
        check(qemu, folder, began)?;
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let reader = stream.try_clone().map_err(Error::io("use", &path))?;
    let client = Client::new(reader, stream).map_err(Error::io("use", &path))?;
    loop {
        match client.wait_hello(Duration::from_millis(200)) {
            Ok(hello) => return Ok((client, hello)),
            Err(_) => {
                // QEMU's end closes the stream a moment before the process is reaped.
                qemu.wait(Duration::from_millis(20));
                check(qemu, folder, began)?;
            }
        }
    }
}

fn check(qemu: &Qemu, folder: &Folder, began: Instant) -> Result<()> {
    if interrupted() {
        return Err(Error::Interrupted);
    }
    if let Some(status) = qemu.ended() {
        let said = format!(
            "{}{}",
            tail(&folder.log(QEMU_LOG)),
            tail(&folder.log(SERIAL_LOG))
        );
        let logs = folder.logs().to_path_buf();
        return Err(Error::Ended {
            status: status.to_string(),
            during: "dom0 was awaited",
            said,
            logs,
        });
    }
    if began.elapsed() > BOOT_LIMIT {
        return Err(Error::Boot {
            what: format!(
                "dom0's agent did not answer {} s after QEMU's start",
                BOOT_LIMIT.as_secs()
            ),
            said: tail(&folder.log(SERIAL_LOG)),
            logs: folder.logs().to_path_buf(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::tells_of_lost_timer;

    #[test]
    fn a_lost_timer_is_told_from_other_trouble() {
        for line in [
            "[   54.1] rcu: rcu_sched kthread timer wakeup didn't happen for 2101 jiffies! g1 f0x0",
            "[   60.0] WARNING: CPU: 1 PID: 0 at kernel/time/hrtimer.c:1054 hrtimer_forward+0xc8/0xd0",
            "[   81.2] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
            "[   81.2] rcu: INFO: rcu_sched self-detected stall on CPU",
        ] {
            assert!(tells_of_lost_timer(line), "{line}");
        }
        for line in [
            "[    3.0] WARNING: CPU: 1 PID: 9 at drivers/xen/grant-table.c:600",
            "test: a guest stalls",
            "[    0.0] rcu: Hierarchical RCU implementation.",
        ] {
            assert!(!tells_of_lost_timer(line), "{line}");
        }
    }
}
