//! What `avpsctl up` gives to domains beside memory and disks: CPUs, pools, shares, consoles, devices. Each is read back from
//! Xen or seen by the guest, and compared with the plan.

use super::document::Document;
use super::guests::{self, DOCUMENTS};
use super::{Context, Failed, Outcome, Test, ensure};
use platform::plan::DomainPlan;
use serde_json::Value;
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "placement: pools and pinned vCPUs are the plan's, and down gives the CPUs back",
            180,
            pools,
        ),
        Test::new(
            "placement: a failure half-way leaves what does not wait for it running, and down every CPU where it was",
            90,
            half_way,
        ),
        // The pool stays.
        Test::new(
            "placement: RTDS shares are the plan's, and their pool outlives down",
            180,
            shares,
        )
        .ruins_its_boot(),
        Test::new(
            "placement: a guest writes to its emulated UART and reads what is typed",
            120,
            uart,
        ),
        Test::new(
            "placement: a guest drives a device of the machine, told by its partial device tree",
            120,
            device,
        ),
        Test::new(
            "placement: what this Xen cannot give is refused, and the reason is told",
            90,
            refused,
        ),
    ]
}

const UP: Duration = Duration::from_secs(90);

/// A guest without disks, with more keys.
fn guest(name: &str, keys: &str) -> String {
    format!(
        "[[domain]]\nname = \"{name}\"\nkernel = \"/usr/lib/avps/guest/Image\"\n\
         ramdisk = \"/usr/lib/avps/guest/initramfs.cpio.gz\"\ncmdline = \"console=hvc0 quiet\"\nmemory = \"128MiB\"\n{keys}\n"
    )
}

/// A document of this content, in dom0.
fn put(context: &Context, name: &str, content: &str) -> Result<Document, Failed> {
    let text = format!("schema = \"avps/1\"\n[platform]\nname = \"{name}\"\n{content}");
    Document::put(context, name, &text, UP)
}

/// Rows of a table that `xl` prints, without its head.
fn table(context: &Context, line: &str) -> Result<Vec<Vec<String>>, Failed> {
    let text = context.sh(line)?;
    let rows = text.lines().skip(1);
    Ok(rows
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect())
}

/// Each pool's name and CPUs, as Xen has them.
fn xen_pools(context: &Context) -> Result<Vec<Vec<String>>, Failed> {
    table(context, "xl cpupool-list -c")
}

/// A pool of CPU 1 alone.
fn pool(scheduler: &str) -> String {
    format!(
        "[machine]\ncpus = 2\n[[cpupool]]\nname = \"timed\"\ncpus = [1]\nscheduler = \"{scheduler}\"\n"
    )
}

const SHARE: &str = "rtds = { period = \"20ms\", budget = \"7ms\" }";

fn pools(context: &Context) -> Outcome {
    let document = put(
        context,
        "placed",
        &format!(
            "{}{}{}",
            pool("null"),
            guest("timed", "cpus = [1]\ncpupool = \"timed\""),
            guest("free", "vcpus = 2\ncpus = [0]"),
        ),
    )?;
    let before = xen_pools(context)?;
    let diff = guests::avpsctl(context, &["diff", &document.path])?;
    ensure(
        diff.exit.code == Some(1) && diff.text().contains("out of the first pool go 1"),
        || format!("avpsctl diff: {} {}", diff.exit, diff.text()),
    )?;
    document.up(context)?;
    let check = || {
        all_as_planned(context, &document)?;
        let again = context.sh(&format!("avpsctl up --json {}", document.path))?;
        let again: Value = serde_json::from_str(&again)?;
        ensure(again["changed"] == false, || again.to_string())?;
        context
            .sh(&format!("avpsctl diff {}", document.path))
            .map(drop)
    };
    document.down(context, check())?;
    let after = xen_pools(context)?;
    ensure(before == after, || {
        format!("pools before: {before:?}, after: {after:?}")
    })
}

fn shares(context: &Context) -> Outcome {
    let keys = format!("vcpus = 2\ncpus = [1]\ncpupool = \"timed\"\n{SHARE}");
    let content = format!("{}{}", pool("rtds"), guest("timed", &keys));
    let document = put(context, "shares", &content)?;
    document.up(context)?;
    document.down(context, all_as_planned(context, &document))?;
    let pools = xen_pools(context)?;
    ensure(pools == PLACED, || format!("pools: {pools:?}"))?;
    // It is found again.
    document.up(context)?;
    document.down(context, all_as_planned(context, &document))
}

