//! PID 1 of dom0 and of the bed's guests: mounts, Xen's daemons, then the agent; it reaps what is left behind.
//!
//! The serving agent is a child, so that it may die and be started again while dom0 lives on.

use crate::link::Listener;
use crate::message::{Hello, Place, Step};
use crate::server::serve;
use crate::{LOG_DIR, PORT_NAME};
use rustix::mount::{MountFlags, mount};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATH: &str = "/usr/lib/xen-4.20/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HELLO: &str = "/run/bed/hello.json";
const PORT_WAIT: Duration = Duration::from_secs(10);
const CONSOLE: &str = "/dev/hvc0";
/// Script of a guest whose kernel is told `bed.driver`.
const DRIVER: &str = "/usr/lib/bed/driver";

/// Everything PID 1 does. It returns only when it cannot go on.
///
/// # Errors
/// The agent cannot be started.
pub fn run() -> io::Result<()> {
    obey_signals()?;
    let mut steps = vec![timed("mounts", mounts), timed("busybox", busybox)];
    let place = place();
    if place == Place::Dom0 {
        steps.extend(dom0_steps());
    }
    fs::create_dir_all("/run/bed")?;
    fs::write(
        HELLO,
        serde_json::to_vec(&Hello {
            place,
            uptime_ms: uptime_ms(),
            steps,
        })?,
    )?;
    let shell = place == Place::Dom0 && boot_option("bed.shell");
    let mut shell = if shell { Some(console_shell()?) } else { None };
    if place == Place::Guest && boot_option("bed.driver") {
        driver()?;
    }
    let mut agent = agent()?;
    loop {
        let Some((pid, _)) = rustix::process::wait(rustix::process::WaitOptions::empty())? else {
            continue;
        };
        let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
        if pid == agent.id() {
            complain("the agent ended, starting it again");
            std::thread::sleep(Duration::from_millis(200));
            agent = self::agent()?;
        }
        if shell.as_ref().is_some_and(|shell| shell.id() == pid) {
            shell = None;
            rustix::fs::sync();
            rustix::system::reboot(rustix::system::RebootCommand::PowerOff)?;
        }
    }
}

/// busybox's `poweroff`, `reboot` and `halt` are signals to PID 1; the kernel runs the first two when Xen's tools
/// ask a guest to shut down.
fn obey_signals() -> io::Result<()> {
    use rustix::system::RebootCommand::{PowerOff, Restart};
    use signal_hook::consts::{SIGTERM, SIGUSR1, SIGUSR2};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGUSR1, SIGUSR2])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                rustix::fs::sync();
                let how = if signal == SIGTERM { Restart } else { PowerOff };
                if let Err(e) = rustix::system::reboot(how) {
                    complain(&format!("signal {signal} was not obeyed: {e}"));
                }
            }
        })?;
    Ok(())
}

