//! The file systems a holder needs. All of them are the kernel's or in memory: nothing has to be unmounted in the end.

use std::ffi::CStr;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

struct Mount {
    kind: &'static str,
    at: &'static str,
    data: &'static CStr,
    what_for: &'static str,
}

/// In this order. What guests write to RAM disks has a file system of its own: a full one must not stand in the way of the
/// devices' records in `/run`.
const MOUNTS: [Mount; 6] = [
    Mount {
        kind: "proc",
        at: "/proc",
        data: c"",
        what_for: "workers cannot be started",
    },
    Mount {
        kind: "sysfs",
        at: "/sys",
        data: c"",
        what_for: "Xen's version cannot be read",
    },
    Mount {
        kind: "devtmpfs",
        at: "/dev",
        data: c"",
        what_for: "Xen cannot be reached (CONFIG_DEVTMPFS)",
    },
    Mount {
        kind: "tmpfs",
        at: "/run",
        data: c"mode=755",
        what_for: "devices have no records (CONFIG_TMPFS)",
    },
    Mount {
        kind: "tmpfs",
        at: super::disks::FOLDER,
        data: c"mode=700",
        what_for: "there are no RAM disks (CONFIG_TMPFS)",
    },
    Mount {
        kind: "tmpfs",
        at: "/tmp",
        data: c"mode=1777",
        what_for: "there is no room for temporary files (CONFIG_TMPFS)",
    },
];

/// Mounts all of them, and tells of each that cannot be.
pub(super) fn mount_all() -> Vec<String> {
    MOUNTS
        .iter()
        .filter_map(|wanted| {
            // There already, as a rule; procfs and sysfs let nobody make any.
            let _ = std::fs::create_dir_all(wanted.at);
            let flags = MountFlags::NOSUID;
            match mount(wanted.kind, wanted.at, wanted.kind, flags, wanted.data) {
                Ok(()) | Err(Errno::BUSY) => None,
                Err(error) => Some(format!(
                    "{} cannot be mounted on {}: {error}; {}",
                    wanted.kind, wanted.at, wanted.what_for
                )),
            }
        })
        .collect()
}
