//! A machine without Xen: one guest on plain QEMU whose disks come from other programs over vhost-user.

use super::Result;
use super::bed::connect;
use super::board::CPU;
use super::folder::Folder;
use super::qemu::{NAME, Qemu, SERIAL_LOG, comma};
use crate::artefacts;
use agent::client::{Client, Remote};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// MiB of the guest: most of it is page cache.
const MEMORY_MIB: u32 = 512;
const POWEROFF_LIMIT: Duration = Duration::from_secs(20);

/// A running machine. Dropped, it is switched off hard.
pub(crate) struct Plain {
    qemu: Qemu,
    client: Client,
}

impl Plain {
    /// Boots with a disk from each of these sockets.
    pub(crate) fn boot(
        media: &artefacts::Plain,
        folder: &Folder,
        disks: &[PathBuf],
    ) -> Result<Self> {
        let began = Instant::now();
        let qemu = Qemu::launch(NAME, &media.qemu, arguments(media, folder, disks), folder)?;
        let (client, _) = connect(&qemu, folder, began)?;
        Ok(Self { qemu, client })
    }

    /// The guest's agent.
    pub(crate) fn guest(&self) -> Remote {
        self.client.channel(0, "the guest")
    }

    /// Switches off in good order. True if it did as told.
    pub(crate) fn poweroff(self) -> bool {
        self.guest().poweroff().is_ok() && self.qemu.wait(POWEROFF_LIMIT)
    }

    /// Switches off at once, as a crash of the machine's monitor would.
    pub(crate) fn kill(self) {
        self.qemu.kill();
    }
}

fn arguments(media: &artefacts::Plain, folder: &Folder, disks: &[PathBuf]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |name: &str, value: String| {
        arguments.push(name.into());
        arguments.push(value.into());
    };
    // Only on an arm64 host can the guest run on the host's own CPUs.
    let kvm = cfg!(target_arch = "aarch64") && Path::new("/dev/kvm").exists();
    add("-name", "avps-plain".into());
    add("-M", "virt,gic-version=3,memory-backend=ram".into());
    add("-cpu", if kvm { "host" } else { CPU }.into());
    add(
        "-accel",
        if kvm { "kvm" } else { "tcg,thread=multi" }.into(),
    );
    add("-smp", "2".into());
    add("-m", MEMORY_MIB.to_string());
    add(
        "-object",
        format!("memory-backend-memfd,id=ram,size={MEMORY_MIB}M,share=on"),
    );
    add("-display", "none".into());
    add("-monitor", "none".into());
    add(
        "-serial",
        format!("file:{}", folder.log(SERIAL_LOG).display()),
    );
    add("-kernel", media.kernel.display().to_string());
    add("-initrd", media.initramfs.display().to_string());
    add(
        "-append",
        "console=ttyAMA0 rdinit=/init loglevel=4 panic=1 bed.port".into(),
    );
    add("-global", "virtio-mmio.force-legacy=false".into());
    add("-device", "virtio-serial-device".into());
    add(
        "-chardev",
        format!(
            "socket,id=control,server=on,wait=off,path={}",
            comma(&folder.socket("control"))
        ),
    );
    add(
        "-device",
        format!("virtserialport,chardev=control,name={}", agent::PORT_NAME),
    );
    for (number, socket) in disks.iter().enumerate() {
        add(
            "-chardev",
            format!(
                "socket,id=disk{number},path={},reconnect-ms=100",
                comma(socket)
            ),
        );
        // The bed's kernel has no PCI: on virtio-mmio, which `virt` has as well.
        add(
            "-device",
            format!("vhost-user-blk,chardev=disk{number},num-queues=1"),
        );
    }
    arguments.push("-nodefaults".into());
    arguments.push("-no-reboot".into());
    arguments
}
