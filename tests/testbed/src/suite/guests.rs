//! Guests started the way users start them: a document, `avpsctl`, and the running `avps-backend`.

use super::{Context, Failed, Outcome, ensure};
use agent::client::{Output, Remote};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Where documents are in dom0.
pub(super) const DOCUMENTS: &str = "/etc/avps";
/// Where images are in dom0.
pub(super) const IMAGES: &str = "/var/lib/avps/images";
/// The backend's log in dom0.
pub(super) const BACKEND_LOG: &str = "/var/log/bed/avps-backend.log";
/// Guest of plain `xl` whose disks the backend adopts.
pub(super) const ADOPTED: &str = "adopted";
/// Bytes of an image, unless a test says otherwise.
pub(super) const IMAGE_MIB: u64 = 32;

const UP: Duration = Duration::from_secs(60);

/// What `bed-load exercise` and `verify` report.
#[derive(Deserialize)]
pub(super) struct Load {
    pub(super) bytes: u64,
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) flushes: u64,
    pub(super) sha256: String,
    pub(super) pauses_ms: Vec<u64>,
}

/// A guest with one disk, as a document describes it.
pub(super) struct Spec<'a> {
    pub(super) name: &'a str,
    /// Lines of the `[[domain.block]]` table besides `image`.
    pub(super) block: &'a str,
    /// Size of the image, which is replaced.
    pub(super) mib: u64,
    /// A line of shell that fills the image; its path is in `$image`.
    pub(super) fill: &'a str,
}

impl<'a> Spec<'a> {
    pub(super) fn new(name: &'a str, block: &'a str) -> Self {
        Self {
            name,
            block,
            mib: IMAGE_MIB,
            fill: "true",
        }
    }

    pub(super) fn image(&self) -> String {
        format!("{IMAGES}/{}.img", self.name)
    }

    pub(super) fn document(&self) -> String {
        format!("{DOCUMENTS}/{}.avps.toml", self.name)
    }

    /// The document's text.
    pub(super) fn text(&self) -> String {
        let Self { name, block, .. } = self;
        let image = self.image();
        format!(
            "schema = \"avps/1\"\n[platform]\nname = \"{name}\"\n[[domain]]\nname = \"{name}\"\n\
             kernel = \"/usr/lib/avps/guest/Image\"\nramdisk = \"/usr/lib/avps/guest/initramfs.cpio.gz\"\n\
             cmdline = \"console=hvc0 quiet\"\nmemory = \"128MiB\"\nvcpus = 2\n\
             [[domain.block]]\nimage = \"{image}\"\n{block}\n"
        )
    }
}

/// Makes sure that the backend runs and says so.
pub(super) fn backend(dom0: &Remote) -> Outcome {
    if backend_is_ready(dom0)? {
        return Ok(());
    }
    start_backend(dom0, &[])
}

/// Does this while dom0's holder is stopped; it gets the holder's process.
pub(super) fn while_stopped<T>(
    context: &Context,
    act: impl FnOnce(u32) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let holder = holder(context)?;
    context.sh(&format!("kill -STOP {holder}"))?;
    let done = act(holder);
    context.sh(&format!("kill -CONT {holder}"))?;
    done
}

/// Has the backend run with other options; guests go on.
pub(super) fn restart_backend(context: &Context, options: &[&str]) -> Outcome {
    let dom0 = context.dom0();
    let holder = holder(context)?;
    context.sh(&format!("kill {holder}"))?;
    let until = Instant::now() + context.within(Duration::from_secs(20));
    while context.sh(&format!("kill -0 {holder} 2>&- && echo alive || true"))? == "alive" {
        ensure(
            Instant::now() < until,
            || "avps-backend did not end in 20 s",
        )?;
    }
    start_backend(&dom0, options)
}

