//! Domains from creation to death, through libxl.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libxl::{DomainEvent, Error as LibxlError, Libxl, ShutdownReason};
use serde_json::json;

use crate::libxl_guest::{CRASH, Guest, Outcome, Test, Tiny, expect, linux, open, tiny, until};

/// Name and body of each test.
pub(crate) const TESTS: &[Test] = &[
    (
        "libxl: a domain is created paused, as it was described",
        a_domain_is_created_paused,
    ),
    (
        "libxl: a domain runs, its console speaks, and it can be paused",
        a_domain_runs_and_can_be_paused,
    ),
    (
        "libxl: a guest that is asked to shut down does, and both events are told once",
        a_guest_shuts_down_when_asked,
    ),
    (
        "libxl: a guest that is asked to reboot ends with that reason",
        a_guest_reboots_when_asked,
    ),
    (
        "libxl: a guest that crashes is told from one that powers off",
        a_crash_is_told,
    ),
    (
        "libxl: what has already happened is told too, to a late listener",
        a_late_listener_hears_it_too,
    ),
    (
        "libxl: waiting for events can be cancelled, and ends in time",
        waiting_can_be_cancelled,
    ),
    (
        "libxl: a domain that is not there is named by every call",
        a_missing_domain_is_named,
    ),
    (
        "libxl: configuration the release does not know is refused by its path",
        unknown_configuration_is_refused,
    ),
    (
        "libxl: a missing kernel, a name in use and too much memory fail with a reason, and leave nothing",
        failures_have_a_reason_and_leave_nothing,
    ),
    (
        "libxl: memory that a domain needs is told before, and is about what it takes",
        needed_memory_is_told_before,
    ),
    (
        "libxl: hotplug scripts run and end, and the program's own children stay its own",
        hotplug_scripts_and_own_children_both_end,
    ),
    (
        "libxl: domains created and destroyed in a row leave no domain and no descriptor behind",
        four_domains_leave_nothing,
    ),
];

fn check(condition: bool, broken: impl FnOnce() -> String) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(broken().into())
    }
}

fn a_domain_is_created_paused() -> Outcome {
    let libxl = open()?;
    let mut config = tiny("libxl-paused", Tiny::Idle)?;
    config.vcpus = 2;
    config.cmdline = Some("quiet".to_owned());
    let guest = Guest::create(&libxl, &config)?;
    let domain = libxl.domain(guest.domid)?;
    check(
        domain.paused
            && !domain.running
            && domain.name.as_deref() == Some("libxl-paused")
            && domain.uuid == config.uuid
            && domain.vcpus_max == 2
            && domain.shutdown_reason.is_none()
            && domain.memory_kib.abs_diff(config.memory_kib) <= 1024
            && domain.cpu_time_ns == 0,
        || format!("{domain:?}"),
    )?;
    let known = libxl.config_json(guest.domid)?;
    check(
        known["b_info"]["cmdline"] == json!(config.cmdline)
            && known["c_info"]["uuid"] == json!(config.uuid),
        || known.to_string(),
    )
}

fn a_domain_runs_and_can_be_paused() -> Outcome {
    let libxl = open()?;
    drop(running(&libxl, "libxl-runs")?);
    // One that takes all the time it gets: that it gets none shows that it is paused.
    let guest = Guest::create(&libxl, &tiny("libxl-busy", Tiny::Busy)?)?;
    libxl.unpause(guest.domid)?;
    let took = burns(&libxl, guest.domid)?;
    libxl.pause(guest.domid)?;
    let paused = libxl.domain(guest.domid)?;
    std::thread::sleep(Duration::from_millis(300).max(2 * took));
    let later = libxl.domain(guest.domid)?;
    check(
        paused.paused && later.paused && later.cpu_time_ns == paused.cpu_time_ns,
        || format!("{paused:?} then {later:?}"),
    )?;
    libxl.unpause(guest.domid)?;
    check(!libxl.domain(guest.domid)?.paused, || {
        "still paused".to_owned()
    })?;
    burns(&libxl, guest.domid).map(drop)
}

