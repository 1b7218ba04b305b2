//! Values on their way between C and Rust that are the same for every release.

use std::ffi::{CStr, c_char};
use std::time::{SystemTime, UNIX_EPOCH};

/// More CPUs than any machine has.
const MAX_BITS: u32 = 1 << 16;

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

/// Numbers of the bits that are set in a bit map of libxl's.
///
/// # Safety
///
/// `map` is null, or `size` bytes can be read there.
pub(crate) unsafe fn bits(map: *const u8, size: u32) -> Vec<u32> {
    if map.is_null() {
        return Vec::new();
    }
    let size = usize::try_from(size).unwrap_or_default();
    // SAFETY: as the caller says.
    let bytes = unsafe { std::slice::from_raw_parts(map, size) };
    (0..)
        .step_by(8)
        .zip(bytes)
        .flat_map(|(first, byte)| {
            (0..8)
                .filter(move |bit| (byte >> bit) & 1 != 0)
                .map(move |bit| first + bit)
        })
        .collect()
}

/// A bit map with these bits set; none for numbers no machine has CPUs of.
pub(crate) fn bit_map(numbers: &[u32]) -> Option<Vec<u8>> {
    let mut map = Vec::new();
    for &number in numbers {
        let byte = usize::try_from(number / 8)
            .ok()
            .filter(|_| number < MAX_BITS)?;
        if byte >= map.len() {
            map.resize(byte + 1, 0);
        }
        *map.get_mut(byte)? |= 1_u8 << (number % 8);
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_map_has_the_bits_it_was_made_of() {
        for numbers in [&[][..], &[0], &[7, 8], &[1, 63, 64, 130]] {
            let map = bit_map(numbers).expect("small numbers");
            let size = u32::try_from(map.len()).expect("short");
            // SAFETY: the vector has that many bytes.
            let read = unsafe { bits(map.as_ptr(), size) };
            assert_eq!(read, numbers);
        }
        assert_eq!(bit_map(&[u32::MAX]), None);
        // SAFETY: nothing is read.
        assert!(unsafe { bits(std::ptr::null(), 8) }.is_empty());
    }
}
