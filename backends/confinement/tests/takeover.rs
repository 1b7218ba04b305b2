//! Attacks for real: each one refused to a confined process, and none that would fail anyway.
//!
//! One process per attack, because some attacks end it. It is this program again: a process that is confined has one
//! thread, so the usual test harness cannot be in it.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use confinement::{Missing, Needs, Step};

// A test is built without the feature that the library needs for this.
#[path = "../src/attacks.rs"]
#[allow(dead_code, unreachable_pub)]
mod attacks;

use attacks::{ALL, Attack, Targets};

/// First argument of the process that attacks.
const CHILD: &str = "--be-the-intruder";
/// An attack that is none: what a worker does.
const HONEST: &str = "honest work";
/// A user id that nobody has here.
const ID: u32 = 65_536 + 4242;

/// How a test ended that has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// It has shown what it is there for.
    Shown,
    /// It cannot show it for whoever runs it here, and why.
    Ignored(&'static str),
}

type Outcome = Result<Passed, String>;

/// Why an attack may fail anyway.
const NEEDS_ROOT: &str = "only root can do it unconfined";
const NO_USER_NAMESPACES: &str = "this host's settings give nobody here a user namespace";
/// The attack that such a host refuses to everybody.
const USER_NAMESPACE: &str = "make a user namespace";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == CHILD) {
        return intrude(&arguments[1..]);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut tests: Vec<(String, Box<dyn Fn() -> Outcome>)> = vec![
        ("a_confined_process_can_do_its_work".into(), Box::new(work)),
        (
            "every_step_is_taken_where_the_kernel_can".into(),
            Box::new(steps),
        ),
        ("confining_takes_a_few_milliseconds".into(), Box::new(time)),
    ];
    for attack in ALL {
        let name = format!("refused_{}", attack.name.replace([' ', '\''], "_"));
        tests.push((name, Box::new(move || refused(attack))));
    }
    let mut failures = Vec::new();
    let (mut passed, mut ignored) = (0, 0);
    let all = tests.len();
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        match test() {
            Ok(Passed::Shown) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Ok(Passed::Ignored(why)) => {
                ignored += 1;
                println!("test {name} ... ignored, {why}");
            }
            Err(why) => {
                println!("test {name} ... FAILED");
                failures.push((name, why));
            }
        }
    }
    for (name, why) in &failures {
        println!("---- {name} stdout ----\n{why}\n");
    }
    println!(
        "test result: {}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {} filtered out",
        if failures.is_empty() { "ok" } else { "FAILED" },
        failures.len(),
        all - passed - ignored - failures.len()
    );
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// The intruder: `confined` or `free`, the attack, file, place, socket, process.
fn intrude(arguments: &[String]) -> ExitCode {
    let [how, name, file, place, socket, process] = arguments else {
        return ExitCode::from(2);
    };
    let text = |text: &str| CString::new(text).unwrap();
    let targets = Targets {
        file: text(file),
        place: text(place),
        socket: text(socket),
        process: process.parse().unwrap(),
    };
    let image = File::options().read(true).write(true).open(file).unwrap();
    let missing = if how == "confined" {
        let began = Instant::now();
        let missing = confinement::confine(&needs());
        if name == "time" {
            return say(&began.elapsed().as_micros().to_string());
        }
        missing
    } else {
        Vec::new()
    };
    if name == HONEST {
        // Rings open files and sockets that the system-call filter does not see.
        let closed = [
            Step::MountNamespace,
            Step::EmptyRoot,
            Step::NetworkNamespace,
        ];
        let rings = !missing.iter().any(|missing| closed.contains(&missing.step));
        return match honest_work(image, rings) {
            Ok(()) => say("done"),
            Err(error) => say(&format!("honest work failed: {error}")),
        };
    }
    if name == "steps" {
        let missing: Vec<String> = missing.iter().map(Missing::to_string).collect();
        return say(&format!("missing: {}", missing.join(", ")));
    }
    match Attack::named(name).unwrap().run(&targets) {
        Ok(()) => say("possible"),
        Err(error) => say(&format!("refused: {error}")),
    }
}

fn say(text: &str) -> ExitCode {
    io::stdout().write_all(text.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

fn needs() -> Needs {
    Needs {
        id: ID,
        ioctls: vec![0x1234],
    }
}

/// How an attack ended.
#[derive(Debug)]
struct End {
    said: String,
    killed: bool,
}

impl End {
    /// What a program that replaced the process leaves: nothing said, and no failure.
    fn possible(&self) -> bool {
        !self.killed && (self.said == "possible" || self.said.is_empty())
    }
}

/// Root, and not only root of a container.
fn may_administer() -> bool {
    rustix::process::geteuid().is_root()
        && rustix::thread::capabilities(None).is_ok_and(|sets| {
            sets.effective
                .contains(rustix::thread::CapabilitySet::SYS_ADMIN)
        })
}

struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn attempt(how: &str, name: &str) -> Result<End, String> {
    let wrong = |error: io::Error| error.to_string();
    let folder = tempfile::tempdir().map_err(wrong)?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("file"), "secret").map_err(wrong)?;
    std::fs::create_dir(path("place")).map_err(wrong)?;
    let _listener = UnixListener::bind(path("socket")).map_err(wrong)?;
    let victim = Victim(Command::new("sleep").arg("100").spawn().map_err(wrong)?);
    // Its standard input is a socket, as a worker's is.
    let (ours, theirs) = UnixStream::pair().map_err(wrong)?;
    let mut child = Command::new("/proc/self/exe")
        .args([CHILD, how, name])
        .args([path("file"), path("place"), path("socket")])
        .arg(victim.0.id().to_string())
        // As the holder does; a panic then looks for no debug information.
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(wrong)?;
    let mut said = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut said).map_err(wrong)?;
    }
    let status = child.wait().map_err(wrong)?;
    drop(ours);
    // A mount that succeeded would keep the folder.
    let _ = rustix::mount::unmount(path("place"), rustix::mount::UnmountFlags::DETACH);
    match status.signal() {
        Some(31) => Ok(End { said, killed: true }),
        None if status.success() => Ok(End {
            said,
            killed: false,
        }),
        _ => Err(format!("{name}, {how}: {status}, {said:?}")),
    }
}

