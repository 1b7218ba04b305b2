//! The few control operations that a monitor of VM events needs (`xen/include/public/domctl.h`).
//!
//! Control operations are no stable interface: each carries a version, and Xen refuses every other than its own. The structures
//! here have been the same since Xen 4.6 to 4.22 (4.22 changed only what creates a domain), only the version changes;
//! [`INTERFACE_VERSIONS`] are those known, and Xen is asked.

use crate::domain::DomId;

/// `XEN_DOMCTL_INTERFACE_VERSION` of releases whose structures these are: 4.17, 4.18, 4.19 to 4.21, 4.22; the newest first.
pub const INTERFACE_VERSIONS: [u32; 4] = [0x18, 0x17, 0x16, 0x15];

/// `XEN_DOMCTL_pausedomain`.
pub const PAUSE_DOMAIN: u32 = 3;
/// `XEN_DOMCTL_unpausedomain`.
pub const UNPAUSE_DOMAIN: u32 = 4;
/// `XEN_DOMCTL_getdomaininfo`.
pub const GET_DOMAIN_INFO: u32 = 5;
/// `XEN_DOMCTL_setvcpucontext`.
pub const SET_VCPU_CONTEXT: u32 = 12;
/// `XEN_DOMCTL_getvcpucontext`.
pub const GET_VCPU_CONTEXT: u32 = 13;
/// `XEN_DOMCTL_vm_event_op`.
pub const VM_EVENT_OP: u32 = 56;
/// `XEN_DOMCTL_monitor_op`.
pub const MONITOR_OP: u32 = 77;

/// `XEN_VM_EVENT_ENABLE`.
pub const VM_EVENT_ENABLE: u32 = 0;
/// `XEN_VM_EVENT_DISABLE`.
pub const VM_EVENT_DISABLE: u32 = 1;
/// `XEN_VM_EVENT_GET_VERSION`; of no domain.
pub const VM_EVENT_GET_VERSION: u32 = 3;
/// `XEN_DOMCTL_VM_EVENT_OP_MONITOR`.
pub const VM_EVENT_MONITOR: u32 = 2;

/// `XEN_DOMCTL_MONITOR_OP_ENABLE`.
pub const MONITOR_ENABLE: u32 = 0;
/// `XEN_DOMCTL_MONITOR_OP_DISABLE`.
pub const MONITOR_DISABLE: u32 = 1;
/// `XEN_DOMCTL_MONITOR_EVENT_PRIVILEGED_CALL`.
pub const MONITOR_PRIVILEGED_CALL: u32 = 7;

/// `xen_domctl`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DomCtl {
    /// `XEN_DOMCTL_*`.
    pub cmd: u32,
    /// One of [`INTERFACE_VERSIONS`].
    pub interface_version: u32,
    /// The domain.
    pub domain: DomId,
    /// Zero.
    pub pad: [u16; 3],
    /// By operation.
    pub u: Argument,
}

layout!(DomCtl, size 144, align 8, domain @ 8, u @ 16);

/// Arguments and answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub union Argument {
    /// Of [`SET_VCPU_CONTEXT`] and [`GET_VCPU_CONTEXT`].
    pub context: ContextOp,
    /// Of [`VM_EVENT_OP`].
    pub vm_event: VmEventOp,
    /// Of [`MONITOR_OP`].
    pub monitor: MonitorOp,
    /// Of [`GET_DOMAIN_INFO`].
    pub info: DomainInfo,
    /// Its size.
    pub room: [u64; 16],
}

/// `xen_domctl_vcpucontext`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ContextOp {
    /// The vCPU.
    pub vcpu: u32,
    /// Zero.
    pub pad: u32,
    /// Address of a [`VcpuContext`].
    pub context: u64,
}

/// `xen_domctl_vm_event_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VmEventOp {
    /// `XEN_VM_EVENT_*`.
    pub op: u32,
    /// [`VM_EVENT_MONITOR`].
    pub mode: u32,
    /// Out: the ring's event channel, or the version.
    pub answer: u32,
}

/// `xen_domctl_monitor_op`, as far as an event without options needs it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MonitorOp {
    /// `XEN_DOMCTL_MONITOR_OP_*`.
    pub op: u32,
    /// `XEN_DOMCTL_MONITOR_EVENT_*`.
    pub event: u32,
    /// None of ours has options.
    pub options: [u64; 2],
}

layout!(MonitorOp, size 24, align 8, options @ 8);

/// `xen_domctl_getdomaininfo`, up to the last field that is wanted here.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DomainInfo {
    /// Out: the domain.
    pub domain: DomId,
    /// Zero.
    pub pad: u16,
    /// Out: [`DOMAIN_DYING`] and others.
    pub flags: u32,
    /// Out: how much memory it has, in pages, and where its shared page is.
    pub memory: [u64; 6],
    /// Out: its vCPUs' time so far, in nanoseconds.
    pub cpu_time: u64,
    /// Out: vCPUs that are online.
    pub online_vcpus: u32,
    /// Out: the highest number of a vCPU; [`NO_VCPU`] when it has none.
    pub last_vcpu: u32,
}

layout!(DomainInfo, size 72, align 8, flags @ 4, memory @ 8, cpu_time @ 56, online_vcpus @ 64, last_vcpu @ 68);

/// `XEN_DOMINF_dying`: it has ended, and somebody still holds a page of it.
pub const DOMAIN_DYING: u32 = 1;
/// `XEN_INVALID_MAX_VCPU_ID`.
pub const NO_VCPU: u32 = u32::MAX;

/// `vcpu_guest_context` of Arm (`xen/include/public/arch-arm.h`): what [`GET_VCPU_CONTEXT`] gives.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuContext {
    /// Bit 0: the vCPU is online. What sets a context must keep it.
    pub flags: u32,
    /// Zero.
    pub pad: u32,
    /// `x0` to `x30`.
    pub x: [u64; 31],
    /// Of the instruction that is to come.
    pub pc: u64,
    /// Saved program status.
    pub cpsr: u64,
    /// `spsr_el1`, those of AArch32, `sp_el0`, `sp_el1`, `elr_el1`.
    pub banked: [u64; 6],
    /// `sctlr`, `ttbcr`, `ttbr0`, `ttbr1`.
    pub system: [u64; 4],
}

layout!(VcpuContext, size 352, align 8, x @ 8, pc @ 256, cpsr @ 264, banked @ 272, system @ 320);
