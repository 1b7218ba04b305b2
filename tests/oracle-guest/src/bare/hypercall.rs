//! Calls into Xen and its PSCI: `xen/include/public/arch-arm.h`, Arm DEN 0022.

use core::arch::asm;
use xen_sys::hypercall::{CONSOLE_IO, EVENT_CHANNEL_OP, MEMORY_OP, XEN_VERSION};

const CONSOLEIO_WRITE: u64 = 0;
const XENMEM_ADD_TO_PHYSMAP: u64 = 7;
const XENMAPSPACE_SHARED_INFO: u32 = 0;
const EVTCHNOP_SEND: u64 = 4;
const EVTCHNOP_STATUS: u64 = 5;
const PSCI_CPU_ON: u64 = 0xc400_0003;

/// Two or three arguments, as every call here has; negative results are Xen's error numbers.
///
/// # Safety
/// What the arguments point to must be as the call expects, and the call must not change memory in use.
unsafe fn call(number: u64, first: u64, second: u64, third: u64) -> i64 {
    let result: i64;
    // SAFETY: the caller's promise; Xen changes no register but its arguments' and x16.
    unsafe {
        asm!(
            "hvc #0xea1",
            inlateout("x0") first => result,
            inlateout("x1") second => _,
            inlateout("x2") third => _,
            inlateout("x16") number => _,
            out("x3") _,
            out("x4") _,
            options(nostack),
        );
    }
    result
}

/// Writes to Xen's console.
pub(super) fn write(bytes: &[u8]) {
    // SAFETY: Xen reads exactly these bytes. There is nobody to tell about an error.
    unsafe {
        call(
            CONSOLE_IO,
            CONSOLEIO_WRITE,
            bytes.len() as u64,
            bytes.as_ptr().addr() as u64,
        );
    }
}

/// Xen's version; the cheapest call there is.
pub(super) fn version() -> i64 {
    // SAFETY: it takes and touches no memory.
    unsafe { call(XEN_VERSION, 0, 0, 0) }
}

/// Notifies the other end of a port.
pub(super) fn send(port: u32) -> i64 {
    // SAFETY: Xen reads one port.
    unsafe {
        call(
            EVENT_CHANNEL_OP,
            EVTCHNOP_SEND,
            (&raw const port).addr() as u64,
            0,
        )
    }
}

/// What Xen tells about a port.
#[repr(C)]
#[derive(Default)]
pub(super) struct Status {
    domain: u16,
    port: u32,
    /// 0 closed, 1 unbound, 2 interdomain.
    pub(super) status: u32,
    vcpu: u32,
    /// The domain at the other end.
    pub(super) remote_domain: u16,
    /// Its port.
    pub(super) remote_port: u32,
}

/// State of an own port.
pub(super) fn status(port: u32) -> Result<Status, i64> {
    let mut status = Status {
        domain: xen_sys::domain::DOMID_SELF,
        port,
        ..Status::default()
    };
    // SAFETY: Xen reads and writes one structure of this layout.
    let result = unsafe {
        call(
            EVENT_CHANNEL_OP,
            EVTCHNOP_STATUS,
            (&raw mut status).addr() as u64,
            0,
        )
    };
    if result == 0 { Ok(status) } else { Err(result) }
}

#[repr(C)]
struct AddToPhysmap {
    domain: u16,
    size: u16,
    space: u32,
    index: u64,
    frame: u64,
}

/// Has Xen show the shared-info page at this guest frame, where nothing else may be.
pub(super) fn map_shared_info(frame: u64) -> i64 {
    let request = AddToPhysmap {
        domain: xen_sys::domain::DOMID_SELF,
        size: 0,
        space: XENMAPSPACE_SHARED_INFO,
        index: 0,
        frame,
    };
    // SAFETY: Xen reads one structure of this layout; the caller chose a frame that is not in use.
    unsafe {
        call(
            MEMORY_OP,
            XENMEM_ADD_TO_PHYSMAP,
            (&raw const request).addr() as u64,
            0,
        )
    }
}

/// Starts another vCPU at `entry` with `context` in its x0.
///
/// # Safety
/// `entry` must be code that runs without stack and MMU, and may use what `context` tells.
pub(super) unsafe fn cpu_on(target: u64, entry: u64, context: u64) -> i64 {
    let result: i64;
    // SAFETY: SMCCC: only x0 to x17 change; the entry is the caller's promise.
    unsafe {
        asm!(
            "hvc #0",
            inlateout("x0") PSCI_CPU_ON => result,
            in("x1") target,
            in("x2") entry,
            in("x3") context,
            clobber_abi("C"),
            options(nostack),
        );
    }
    result
}