fn refused(attack: &Attack) -> Outcome {
    let confined = attempt("confined", attack.name)?;
    if confined.possible() {
        return Err("a confined process can do it".into());
    }
    let free = attempt("free", attack.name)?;
    match free.possible() {
        true => Ok(Passed::Shown),
        false if attack.needs_root && !may_administer() => Ok(Passed::Ignored(NEEDS_ROOT)),
        false if attack.name == USER_NAMESPACE && no_user_namespaces() => {
            Ok(Passed::Ignored(NO_USER_NAMESPACES))
        }
        false => Err(format!("it proves nothing, it fails anyway: {free:?}")),
    }
}

/// Whether the host's settings refuse user namespaces to whoever runs the tests.
fn no_user_namespaces() -> bool {
    let is = |setting: &str, value: &str| {
        std::fs::read_to_string(format!("/proc/sys/{setting}"))
            .is_ok_and(|text| text.trim() == value)
    };
    is("user/max_user_namespaces", "0")
        || !may_administer()
            && (is("kernel/unprivileged_userns_clone", "0")
                || is("kernel/apparmor_restrict_unprivileged_userns", "1"))
}

fn work() -> Outcome {
    let end = attempt("confined", HONEST)?;
    match end.said.as_str() {
        "done" => Ok(Passed::Shown),
        _ => Err(format!("{end:?}")),
    }
}

/// Steps that this host may refuse to whoever runs the tests: containers and distributions differ.
fn steps() -> Outcome {
    let end = attempt("confined", "steps")?;
    match end.said.as_str() {
        "missing: " => Ok(Passed::Shown),
        said if may_administer() => Err(said.into()),
        said if said.starts_with("missing: ") => Ok(Passed::Ignored(NEEDS_ROOT)),
        said => Err(said.into()),
    }
}

fn time() -> Outcome {
    let mut times = Vec::new();
    for _ in 0..5 {
        let end = attempt("confined", "time")?;
        times.push(end.said.parse::<u64>().map_err(|_| format!("{end:?}"))?);
    }
    times.sort_unstable();
    println!("confining: {times:?} microseconds");
    // The quickest: other tests run beside this one.
    if times[0] > 50_000 {
        return Err(format!("{times:?} microseconds"));
    }
    Ok(Passed::Shown)
}

/// What workers do, in short: descriptors that came in time are used by threads, mappings, eventfds and a ring, where that is
/// allowed.
fn honest_work(image: File, rings: bool) -> io::Result<()> {
    rustix::fs::flock(&image, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    let copy = image.try_clone()?;
    let signal = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
    let ended = signal.try_clone()?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread =
        std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || -> io::Result<()> {
                copy.write_all_at(&[7; 8192], 0)?;
                copy.sync_data()?;
                let flags =
                    rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&copy, flags, 4096, 4096)?;
                // The allocator gives a thread's heap back, and looks at the system's settings for it.
                for _ in 0..3 {
                    let pieces: Vec<Vec<u8>> = (0..400).map(|_| vec![1; 100_000]).collect();
                    drop(pieces);
                }
                rustix::io::write(&ended, &1_u64.to_ne_bytes())?;
                std::thread::sleep(Duration::from_millis(1));
                sender
                    .send(copy.metadata()?.len())
                    .map_err(io::Error::other)
            })?;
    let mut ready = [rustix::event::PollFd::new(
        &signal,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut ready, None)?;
    let length = receiver
        .recv_timeout(Duration::from_secs(5))
        .map_err(io::Error::other)?;
    thread.join().map_err(|_| io::Error::other("a panic"))??;
    let panicked = std::thread::spawn(|| panic!("a panic that is part of the test")).join();
    let mut bytes = [0_u8; 16];
    match (io_uring::IoUring::new(8), rings) {
        (Ok(ring), true) => read_by_ring(ring, &image, &signal, &mut bytes)?,
        (Err(error), false) if error.raw_os_error() == Some(libc::ENOSYS) => {
            image.read_exact_at(&mut bytes, 0)?;
        }
        (Err(error), _) => return Err(error),
        (Ok(_), false) => return Err(io::Error::other("a ring, though files are in reach")),
    }
    let numbers: std::collections::HashMap<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
    match (length, bytes, numbers.len(), panicked) {
        (8192, [7, ..], 10_000, Err(_)) => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

fn read_by_ring(
    mut ring: io_uring::IoUring,
    image: &File,
    signal: &OwnedFd,
    bytes: &mut [u8; 16],
) -> io::Result<()> {
    ring.submitter()
        .register_eventfd(signal.as_fd().as_raw_fd())?;
    let fd = io_uring::types::Fd(image.as_raw_fd());
    let read = io_uring::opcode::Read::new(fd, bytes.as_mut_ptr(), 16).build();
    // SAFETY: the buffer outlives the wait for its completion.
    unsafe { ring.submission().push(&read) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    Ok(())
}
