//! Namespaces, and a root directory with nothing in it.

use std::io;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_move, unmount,
};
use rustix::process::{chdir, chroot, pivot_root};
use rustix::thread::UnshareFlags;

use crate::{Missed, Step};

/// A directory that every Linux system has; the empty root is put there before it becomes the root.
const PLACE: &str = "/proc";

/// Enters new namespaces, with an empty root directory.
pub(crate) fn enter(missing: &mut Missed) {
    missing.note(Step::NetworkNamespace, unshare(UnshareFlags::NEWNET));
    missing.note(Step::IpcNamespace, unshare(UnshareFlags::NEWIPC));
    missing.note(Step::UtsNamespace, unshare(UnshareFlags::NEWUTS));
    let mounts = unshare(UnshareFlags::NEWNS);
    // Without a namespace of our own, mounts would be everybody's.
    let root = match &mounts {
        Ok(()) => empty_root(),
        Err(_) => Err(Errno::PERM.into()),
    };
    missing.note(Step::MountNamespace, mounts);
    missing.note(Step::EmptyRoot, root);
}

/// Enters a user namespace in which no id is mapped: there is nobody one could become there.
pub(crate) fn user() -> io::Result<()> {
    unshare(UnshareFlags::NEWUSER)
}

fn unshare(what: UnshareFlags) -> io::Result<()> {
    // SAFETY: never called with `FILES`, the one flag that affects descriptors.
    unsafe { rustix::thread::unshare_unsafe(what) }.map_err(Into::into)
}

fn empty_root() -> io::Result<()> {
    // Nothing that is mounted here may be seen elsewhere, nor the other way round.
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // One inode: the directory itself.
    mount(
        "none",
        PLACE,
        "tmpfs",
        flags,
        c"size=4096,nr_inodes=1,mode=0555",
    )?;
    chdir(PLACE)?;
    match pivot_root(".", ".") {
        // The old root lies over the new one now.
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        // A system that runs from its initramfs: that root can be covered, not taken away.
        Err(Errno::INVAL) => {
            mount_move(".", "/")?;
            chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    chdir("/")?;
    check_empty()
}

/// Looks whether it worked: what stands here was believed too often.
fn check_empty() -> io::Result<()> {
    match rustix::fs::statat(CWD, "/proc", rustix::fs::AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(io::Error::other("the old root can still be seen")),
    }
}
