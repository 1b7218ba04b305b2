//! What is below the backend fails: the guest gets the right answer, the backend stays.

use super::guests::{self, IMAGES, Spec};
use super::{Context, Failed, Outcome, Test, ensure, null_disk};
use agent::client::{Error, Output, Remote};
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "faults: a full disk fails writes, and only while it is full",
            120,
            full_disk,
        ),
        Test::new(
            "faults: an image truncated under the guest fails what is beyond its end",
            120,
            truncated,
        ),
        Test::new(
            "faults: bad sectors of the device below fail their own requests",
            120,
            bad_sectors,
        ),
        Test::new(
            "faults: a dom0 short of memory slows a guest down and no more",
            180,
            memory_pressure,
        ),
        Test::new(
            "faults: a live update of xenstored changes nothing for guests and tools",
            120,
            live_update,
        ),
        Test::new(
            "faults: without xenstored the data path goes on and the control path says so",
            180,
            without_xenstored,
        )
        .ruins_its_boot(),
    ]
}

/// Reads or writes by `dd`, past the guest's page cache; how it ended is the caller's to judge.
fn dd(guest: &Remote, what: &str) -> Result<Output, Failed> {
    let direct = if what.contains("of=/dev/vda") {
        "oflag=direct conv=notrunc"
    } else {
        "iflag=direct"
    };
    let line = format!("dd {what} {direct}");
    Ok(guest.shell(&line).time(Duration::from_secs(60)).output()?)
}

fn works(output: &Output) -> Outcome {
    ensure(output.exit.success(), || {
        format!("{}: {}", output.exit, output.error_text())
    })
}

fn fails(output: &Output) -> Outcome {
    ensure(
        !output.exit.success() && output.error_text().contains("Input/output error"),
        || {
            format!(
                "an I/O error was expected, not {}: {}",
                output.exit,
                output.error_text()
            )
        },
    )
}

/// The worker that serves now; after the fault it must be the same.
fn worker(context: &Context, name: &str) -> Result<String, Failed> {
    let report = context.sh(&format!("avpsctl backend stats --json {name}"))?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let guest = &report["guests"][0];
    let (pid, restarts) = (guest["worker_pid"].as_u64(), guest["restarts"].as_u64());
    let worker = pid.zip(restarts);
    let (pid, restarts) =
        worker.ok_or_else(|| Failed(format!("{name} has no worker: {report}")))?;
    Ok(format!("{pid} {restarts}"))
}

fn same_worker(context: &Context, name: &str, before: &str) -> Outcome {
    let now = worker(context, name)?;
    ensure(now == before, || {
        format!("the worker (process, restarts) was {before}, and is {now}")
    })
}

fn full_disk(context: &Context) -> Outcome {
    context.sh(&format!(
        "mkdir -p {IMAGES} && mount -t tmpfs -o size=4M small {IMAGES}"
    ))?;
    let spec = Spec {
        mib: 16,
        ..Spec::new("crowded", "")
    };
    let play = || {
        guests::with_guest(context, &spec, |guest| {
            let before = worker(context, spec.name)?;
            works(&dd(guest, "if=/dev/urandom of=/dev/vda bs=64k count=16")?)?;
            fails(&dd(guest, "if=/dev/urandom of=/dev/vda bs=64k count=128")?)?;
            // What is there can be read, and what was overwritten needs no room.
            works(&dd(guest, "if=/dev/vda of=/dev/null bs=64k count=16")?)?;
            works(&dd(guest, "if=/dev/urandom of=/dev/vda bs=64k count=16")?)?;
            context.sh(&format!("mount -o remount,size=32M {IMAGES}"))?;
            works(&dd(guest, "if=/dev/urandom of=/dev/vda bs=64k count=256")?)?;
            same_worker(context, spec.name, &before)
        })
    };
    let outcome = play();
    outcome.and(context.sh(&format!("umount {IMAGES}")).map(drop))
}

fn truncated(context: &Context) -> Outcome {
    let spec = Spec {
        mib: 16,
        ..Spec::new("shortened", "")
    };
    let image = spec.image();
    guests::with_guest(context, &spec, |guest| {
        let before = worker(context, spec.name)?;
        works(&dd(guest, "if=/dev/urandom of=/dev/vda bs=64k count=256")?)?;
        context.sh(&format!("truncate -s 1M {image}"))?;
        for bytes in ["4k", "64k"] {
            let skip = if bytes == "4k" { 2048 } else { 128 };
            fails(&dd(
                guest,
                &format!("if=/dev/vda of=/dev/null bs={bytes} skip={skip} count=1"),
            )?)?;
            works(&dd(
                guest,
                &format!("if=/dev/vda of=/dev/null bs={bytes} count=1"),
            )?)?;
        }
        context.sh(&format!("truncate -s 16M {image}"))?;
        let load = guests::load(guest, &["exercise", "/dev/vda", "--bytes", "4194304"])?;
        guests::image_holds(&context.dom0(), &image, &load)?;
        same_worker(context, spec.name, &before)
    })
}

