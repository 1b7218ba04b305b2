//! `avpsctl supervise`, and how `up` and `create` start it in the background.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use platform::Plan;

use super::document::load_startable;
use super::{Context, signals};
use crate::cli::SuperviseArgs;
use crate::error::{Error, Result};
use crate::observe::{Event, Observer};
use crate::supervise::Supervisor;
use crate::supervised;
use crate::ui::LogFile;

/// What the background process writes when it has begun to supervise.
const READY: &str = "ready";
/// How long it may take to say so.
const BECOMES_READY: Duration = Duration::from_secs(20);

/// `avpsctl supervise`.
pub(super) async fn supervise(context: &Context, args: &SuperviseArgs) -> Result<()> {
    let plan = match args.plan {
        true => supervised::read(&args.document)?,
        false => load_startable(context, &args.document)?.1,
    };
    let machine = context.machine()?;
    let platform = plan.platform.clone();
    let Some(_role) = context.run.become_supervisor(&platform)? else {
        let reason = match context.run.supervisor(&platform) {
            Some(pid) => format!("process {pid} is it already"),
            None => "another process is it already".to_owned(),
        };
        if args.detached {
            return Err(Error::Supervisor { platform, reason });
        }
        context
            .ui
            .note(&format!("the supervisor of platform {platform}: {reason}"));
        return Ok(());
    };
    if !args.plan {
        supervised::write(&context.run, &plan)?;
    }
    let cancel = signals()?;
    let observer: Arc<dyn Observer> = if args.detached {
        detach()?;
        Arc::new(LogFile::new(context.run.log(&platform)))
    } else {
        context.ui.observer().into()
    };
    observer.observe(Event::Note(format!("supervising platform {platform}")));
    let timeout = Duration::from_secs(args.timeout);
    let run = context.run.clone();
    let supervisor = Supervisor::new(machine, plan, run, timeout, Arc::clone(&observer));
    supervisor.run(&cancel).await;
    let ended = format!("no longer supervising platform {platform}");
    observer.observe(Event::Note(ended));
    Ok(())
}

/// Says that supervision has begun and leaves the terminal of whoever started us.
fn detach() -> Result<()> {
    let failed = |error: rustix::io::Errno| Error::Io {
        wanted: "leaving the terminal".into(),
        source: error.into(),
    };
    // Fails only for a process that leads a group already, and then has left the terminal.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/").map_err(failed)?;
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{READY}");
    let _ = stdout.flush();
    let null = OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map_err(Error::io("opening /dev/null"))?;
    rustix::stdio::dup2_stdout(&null).map_err(failed)
}

/// Sees to it that a platform has a supervisor that knows this plan. Tells its process.
///
/// The platform's lock is held: its plan is written only while nobody supervises it, so that the file always tells what the
/// supervisor knows.
pub(super) async fn ensure(context: &Context, plan: &Plan, timeout: u64) -> Result<Option<u32>> {
    let platform = plan.platform.as_str();
    if let Some(pid) = context.run.supervisor(platform) {
        let known = supervised::read(&supervised::path(&context.run, platform));
        if known.is_ok_and(|known| known == *plan) {
            return Ok(Some(pid));
        }
        context.run.stop_supervisor(platform).await?;
    }
    supervised::write(&context.run, plan)?;
    start(context, platform, timeout).await.map(Some)
}

/// Starts the supervisor of a platform again, with the plan that the one before knew; with this one when that is not known. The
/// platform's lock is held.
pub(super) async fn again(context: &Context, plan: &Plan, timeout: u64) -> Result<u32> {
    if supervised::read(&supervised::path(&context.run, &plan.platform)).is_err() {
        supervised::write(&context.run, plan)?;
    }
    start(context, &plan.platform, timeout).await
}

async fn start(context: &Context, platform: &str, timeout: u64) -> Result<u32> {
    let failed = |reason: String| Error::Supervisor {
        platform: platform.to_owned(),
        reason,
    };
    let log = context.run.log(platform);
    let plan = supervised::path(&context.run, platform);
    let child = spawn(context, &log, &plan, timeout)
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let pid = child.id();
    let ready = tokio::task::spawn_blocking(move || says_ready(child));
    match tokio::time::timeout(BECOMES_READY, ready).await {
        Ok(Ok(true)) => Ok(pid),
        _ => Err(failed(format!(
            "did not begin; the domains run without it. Its log is {}",
            log.display()
        ))),
    }
}

fn spawn(context: &Context, log: &Path, plan: &Path, timeout: u64) -> std::io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    // Not by its path: an upgrade may have replaced the file since this process began.
    Command::new("/proc/self/exe")
        .arg0("avpsctl")
        .arg("--run-dir")
        .arg(std::path::absolute(context.run.path())?)
        .args(["supervise", "--detached", "--timeout", &timeout.to_string()])
        .arg("--plan")
        .arg(std::path::absolute(plan)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
}

/// Waits for the first line. The child is not waited for: it outlives us.
fn says_ready(mut child: Child) -> bool {
    let mut line = String::new();
    let Some(stdout) = child.stdout.take() else {
        return false;
    };
    BufReader::new(stdout).read_line(&mut line).is_ok() && line.trim() == READY
}
