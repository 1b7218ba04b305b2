//! Page-aligned buffers and direct access to a device.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::path::Path;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Bytes of a page, to which buffers are aligned.
pub(crate) const PAGE: usize = 4096;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Memory that `O_DIRECT` accepts.
pub(crate) struct Buffer(Vec<Page>);

impl Buffer {
    /// At least `bytes`, all zero.
    pub(crate) fn new(bytes: u64) -> Result<Buffer, String> {
        let bytes = usize::try_from(bytes)
            .map_err(|_| format!("a request of {bytes} bytes is too large"))?;
        Ok(Buffer(vec![Page::new_zeroed(); bytes.div_ceil(PAGE)]))
    }

    /// The first `bytes` of it.
    pub(crate) fn bytes_mut(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.0.as_mut_slice().as_mut_bytes()[..bytes]
    }
}

/// Opens `path` past the page cache.
pub(crate) fn open_direct(path: &Path, write: bool) -> Result<File, String> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    rustix::fs::open(
        path,
        access | OFlags::DIRECT | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(File::from)
    .map_err(|error| format!("cannot open {}: {error}", path.display()))
}
