//! The file behind a disk: a regular file or a block device, opened by whoever may open paths and handed over as a
//! descriptor.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    FallocateFlags, FlockOperation, OFlags, SeekFrom, fallocate, fcntl_getfl, fdatasync, flock,
    seek,
};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::config::{BlockConfig, BlockSize, Cache, SECTOR};
use crate::buffer::Slab;

/// Why an image cannot be a disk.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The path cannot be opened.
    #[error("cannot open image {path}: {error}{}", open_hint(error, *.readonly))]
    Open {
        /// The path as given.
        path: PathBuf,
        /// Whether reading alone was wanted.
        readonly: bool,
        /// What the system said.
        error: io::Error,
    },
    /// Neither a regular file nor a block device.
    #[error("image is neither a regular file nor a block device")]
    Kind,
    /// Another disk uses it.
    #[error("image is in use by another disk; share it read-only, or give each disk its own")]
    InUse,
    /// It has no bytes.
    #[error("image is empty; create it with its size first, for example: truncate -s 64M IMAGE")]
    Empty,
    /// Its size is not a whole number of blocks.
    #[error("image size of {size} bytes is not a multiple of the block size {block}; resize it to {}", .size.next_multiple_of(u64::from(*.block)))]
    Size {
        /// Size in bytes.
        size: u64,
        /// Block size in bytes.
        block: u32,
    },
    /// Direct I/O does not work with these blocks.
    #[error(
        "direct I/O in blocks of {block} bytes fails on this image ({error}); use block size 4096 or another cache mode"
    )]
    Direct {
        /// Block size in bytes.
        block: u32,
        /// What the system said.
        error: io::Error,
    },
    /// The system failed.
    #[error("cannot examine the image: {0}")]
    Os(#[from] io::Error),
}

fn open_hint(error: &io::Error, readonly: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; create it first, for example: truncate -s 64M IMAGE",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !readonly => {
            "; make it writable, or declare the disk read-only"
        }
        _ => "",
    }
}

/// Opens `path` as [`Image::new`] wants it for `config`.
pub fn open_image(path: &Path, config: &BlockConfig) -> Result<File, ImageError> {
    // Non-blocking, so that a FIFO in the image's place cannot hold us up; it means nothing for files and disks.
    let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    if config.cache == Cache::Direct {
        flags |= libc::O_DIRECT;
    }
    File::options()
        .read(true)
        .write(!config.readonly)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| ImageError::Open {
            path: path.into(),
            readonly: config.readonly,
            error,
        })
}

/// An image that was found fit.
#[derive(Debug)]
pub struct Image {
    file: File,
    sectors: u64,
    direct: bool,
}

impl Image {
    /// Examines an opened image: kind, size, alignment; and locks it (`flock`) against being two writable disks at once.
    /// The lock belongs to the open file, so it lasts as long as any process has this descriptor.
    pub fn new(file: File, config: &BlockConfig) -> Result<Self, ImageError> {
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(ImageError::Kind);
        }
        let lock = match config.readonly {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, lock) {
            Err(Errno::WOULDBLOCK) => return Err(ImageError::InUse),
            // Some network file systems have no locks; a disk there is still better than none.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NOLCK) => {}
            Err(error) => return Err(ImageError::Os(error.into())),
        }
        // A block device's metadata has no length; its end can be sought (as BLKGETSIZE64 would say).
        let size = seek(&file, SeekFrom::End(0)).map_err(io::Error::from)?;
        let block = config.block_size.bytes();
        if size == 0 {
            return Err(ImageError::Empty);
        }
        if !size.is_multiple_of(u64::from(block)) {
            return Err(ImageError::Size { size, block });
        }
        // Whoever opened it decides; a descriptor that differs from the configuration must not do harm.
        let direct = fcntl_getfl(&file)
            .map_err(io::Error::from)?
            .contains(OFlags::DIRECT);
        if direct {
            probe_direct(&file, config.block_size)?;
        }
        Ok(Image {
            file,
            sectors: size.checked_div(SECTOR).unwrap_or_default(),
            direct,
        })
    }

    /// Any file as an image, to see what its errors do.
    #[cfg(test)]
    pub(super) fn unexamined(file: File, sectors: u64) -> Self {
        Image {
            file,
            sectors,
            direct: false,
        }
    }

    /// Size in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// It is open for direct I/O, which pins the memory it transfers.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Reads all of `buffer`; `UnexpectedEof` where the image has become shorter.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Reads all of `buffer` if that takes no I/O, because the page cache has it. Otherwise false, and `buffer` may be
    /// overwritten in part.
    pub fn read_cached(&self, buffer: &mut [u8], offset: u64) -> bool {
        let len = buffer.len();
        let buffers = &mut [IoSliceMut::new(buffer)];
        preadv2(&self.file, buffers, offset, ReadWriteFlags::NOWAIT) == Ok(len)
    }

    /// Writes all of `buffer`.
    pub fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buffer, offset)
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> io::Result<()> {
        loop {
            match fdatasync(&self.file) {
                Err(Errno::INTR) => {}
                result => return result.map_err(Into::into),
            }
        }
    }

    /// Gives a range's space back. What cannot discard keeps it: a discard is a hint.
    pub fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.allocate(
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            offset,
            len,
        ) {
            Err(error) if unsupported(&error) => Ok(()),
            result => result,
        }
    }

    /// Makes a range read as zeros: by deallocating it if `unmap`, else by zeroing its space, else by writing zeros from
    /// `scratch` (which is overwritten).
    pub fn write_zeroes(
        &self,
        offset: u64,
        len: u64,
        unmap: bool,
        scratch: &mut [u8],
    ) -> io::Result<()> {
        let ways = [
            unmap.then_some(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE),
            Some(FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE),
        ];
        for way in ways.into_iter().flatten() {
            match self.allocate(way, offset, len) {
                Err(error) if unsupported(&error) => {}
                result => return result,
            }
        }
        self.write_zeros_by_hand(offset, len, scratch)
    }

    pub(super) fn write_zeros_by_hand(
        &self,
        offset: u64,
        len: u64,
        scratch: &mut [u8],
    ) -> io::Result<()> {
        scratch.fill(0);
        let (mut offset, mut left) = (offset, len);
        while left > 0 {
            let now = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(scratch.len());
            let zeros = scratch
                .get(..now)
                .filter(|zeros| !zeros.is_empty())
                .ok_or(io::ErrorKind::InvalidInput)?;
            self.write_at(zeros, offset)?;
            offset = offset.saturating_add(now as u64);
            left = left.saturating_sub(now as u64);
        }
        Ok(())
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match fallocate(&self.file, flags, offset, len) {
                Err(Errno::INTR) => {}
                result => return result.map_err(Into::into),
            }
        }
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn unsupported(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| {
        matches!(
            errno,
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::INVAL
        )
    })
}

/// Direct I/O needs blocks at least as large as the storage's own.
fn probe_direct(file: &File, block_size: BlockSize) -> Result<(), ImageError> {
    let block = block_size.bytes();
    let mut slab = Slab::new(block as usize);
    let mut parts = slab.parts();
    let buffer = parts.take(block as usize).ok_or(ImageError::Kind)?;
    // At the second block of a kind, so that the offset's alignment is tried too; an image has at least one block.
    file.read_at(buffer, 0)
        .and_then(|_| file.read_at(buffer, u64::from(block)))
        .map_err(|error| ImageError::Direct { block, error })?;
    Ok(())
}
