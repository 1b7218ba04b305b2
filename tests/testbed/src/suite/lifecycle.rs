//! Domains come and go: what is listed is so, and nothing is left behind.

use super::guests::{self, ADOPTED, IMAGES, Spec};
use super::{Context, Failed, Outcome, Test, ensure};
use agent::client::{Error, Remote};
use serde_json::Value;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("avpsctl: list says what xl list knows", 120, list),
        Test::new("avpsctl: up twice changes nothing", 120, up_twice),
        Test::new(
            "avpsctl: pause, unpause, info, backend stats and console",
            150,
            pause_and_console,
        ),
        Test::new(
            "avpsctl: destroy leaves no key, no grant, no ioreq server, no process",
            120,
            destroy,
        ),
        Test::new(
            "avpsctl: guests in a row leak nothing",
            600,
            guests_in_a_row,
        ),
        Test::new(
            "xl: a plain guest's virtio device is adopted and served",
            150,
            plain_virtio,
        ),
        Test::new("xl: a plain guest's virtio disk is served", 150, plain_disk),
    ]
}

fn json(text: &str) -> Result<Value, Failed> {
    Ok(serde_json::from_str(text)?)
}

/// `xl list` in columns: name, domid, MiB, vCPUs, state letters.
fn xl_list(context: &Context) -> Result<Vec<Vec<String>>, Failed> {
    let lines = context.sh("xl list | tail -n +2")?;
    let row = |line: &str| line.split_whitespace().take(5).map(str::to_owned).collect();
    Ok(lines.lines().map(row).collect())
}

fn list(context: &Context) -> Outcome {
    let spec = Spec::new("listed", "");
    guests::with_guest(context, &spec, |_| {
        context.sh("avpsctl pause listed")?;
        let (ours, theirs) = (context.sh("avpsctl list --json")?, xl_list(context)?);
        context.sh("avpsctl unpause listed")?;
        let ours = json(&ours)?;
        let rows: Vec<Vec<String>> = ours["domains"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|domain| {
                let mib = domain["memory_bytes"].as_u64().unwrap_or(0) >> 20;
                vec![
                    domain["name"].as_str().unwrap_or_default().to_owned(),
                    domain["domid"].to_string(),
                    mib.to_string(),
                    domain["vcpus"].to_string(),
                    domain["state"].as_str().unwrap_or_default().to_owned(),
                ]
            })
            .collect();
        ensure(rows.len() == 2 && theirs.len() == 2, || {
            format!("{rows:?}, xl: {theirs:?}")
        })?;
        for (own, their) in rows.iter().zip(&theirs) {
            ensure(own[..4] == their[..4], || format!("{own:?}, xl: {their:?}"))?;
        }
        // dom0's letters change from one look to the next; the paused guest's do not.
        ensure(rows[1][4] == "paused" && theirs[1][4].contains('p'), || {
            format!("{rows:?}, xl: {theirs:?}")
        })
    })
}

fn up_twice(context: &Context) -> Outcome {
    let spec = Spec::new("twice", "");
    guests::with_guest(context, &spec, |_| {
        let before = context.sh("xl domid twice")?;
        let again = json(&context.sh(&format!("avpsctl up --json {}", spec.document()))?)?;
        ensure(
            again["changed"] == false && again["domains"][0]["action"] == "unchanged",
            || again.to_string(),
        )?;
        context.sh(&format!("avpsctl diff {}", spec.document()))?;
        ensure(
            context.sh("xl domid twice")? == before,
            || "the domain was replaced",
        )
    })
}

/// Seconds of CPU time that Xen has given a domain so far, in tenths.
fn cpu_seconds(context: &Context, name: &str) -> Result<f64, Failed> {
    let seconds = context.sh(&format!("xl list {name} | awk 'NR == 2 {{ print $NF }}'"))?;
    Ok(seconds.trim().parse()?)
}

/// Waits until the domain has had three tenths of a second of CPU time more; how long that took.
fn burns(context: &Context, name: &str) -> Result<Duration, Failed> {
    let (began, before) = (Instant::now(), cpu_seconds(context, name)?);
    while cpu_seconds(context, name)? < before + 0.3 {
        ensure(
            began.elapsed() < context.within(Duration::from_secs(30)),
            || format!("{name} got no 0.3 s of CPU time in 30 s, for an endless loop"),
        )?;
    }
    Ok(began.elapsed())
}

