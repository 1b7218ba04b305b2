//! Parameters of a domain (`xen/include/public/hvm/hvm_op.h`).

use crate::domain::DomId;

/// `HVMOP_get_param`.
pub const GET_PARAM: u64 = 1;

/// `xen_hvm_param`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// The domain.
    pub domid: DomId,
    /// Zero.
    pub pad: u16,
    /// `HVM_PARAM_*`.
    pub index: u32,
    /// The parameter's value.
    pub value: u64,
}

layout!(Param, size 16, align 8, index @ 4, value @ 8);
