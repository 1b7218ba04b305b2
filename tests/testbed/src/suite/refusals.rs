//! Bad input: each gets a clear error, and nothing is broken or left behind.

use super::guests::{self, IMAGES, Spec};
use super::in_dom0;
use super::{Context, Outcome, Test, ensure};
use agent::client::Output;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("refused: an image that is missing", 60, image_missing),
        Test::new(
            "refused: an image that is not a multiple of 512 bytes",
            60,
            image_size,
        ),
        Test::new("refused: a document with an unknown key", 60, unknown_key),
        Test::new("refused: a domain name that is there twice", 60, name_twice),
        Test::new(
            "refused: more memory than the machine has",
            60,
            too_much_memory,
        ),
        Test::new(
            "refused: a guest kernel that is missing",
            60,
            kernel_missing,
        ),
        Test::new(
            "refused: a second guest on an image that is written",
            120,
            image_in_use,
        ),
        Test::new("refused: up while no backend runs", 90, no_backend),
        Test::new("refused: a user without rights", 60, no_rights),
        Test::new(
            "refused: dom0's tools in a guest, by Xen and by XenStore",
            120,
            in_a_guest,
        ),
        Test::new(
            "refused: Ctrl-C in the middle of up takes everything back",
            120,
            interrupted,
        ),
    ]
}

/// `avpsctl up` of `text` ends with `code` and says each of `words`; no domain and no key is left.
fn refused(context: &Context, text: &str, code: i32, words: &[&str]) -> Outcome {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let path = "/tmp/refused.avps.toml";
    dom0.put_bytes(text.as_bytes(), path, 0o644)?;
    let output = guests::avpsctl(context, &["up", "--timeout", "10", path])?;
    said(&output, code, words)?;
    guests::nothing_left(&context.dom0())
}

fn said(output: &Output, code: i32, words: &[&str]) -> Outcome {
    let text = output.error_text();
    ensure(output.exit.code == Some(code), || {
        format!("{}, not exit code {code}: {text}", output.exit)
    })?;
    words.iter().try_for_each(|word| {
        ensure(text.contains(word), || {
            format!("{word:?} is not in: {text}")
        })
    })
}

fn image_missing(context: &Context) -> Outcome {
    let spec = Spec::new("noimage", "");
    context.sh(&format!("rm -f {}", spec.image()))?;
    refused(context, &spec.text(), 3, &[&spec.image(), "No such file"])
}

fn image_size(context: &Context) -> Outcome {
    let spec = Spec::new("oddimage", "");
    context.sh(&format!(
        "mkdir -p {IMAGES} && head -c 1000 /dev/zero > {}",
        spec.image()
    ))?;
    refused(context, &spec.text(), 3, &[&spec.image(), "1000", "512"])?;
    context.sh(&format!("rm {}", spec.image())).map(drop)
}

fn unknown_key(context: &Context) -> Outcome {
    let spec = Spec::new("unknown", "read_only = true");
    refused(context, &spec.text(), 1, &["read_only", "readonly"])
}

fn name_twice(context: &Context) -> Outcome {
    let text = Spec::new("double", "").text();
    let domain = text
        .split_once("[[domain]]")
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    refused(
        context,
        &format!("{text}[[domain]]{domain}"),
        1,
        &["double"],
    )
}

fn too_much_memory(context: &Context) -> Outcome {
    let spec = Spec::new("huge", "");
    context.sh(&format!("truncate -s 1M {}", spec.image()))?;
    refused(
        context,
        &spec.text().replace("128MiB", "64GiB"),
        3,
        &["memory"],
    )?;
    context.sh(&format!("rm {}", spec.image())).map(drop)
}

fn kernel_missing(context: &Context) -> Outcome {
    let spec = Spec::new("nokernel", "");
    context.sh(&format!("truncate -s 1M {}", spec.image()))?;
    refused(
        context,
        &spec.text().replace("guest/Image", "guest/NoImage"),
        3,
        &["guest/NoImage", "No such file"],
    )?;
    context.sh(&format!("rm {}", spec.image())).map(drop)
}

fn image_in_use(context: &Context) -> Outcome {
    let first = Spec::new("first", "");
    guests::with_guest(context, &first, |_| {
        let second = Spec::new("second", "");
        let text = second.text().replace(&second.image(), &first.image());
        context
            .dom0()
            .put_bytes(text.as_bytes(), &second.document(), 0o644)?;
        let output = guests::avpsctl(context, &["up", "--timeout", "10", &second.document()])?;
        said(&output, 3, &["second", "in use"])?;
        let left = context.sh("xl domid second 2>/dev/null || true")?;
        ensure(left.is_empty(), || format!("domain {left} is left"))
    })
}