fn start_backend(dom0: &Remote, options: &[&str]) -> Outcome {
    dom0.shell(&format!(
        "mkdir -p {IMAGES} {DOCUMENTS} && truncate -s {IMAGE_MIB}M {IMAGES}/{ADOPTED}.img {IMAGES}/{ADOPTED}-2.img"
    ))
    .text()?;
    let first = format!("{ADOPTED}/0={IMAGES}/{ADOPTED}.img");
    let second = format!("{ADOPTED}/1={IMAGES}/{ADOPTED}-2.img");
    let mut argv = vec![
        "avps-backend",
        "serve",
        "--adopt",
        &first,
        "--adopt",
        &second,
    ];
    argv.extend(options);
    let pid = dom0.spawn(argv, BACKEND_LOG)?;
    let until = Instant::now() + dom0.within(Duration::from_secs(20));
    while !backend_is_ready(dom0)? {
        if let Ok(exit) = dom0.wait(pid, Duration::ZERO) {
            let said = dom0.get(BACKEND_LOG).unwrap_or_default();
            return Err(Failed(format!(
                "avps-backend {exit}: {}",
                String::from_utf8_lossy(&said).trim()
            )));
        }
        ensure(
            Instant::now() < until,
            || "avps-backend did not become ready in 20 s",
        )?;
    }
    Ok(())
}

/// Whether a backend runs and says so.
pub(super) fn backend_is_ready(dom0: &Remote) -> Result<bool, Failed> {
    let line = "pid=$(xenstore-read data/avps-backend/pid 2>/dev/null) && kill -0 $pid && xenstore-exists data/avps-backend/ready";
    Ok(dom0.shell(line).output()?.exit.success())
}

/// The holder's process id in dom0.
pub(super) fn holder(context: &Context) -> Result<u32, Failed> {
    Ok(context.sh("xenstore-read data/avps-backend/pid")?.parse()?)
}

/// Runs `avpsctl`; how it ended is the caller's to judge.
pub(super) fn avpsctl(context: &Context, args: &[&str]) -> Result<Output, Failed> {
    let argv = ["avpsctl"].iter().chain(args).copied();
    Ok(context.dom0().command(argv).time(UP).output()?)
}

/// Starts the guest with a new image, runs `body` on it, and destroys it, also when `body` failed.
pub(super) fn with_guest(
    context: &Context,
    spec: &Spec<'_>,
    body: impl FnOnce(&Remote) -> Outcome,
) -> Outcome {
    up(context, spec)?;
    let outcome = context.guest(spec.name).and_then(|guest| body(&guest));
    let gone = down(context, spec);
    outcome.and(gone)
}

/// Writes image and document, and starts the guest.
pub(super) fn up(context: &Context, spec: &Spec<'_>) -> Outcome {
    let dom0 = context.dom0();
    backend(&dom0)?;
    let (image, mib, fill) = (spec.image(), spec.mib, spec.fill);
    context.sh(&format!(
        "image={image}; rm -f $image && truncate -s {mib}M $image && {fill}"
    ))?;
    dom0.put_bytes(spec.text().as_bytes(), &spec.document(), 0o644)?;
    dom0.command(["avpsctl", "up", &spec.document()])
        .time(UP)
        .text()?;
    Ok(())
}

/// Removes the guest at once, and its supervisor with it.
pub(super) fn down(context: &Context, spec: &Spec<'_>) -> Outcome {
    down_keeping_image(context, spec)?;
    context.sh(&format!("rm -f {}", spec.image())).map(drop)
}

/// As [`down`]; the image stays.
pub(super) fn down_keeping_image(context: &Context, spec: &Spec<'_>) -> Outcome {
    let dom0 = context.dom0();
    dom0.command([
        "avpsctl",
        "down",
        "--timeout",
        "0",
        "--force",
        &spec.document(),
    ])
    .time(UP)
    .text()?;
    Ok(())
}

/// A configuration for plain `xl create`; `devices` are its lines for devices. `quiet` in the command line makes a
/// boot faster: a PV console under emulation is slow.
pub(super) fn plain_config(name: &str, command_line: &str, devices: &str) -> String {
    format!(
        "name = \"{name}\"\nkernel = \"/usr/lib/avps/guest/Image\"\nramdisk = \"/usr/lib/avps/guest/initramfs.cpio.gz\"\n\
         extra = \"console=hvc0 {command_line}\"\nmemory = 128\nvcpus = 1\n{devices}\n"
    )
}