/// The pools of Xen while a document with [`pool`] runs.
const PLACED: [[&str; 2]; 2] = [["Pool-0", "0"], ["timed", "1"]];

/// Pools and domains are the plan's, and the domains run.
fn all_as_planned(context: &Context, document: &Document) -> Outcome {
    let pools = xen_pools(context)?;
    ensure(pools == PLACED, || format!("pools: {pools:?}"))?;
    for pool in &document.plan.xen.cpupools {
        let rows = table(context, &format!("xl cpupool-list {}", pool.name))?;
        let row = rows.first().cloned();
        let row = row.ok_or_else(|| Failed(format!("xl lists no pool {}", pool.name)))?;
        ensure(
            row.get(2).map(String::as_str) == Some(pool.scheduler.word()),
            || format!("pool {}: {row:?}", pool.name),
        )?;
    }
    for domain in &document.plan.domains {
        context.guest(&domain.name)?.ping(Duration::from_secs(30))?;
        as_planned(context, domain)?;
    }
    Ok(())
}

/// A domain's pool, vCPUs and share are the plan's: asked of `xl` and of `avpsctl`.
fn as_planned(context: &Context, domain: &DomainPlan) -> Outcome {
    let DomainPlan { name, cpus, .. } = domain;
    let pool = domain.cpupool.as_deref().unwrap_or("Pool-0");
    let listed = context.sh(&format!(
        "xl list -c {name} | awk 'NR == 2 {{ print $NF }}'"
    ))?;
    ensure(listed.trim() == pool, || {
        format!("{name} is in pool {listed}, not in {pool}")
    })?;
    let wanted = platform::emit::cmdline::ranges(cpus);
    let vcpus = table(context, &format!("xl vcpu-list {name}"))?;
    // Name, domid, vCPU, CPU, state, time, hard affinity, "/", soft affinity.
    let pinned = vcpus.iter().all(|row| row.get(6) == Some(&wanted));
    ensure(
        pinned && u32::try_from(vcpus.len()) == Ok(domain.vcpus),
        || format!("vCPUs of {name}: {vcpus:?}, planned: {wanted}"),
    )?;
    if let Some(share) = domain.rtds {
        let rows = table(context, &format!("xl sched-rtds -d {name} -v all"))?;
        let (period, budget) = (share.period_us.to_string(), share.budget_us.to_string());
        let given = rows
            .iter()
            .filter(|row| row.first() == Some(name))
            .filter(|row| row.get(3) == Some(&period) && row.get(4) == Some(&budget));
        ensure(u32::try_from(given.count()) == Ok(domain.vcpus), || {
            format!("shares of {name}: {rows:?}, planned: {share:?}")
        })?;
    }
    let info: Value = serde_json::from_str(&context.sh(&format!("avpsctl info --json {name}"))?)?;
    let vcpus = info["affinity"].as_array().cloned().unwrap_or_default();
    ensure(
        info["cpupool"] == pool
            && !vcpus.is_empty()
            && vcpus
                .iter()
                .all(|vcpu| vcpu["affinity"] == serde_json::json!(cpus)),
        || info.to_string(),
    )
}

fn half_way(context: &Context) -> Outcome {
    // libxl finds out that it is no kernel when it builds the second domain.
    context.sh("head -c 100000 /dev/zero > /tmp/no-kernel")?;
    let document = put(
        context,
        "half",
        &format!(
            "{}{}{}",
            pool("credit2"),
            guest("first", "cpus = [1]\ncpupool = \"timed\""),
            guest("second", "").replace("/usr/lib/avps/guest/Image", "/tmp/no-kernel"),
        ),
    )?;
    let before = xen_pools(context)?;
    let output = guests::avpsctl(context, &["up", &document.path])?;
    let said = output.error_text();
    let check = || {
        ensure(
            output.exit.code == Some(4)
                && said.contains("not started: second")
                && said.contains("running: first"),
            || format!("avpsctl up: {} {said}", output.exit),
        )?;
        context.guest("first")?.ping(Duration::from_secs(30))?;
        let second = context.sh("xl domid second 2>/dev/null || true")?;
        ensure(second.is_empty(), || format!("domain {second} is left"))
    };
    document.down(context, check())?;
    let after = xen_pools(context)?;
    ensure(before == after, || {
        format!("pools before: {before:?}, after: {after:?}")
    })
}

