//! Values on their way between C and Rust that are the same for every release.

use std::ffi::{CStr, c_char};
use std::time::{SystemTime, UNIX_EPOCH};

/// Copies a string that libxl keeps; null becomes empty.
///
/// # Safety
///
/// `text` must be null or NUL-terminated.
pub(crate) unsafe fn borrowed(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// Copies and frees a string from libxl's `malloc`; null becomes `None`.
///
/// # Safety
///
/// `text` must be null, or NUL-terminated, from `malloc`, and not used afterwards.
pub(crate) unsafe fn owned(text: *mut c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes().to_vec();
    // SAFETY: promised by the caller.
    unsafe { libc::free(text.cast()) };
    Some(bytes)
}

/// The time of day, as libxl wants it.
pub(crate) fn now() -> libc::timeval {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    libc::timeval {
        tv_sec: libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(now.subsec_micros()),
    }
}