/// Runs `bed-load` in the guest.
pub(super) fn load(guest: &Remote, args: &[&str]) -> Result<Load, Failed> {
    let argv = ["bed-load"].iter().chain(args).copied();
    let text = guest.command(argv).time(Duration::from_secs(150)).text()?;
    serde_json::from_str(&text).map_err(|e| Failed(format!("bed-load said {text:?}: {e}")))
}

/// The image's first `bytes` have this SHA-256.
pub(super) fn image_holds(dom0: &Remote, image: &str, load: &Load) -> Outcome {
    let sum = dom0
        .shell(&format!("head -c {} {image} | sha256sum", load.bytes))
        .text()?;
    ensure(sum.split_whitespace().next() == Some(&load.sha256), || {
        format!(
            "dom0's image has SHA-256 {sum}, the guest read {}",
            load.sha256
        )
    })
}

/// What the guest's kernel has complained about, one line each.
pub(super) fn complaints(guest: &Remote) -> Result<String, Failed> {
    // Without its log, a kernel that complains would look like one that does not.
    let line = "dmesg > /tmp/dmesg && grep -c . /tmp/dmesg && \
                { grep -iE 'still in use|I/O error|blocked for more|BUG|Oops|WARNING|Call trace' /tmp/dmesg || true; }";
    let said = guest.shell(line).text()?;
    complaints_in(&said).map_err(Failed)
}

/// Reads how many lines the log has, and the complaints below that number.
fn complaints_in(said: &str) -> Result<String, String> {
    let (count, complaints) = said.split_once('\n').unwrap_or((said, ""));
    match count.trim().parse::<u32>() {
        Ok(count) if count > 0 => Ok(complaints.trim_end().to_owned()),
        _ => Err(format!("the guest's kernel has no log: {said:?}")),
    }
}

/// The guest's kernel has not complained about its disk.
pub(super) fn kernel_is_content(guest: &Remote) -> Outcome {
    let said = complaints(guest)?;
    ensure(said.is_empty(), || {
        format!("the guest's kernel says: {said}")
    })
}

/// A program that wanted to write to a read-only disk was told that it must not, and not something else.
pub(super) fn is_not_permitted(wrote: &Output) -> Outcome {
    let said = wrote.error_text();
    let told = ["not permitted", "ermission denied", "ead-only"];
    ensure(
        !wrote.exit.success() && told.iter().any(|words| said.contains(words)),
        || format!("a write to a read-only disk: {}: {said}", wrote.exit),
    )
}

/// What the backend counted for a guest.
#[derive(Debug)]
pub(super) struct Counted {
    devices: BTreeMap<String, u64>,
    worker: BTreeMap<String, u64>,
}

impl Counted {
    /// Reads what `avps-backend stats --json` says of the guest.
    fn read(text: &str, name: &str) -> Result<Self, Failed> {
        let report: Value = serde_json::from_str(text)?;
        let list = |value: &Value| {
            let list = value.as_array().cloned();
            list.ok_or_else(|| Failed(format!("the backend's report has no such list: {text}")))
        };
        let mut guests = list(&report["guests"])?.into_iter();
        let guest = guests.find(|guest| guest["name"] == name);
        let guest =
            guest.ok_or_else(|| Failed(format!("the backend has no guest {name}: {text}")))?;
        let add = |sum: &mut BTreeMap<String, u64>, part: &Value| {
            let counters = part["counters"].as_object();
            let counters = counters.ok_or_else(|| Failed(format!("no counters: {part}")))?;
            for (name, count) in counters {
                let count = count.as_u64();
                let count = count.ok_or_else(|| Failed(format!("{name} is no count: {part}")))?;
                *sum.entry(name.clone()).or_default() += count;
            }
            Ok::<_, Failed>(())
        };
        let mut counted = Self {
            devices: BTreeMap::new(),
            worker: BTreeMap::new(),
        };
        add(&mut counted.worker, &guest)?;
        for device in list(&guest["devices"])? {
            add(&mut counted.devices, &device)?;
        }
        Ok(counted)
    }

    /// All counters of the guest's devices, added up by name.
    pub(super) fn devices(&self) -> &BTreeMap<String, u64> {
        &self.devices
    }

