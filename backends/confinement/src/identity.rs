//! Who the process is and what it may use: user, capabilities, limits.

use std::io;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Threads, io_uring's workers included: eight devices of sixteen queues have less.
const THREADS: u64 = 1024;
/// Open descriptors; a device with sixteen queues has about fifty.
const DESCRIPTORS: u64 = 4096;
/// Memory of io_uring's queues, in bytes.
const RING_BYTES: u64 = 64 << 20;

/// Whether this process may make namespaces as it is.
pub(crate) fn may_administer() -> bool {
    geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Sets limits. Not on the size of files: images are large.
pub(crate) fn limit() -> io::Result<()> {
    let limits = [
        (Resource::Core, 0),
        (Resource::Nproc, THREADS),
        (Resource::Nofile, DESCRIPTORS),
    ];
    for (resource, most) in limits {
        let before = rustix::process::getrlimit(resource);
        let most = before.maximum.map_or(most, |before| before.min(most));
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )?;
    }
    // io_uring's memory counts here for users without rights, and a guest's disks may have a
    // hundred rings. Where it cannot be raised there are fewer of them: refused rings are replaced by threads.
    let enough = Rlimit {
        current: Some(RING_BYTES),
        maximum: Some(RING_BYTES),
    };
    let _ = setrlimit(Resource::Memlock, enough);
    Ok(())
}

/// Becomes user and group `id`, and member of no other group. Not possible without rights; then nothing changes.
pub(crate) fn assume(id: u32) -> io::Result<()> {
    if id == 0 || id == u32::MAX {
        return Err(Errno::INVAL.into());
    }
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    // While it may be done; in a user namespace the set is full again, and emptied again.
    empty_bounding_set()?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// Gives up every capability, including those a program to be started could get back.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    clear_ambient_capability_set()?;
    empty_bounding_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none)?;
    Ok(())
}

/// Empties the set of what programs to be started could get, where this process may.
fn empty_bounding_set() -> io::Result<()> {
    let held = capabilities(None)?;
    if !held.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for number in 0..u64::BITS {
        let Some(one) = 1_u64.checked_shl(number) else {
            break;
        };
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(one)) {
            Ok(()) => {}
            // Past the last one this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// No tracing and no reading of memory by processes of the same user, and no core dump.
pub(crate) fn forbid_tracing() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Into::into)
}

/// Also a condition of the kernel's for system-call filters of users without rights.
pub(crate) fn no_new_privileges() -> io::Result<()> {
    set_no_new_privs(true).map_err(Into::into)
}