/// A disk with sectors that cannot be read or written.
fn bad_sectors(context: &Context) -> Outcome {
    let block = null_disk::make(
        context,
        "faulty",
        16,
        "echo +8192-8199 > $disk/badblocks || exit 1",
    )?;
    let spec = Spec {
        mib: 16,
        ..Spec::new("scratched", "")
    };
    let image = spec.image();
    let play = || {
        guests::backend(&context.dom0())?;
        let text = spec.text().replace(&image, &block);
        context
            .dom0()
            .put_bytes(text.as_bytes(), &spec.document(), 0o644)?;
        context.sh(&format!("avpsctl up {}", spec.document()))?;
        let guest = context.guest(spec.name)?;
        let before = worker(context, spec.name)?;
        works(&dd(&guest, "if=/dev/urandom of=/dev/vda bs=64k count=63")?)?;
        fails(&dd(
            &guest,
            "if=/dev/vda of=/dev/null bs=4k skip=1024 count=1",
        )?)?;
        works(&dd(&guest, "if=/dev/vda of=/dev/null bs=4k count=1")?)?;
        works(&dd(
            &guest,
            "if=/dev/vda of=/dev/null bs=4k skip=1040 count=1",
        )?)?;
        same_worker(context, spec.name, &before)
    };
    let outcome = play();
    outcome
        .and(guests::down(context, &spec))
        .and(null_disk::remove(context, "faulty"))
}

/// Most memory, in MiB, that may be left to a dom0 that is short of it.
const SHORT_MIB: u64 = 64;

/// A file in dom0's tmpfs takes nearly all of its memory.
fn memory_pressure(context: &Context) -> Outcome {
    let spec = Spec {
        mib: 8,
        ..Spec::new("patient", "")
    };
    guests::with_guest(context, &spec, |guest| {
        let before = worker(context, spec.name)?;
        context.sh(
            "mkdir -p /tmp/ballast && mount -t tmpfs -o size=100% ballast /tmp/ballast && \
             free=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo) && \
             dd if=/dev/zero of=/tmp/ballast/file bs=1M count=$((free - 24))",
        )?;
        let left = context.sh("awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo")?;
        context.note(format!("{left} MiB of dom0's memory were left"));
        let left: u64 = left.parse()?;
        let load = guests::load(guest, &["exercise", "/dev/vda", "--bytes", "4194304"]);
        context.sh("umount /tmp/ballast")?;
        ensure(left <= SHORT_MIB, || {
            format!("{left} MiB were left, so dom0 was not short of memory")
        })?;
        guests::image_holds(&context.dom0(), &spec.image(), &load?)?;
        guests::kernel_is_content(guest)?;
        same_worker(context, spec.name, &before)
    })
}

fn live_update(context: &Context) -> Outcome {
    let spec = Spec::new("updated", "");
    guests::with_guest(context, &spec, |guest| {
        let before = worker(context, spec.name)?;
        let log = "/tmp/load.log";
        let load = guest.spawn(
            [
                "bed-load",
                "exercise",
                "/dev/vda",
                "--bytes",
                "4194304",
                "--seconds",
                "10",
            ],
            log,
        )?;
        let said = context.sh("xenstore-control live-update $(command -v xenstored)")?;
        // It was updated under load.
        let still = guest.wait(load, Duration::ZERO);
        ensure(matches!(still, Err(Error::Refused { .. })), || {
            format!("the load ended before the update: {still:?}")
        })?;
        // It starts again in the same process, and is told so.
        let command = context.sh("tr '\\0' ' ' < /proc/$(pidof xenstored)/cmdline")?;
        ensure(
            command.contains("-U") || command.contains("--live-update"),
            || format!("live-update said {said:?}; xenstored is {command:?}"),
        )?;
        // A second guest comes and goes on the new xenstored.
        let other = Spec {
            mib: 4,
            ..Spec::new("later", "")
        };
        guests::with_guest(context, &other, |guest| {
            guests::load(guest, &["exercise", "/dev/vda", "--bytes", "1048576"]).map(drop)
        })?;
        let exit = guest.wait(load, Duration::from_secs(120))?;
        ensure(exit.success(), || {
            let said = guest.get(log).unwrap_or_default();
            format!("{exit}: {}", String::from_utf8_lossy(&said))
        })?;
        same_worker(context, spec.name, &before)
    })
}

fn without_xenstored(context: &Context) -> Outcome {
    let spec = Spec::new("orphaned", "");
    guests::up(context, &spec)?;
    let guest = context.guest(spec.name)?;
    let before = worker(context, spec.name)?;
    context.sh("kill -9 $(pidof xenstored)")?;
    let load = guests::load(&guest, &["exercise", "/dev/vda", "--bytes", "8388608"])?;
    guests::image_holds(&context.dom0(), &spec.image(), &load)?;
    guests::kernel_is_content(&guest)?;
    same_worker(context, spec.name, &before)?;
    let began = Instant::now();
    let output = guests::avpsctl(context, &["list"])?;
    ensure(
        output.exit.code == Some(3) && output.error_text().contains("XenStore"),
        || format!("avpsctl list: {}: {}", output.exit, output.error_text()),
    )?;
    context.note(format!(
        "avpsctl list gave up after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}