/// A guest that burns CPU time gets none while it is paused, and does not answer.
fn stands_still(context: &Context, name: &str, guest: &Remote) -> Outcome {
    let line = "(while :; do :; done) > /dev/null 2>&1 & echo $!";
    let burner = guest.shell(line).text()?;
    let took = burns(context, name)?;
    context.sh(&format!("avpsctl pause {name}"))?;
    let before = cpu_seconds(context, name)?;
    // At least three times as long as that took.
    let answer = guest.ping(Duration::from_secs(2).max(3 * took));
    let after = cpu_seconds(context, name);
    let state = context.sh(&format!("xl list {name} | awk 'NR == 2 {{ print $5 }}'"));
    context.sh(&format!("avpsctl unpause {name}"))?;
    let (after, state) = (after?, state?);
    ensure(state.contains('p') && after == before, || {
        format!(
            "paused, {name} is in state {state}, and had {before} and then {after} s of CPU time"
        )
    })?;
    ensure(matches!(answer, Err(Error::Timeout { .. })), || {
        format!("a paused guest was asked: {answer:?}")
    })?;
    guest.ping(Duration::from_secs(20))?;
    burns(context, name)?;
    guest.shell(&format!("kill {burner}")).text()?;
    Ok(())
}

fn pause_and_console(context: &Context) -> Outcome {
    let spec = Spec::new("talk", "");
    guests::up(context, &spec)?;
    let play = || {
        let guest = context.guest(spec.name)?;
        stands_still(context, spec.name, &guest)?;
        let info = json(&context.sh("avpsctl info talk --json")?)?;
        let device = &info["devices"][0];
        ensure(
            device["state"] == "connected" && device["memory"] == "grant",
            || info.to_string(),
        )?;
        ensure(device["image"] == spec.image(), || info.to_string())?;
        ensure(
            json(&context.sh("avpsctl info --json")?)?["cpus"] == 2,
            || "info of the host",
        )?;
        let metrics = context.sh("avpsctl backend stats talk --openmetrics")?;
        ensure(
            metrics.contains("avps_device_connected{") && metrics.ends_with("# EOF"),
            || metrics,
        )?;
        // The agent reads what is typed; that it arrives is shown by the guest with a UART ("placement").
        let line = "(for i in $(seq 40); do sleep 0.5; echo said on the console; done) > /dev/console 2>&1 &";
        guest.shell(line).text()?;
        guest.detach()?;
        let out = context
            .dom0()
            .shell("avpsctl console --linger 5 talk")
            .input("\n")
            .output()?;
        ensure(
            out.exit.success() && out.text().contains("said on the console"),
            || {
                let (said, error) = (out.text(), out.error_text());
                format!("avpsctl console: {}: {said} {error}", out.exit)
            },
        )
    };
    let outcome = play();
    outcome.and(guests::down(context, &spec))
}

/// What must be the same before and after guests: keys, the holder's descriptors, memory of Xen.
#[derive(Debug, PartialEq)]
struct Footprint {
    keys: u64,
    descriptors: u64,
    workers: u64,
}

fn footprint(context: &Context) -> Result<Footprint, Failed> {
    let lines = |line: &str| -> Result<u64, Failed> {
        Ok(u64::try_from(context.sh(line)?.lines().count())?)
    };
    let holder = guests::holder(context)?;
    let processes = context.sh("ps -o args")?;
    let workers = processes
        .lines()
        .filter(|line| line.contains("avps-backend worker"));
    let found = Footprint {
        keys: lines("xenstore-ls -f /")?,
        descriptors: lines(&format!("ls /proc/{holder}/fd"))?,
        workers: u64::try_from(workers.count())?,
    };
    // dom0 has dozens of keys, and the holder standard streams at least: fewer were not counted.
    ensure(found.keys > 20 && found.descriptors > 3, || {
        format!("{found:?} cannot be all")
    })?;
    Ok(found)
}

fn resident_kib(context: &Context) -> Result<u64, Failed> {
    let holder = guests::holder(context)?;
    Ok(context
        .sh(&format!(
            "awk '/VmRSS/ {{ print $2 }}' /proc/{holder}/status"
        ))?
        .trim()
        .parse()?)
}

fn free_mib(context: &Context) -> Result<u64, Failed> {
    Ok(context.sh("xl info free_memory")?.trim().parse()?)
}

/// Whether Xen's list of grant tables (debug key `g`) has one of this domain.
fn knows_grants_of(context: &Context, domid: &str) -> Result<bool, Failed> {
    context.sh("xl dmesg -c > /dev/null && xl debug-keys g")?;
    let until = Instant::now() + context.within(Duration::from_secs(10));
    // It begins with dom0's and ends with a line of its own.
    let said = loop {
        let said = context.sh("xl dmesg")?;
        if said.contains("grant-table for remote d0 ")
            && said.contains("gnttab_usage_print_all ] done")
        {
            break said;
        }
        ensure(Instant::now() < until, || {
            format!("debug key g gave: {said}")
        })?;
    };
    Ok(said.contains(&format!("grant-table for remote d{domid} ")))
}

