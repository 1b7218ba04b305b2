//! VM events (`xen/include/public/vm_event.h`): a vCPU stops at what is watched, and a monitor in another domain answers.

/// `VM_EVENT_INTERFACE_VERSION`: in each event and each answer.
pub const INTERFACE_VERSION: u32 = 7;
/// `VM_EVENT_FLAG_VCPU_PAUSED`: the vCPU waits for the answer; in an answer: let it go on.
pub const FLAG_VCPU_PAUSED: u32 = 1;
/// `VM_EVENT_REASON_PRIVILEGED_CALL`: an SMC, on Arm.
pub const REASON_PRIVILEGED_CALL: u32 = 11;

/// `HVM_PARAM_MONITOR_RING_PFN` (`xen/include/public/hvm/params.h`): the guest frame that becomes the ring.
pub const PARAM_MONITOR_RING_PFN: u32 = 28;

/// Events that the ring of one page has room for.
pub const RING_SIZE: u32 = 8;

/// `vm_event_st`: an event, or the answer to one. What a reason brings along is not looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// [`INTERFACE_VERSION`].
    pub version: u32,
    /// `VM_EVENT_FLAG_*`.
    pub flags: u32,
    /// `VM_EVENT_REASON_*`.
    pub reason: u32,
    /// Whose event it is.
    pub vcpu_id: u32,
    /// x86 only.
    pub altp2m_idx: u16,
    /// Zero.
    pub pad: [u16; 3],
    /// By reason.
    pub u: [u64; 4],
    /// Registers, as far as Xen tells them; by architecture.
    pub data: [u64; 43],
}

layout!(Event, size 400, align 8, u @ 24, data @ 56);

/// The ring's page (`xen/include/public/io/ring.h`, `DEFINE_RING_TYPES`). Requests and responses share their places.
#[repr(C)]
pub struct Ring {
    /// Requests that Xen has written.
    pub req_prod: u32,
    /// Xen notifies when `req_prod` passes it.
    pub req_event: u32,
    /// Responses that the monitor has written.
    pub rsp_prod: u32,
    /// Unused by Xen.
    pub rsp_event: u32,
    /// Private to each side.
    pub pad: [u8; 48],
    /// The events.
    pub ring: [Event; RING_SIZE as usize],
}

layout!(Ring, size 3264, align 8, rsp_prod @ 8, ring @ 64);