fn uart(context: &Context) -> Outcome {
    let document = put(context, "uart", &guest("uart", "console = \"vpl011\""))?;
    document.up(context)?;
    let check = || {
        let guest = context.guest("uart")?;
        guest
            .shell(
                "stty -F /dev/ttyAMA0 raw -echo; (head -n 1 < /dev/ttyAMA0 > /tmp/typed) > /dev/null 2>&1 & \
                 echo said by the UART > /dev/ttyAMA0",
            )
            .text()?;
        let out = context
            .dom0()
            .shell("avpsctl console --linger 5 uart")
            .input("typed here\n")
            .output()?;
        ensure(
            out.exit.success() && out.text().contains("said by the UART"),
            || {
                let (said, error) = (out.text(), out.error_text());
                format!("avpsctl console: {}: {said} {error}", out.exit)
            },
        )?;
        let typed = guest.shell("cat /tmp/typed").text()?;
        ensure(typed == "typed here", || {
            format!("the guest read {typed:?} from its UART")
        })
    };
    document.down(context, check())
}

/// The real-time clock of QEMU's machine: registers of its own, no DMA. dom0 has its interrupt, and does not need it.
const CLOCK: &str = "console = \"pv\"\n[[domain.device]]\npath = \"/pl031@9010000\"\ndma = \"none\"\ninterrupts = []\n\
                     [[domain.device.region]]\nat = 0x901_0000\nsize = \"4KiB\"";

fn device(context: &Context) -> Outcome {
    let document = put(context, "clock", &guest("clock", CLOCK))?;
    let missing = guests::avpsctl(context, &["up", &document.path])?;
    ensure(
        missing.exit.code == Some(3) && missing.error_text().contains("AVPS0306"),
        || {
            format!(
                "without its tree: {} {}",
                missing.exit,
                missing.error_text()
            )
        },
    )?;
    // The tree that Xen gave dom0 has the node.
    let with_tree = format!(
        "[machine]\ndevice_tree = \"/sys/firmware/fdt\"\n{}",
        guest("clock", CLOCK)
    );
    let machine = "/tmp/clock-with-machine.avps.toml";
    let text = format!("schema = \"avps/1\"\n[platform]\nname = \"clock\"\n{with_tree}");
    context.dom0().put_bytes(text.as_bytes(), machine, 0o644)?;
    context.sh(&format!(
        "avpsctl emit partial-dtb --output {DOCUMENTS} {machine}"
    ))?;
    document.up(context)?;
    let check = || {
        let guest = context.guest("clock")?;
        // The driver has it, and its registers are the machine's: the first one counts seconds.
        let seen = guest
            .shell("dmesg | grep 'pl031: registered as rtc0' && devmem 0x9010000 32")
            .text()?;
        let host = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let read = seen.lines().last().and_then(|line| line.strip_prefix("0x"));
        let read = read.and_then(|number| u64::from_str_radix(number.trim(), 16).ok());
        let off = read.map(|read| read.abs_diff(host.as_secs()));
        ensure(off.is_some_and(|off| off < 600), || {
            format!("the guest sees: {seen}; it is {:#x}", host.as_secs())
        })
    };
    document.down(context, check())
}

fn refused(context: &Context) -> Outcome {
    let before = xen_pools(context)?;
    let cases = [
        (
            guest("secure", "tee = { mode = \"hypervisor\" }"),
            3,
            &["tee.mode", "CONFIG_OPTEE", "xl dmesg"][..],
        ),
        (
            format!(
                "[machine]\nllc = {{ size = \"1MiB\", ways = 16 }}\n{}",
                guest("coloured", "colors = \"0-3\"")
            ),
            3,
            &["colors", "llc-coloring=on"],
        ),
        (
            format!(
                "[machine]\ncpus = 8\n[[cpupool]]\nname = \"far\"\ncpus = [7]\n{}",
                guest("far", "cpupool = \"far\"")
            ),
            3,
            &["CPU pool \"far\"", "this machine has 2 CPUs, and no CPU 7"],
        ),
        (
            guest("silent", "console = \"none\""),
            2,
            &["console", "use \"pv\" or \"vpl011\""],
        ),
    ];
    for (content, code, words) in cases {
        let document = put(context, "refused", &content)?;
        let output = guests::avpsctl(context, &["up", &document.path])?;
        let said = output.error_text();
        ensure(output.exit.code == Some(code), || {
            format!("{}, not exit code {code}: {said}", output.exit)
        })?;
        for word in words {
            ensure(said.contains(word), || {
                format!("{word:?} is not in: {said}")
            })?;
        }
        guests::nothing_left(&context.dom0())?;
    }
    let after = xen_pools(context)?;
    ensure(before == after, || {
        format!("pools before: {before:?}, after: {after:?}")
    })
}
