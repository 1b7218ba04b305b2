//! Guests for libxl's tests.
//!
//! Most tests only need a domain, so they take a kernel of a few instructions, which either idles
//! or shuts down at once: it is made here and is built in no time, also under emulation. The
//! others take a Linux, made of what every bed's dom0 has: the guests' kernel and a static busybox.
//! It says "guest is up" on its console, and powers off or reboots when it is asked to.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libxl::{DomainConfig, DomainEvent, Event, Events, Libxl};

/// What a test returns.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Name and body of a test.
pub(crate) type Test = (&'static str, fn() -> Outcome);

/// The kernel that the bed puts into dom0 for guests.
pub(crate) const KERNEL: &str = "/usr/lib/avps/guest/Image";

const RAMDISK: &str = "/tmp/libxl-guest.cpio";

/// What init does: `busybox` as every applet it needs, then sleep until asked for more.
const INIT: &str = "#!/bin/busybox sh\n\
    /bin/busybox mount -t devtmpfs none /dev\n\
    echo guest is up >/dev/console\n\
    while true; do /bin/busybox sleep 1000; done\n";
const POWEROFF: &str = "#!/bin/busybox sh\nexec /bin/busybox poweroff -f\n";
const REBOOT: &str = "#!/bin/busybox sh\nexec /bin/busybox reboot -f\n";

/// Opens libxl; its warnings and errors go to standard error.
pub(crate) fn open() -> libxl::Result<Libxl> {
    Libxl::open(|level, text| {
        if level >= libxl::Level::Warn {
            eprintln!("libxl: {text}");
        }
    })
}

/// What a guest of a few instructions does.
#[derive(Clone, Copy)]
pub(crate) enum Tiny {
    /// It waits for interrupts.
    Idle,
    /// It takes all the CPU time that it is given.
    Busy,
    /// It shuts down with this reason (`SHUTDOWN_*` in Xen's `public/sched.h`).
    ShutDown(u32),
}

/// `SHUTDOWN_crash`.
pub(crate) const CRASH: u32 = 3;

/// Size of an arm64 Linux Image's header, in bytes (Linux: Documentation/arch/arm64/booting.rst).
const HEADER: usize = 64;

/// A guest of a few instructions, of this name.
pub(crate) fn tiny(name: &str, does: Tiny) -> Result<DomainConfig, Box<dyn Error>> {
    let (file, code, data) = match does {
        // wfi; b .-4
        Tiny::Idle => (
            "/tmp/libxl-idle".to_owned(),
            &[0xd503_207f_u32, 0x17ff_ffff][..],
            0,
        ),
        // b .
        Tiny::Busy => ("/tmp/libxl-busy".to_owned(), &[0x1400_0000][..], 0),
        // adr x1, data; mov x0, SCHEDOP_shutdown; mov x16, sched_op; hvc 0xea1; b .
        Tiny::ShutDown(reason) => (
            format!("/tmp/libxl-shutdown-{reason}"),
            &[
                0x1000_0101,
                0xd280_0040,
                0xd280_03b0,
                0xd401_d422,
                0x1400_0000,
            ][..],
            reason,
        ),
    };
    // b start; the header's size field: 4 KiB; its magic.
    let mut image = vec![0_u8; 4096];
    image[..4].copy_from_slice(&0x1400_0010_u32.to_le_bytes());
    image[16..24].copy_from_slice(&4096_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    for (at, word) in (HEADER..).step_by(4).zip(code) {
        image[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    image[HEADER + 32..HEADER + 36].copy_from_slice(&data.to_le_bytes());
    fs::write(&file, image)?;
    Ok(DomainConfig::new(name, file, 16 * 1024, 1))
}

/// A Linux guest of this name.
pub(crate) fn linux(name: &str) -> Result<DomainConfig, Box<dyn Error>> {
    let mut config = DomainConfig::new(name, KERNEL, 96 * 1024, 1);
    config.ramdisk = Some(ramdisk()?);
    config.cmdline = Some("console=hvc0 rdinit=/init".to_owned());
    Ok(config)
}

/// A domain that is destroyed when the test is over, however it ends.
pub(crate) struct Guest<'a> {
    libxl: &'a Libxl,
    /// Its number.
    pub(crate) domid: u32,
}

impl<'a> Guest<'a> {
    /// Creates it, paused.
    pub(crate) fn create(libxl: &'a Libxl, config: &DomainConfig) -> libxl::Result<Self> {
        Ok(Self {
            libxl,
            domid: libxl.create(config)?,
        })
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let alive = self.libxl.domain(self.domid);
        if !alive.is_ok_and(|domain| !domain.dying) {
            return;
        }
        if let Err(error) = self.libxl.destroy(self.domid) {
            eprintln!("the test's guest stays behind: {error}");
        }
    }
}

/// Waits for this event and no other.
pub(crate) fn expect(
    events: &mut Events,
    domid: u32,
    event: DomainEvent,
) -> Result<(), Box<dyn Error>> {
    let wanted = Event { domid, event };
    match events.wait(Some(Duration::from_secs(60)))? {
        Some(seen) if seen == wanted => Ok(()),
        Some(seen) => Err(format!("{seen:?} instead of {wanted:?}").into()),
        None => Err(format!("no {wanted:?} within a minute").into()),
    }
}

/// Asks again and again until `done` says yes.
pub(crate) fn until(
    what: &str,
    mut done: impl FnMut() -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("not within a minute: {what}").into())
}

/// Makes the initial file system, once.
fn ramdisk() -> Result<PathBuf, Box<dyn Error>> {
    let path = PathBuf::from(RAMDISK);
    if path.exists() {
        return Ok(path);
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .ok_or("dom0 has no busybox")?;
    let mut archive = Vec::new();
    for folder in ["bin", "dev", "sbin"] {
        entry(&mut archive, folder, 0o040_755, &[])?;
    }
    entry(&mut archive, "bin/busybox", 0o100_755, &fs::read(busybox)?)?;
    entry(&mut archive, "init", 0o100_755, INIT.as_bytes())?;
    entry(
        &mut archive,
        "sbin/poweroff",
        0o100_755,
        POWEROFF.as_bytes(),
    )?;
    entry(&mut archive, "sbin/reboot", 0o100_755, REBOOT.as_bytes())?;
    entry(&mut archive, "TRAILER!!!", 0, &[])?;
    fs::write(&path, archive)?;
    Ok(path)
}

/// One entry in cpio's "newc" form (Linux: Documentation/driver-api/early-userspace).
fn entry(
    archive: &mut Vec<u8>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> Result<(), Box<dyn Error>> {
    let size = u32::try_from(content.len())?;
    let name_size = u32::try_from(name.len() + 1)?;
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    let fields = [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
