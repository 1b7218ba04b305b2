//! The block device, as a stock Linux guest sees it: what it writes is what dom0's image holds.

use super::guests::{self, Spec};
use super::{Context, Failed, Outcome, Test, bench_block, ensure};
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "block: what a guest writes over grants is in dom0's image",
            180,
            over_grants,
        ),
        Test::new(
            "block: what a guest writes over foreign mappings is in dom0's image",
            180,
            over_foreign,
        ),
        Test::new(
            "block: threads that sleep and requests that are mapped serve a guest as well",
            180,
            asleep,
        ),
        Test::new(
            "block: a request costs as few copies, notifications and interrupts as promised",
            180,
            counts,
        ),
        Test::new(
            "block: data are still there after the guest's reboot",
            180,
            after_reboot,
        ),
        Test::new(
            "block: the driver can be unbound and bound again",
            150,
            rebound,
        ),
        Test::new(
            "block: each flush of the guest reaches the backend",
            120,
            flushes,
        ),
        Test::new("block: a disk of 4096-byte blocks", 120, large_blocks),
        Test::new(
            "block: a read-only disk refuses writes and its image stays",
            120,
            read_only,
        ),
        Test::new(
            "block: discarded blocks are holes and read as zeros",
            120,
            discard,
        ),
    ]
}

/// Most memory a worker with one disk may have resident, in KiB.
const WORKER_KIB: u64 = 6 << 10;

const EXERCISE: [&str; 6] = [
    "exercise",
    "/dev/vda",
    "--depth",
    "32",
    "--flush-every",
    "2",
];

/// How requests reach the guest's memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Every request is copied through grants.
    Copied,
    /// Small requests are copied through grants, large ones are mapped by grant.
    MappedByGrant,
    /// The guest's memory is mapped, without grants.
    Foreign,
}

/// 4 KiB to 1 MiB, 32 in flight, with flushes in between; then what both sides hold is compared.
fn round_trip(context: &Context, spec: &Spec<'_>, way: Way) -> Outcome {
    guests::with_guest(context, spec, |guest| {
        let load = guests::load(guest, &EXERCISE)?;
        guests::image_holds(&context.dom0(), &spec.image(), &load)?;
        guests::kernel_is_content(guest)?;
        let counted = guests::counted(&context.dom0(), spec.name)?;
        let of = |name: &str| counted.device(name);
        ensure(of("errors")? == 0 && of("needs_resets")? == 0, || {
            format!("{counted:?}")
        })?;
        ensure(
            of("requests")? > 0 && load.writes > 0 && load.reads > 0,
            || format!("nothing was written and read: {counted:?}"),
        )?;
        let grants = counted.worker("grant_copies")?;
        let over_grants = way != Way::Foreign;
        ensure((grants > 0) == over_grants, || {
            format!("{grants} grant copies: {counted:?}")
        })?;
        match way {
            Way::Copied => counted.nothing_was_mapped()?,
            Way::MappedByGrant => counted.each_map_was_undone()?,
            // They are kept until the guest ends or changes its memory; a grant's never outlives a request.
            Way::Foreign => ensure(of("maps")? > 0, || {
                format!("nothing of the guest was mapped: {counted:?}")
            })?,
        }
        let resident: u64 = context
            .sh("awk '/VmRSS/ { print $2 }' /proc/$(ps -o pid,args | awk '/[a]vps-backend worker/ { print $1 }')/status")?
            .parse()?;
        // Foreign mappings are the guest's memory, and counted as the worker's.
        ensure(!over_grants || resident <= WORKER_KIB, || {
            format!("the worker has {resident} KiB resident, more than {WORKER_KIB}")
        })?;
        context.note(format!("the worker has {resident} KiB resident"));
        context.note(format!(
            "{} writes, {} reads, {} flushes of the guest; {} requests: {} copies, {} maps, {} kicks, {} interrupts",
            load.writes,
            load.reads,
            load.flushes,
            of("requests")?,
            of("copies")?,
            of("maps")?,
            of("kicks")?,
            of("interrupts")?,
        ));
        Ok(())
    })?;
    guests::nothing_left(&context.dom0())
}

fn over_grants(context: &Context) -> Outcome {
    round_trip(
        context,
        &Spec::new("grants", "memory = \"grant\""),
        Way::Copied,
    )
}