/// Waits until the domain has had a tenth of a second of CPU time more; how long that took.
fn burns(libxl: &Libxl, domid: u32) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let before = libxl.domain(domid)?.cpu_time_ns;
    until("a busy domain gets CPU time", || {
        Ok(libxl.domain(domid)?.cpu_time_ns >= before + 100_000_000)
    })?;
    Ok(began.elapsed())
}

/// Waits until the guest says on its console that it is up.
fn comes_up(libxl: &Libxl, domid: u32) -> Outcome {
    let mut tty = None;
    until("xenconsoled serves the console", || {
        tty = libxl.console_tty(domid).ok();
        Ok(tty.is_some())
    })?;
    let mut console = fs::File::open(tty.ok_or("no console")?)?;
    let mut said = Vec::new();
    until("the guest says that it is up", || {
        let mut bytes = [0; 4096];
        let read = console.read(&mut bytes)?;
        said.extend_from_slice(&bytes[..read]);
        Ok(String::from_utf8_lossy(&said).contains("guest is up"))
    })
}

/// Creates a Linux guest, lets it come up, and returns it.
fn running<'a>(libxl: &'a Libxl, name: &str) -> Result<Guest<'a>, Box<dyn Error>> {
    let guest = Guest::create(libxl, &linux(name)?)?;
    libxl.unpause(guest.domid)?;
    comes_up(libxl, guest.domid)?;
    Ok(guest)
}

fn a_guest_shuts_down_when_asked() -> Outcome {
    let libxl = open()?;
    let guest = running(&libxl, "libxl-shutdown")?;
    let mut events = libxl.events(&[guest.domid])?;
    libxl.shutdown(guest.domid)?;
    let reason = ShutdownReason::Poweroff;
    expect(&mut events, guest.domid, DomainEvent::Shutdown(reason))?;
    let domain = libxl.domain(guest.domid)?;
    check(
        domain.shutdown && domain.shutdown_reason == Some(reason),
        || format!("{domain:?}"),
    )?;
    let complaints = libxl.destroy(guest.domid)?;
    check(complaints.is_empty(), || complaints.join("; "))?;
    expect(&mut events, guest.domid, DomainEvent::Death)?;
    check(events.next().is_none(), || "more events".to_owned())
}

fn a_guest_reboots_when_asked() -> Outcome {
    let libxl = open()?;
    let guest = running(&libxl, "libxl-reboot")?;
    let mut events = libxl.events(&[guest.domid])?;
    libxl.reboot(guest.domid)?;
    let reason = ShutdownReason::Reboot;
    expect(&mut events, guest.domid, DomainEvent::Shutdown(reason))
}

fn a_crash_is_told() -> Outcome {
    let libxl = open()?;
    let config = tiny("libxl-crash", Tiny::ShutDown(CRASH))?;
    let guest = Guest::create(&libxl, &config)?;
    let mut events = libxl.events(&[guest.domid])?;
    libxl.unpause(guest.domid)?;
    let reason = ShutdownReason::Crash;
    expect(&mut events, guest.domid, DomainEvent::Shutdown(reason))
}

fn a_late_listener_hears_it_too() -> Outcome {
    let libxl = open()?;
    let alive = Guest::create(&libxl, &tiny("libxl-alive", Tiny::Idle)?)?;
    let crashing = tiny("libxl-late", Tiny::ShutDown(CRASH))?;
    let guest = Guest::create(&libxl, &crashing)?;
    libxl.unpause(guest.domid)?;
    until("the guest crashes", || {
        Ok(libxl.domain(guest.domid)?.shutdown)
    })?;
    // Not the first one that is followed: libxl itself would say nothing for it.
    let mut events = libxl.events(&[alive.domid, guest.domid])?;
    let reason = ShutdownReason::Crash;
    expect(&mut events, guest.domid, DomainEvent::Shutdown(reason))?;
    libxl.destroy(guest.domid)?;
    expect(&mut events, guest.domid, DomainEvent::Death)?;
    events.watch(guest.domid)?;
    expect(&mut events, guest.domid, DomainEvent::Death)?;
    check(events.domains() == [alive.domid], || {
        format!("{:?}", events.domains())
    })
}

