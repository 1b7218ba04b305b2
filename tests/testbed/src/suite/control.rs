//! The bed's own promises: the control channel, guests over their consoles, logs kept apart, nothing left behind.

use super::guests;
use super::{Context, Outcome, Test, ensure};
use crate::run::bed::Bed;
use crate::run::helper;
use crate::run::media::Media;
use crate::run::qemu::{Machine, SERIAL_LOG};
use agent::client::Error;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "bed: a program in dom0 gets its input and gives back output and code",
            30,
            exec,
        ),
        Test::new(
            "bed: a file of 4 MiB goes to dom0 and comes back unchanged",
            60,
            files,
        ),
        Test::new("bed: many programs run in dom0 at once", 60, at_once),
        Test::new(
            "bed: a guest answers over its console while its kernel talks",
            90,
            guest_exec,
        ),
        Test::new(
            "bed: a guest's reboot is noticed, and its agent found again",
            150,
            guest_reboot,
        ),
        Test::new(
            "bed: a destroyed guest is a loss, not a hang",
            120,
            guest_destroy,
        ),
        Test::new(
            "bed: logs of Xen, dom0 and each guest are kept apart",
            90,
            logs_apart,
        ),
        Test::new(
            "bed: a second machine beside the first disturbs neither",
            180,
            two_at_once,
        ),
        Test::new(
            "bed: a program started for xtask ends when xtask is killed",
            30,
            ends_with_parent,
        ),
    ]
}

fn create(context: &Context, name: &str, command_line: &str) -> Result<(), super::Failed> {
    let path = format!("/tmp/{name}.cfg");
    context.dom0().put_bytes(
        guests::plain_config(name, command_line, "").as_bytes(),
        &path,
        0o644,
    )?;
    context
        .dom0()
        .command(["xl", "create", "-q", &path])
        .time(Duration::from_secs(60))
        .text()?;
    Ok(())
}

fn exec(context: &Context) -> Outcome {
    let output = context
        .dom0()
        .shell("cat; echo $WORD >&2; exit 7")
        .env("WORD", "oops")
        .input("in\n")
        .output()?;
    ensure(
        output.text() == "in" && output.error_text() == "oops" && output.exit.code == Some(7),
        || format!("{output:?}"),
    )?;
    ensure(
        context.sh("xl list")?.contains("Domain-0"),
        || "xl does not list dom0",
    )
}

fn files(context: &Context) -> Outcome {
    let mut state = 1_u32;
    let bytes: Vec<u8> = (0..4 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let began = Instant::now();
    context.dom0().put_bytes(&bytes, "/tmp/four", 0o600)?;
    let back = context.dom0().get("/tmp/four")?;
    context.note(format!(
        "there and back: {:.2} s",
        began.elapsed().as_secs_f64()
    ));
    context.sh("rm /tmp/four")?;
    ensure(back == bytes, || "what came back is different")
}

fn at_once(context: &Context) -> Outcome {
    let began = Instant::now();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let dom0 = context.dom0();
            std::thread::spawn(move || dom0.shell(&format!("sleep 2; echo {number}")).text())
        })
        .collect();
    for (number, thread) in threads.into_iter().enumerate() {
        let text = thread
            .join()
            .map_err(|_| super::Failed("a thread panicked".into()))??;
        ensure(text == number.to_string(), || {
            format!("program {number} said {text:?}")
        })?;
    }
    ensure(
        began.elapsed() < context.within(Duration::from_secs(14)),
        || format!("they took {:?}", began.elapsed()),
    )
}

fn guest_exec(context: &Context) -> Outcome {
    create(context, "talker", "quiet")?;
    let began = Instant::now();
    let guest = context.guest("talker")?;
    context.note(format!(
        "answered {:.1} s after `xl create`",
        began.elapsed().as_secs_f64()
    ));
    let text = guest
        .shell("for i in 1 2 3 4 5; do echo \"<1>kernel message $i\" > /dev/kmsg; echo line $i; done; md5sum")
        .input(vec![b'x'; 1000])
        .time(Duration::from_secs(60))
        .text()?;
    let lines = ["line 1", "line 2", "line 3", "line 4", "line 5"];
    ensure(text.lines().take(5).eq(lines), || text.clone())?;
    let sum = context.sh("head -c 1000 /dev/zero | tr '\\0' x | md5sum")?;
    ensure(text.lines().nth(5) == Some(sum.as_str()), || {
        format!("the input's sum: {text}, not {sum}")
    })?;
    let began = Instant::now();
    guest.command(["true"]).text()?;
    context.note(format!(
        "a program takes {:.2} s there and back",
        began.elapsed().as_secs_f64()
    ));
    context.sh("xl destroy talker")?;
    Ok(())
}

