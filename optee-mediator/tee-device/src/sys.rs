//! The device's ioctls and structures (Linux: include/uapi/linux/tee.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `TEE_IOCTL_PARAM_ATTR_TYPE_VALUE_INPUT`; output and both follow.
pub(crate) const VALUE_INPUT: u64 = 1;
/// `TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_INPUT`; output and both follow.
pub(crate) const MEMREF_INPUT: u64 = 5;
/// `TEE_MEMREF_NULL`.
pub(crate) const MEMREF_NULL: u64 = u64::MAX;
/// Parameters of a call (GlobalPlatform).
pub(crate) const PARAMETERS: usize = 4;

/// `_IOC(READ, TEE_IOC_MAGIC, number, 16)`: those that take a [`Buf`], and what is as long.
const fn number(direction: u32, number: u32, size: u32) -> u32 {
    (direction << 30) | (size << 16) | (0xa4 << 8) | number
}
const READ: u32 = 2;
const BOTH: u32 = 3;
/// `TEE_IOC_VERSION`.
pub(crate) const VERSION: u32 = number(READ, 0, 12);
/// `TEE_IOC_SHM_ALLOC`.
pub(crate) const SHM_ALLOC: u32 = number(BOTH, 1, 16);
/// `TEE_IOC_OPEN_SESSION`.
pub(crate) const OPEN_SESSION: u32 = number(READ, 2, 16);
/// `TEE_IOC_INVOKE`.
pub(crate) const INVOKE: u32 = number(READ, 3, 16);
/// `TEE_IOC_CANCEL`.
pub(crate) const CANCEL: u32 = number(READ, 4, 8);
/// `TEE_IOC_CLOSE_SESSION`.
pub(crate) const CLOSE_SESSION: u32 = number(READ, 5, 4);

/// `tee_ioctl_version_data`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Version {
    pub(crate) implementation: u32,
    pub(crate) implementation_capabilities: u32,
    pub(crate) capabilities: u32,
}

/// `tee_ioctl_shm_alloc_data`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ShmAlloc {
    pub(crate) size: u64,
    pub(crate) flags: u32,
    pub(crate) id: i32,
}

/// `tee_ioctl_buf_data`.
#[repr(C)]
pub(crate) struct Buf {
    pub(crate) pointer: u64,
    pub(crate) length: u64,
}

/// `tee_ioctl_param`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Param {
    pub(crate) attributes: u64,
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
}

/// `tee_ioctl_open_session_arg`.
#[repr(C)]
pub(crate) struct OpenSession {
    pub(crate) uuid: [u8; 16],
    pub(crate) client_uuid: [u8; 16],
    pub(crate) client_login: u32,
    pub(crate) cancel_id: u32,
    pub(crate) session: u32,
    pub(crate) result: u32,
    pub(crate) origin: u32,
    pub(crate) number: u32,
    pub(crate) params: [Param; PARAMETERS],
}

/// `tee_ioctl_invoke_arg`.
#[repr(C)]
pub(crate) struct Invoke {
    pub(crate) function: u32,
    pub(crate) session: u32,
    pub(crate) cancel_id: u32,
    pub(crate) result: u32,
    pub(crate) origin: u32,
    pub(crate) number: u32,
    pub(crate) params: [Param; PARAMETERS],
}

/// `tee_ioctl_cancel_arg`.
#[repr(C)]
pub(crate) struct Cancel {
    pub(crate) cancel_id: u32,
    pub(crate) session: u32,
}

const _: () = {
    assert!(size_of::<Version>() == 12);
    assert!(size_of::<ShmAlloc>() == 16);
    assert!(size_of::<Param>() == 32);
    assert!(size_of::<OpenSession>() == 56 + 128);
    assert!(size_of::<Invoke>() == 24 + 128);
    assert!(SHM_ALLOC == 0xc010_a401);
    assert!(INVOKE == 0x8010_a403);
};

/// Issues an ioctl once: a call that a signal interrupts may have begun.
///
/// # Safety
/// `argument` must be what `request` expects of this device, including everything it points to.
pub(crate) unsafe fn ioctl<T>(
    fd: BorrowedFd<'_>,
    request: u32,
    argument: *mut T,
) -> io::Result<i32> {
    // The type of the request number differs between C libraries; its bits are what counts.
    #[allow(clippy::cast_possible_wrap, clippy::cast_lossless)]
    let request = request as libc::Ioctl;
    // SAFETY: promised by the caller.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
