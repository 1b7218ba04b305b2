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

/// Lists what the kernel has complained about.
pub(super) const COMPLAINTS: &str =
    "dmesg | grep -iE 'still in use|I/O error|blocked for more|BUG|Oops|WARNING|Call trace'";

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
    /// Size of the image, which is made anew.
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

/// Has the backend run with other options; guests go on.
pub(super) fn restart_backend(context: &Context, options: &[&str]) -> Outcome {
    let dom0 = context.dom0();
    let holder = holder(context)?;
    context.sh(&format!("kill {holder}"))?;
    let until = Instant::now() + Duration::from_secs(20);
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
    let until = Instant::now() + Duration::from_secs(20);
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

/// The guest's kernel has not complained about its disk.
pub(super) fn kernel_is_content(guest: &Remote) -> Outcome {
    let said = guest.shell(&format!("{COMPLAINTS} || true")).text()?;
    ensure(said.is_empty(), || {
        format!("the guest's kernel says: {said}")
    })
}

/// What the backend counted for a guest.
#[derive(Debug)]
pub(super) struct Counted {
    devices: BTreeMap<String, u64>,
    worker: BTreeMap<String, u64>,
}

impl Counted {
    /// All counters of the guest's devices, added up by name.
    pub(super) fn devices(&self) -> &BTreeMap<String, u64> {
        &self.devices
    }

    /// A counter of the guest's devices, added up.
    pub(super) fn device(&self, name: &str) -> u64 {
        self.devices.get(name).copied().unwrap_or(0)
    }

    /// A counter of the guest's worker process: its calls to Xen.
    pub(super) fn worker(&self, name: &str) -> u64 {
        self.worker.get(name).copied().unwrap_or(0)
    }
}

/// What the backend has counted for a guest so far.
pub(super) fn counted(dom0: &Remote, name: &str) -> Result<Counted, Failed> {
    let text = dom0.command(["avps-backend", "stats", "--json"]).text()?;
    let report: Value = serde_json::from_str(&text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let guest = list(&report["guests"])
        .into_iter()
        .find(|guest| guest["name"] == name);
    let guest = guest.ok_or_else(|| Failed(format!("the backend has no guest {name}: {text}")))?;
    let add = |sum: &mut BTreeMap<String, u64>, part: &Value| {
        for (name, count) in part["counters"].as_object().into_iter().flatten() {
            *sum.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    };
    let mut counted = Counted {
        devices: BTreeMap::new(),
        worker: BTreeMap::new(),
    };
    add(&mut counted.worker, &guest);
    for device in list(&guest["devices"]) {
        add(&mut counted.devices, &device);
    }
    Ok(counted)
}

/// Nothing is left of any guest: no domain (not even a dying one), no key, no worker, no supervisor.
pub(super) fn nothing_left(dom0: &Remote) -> Outcome {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let left = dom0.shell(
            "xl list | tail -n +2 | grep -v '^Domain-0 '; \
             xenstore-ls -f / | grep -E '^/(local/domain/[1-9]|vm/|libxl/[1-9]|local/domain/0/backend/[^/]+/)' \
               | grep -v '^/vm/00000000-0000-0000-0000-000000000000'; \
             ps -o args | grep -E '[a]vps-backend worker|[a]vpsctl .*supervise'; true",
        ).text()?;
        if left.is_empty() {
            return Ok(());
        }
        ensure(Instant::now() < until, || format!("left behind:\n{left}"))?;
        std::thread::sleep(Duration::from_millis(200));
    }
}