    /// A counter of the guest's devices, added up. One that is missing is an error: 0 would be a promise that is kept.
    pub(super) fn device(&self, name: &str) -> Result<u64, Failed> {
        let count = self.devices.get(name).copied();
        count.ok_or_else(|| Failed(format!("the guest's devices count no {name}: {self:?}")))
    }

    /// A counter of the guest's worker process: its calls to Xen.
    pub(super) fn worker(&self, name: &str) -> Result<u64, Failed> {
        let count = self.worker.get(name).copied();
        count.ok_or_else(|| Failed(format!("the guest's worker counts no {name}: {self:?}")))
    }

    /// Something was mapped, and nothing is mapped any more.
    pub(super) fn each_map_was_undone(&self) -> Outcome {
        let (maps, unmaps) = (self.device("maps")?, self.device("unmaps")?);
        ensure(maps > 0, || {
            format!("nothing was mapped, so nothing is known of unmapping: {self:?}")
        })?;
        ensure(maps == unmaps, || {
            format!("{maps} maps and {unmaps} unmaps: {self:?}")
        })
    }

    /// Not a single request was mapped.
    pub(super) fn nothing_was_mapped(&self) -> Outcome {
        let (maps, unmaps) = (self.device("maps")?, self.device("unmaps")?);
        ensure(maps == 0 && unmaps == 0, || {
            format!("{maps} maps and {unmaps} unmaps where all is copied: {self:?}")
        })
    }
}

/// What the backend has counted for a guest so far.
pub(super) fn counted(dom0: &Remote, name: &str) -> Result<Counted, Failed> {
    Counted::read(
        &dom0.command(["avps-backend", "stats", "--json"]).text()?,
        name,
    )
}