fn guest_reboot(context: &Context) -> Outcome {
    create(context, "phoenix", "quiet")?;
    let before = context.sh("xl domid phoenix")?;
    let guest = context.guest("phoenix")?;
    guest.reboot()?;
    let until = Instant::now() + context.within(Duration::from_secs(60));
    while context.sh("xl domid phoenix || true")? == before
        || context.sh("xl domid phoenix || true")?.is_empty()
    {
        ensure(
            Instant::now() < until,
            || "the guest did not come back in 60 s",
        )?;
    }
    let lost = guest.ping(Duration::from_secs(10));
    ensure(matches!(lost, Err(Error::Lost { .. })), || {
        format!("the old guest still answers: {lost:?}")
    })?;
    let text = context
        .guest("phoenix")?
        .command(["echo", "again"])
        .text()?;
    ensure(text == "again", || text.clone())?;
    context.sh("xl destroy phoenix")?;
    Ok(())
}

fn guest_destroy(context: &Context) -> Outcome {
    create(context, "victim", "quiet")?;
    let guest = context.guest("victim")?;
    let waiting = {
        let guest = guest.clone();
        std::thread::spawn(move || {
            guest
                .command(["sleep", "60"])
                .time(Duration::from_secs(70))
                .output()
        })
    };
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    context.sh("xl destroy victim")?;
    let seen = waiting
        .join()
        .map_err(|_| super::Failed("a thread panicked".into()))?;
    ensure(matches!(seen, Err(Error::Lost { .. })), || {
        format!("{seen:?}")
    })?;
    ensure(
        began.elapsed() < context.within(Duration::from_secs(15)),
        || format!("noticed after {:?}", began.elapsed()),
    )
}

fn logs_apart(context: &Context) -> Outcome {
    create(context, "speaker", "")?;
    context
        .guest("speaker")?
        .shell("echo '<1>said in the guest' > /dev/kmsg")
        .text()?;
    context.sh("echo 'said in dom0' > /dev/kmsg; mkdir -p /var/log/bed; echo 'said by a program' > /var/log/bed/program.log")?;
    context
        .dom0()
        .command(["xl", "shutdown", "-w", "speaker"])
        .time(Duration::from_secs(60))
        .text()?;
    let logs = context.bed().logs();
    let places = [
        (SERIAL_LOG, "(XEN)"),
        ("dom0-dmesg.log", "said in dom0"),
        ("guest-speaker.log", "said in the guest"),
        ("program.log", "said by a program"),
    ];
    let until = Instant::now() + context.within(Duration::from_secs(10));
    for (name, text) in places {
        while !holds(&logs.join(name), text) {
            ensure(Instant::now() < until, || {
                format!("{name} in {} does not hold {text:?}", logs.display())
            })?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    // All logs are there and have what is theirs.
    for (name, text) in places {
        for (other, _) in places.iter().filter(|(other, _)| *other != name) {
            ensure(!holds(&logs.join(other), text), || {
                format!("{text:?} of {name} is in {other} as well")
            })?;
        }
    }
    Ok(())
}

fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
}

fn two_at_once(context: &Context) -> Outcome {
    let media = Media::get().map_err(|failure| super::Failed(failure.message))?;
    let second = Bed::boot(&media, &Machine::default(), "second")?;
    second.dom0().shell("echo second > /tmp/which").text()?;
    context.sh("echo first > /tmp/which")?;
    let (one, two) = (
        context.sh("cat /tmp/which")?,
        second.dom0().shell("cat /tmp/which").text()?,
    );
    ensure((one.as_str(), two.as_str()) == ("first", "second"), || {
        format!("{one}, {two}")
    })?;
    ensure(
        second.poweroff(),
        || "the second machine did not switch off when told",
    )?;
    ensure(
        context.sh("cat /tmp/which")? == "first",
        || "the first machine was disturbed",
    )
}

fn ends_with_parent(context: &Context) -> Outcome {
    let pid_file = context.bed().socket("sleeper");
    let line = format!(
        "/proc/{}/exe {} $$ sleep 300 & echo $! > {}; wait",
        std::process::id(),
        helper::NAME,
        pid_file.display()
    );
    let mut parent = std::process::Command::new("sh")
        .args(["-c", &line])
        .spawn()?;
    let until = Instant::now() + context.within(Duration::from_secs(10));
    let pid = loop {
        match std::fs::read_to_string(&pid_file) {
            Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
        ensure(Instant::now() < until, || "the child was not started")?;
    };
    let runs_sleep = || holds(&Path::new("/proc").join(&pid).join("cmdline"), "sleep");
    while !holds(&Path::new("/proc").join(&pid).join("comm"), "sleep") {
        ensure(
            Instant::now() < until,
            || "the helper did not become the program",
        )?;
        std::thread::sleep(Duration::from_millis(20));
    }
    parent.kill()?;
    parent.wait()?;
    while runs_sleep() {
        ensure(Instant::now() < until, || {
            format!("process {pid} outlived its parent")
        })?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