fn no_backend(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let holder = guests::holder(context)?;
    context.sh(&format!("kill {holder}; for i in $(seq 100); do kill -0 {holder} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"))?;
    let spec = Spec::new("unserved", "");
    context.sh(&format!("truncate -s 1M {}", spec.image()))?;
    dom0.put_bytes(spec.text().as_bytes(), &spec.document(), 0o644)?;
    let output = guests::avpsctl(context, &["up", "--timeout", "10", &spec.document()])?;
    said(&output, 3, &["avps-backend is not running"])?;
    guests::nothing_left(&context.dom0())?;
    guests::backend(&dom0)?;
    guests::up(context, &spec)?;
    guests::down(context, &spec)
}

fn no_rights(context: &Context) -> Outcome {
    let line = "grep -qs ^nobody: /etc/passwd || echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd; \
                su -s /bin/sh -c 'avpsctl list' nobody";
    let output = context.dom0().shell(line).output()?;
    said(&output, 3, &["ermission denied"])
}

/// Makes a file system with avpsctl, and the libraries it needs, in the guest's image.
const DOM0S_PROGRAMS: &str = "tree=/var/tmp/tree && rm -rf $tree && mkdir -p $tree/usr/bin $tree/usr/lib $tree/dev $tree/proc && \
     ln -s usr/lib $tree/lib && cp /usr/bin/avpsctl /usr/bin/in-dom0 $tree/usr/bin/ && \
     cp -a /usr/lib/aarch64-linux-gnu /usr/lib/ld-linux-aarch64.so.1 $tree/usr/lib/ && \
     /sbin/mke2fs -q -t ext4 -d $tree $image && rm -r $tree";

/// The guest has dom0's programs: Xen and XenStore refuse, not a missing file.
fn in_a_guest(context: &Context) -> Outcome {
    let spec = Spec {
        mib: 64,
        fill: DOM0S_PROGRAMS,
        ..Spec::new("curious", "")
    };
    guests::with_guest(context, &spec, |guest| {
        guest
            .shell("mkdir -p /mnt && mount -t ext4 /dev/vda /mnt && mount -o bind /dev /mnt/dev && mount -t proc proc /mnt/proc")
            .text()?;
        for command in ["list", "info"] {
            let argv = ["chroot", "/mnt", "/usr/bin/avpsctl", command];
            let output = guest.command(argv).time(Duration::from_secs(60)).output()?;
            said(&output, 3, &["denied"])?;
        }
        let test = "guest: XenStore refuses what is not the guest's own, and the client says so";
        let output = guest
            .command(["chroot", "/mnt", "/usr/bin/in-dom0", test])
            .output()?;
        in_dom0::passed(&output, test)
    })
}

/// The holder is stopped, so that `up` waits; then the signal comes.
fn interrupted(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    guests::backend(&dom0)?;
    let spec = Spec::new("broken-off", "");
    context.sh(&format!("truncate -s 1M {}", spec.image()))?;
    dom0.put_bytes(spec.text().as_bytes(), &spec.document(), 0o644)?;
    let output = guests::while_stopped(context, |_| {
        let log = "/var/log/bed/broken-off.log";
        let pid = dom0.spawn(["avpsctl", "up", &spec.document()], log)?;
        let until = Instant::now() + context.within(Duration::from_secs(20));
        while context
            .sh("xl domid broken-off 2>/dev/null || true")?
            .is_empty()
        {
            ensure(
                Instant::now() < until,
                || "avpsctl up created no domain in 20 s",
            )?;
        }
        dom0.kill_only(pid, 2)?;
        let exit = dom0.wait(pid, Duration::from_secs(60))?;
        Ok(Output {
            exit,
            stdout: Vec::new(),
            stderr: dom0.get(log)?,
        })
    })?;
    ensure(
        !output.exit.success(),
        || "an interrupted up says that all is well",
    )?;
    ensure(output.error_text().contains("nterrupted"), || {
        output.error_text()
    })?;
    context.note(format!("exit code {:?}", output.exit.code));
    guests::nothing_left(&context.dom0())?;
    context.sh(&format!("rm {}", spec.image())).map(drop)
}