/// Nothing is left of any guest: no domain (not even a dying one), no key, no worker, no supervisor.
pub(super) fn nothing_left(dom0: &Remote) -> Outcome {
    let until = Instant::now() + dom0.within(Duration::from_secs(10));
    loop {
        let domains = dom0.command(["xl", "list"]).text()?;
        let store = dom0.command(["xenstore-ls", "-f", "/"]).text()?;
        let processes = dom0.command(["ps", "-o", "args"]).text()?;
        let left = left_behind(&domains, &store, &processes).map_err(Failed)?;
        if left.is_empty() {
            return Ok(());
        }
        ensure(Instant::now() < until, || {
            format!("left behind:\n{}", left.join("\n"))
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What there is of guests in what `xl list`, `xenstore-ls -f /` and `ps -o args` say. An error where one of them does not even
/// show dom0.
fn left_behind<'a>(
    domains: &'a str,
    store: &'a str,
    processes: &'a str,
) -> Result<Vec<&'a str>, String> {
    let shows = |said: &str, what: &str, program: &str| {
        let shown = said.lines().any(|line| line.starts_with(what));
        shown
            .then_some(())
            .ok_or_else(|| format!("{program} shows no {what}: {said:?}"))
    };
    shows(domains, "Domain-0 ", "xl list")?;
    shows(store, "/local/domain/0", "xenstore-ls")?;
    if processes.lines().count() < 2 {
        return Err(format!("ps shows no process: {processes:?}"));
    }
    let domains = domains.lines().skip(1);
    let domains = domains.filter(|line| !line.starts_with("Domain-0 "));
    let keys = store.lines().filter(|line| is_a_guests_key(line));
    let processes = processes.lines().filter(|line| {
        let supervises = line.contains("avpsctl ") && line.contains("supervise");
        line.contains("avps-backend worker") || supervises
    });
    Ok(domains.chain(keys).chain(processes).collect())
}

/// Whether a line of `xenstore-ls -f` is about a domain that is not dom0.
fn is_a_guests_key(line: &str) -> bool {
    let path = line.split(" = ").next().unwrap_or(line);
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_guest = |part: &&str| part.starts_with(|first: char| ('1'..='9').contains(&first));
    match parts.as_slice() {
        ["local", "domain", "0", "backend", _, _, ..] => true,
        ["local", "domain", domain, ..] | ["libxl", domain, ..] => is_guest(domain),
        ["vm", uuid, ..] => *uuid != "00000000-0000-0000-0000-000000000000",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = r#"{"guests": [{"name": "one", "counters": {"grant_copies": 3},
        "devices": [{"counters": {"maps": 2, "errors": 0}}, {"counters": {"maps": 5, "errors": 0}}]}]}"#;

    #[test]
    fn a_counter_that_is_missing_is_an_error_and_no_zero() {
        let counted = Counted::read(STATS, "one").unwrap();
        assert_eq!(counted.device("maps").unwrap(), 7);
        assert_eq!(counted.device("errors").unwrap(), 0);
        assert_eq!(counted.worker("grant_copies").unwrap(), 3);
        assert!(counted.device("needs_resets").is_err());
        assert!(counted.worker("maps").is_err());
        assert!(Counted::read(STATS, "two").is_err());
        for wrong in [
            STATS.replace("\"maps\": 2", "\"maps\": null"),
            STATS.replace("\"devices\"", "\"disks\""),
            STATS.replace("{\"maps\": 2, \"errors\": 0}", "null"),
        ] {
            assert_ne!(wrong, STATS);
            assert!(Counted::read(&wrong, "one").is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_mapped_and_unmapped_nothing_is_not_what_was_mapped_and_unmapped() {
        let counted = |maps: u64, unmaps: u64| Counted {
            devices: BTreeMap::from([("maps".into(), maps), ("unmaps".into(), unmaps)]),
            worker: BTreeMap::new(),
        };
        assert!(counted(3, 3).each_map_was_undone().is_ok());
        assert!(counted(3, 2).each_map_was_undone().is_err());
        assert!(counted(0, 0).each_map_was_undone().is_err());
        assert!(counted(0, 0).nothing_was_mapped().is_ok());
        assert!(counted(3, 3).nothing_was_mapped().is_err());
    }

    #[test]
    fn a_kernel_without_a_log_is_not_one_without_complaints() {
        assert_eq!(complaints_in("312\n"), Ok(String::new()));
        assert_eq!(complaints_in("312"), Ok(String::new()));
        let said = complaints_in("312\nI/O error, dev vda");
        assert_eq!(said, Ok("I/O error, dev vda".to_owned()));
        assert!(complaints_in("").is_err());
        assert!(complaints_in("0\n").is_err());
    }

    const DOMAINS: &str = "Name  ID\nDomain-0  0";
    const STORE: &str = "/local/domain/0/name = \"Domain-0\"\n/local/domain/0/backend/virtio = \"\"\n/libxl/0/x = \"\"\n\
         /vm/00000000-0000-0000-0000-000000000000/name = \"Domain-0\"\n/tool/xenstored = \"\"";
    const PROCESSES: &str = "COMMAND\nbed-agent\navps-backend serve";

    #[test]
    fn what_is_left_of_a_guest_is_found_in_each_list() {
        assert_eq!(left_behind(DOMAINS, STORE, PROCESSES), Ok(Vec::new()));
        let more = |list: &str, line: &str| format!("{list}\n{line}");
        for (domains, store, processes) in [
            ("(null)  7", "", ""),
            ("", "/local/domain/7/name = \"x\"", ""),
            ("", "/local/domain/0/backend/virtio/7 = \"\"", ""),
            ("", "/libxl/7/type = \"pvh\"", ""),
            ("", "/vm/01234567-0000-0000-0000-000000000000 = \"\"", ""),
            ("", "", "avps-backend worker --guest 7"),
            ("", "", "avpsctl --quiet supervise x"),
        ] {
            let lists = [(DOMAINS, domains), (STORE, store), (PROCESSES, processes)];
            let [domains, store, processes] = lists.map(|(list, line)| match line {
                "" => list.to_owned(),
                line => more(list, line),
            });
            let left = left_behind(&domains, &store, &processes).unwrap();
            assert_eq!(left.len(), 1, "{left:?}");
        }
    }

    #[test]
    fn a_list_that_does_not_even_show_dom0_is_no_proof_that_nothing_is_left() {
        assert!(left_behind("", STORE, PROCESSES).is_err());
        assert!(left_behind(DOMAINS, "", PROCESSES).is_err());
        assert!(left_behind(DOMAINS, STORE, "").is_err());
    }
}
