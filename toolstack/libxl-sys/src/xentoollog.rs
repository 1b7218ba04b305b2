//! The logger that libxl and libxenctrl report to (`xentoollog.h`), written by hand.
//!
//! It is the one interface of libxl's that differs by architecture, because its callback takes a
//! `va_list`. It has not changed since Xen 4.1 (soname `libxentoollog.so.1`).

use core::ffi::{c_char, c_int, c_uint, c_ulong};

/// `xentoollog_level`: one of the `XTL_*` constants.
pub type XentoollogLevel = c_uint;

/// Detail for libxl's own developers.
pub const XTL_DEBUG: XentoollogLevel = 1;
/// More than an operator usually wants.
pub const XTL_VERBOSE: XentoollogLevel = 2;
/// Steps of an operation.
pub const XTL_DETAIL: XentoollogLevel = 3;
/// How far an operation has come.
pub const XTL_PROGRESS: XentoollogLevel = 4;
/// Ordinary news.
pub const XTL_INFO: XentoollogLevel = 5;
/// News worth reading.
pub const XTL_NOTICE: XentoollogLevel = 6;
/// Something is wrong and the operation goes on.
pub const XTL_WARN: XentoollogLevel = 7;
/// An operation, or a part of one, failed.
pub const XTL_ERROR: XentoollogLevel = 8;
/// Nothing can be relied on any more.
pub const XTL_CRITICAL: XentoollogLevel = 9;

/// What a `va_list` parameter is on x86_64: the array type of the System V ABI (figure 3.34)
/// decays to a pointer to its only element.
#[cfg(target_arch = "x86_64")]
pub type VaList = *mut VaListTag;

/// The element of x86_64's `va_list`; only ever handled through a pointer.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
#[derive(Debug)]
pub struct VaListTag {
    gp_offset: c_uint,
    fp_offset: c_uint,
    overflow_arg_area: *mut core::ffi::c_void,
    reg_save_area: *mut core::ffi::c_void,
}

/// What a `va_list` parameter is on AArch64: a structure passed by value (AAPCS64, appendix
/// "Variable argument lists"). It must be used once only, as C's is.
#[cfg(target_arch = "aarch64")]
#[repr(C)]
#[derive(Debug)]
pub struct VaList {
    stack: *mut core::ffi::c_void,
    gr_top: *mut core::ffi::c_void,
    vr_top: *mut core::ffi::c_void,
    gr_offs: c_int,
    vr_offs: c_int,
}

#[cfg(target_arch = "aarch64")]
const _: () = assert!(size_of::<VaList>() == 32 && align_of::<VaList>() == 8);
#[cfg(target_arch = "x86_64")]
const _: () = assert!(size_of::<VaListTag>() == 24 && align_of::<VaListTag>() == 8);

/// `struct xentoollog_logger`: three callbacks; an implementation puts its own data behind them.
#[allow(non_camel_case_types, reason = "C's own name")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct xentoollog_logger {
    /// A message: level, `errno` or -1, context (may be null), `printf` format and arguments.
    pub vmessage: Option<
        unsafe extern "C" fn(
            logger: *mut xentoollog_logger,
            level: XentoollogLevel,
            errnoval: c_int,
            context: *const c_char,
            format: *const c_char,
            arguments: VaList,
        ),
    >,
    /// Progress of something long; may be `None`.
    pub progress: Option<
        unsafe extern "C" fn(
            logger: *mut xentoollog_logger,
            context: *const c_char,
            doing_what: *const c_char,
            percent: c_int,
            done: c_ulong,
            total: c_ulong,
        ),
    >,
    /// Called by `xtl_logger_destroy`, which libxl never calls on a logger it was given.
    pub destroy: Option<unsafe extern "C" fn(logger: *mut xentoollog_logger)>,
}

unsafe extern "C" {
    /// C's `vsnprintf`: formats into `buffer` of `size` bytes, always ending it with NUL when
    /// `size` is not 0, and returns how many bytes the whole text has (negative on error).
    ///
    /// # Safety
    ///
    /// `buffer` must have `size` writable bytes; `format` and `arguments` must belong together and
    /// `arguments` must not be used again.
    pub fn vsnprintf(
        buffer: *mut c_char,
        size: usize,
        format: *const c_char,
        arguments: VaList,
    ) -> c_int;
}