fn destroy(context: &Context) -> Outcome {
    guests::backend(&context.dom0())?;
    guests::nothing_left(&context.dom0())?;
    // The first guest of a boot leaves folders that stay (/libxl, backend/virtio): not a leak.
    let spec = Spec::new("gone", "");
    guests::with_guest(context, &spec, |_| Ok(()))?;
    let before = footprint(context)?;
    guests::up(context, &spec)?;
    let guest = context.guest(spec.name)?;
    guests::load(&guest, &["exercise", "/dev/vda", "--bytes", "4194304"])?;
    let domid = context.sh("xl domid gone")?;
    ensure(
        knows_grants_of(context, &domid)?,
        || "Xen's debug key shows no grant table of a running guest",
    )?;
    let began = Instant::now();
    context.sh("avpsctl destroy gone")?;
    context.note(format!(
        "destroyed in {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    // A mapped grant or foreign page keeps a destroyed domain: it would still be listed, without a name.
    let listed = context.sh("xl list | tail -n +2 | wc -l")?;
    ensure(listed.trim() == "1", || {
        format!("the domain is still there: {listed}")
    })?;
    ensure(
        !knows_grants_of(context, &domid)?,
        || "Xen still has a grant table of the destroyed guest",
    )?;
    guests::nothing_left(&context.dom0())?;
    context.sh(&format!(
        "avpsctl down --timeout 0 --force {} && rm -f {}",
        spec.document(),
        spec.image()
    ))?;
    let after = footprint(context)?;
    ensure(before == after, || {
        format!("before {before:?}, after {after:?}")
    })
}

fn guests_in_a_row(context: &Context) -> Outcome {
    let spec = Spec {
        mib: 4,
        ..Spec::new("serial", "")
    };
    let one = || {
        guests::with_guest(context, &spec, |guest| {
            guests::load(
                guest,
                &[
                    "exercise",
                    "/dev/vda",
                    "--bytes",
                    "1048576",
                    "--max-request",
                    "65536",
                    "--depth",
                    "4",
                ],
            )
            .map(drop)
        })
    };
    one()?;
    guests::nothing_left(&context.dom0())?;
    let (before, resident, free) = (
        footprint(context)?,
        resident_kib(context)?,
        free_mib(context)?,
    );
    for _ in 0..context.amount(3, 10) {
        one()?;
    }
    guests::nothing_left(&context.dom0())?;
    let (after, resident_after, free_after) = (
        footprint(context)?,
        resident_kib(context)?,
        free_mib(context)?,
    );
    context.note(format!("holder: {resident} KiB before, {resident_after} KiB after; Xen: {free} and {free_after} MiB free"));
    ensure(before == after, || {
        format!("before {before:?}, after {after:?}")
    })?;
    ensure(resident_after <= resident + 1024, || {
        format!("the holder grew from {resident} to {resident_after} KiB")
    })?;
    ensure(free_after + 4 >= free, || {
        format!("Xen had {free} MiB free, and now {free_after}")
    })
}

/// A guest of plain `xl create` writes its disk; the image must hold it.
fn plain(context: &Context, name: &str, devices: &str, image: &str) -> Outcome {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let config = format!("/tmp/{name}.cfg");
    dom0.put_bytes(
        guests::plain_config(name, "quiet", devices).as_bytes(),
        &config,
        0o644,
    )?;
    dom0.command(["xl", "create", "-q", &config])
        .time(Duration::from_secs(60))
        .text()?;
    let play = || {
        let guest = context.guest(name)?;
        let load = guests::load(&guest, &["exercise", "/dev/vda", "--bytes", "4194304"])?;
        guests::image_holds(&context.dom0(), image, &load)?;
        guests::kernel_is_content(&guest)
    };
    let outcome = play();
    context.sh(&format!("xl destroy {name}"))?;
    outcome?;
    guests::nothing_left(&context.dom0())
}

fn plain_virtio(context: &Context) -> Outcome {
    let devices = "virtio = [ \"backend=0,type=virtio,device2,transport=mmio,grant_usage=1\" ]";
    plain(
        context,
        ADOPTED,
        devices,
        &format!("{IMAGES}/{ADOPTED}.img"),
    )
}

fn plain_disk(context: &Context) -> Outcome {
    let image = format!("{IMAGES}/plain-disk.img");
    context.sh(&format!("mkdir -p {IMAGES} && truncate -s 16M {image}"))?;
    let devices = format!(
        "disk = [ \"format=raw,vdev=xvda,access=rw,specification=virtio,backendtype=standalone,grant_usage=1,target={image}\" ]"
    );
    plain(context, "plaindisk", &devices, &image)
}