/// Serves: in dom0 on the virtio port, in a guest on the console. A guest without a dom0 (`bed.port` on its command
/// line) has a port of its own.
///
/// # Errors
/// There is no such port or console.
pub fn serve_here() -> io::Result<()> {
    let hello: Hello = serde_json::from_slice(&fs::read(HELLO)?)?;
    let has_port = boot_option("bed.port");
    if hello.place == Place::Guest && !has_port {
        let console = OpenOptions::new().read(true).write(true).open(CONSOLE)?;
        let mut listener = Listener::new(console)?;
        loop {
            let (reader, writer) = listener.accept()?;
            if let Err(e) = serve(reader, writer, hello.clone()) {
                complain(&format!("the call ended: {e}"));
            }
        }
    }
    std::thread::Builder::new().name("kmsg".into()).spawn(|| {
        if let Err(e) = keep_kernel_log(&Path::new(LOG_DIR).join("bed/dom0-dmesg.log")) {
            complain(&format!("the kernel's log is no longer kept: {e}"));
        }
    })?;
    let port = find_port()?;
    loop {
        let reader = OpenOptions::new().read(true).write(true).open(&port)?;
        let writer = reader.try_clone()?;
        if let Err(e) = serve(reader, writer, hello.clone()) {
            complain(&format!("the control channel ended: {e}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn place() -> Place {
    match fs::read_to_string("/proc/xen/capabilities") {
        Ok(text) if text.contains("control_d") => Place::Dom0,
        _ => Place::Guest,
    }
}

fn timed(name: &str, step: impl FnOnce() -> Result<(), String>) -> Step {
    let began = Instant::now();
    let error = step().err();
    if let Some(error) = &error {
        complain(&format!("{name}: {error}"));
    }
    Step {
        name: name.into(),
        ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        error,
    }
}

fn mounts() -> Result<(), String> {
    let table = [
        ("proc", "/proc", "proc"),
        ("sysfs", "/sys", "sysfs"),
        ("devtmpfs", "/dev", "devtmpfs"),
        ("tmpfs", "/run", "tmpfs"),
        ("devpts", "/dev/pts", "devpts"),
        ("tmpfs", "/tmp", "tmpfs"),
        ("xenfs", "/proc/xen", "xenfs"),
        ("debugfs", "/sys/kernel/debug", "debugfs"),
    ];
    let mut failed = Vec::new();
    for (source, target, kind) in table {
        // procfs and sysfs bring their own mount points, and refuse to make more.
        let _ = fs::create_dir_all(target);
        match mount(source, target, kind, MountFlags::empty(), None) {
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            // A guest's kernel may lack these two.
            Err(_) if matches!(kind, "xenfs" | "debugfs") => {}
            Err(e) => failed.push(format!("{target}: {e}")),
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

/// Images may come with busybox's links; making them takes over half a second under emulation.
fn busybox() -> Result<(), String> {
    let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
    else {
        return Err("there is no busybox in this image".into());
    };
    if !["/bin/sh", "/usr/bin/sh"]
        .iter()
        .any(|shell| Path::new(shell).exists())
    {
        let dir = busybox.parent().unwrap_or(Path::new("/bin"));
        tool(Command::new(busybox).args(["--install", "-s"]).arg(dir))?;
    }
    // The kernel looks for these two where init systems put them.
    fs::create_dir_all("/sbin").map_err(|e| format!("/sbin: {e}"))?;
    for name in ["/sbin/poweroff", "/sbin/reboot"] {
        if !Path::new(name).exists() {
            std::os::unix::fs::symlink(busybox, name).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    Ok(())
}

fn dom0_steps() -> [Step; 3] {
    for dir in [
        "/run/xen",
        "/run/xenstored",
        "/var/lib/xen",
        "/var/lib/xenstored",
    ] {
        // What misses the folder says so.
        let _ = fs::create_dir_all(dir);
    }
    let console_logs = Path::new(LOG_DIR).join("xen/console");
    [
        timed("xenstored", || tool(&mut Command::new("xenstored"))),
        timed("xen-init-dom0", || tool(&mut Command::new("xen-init-dom0"))),
        timed("xenconsoled", || {
            fs::create_dir_all(&console_logs).map_err(|e| e.to_string())?;
            tool(
                Command::new("xenconsoled")
                    .arg("--log=guest")
                    .arg("--log-dir")
                    .arg(&console_logs),
            )
        }),
    ]
}

fn tool(command: &mut Command) -> Result<(), String> {
    // Daemons keep their standard streams: a pipe would be held open for ever.
    let log = Path::new("/run/bed-step.log");
    let file = File::create(log).map_err(|e| e.to_string())?;
    let second = file.try_clone().map_err(|e| e.to_string())?;
    let status = command
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(second)
        .status()
        .map_err(|e| format!("cannot run {:?}: {e}", command.get_program()))?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    Err(format!(
        "{:?} ended with {status}: {}",
        command.get_program(),
        said.trim()
    ))
}

fn agent() -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg("serve")
        .env("PATH", PATH)
        .env("HOME", "/")
        .spawn()
}

/// What makes this guest a driver domain; it goes on beside the agent.
fn driver() -> io::Result<()> {
    Command::new(DRIVER)
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .spawn()
        .map(drop)
}

fn console_shell() -> io::Result<Child> {
    let console = || OpenOptions::new().read(true).write(true).open(CONSOLE);
    Command::new("setsid")
        .args(["-c", "sh", "-l"])
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("TERM", "xterm")
        .env("PS1", "dom0:\\w# ")
        .stdin(console()?)
        .stdout(console()?)
        .stderr(console()?)
        .spawn()
}

fn boot_option(name: &str) -> bool {
    fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|word| word == name))
}

fn uptime_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = time
        .tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000);
    u64::try_from(millis).unwrap_or(0)
}

fn find_port() -> io::Result<PathBuf> {
    let until = Instant::now() + PORT_WAIT;
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                return Ok(Path::new("/dev").join(entry.file_name()));
            }
        }
        if Instant::now() > until {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no virtio port of the control channel",
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn keep_kernel_log(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut log = File::create(path)?;
    let mut kmsg = File::open("/dev/kmsg")?;
    let mut record = vec![0; 8192];
    loop {
        let count = match kmsg.read(&mut record) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            // Records were overwritten before they were read: go on with the oldest there is.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => continue,
            Err(e) => return Err(e),
        };
        let text = String::from_utf8_lossy(record.get(..count).unwrap_or_default());
        let (prefix, message) = text.split_once(';').unwrap_or(("", &text));
        let micros: u64 = prefix
            .split(',')
            .nth(2)
            .and_then(|time| time.parse().ok())
            .unwrap_or(0);
        let line = message.lines().next().unwrap_or_default();
        writeln!(
            log,
            "[{:5}.{:06}] {line}",
            micros / 1_000_000,
            micros % 1_000_000
        )?;
    }
}

/// Says something where it is seen even when nothing else works: in the kernel's log.
pub fn complain(text: &str) {
    if let Ok(mut kmsg) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // There is no other place to tell that this failed.
        let _ = writeln!(kmsg, "<3>bed-agent: {text}");
    }
}