fn over_foreign(context: &Context) -> Outcome {
    round_trip(
        context,
        &Spec::new("foreign", "memory = \"foreign\""),
        Way::Foreign,
    )
}

/// What requests of a class may cost.
struct Promise {
    class: &'static str,
    requests: u32,
    /// Most of each per request.
    counters: [(&'static str, f64); 4],
}

/// Of many in flight, fewer share one notification where the host is busy: hence twice what is promised for those.
const MANY: [(&str, f64); 4] = [
    ("copies", 0.5),
    ("maps", 0.0),
    ("kicks", 0.1),
    ("interrupts", 0.1),
];
const PROMISES: [Promise; 3] = [
    Promise {
        class: "d1.4k.read",
        requests: 300,
        counters: [
            ("copies", 2.0),
            ("maps", 0.0),
            ("kicks", 1.0),
            ("interrupts", 1.0),
        ],
    },
    Promise {
        class: "d32.4k.read",
        requests: 4000,
        counters: MANY,
    },
    Promise {
        class: "d32.4k.write",
        requests: 4000,
        counters: MANY,
    },
];

fn counts(context: &Context) -> Outcome {
    let spec = Spec::new("counted", "memory = \"grant\"");
    guests::with_guest(context, &spec, |guest| {
        guests::load(guest, &EXERCISE)?;
        for Promise {
            class: name,
            requests,
            counters,
        } in PROMISES
        {
            let class = bench_block::CLASSES.iter().find(|class| class.name == name);
            let class = class.ok_or_else(|| Failed(format!("no class {name}")))?;
            let before = guests::counted(&context.dom0(), spec.name)?;
            bench_block::measure(guest, "/dev/vda", class, requests)?;
            let after = guests::counted(&context.dom0(), spec.name)?;
            let grown = |counter: &str| -> Result<u64, Failed> {
                let (before, after) = (before.device(counter)?, after.device(counter)?);
                let grown = after.checked_sub(before);
                grown.ok_or_else(|| Failed(format!("{counter} was {before}, and is {after}")))
            };
            // What follows is about these requests: they were counted, and went by copies. The guest may merge some.
            let taken = grown("requests")?;
            ensure(
                taken > u64::from(requests / 2) && grown("copies")? > 0,
                || format!("{name}: {requests} requests, of which {taken} were counted: {after:?}"),
            )?;
            let mut seen = Vec::new();
            for (counter, most) in counters {
                let count = grown(counter)?;
                let each = f64::from(u32::try_from(count)?) / f64::from(requests);
                seen.push(format!("{each:.3} {counter}"));
                ensure(each <= most, || {
                    format!("{name}: {each} {counter} per request, more than {most}")
                })?;
            }
            context.note(format!("{name}: {} per request", seen.join(", ")));
        }
        Ok(())
    })
}

fn asleep(context: &Context) -> Outcome {
    guests::backend(&context.dom0())?;
    guests::restart_backend(context, &["--polling", "off", "--copy-limit", "16384"])?;
    let spec = Spec::new("asleep", "memory = \"grant\"");
    let outcome = round_trip(context, &spec, Way::MappedByGrant);
    outcome.and(guests::restart_backend(context, &[]))
}

fn after_reboot(context: &Context) -> Outcome {
    let spec = Spec::new("reboot", "memory = \"grant\"");
    guests::with_guest(context, &spec, |guest| {
        let before = context.sh("xl domid reboot")?;
        let wrote = guests::load(guest, &EXERCISE)?;
        context.sh("avpsctl reboot reboot")?;
        let until = Instant::now() + context.within(Duration::from_secs(60));
        loop {
            let now = context.sh("xl domid reboot 2>/dev/null || true")?;
            if !now.is_empty() && now != before {
                break;
            }
            ensure(
                Instant::now() < until,
                || "the guest did not come back in 60 s",
            )?;
            std::thread::sleep(Duration::from_millis(200));
        }
        let guest = context.guest(spec.name)?;
        let read = guests::load(&guest, &["verify", "/dev/vda"])?;
        ensure(
            read.sha256 == wrote.sha256,
            || "the disk holds something else after the reboot",
        )?;
        guests::kernel_is_content(&guest)
    })
}

fn rebound(context: &Context) -> Outcome {
    let spec = Spec::new("rebind", "memory = \"grant\"");
    guests::with_guest(context, &spec, |guest| {
        guests::load(guest, &EXERCISE)?;
        for _ in 0..3 {
            let rebind = "cd /sys/bus/virtio/drivers/virtio_blk && d=$(basename $(ls -d virtio[0-9]*)) && echo $d > unbind \
                          && ! [ -e /dev/vda ] && echo $d > bind && [ -b /dev/vda ]";
            guest.shell(rebind).text()?;
            guests::load(guest, &["verify", "/dev/vda"])?;
        }
        let load = guests::load(guest, &["exercise", "/dev/vda", "--seed", "2"])?;
        guests::image_holds(&context.dom0(), &spec.image(), &load)?;
        let resets = guests::counted(&context.dom0(), spec.name)?.device("resets")?;
        ensure(resets >= 3, || format!("the backend saw {resets} resets"))?;
        guests::kernel_is_content(guest)
    })
}

fn flushes(context: &Context) -> Outcome {
    let spec = Spec::new("flush", "memory = \"grant\"");
    guests::with_guest(context, &spec, |guest| {
        let flushes = || guests::counted(&context.dom0(), spec.name)?.device("flushes");
        let before = flushes()?;
        // One request in flight: the guest's block layer then merges no two flushes into one.
        let load = guests::load(
            guest,
            &[
                "exercise",
                "/dev/vda",
                "--bytes",
                "1048576",
                "--max-request",
                "65536",
                "--depth",
                "1",
                "--flush-every",
                "1",
            ],
        )?;
        let seen = flushes()?.saturating_sub(before);
        ensure(load.flushes > 0 && seen >= load.flushes, || {
            format!(
                "the guest made {} flushes, the backend saw {seen}",
                load.flushes
            )
        })?;
        guests::image_holds(&context.dom0(), &spec.image(), &load)
    })
}

fn large_blocks(context: &Context) -> Outcome {
    let spec = Spec::new("blocks4k", "memory = \"grant\"\nblock_size = 4096");
    guests::with_guest(context, &spec, |guest| {
        let size = guest
            .shell("cat /sys/block/vda/queue/logical_block_size")
            .text()?;
        ensure(size == "4096", || {
            format!("the guest sees blocks of {size} bytes")
        })?;
        let load = guests::load(guest, &["exercise", "/dev/vda", "--bytes", "4194304"])?;
        guests::image_holds(&context.dom0(), &spec.image(), &load)
    })
}

fn read_only(context: &Context) -> Outcome {
    let spec = Spec {
        fill: "head -c 4194304 /dev/urandom > $image && truncate -s 32M $image",
        ..Spec::new("readonly", "memory = \"grant\"\nreadonly = true")
    };
    guests::with_guest(context, &spec, |guest| {
        let flag = guest.shell("cat /sys/block/vda/ro").text()?;
        ensure(
            flag == "1",
            || "the guest does not know that its disk is read-only",
        )?;
        let sum = || context.sh(&format!("sha256sum < {}", spec.image()));
        let before = sum()?;
        let wrote = guest
            .shell("dd if=/dev/urandom of=/dev/vda bs=4096 count=1 conv=fsync")
            .output()?;
        guests::is_not_permitted(&wrote)?;
        ensure(
            sum()? == before,
            || "the image of a read-only disk has changed",
        )?;
        let read = guest.shell("sha256sum < /dev/vda").text()?;
        ensure(read == before, || {
            format!("the guest reads {read}, the image holds {before}")
        })
    })
}

fn discard(context: &Context) -> Outcome {
    let spec = Spec::new("discard", "memory = \"grant\"");
    guests::with_guest(context, &spec, |guest| {
        guests::load(guest, &["exercise", "/dev/vda", "--bytes", "8388608"])?;
        let blocks = || context.sh(&format!("stat -c %b {}", spec.image()));
        let before: u64 = blocks()?.parse()?;
        guest
            .command(["blkdiscard", "-o", "0", "-l", "4194304", "/dev/vda"])
            .text()?;
        let seen = guest
            .shell("head -c 4194304 /dev/vda | sha256sum; head -c 4194304 /dev/zero | sha256sum")
            .text()?;
        ensure(
            seen.split_once('\n')
                .is_some_and(|(disk, zeros)| disk == zeros),
            || format!("a discarded range and zeros have these SHA-256: {seen}"),
        )?;
        let after: u64 = blocks()?.parse()?;
        ensure(after + 4096 <= before, || {
            format!("the image held {before} sectors and still holds {after}")
        })
    })
}
