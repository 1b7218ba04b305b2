//! Descriptors that were inherited by accident.

use std::io;

/// Makes every descriptor of this process but the three standard ones close when another program is started.
///
/// Our own are opened that way; this is for those that came from whoever started us, and from libraries.
///
/// # Errors
/// Linux before 5.11.
pub fn keep_from_children() -> io::Result<()> {
    // SAFETY: sets a flag on descriptors and closes none, so nobody's descriptor is taken away.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
