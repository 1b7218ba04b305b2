//! Operations of the security module FLASK (`xen/include/public/xsm/flask_op.h`), number
//! [`XSM_OP`](crate::hypercall::XSM_OP).

/// `XEN_FLASK_INTERFACE_VERSION`.
pub const INTERFACE_VERSION: u32 = 1;

/// `FLASK_LOAD`: argument [`Load`].
pub const LOAD: u32 = 1;
/// `FLASK_GETENFORCE`: returns 1 when denials are carried out, 0 when they are only logged.
pub const GETENFORCE: u32 = 2;
/// `FLASK_SETENFORCE`: argument [`SetEnforce`].
pub const SETENFORCE: u32 = 3;
/// `FLASK_CONTEXT_TO_SID`: argument [`SidContext`].
pub const CONTEXT_TO_SID: u32 = 4;
/// `FLASK_ACCESS`: argument [`Access`].
pub const ACCESS: u32 = 6;

/// `struct xen_flask_load`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Load {
    /// Address of the binary policy.
    pub buffer: u64,
    /// Its length in bytes.
    pub size: u32,
}
layout!(Load, size 16, align 8, buffer @ 0, size @ 8);

/// `struct xen_flask_setenforce`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SetEnforce {
    /// 0 or 1.
    pub enforcing: u32,
}
layout!(SetEnforce, size 4, align 4);

/// `struct xen_flask_sid_context`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SidContext {
    /// Number of the context.
    pub sid: u32,
    /// Length of the text in bytes.
    pub size: u32,
    /// Address of the text.
    pub context: u64,
}
layout!(SidContext, size 16, align 8, sid @ 0, size @ 4, context @ 8);

/// `struct xen_flask_access`. Permissions are bits in the order in which the class declares them.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Access {
    /// Who acts: number of a context.
    pub ssid: u32,
    /// On what: number of a context.
    pub tsid: u32,
    /// Class of the object, counted from 1 in the order of declaration.
    pub tclass: u32,
    /// Permissions asked for.
    pub req: u32,
    /// Out: permissions that the policy allows.
    pub allowed: u32,
    /// Out: permissions whose use is logged.
    pub audit_allow: u32,
    /// Out: permissions whose refusal is logged.
    pub audit_deny: u32,
    /// Out: number of the policy, counted up by each load.
    pub seqno: u32,
}
layout!(Access, size 32, align 4, tclass @ 8, allowed @ 16, seqno @ 28);

/// The arguments of the operations.
#[derive(Clone, Copy)]
#[repr(C)]
pub union Argument {
    /// Of [`LOAD`].
    pub load: Load,
    /// Of [`SETENFORCE`].
    pub enforce: SetEnforce,
    /// Of [`CONTEXT_TO_SID`].
    pub sid_context: SidContext,
    /// Of [`ACCESS`].
    pub access: Access,
}

/// `struct xen_flask_op`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct FlaskOp {
    /// The operation.
    pub cmd: u32,
    /// [`INTERFACE_VERSION`].
    pub interface_version: u32,
    /// Its argument.
    pub u: Argument,
}
layout!(FlaskOp, size 40, align 8, cmd @ 0, interface_version @ 4, u @ 8);