fn waiting_can_be_cancelled() -> Outcome {
    let libxl = open()?;
    let guest = Guest::create(&libxl, &tiny("libxl-cancel", Tiny::Idle)?)?;
    let mut events = libxl.events(&[guest.domid])?;
    let start = Instant::now();
    let nothing = events.wait(Some(Duration::from_millis(300)))?;
    let took = start.elapsed();
    check(
        nothing.is_none() && took >= Duration::from_millis(300) && took < Duration::from_secs(3),
        || format!("{nothing:?} after {took:?}"),
    )?;
    let canceller = events.canceller();
    let waiting = std::thread::spawn(move || events.next().is_none());
    std::thread::sleep(Duration::from_millis(200));
    check(!waiting.is_finished(), || {
        "it did not wait at all".to_owned()
    })?;
    canceller.cancel();
    until("the cancelled wait ends", || Ok(waiting.is_finished()))?;
    check(waiting.join().is_ok_and(|ended| ended), || {
        "it ended with an event".to_owned()
    })
}

fn a_missing_domain_is_named() -> Outcome {
    let libxl = open()?;
    let domid = 32_000;
    let answers = [
        ("domain", libxl.domain(domid).map(drop)),
        ("destroy", libxl.destroy(domid).map(drop)),
        ("pause", libxl.pause(domid)),
        ("unpause", libxl.unpause(domid)),
        ("shutdown", libxl.shutdown(domid)),
        ("reboot", libxl.reboot(domid)),
        ("console_tty", libxl.console_tty(domid).map(drop)),
        ("config_json", libxl.config_json(domid).map(drop)),
        ("memory_target", libxl.memory_target_kib(domid).map(drop)),
    ];
    for (call, answer) in answers {
        check(
            matches!(answer, Err(LibxlError::NoDomain { domid: 32_000 })),
            || format!("{call}: {answer:?}"),
        )?;
    }
    Ok(())
}

