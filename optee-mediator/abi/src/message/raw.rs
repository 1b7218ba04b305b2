//! Messages as they lie in memory (optee_msg.h).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::limits::{HEADER_LEN, PARAM_LEN};

/// `struct optee_msg_arg` without its parameters.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    pub(super) cmd: U32,
    pub(super) func: U32,
    pub(super) session: U32,
    pub(super) cancel_id: U32,
    pub(super) pad: U32,
    pub(super) ret: U32,
    pub(super) ret_origin: U32,
    pub(super) num_params: U32,
}

/// `struct optee_msg_param`: of `struct optee_msg_param_value` the fields a, b and c, of
/// `struct optee_msg_param_tmem` `buf_ptr`, `size` and `shm_ref`, of `struct optee_msg_param_rmem` `offs`, `size` and
/// `shm_ref`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawParam {
    pub(super) attr: U64,
    pub(super) a: U64,
    pub(super) b: U64,
    pub(super) c: U64,
}

/// A request, or an answer to one: both have one parameter.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawRequest {
    pub(super) header: RawHeader,
    pub(super) param: RawParam,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN);
const _: () = assert!(size_of::<RawParam>() == PARAM_LEN);

/// Attributes of a parameter (`OPTEE_MSG_ATTR_*`, optee_msg.h).
pub(super) mod attr {
    /// Nothing.
    pub(in crate::message) const NONE: u64 = 0x0;
    /// A value, to the TEE.
    pub(in crate::message) const VALUE_INPUT: u64 = 0x1;
    /// A value, from the TEE.
    pub(in crate::message) const VALUE_OUTPUT: u64 = 0x2;
    /// A value, both ways.
    pub(in crate::message) const VALUE_INOUT: u64 = 0x3;
    /// Registered memory, to the TEE. FF-A's memory has the same three numbers.
    pub(in crate::message) const RMEM_INPUT: u64 = 0x5;
    /// Registered memory, from the TEE.
    pub(in crate::message) const RMEM_OUTPUT: u64 = 0x6;
    /// Registered memory, both ways.
    pub(in crate::message) const RMEM_INOUT: u64 = 0x7;
    /// Temporary memory, to the TEE.
    pub(in crate::message) const TMEM_INPUT: u64 = 0x9;
    /// Temporary memory, from the TEE.
    pub(in crate::message) const TMEM_OUTPUT: u64 = 0xa;
    /// Temporary memory, both ways.
    pub(in crate::message) const TMEM_INOUT: u64 = 0xb;
    /// The bits of those.
    pub(in crate::message) const TYPE_MASK: u64 = 0xff;
    /// For the TEE, not for the trusted application.
    pub(in crate::message) const META: u64 = 1 << 8;
    /// The memory comes as a list of pages.
    pub(in crate::message) const NONCONTIG: u64 = 1 << 9;
    /// Caching of temporary memory: 0, as it is known of that memory, or this, `OPTEE_SMC_SHM_CACHED` (optee_smc.h)
    /// shifted by `OPTEE_MSG_ATTR_CACHE_SHIFT`. Linux always has 0.
    pub(in crate::message) const CACHED: u64 = 1 << 16;
}

/// Reference in FF-A's memory parameters for "no memory" (`OPTEE_MSG_FMEM_INVALID_GLOBAL_ID`, optee_msg.h).
pub(super) const FMEM_INVALID: u64 = u64::MAX;