fn unknown_configuration_is_refused() -> Outcome {
    let libxl = open()?;
    let mut config = tiny("libxl-unknown", Tiny::Idle)?;
    config.extra = json!({ "b_info": { "arch_arm": { "colour": "green" } }, "wheels": [4] });
    match libxl.create(&config) {
        Err(LibxlError::Unsupported { mut keys, .. }) => {
            keys.sort();
            check(keys == ["b_info.arch_arm.colour", "wheels"], || {
                keys.join(", ")
            })
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// The call must fail with messages that contain `word`.
fn fails_with<T: std::fmt::Debug>(answer: libxl::Result<T>, word: &str) -> Outcome {
    match answer {
        Err(error @ LibxlError::Failed { .. }) => check(
            error.messages().iter().any(|text| text.contains(word)),
            || format!("nothing about \"{word}\" in: {error}"),
        ),
        other => Err(format!("{other:?} instead of a failure about \"{word}\"").into()),
    }
}

fn failures_have_a_reason_and_leave_nothing() -> Outcome {
    let libxl = open()?;
    let taken = Guest::create(&libxl, &tiny("libxl-taken", Tiny::Idle)?)?;
    let before: Vec<u32> = libxl.list()?.iter().map(|domain| domain.domid).collect();

    let mut missing = tiny("libxl-missing", Tiny::Idle)?;
    missing.kernel = "/no/such/Image".into();
    fails_with(libxl.create(&missing), "/no/such/Image")?;

    fails_with(
        libxl.create(&tiny("libxl-taken", Tiny::Idle)?),
        "libxl-taken",
    )?;

    let mut huge = tiny("libxl-huge", Tiny::Idle)?;
    huge.memory_kib = libxl.version_info()?.total_memory_kib * 2;
    check(
        libxl.need_memory_kib(&huge)? > libxl.free_memory_kib()?,
        || "twice the machine's memory is said to be free".to_owned(),
    )?;
    fails_with(libxl.create(&huge), "memory")?;

    let after: Vec<u32> = libxl.list()?.iter().map(|domain| domain.domid).collect();
    check(before == after && after.contains(&taken.domid), || {
        format!("{before:?} before, {after:?} after")
    })
}

fn needed_memory_is_told_before() -> Outcome {
    let libxl = open()?;
    let config = tiny("libxl-memory", Tiny::Idle)?;
    let need = libxl.need_memory_kib(&config)?;
    let before = libxl.free_memory_kib()?;
    let guest = Guest::create(&libxl, &config)?;
    let took = before.saturating_sub(libxl.free_memory_kib()?);
    check(took >= config.memory_kib && took <= need, || {
        format!("needs {need} KiB, took {took} KiB")
    })?;
    let target = libxl.memory_target_kib(guest.domid)?;
    check(target == config.memory_kib, || {
        format!("target {target} KiB")
    })?;
    libxl.set_memory_target_kib(guest.domid, config.memory_kib / 2, false)?;
    let target = libxl.memory_target_kib(guest.domid)?;
    check(target == config.memory_kib / 2, || {
        format!("new target {target} KiB")
    })?;
    // libxl 4.20 on Arm would end the program over dom0's (xl mem-set does); ours may not.
    match libxl.set_memory_target_kib(0, libxl.memory_target_kib(0)?, false) {
        Ok(()) | Err(LibxlError::Invalid(_)) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// A block script that only says that it ran, and that the device is ready.
const SCRIPT: &str = "#!/bin/sh\n\
    echo \"$1\" >>/tmp/libxl-script.log\n\
    [ \"$1\" = add ] || exit 0\n\
    xenstore-write \"$XENBUS_PATH/physical-device\" 1:0\n\
    xenstore-write \"$XENBUS_PATH/hotplug-status\" connected\n";

fn hotplug_scripts_and_own_children_both_end() -> Outcome {
    let script = "/tmp/libxl-script";
    fs::write(script, SCRIPT)?;
    fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
    let _ = fs::remove_file("/tmp/libxl-script.log");
    let libxl = open()?;
    let mut config = tiny("libxl-script", Tiny::Idle)?;
    config.extra = json!({ "disks": [{
        "pdev_path": "nothing",
        "vdev": "xvda",
        "backend": "phy",
        "format": "raw",
        "readwrite": 1,
        "script": script,
    }] });
    // These end while libxl waits for its own child.
    let mut own: Vec<_> = (1..=8)
        .map(|tenths| Command::new("sleep").arg(format!("0.{tenths}")).spawn())
        .collect::<Result<_, _>>()?;
    // If libxl is not told that its script has ended, it waits for ever: that must not stop us.
    let (done, created) = mpsc::channel();
    std::thread::spawn(move || {
        let domid = libxl.create(&config);
        // Fails only when nobody waits any more.
        let _ = done.send((libxl, domid));
    });
    let (libxl, domid) = created.recv_timeout(Duration::from_secs(60)).map_err(
        |_| "the domain was not created within a minute: libxl was not told that its script ended",
    )?;
    let domid = domid?;
    for child in &mut own {
        check(child.wait()?.success(), || {
            "a child of ours was reaped by somebody else".to_owned()
        })?;
    }
    libxl.destroy(domid)?;
    let log = fs::read_to_string("/tmp/libxl-script.log")?;
    check(log.lines().eq(["add", "remove"]), || {
        format!("the script was called with {log:?}")
    })
}

fn four_domains_leave_nothing() -> Outcome {
    let libxl = open()?;
    let config = tiny("libxl-many", Tiny::Idle)?;
    // A dying domain is an earlier test's.
    let domains = || -> Result<usize, Box<dyn Error>> {
        let domains = libxl.list()?;
        Ok(domains.iter().filter(|domain| !domain.dying).count())
    };
    let descriptors =
        || -> Result<usize, Box<dyn Error>> { Ok(fs::read_dir("/proc/self/fd")?.count()) };
    // The first call opens what stays open.
    drop(Guest::create(&libxl, &config)?);
    let before = (domains()?, descriptors()?);
    for _ in 0..4 {
        let guest = Guest::create(&libxl, &config)?;
        let mut events = libxl.events(&[guest.domid])?;
        libxl.destroy(guest.domid)?;
        expect(&mut events, guest.domid, DomainEvent::Death)?;
    }
    until("the last domain is gone", || {
        Ok(libxl.list()?.iter().all(|domain| !domain.dying))
    })?;
    let after = (domains()?, descriptors()?);
    check(before == after, || {
        format!("domains and descriptors: {before:?} before, {after:?} after")
    })
}
