//! Opening what stands behind a disk, in the holder: a worker gets the descriptor and no path.
//!
//! What an image must be like is the block device's to say ([`devices::block`]); here it is asked early, so that the
//! toolstack learns of a bad image at once, with its path. The examination also locks the image (flock). The
//! lock belongs to the open file, so holder and worker share it, and it ends with the last of both.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use devices::block::{self, BlockConfig, BlockSize, IoEngine, QueueCount};
use rustix::io::Errno;
use thiserror::Error;

use crate::ipc::message::Block;
use crate::parameters::Cache;

/// Pause between attempts to get an image that a predecessor is about to let go.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why an image cannot be served.
#[derive(Debug, Error)]
pub(crate) enum ImageError {
    /// The message names the path already.
    #[error("{0}")]
    Open(block::ImageError),
    /// Found unfit after it was opened.
    #[error("image {path}: {source}")]
    Unfit {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: block::ImageError,
    },
    /// Out of descriptors.
    #[error("image {path}: {source}")]
    Handle {
        /// The image.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ImageError {
    /// Whether the image may be there in a moment: a node that the kernel has yet to make, or whose device does not answer yet.
    /// A file that is missing elsewhere is nobody's to make by itself.
    pub(crate) fn may_come(&self) -> bool {
        let ImageError::Open(block::ImageError::Open { path, error, .. }) = self else {
            return false;
        };
        let errno = Errno::from_io_error(error);
        path.starts_with("/dev") && matches!(errno, Some(Errno::NOENT | Errno::NXIO | Errno::NODEV))
    }
}

/// The device model's configuration for a device as the holder describes it.
///
/// # Errors
/// A block size or a number of queues that the device cannot present.
pub(crate) fn config(block: &Block) -> Result<BlockConfig, String> {
    Ok(BlockConfig {
        readonly: block.read_only,
        block_size: BlockSize::from_bytes(block.block_size)
            .ok_or_else(|| format!("a block size of {} bytes is not offered", block.block_size))?,
        cache: match block.cache {
            Cache::Writeback => block::Cache::Writeback,
            Cache::Writethrough => block::Cache::Writethrough,
            Cache::Direct => block::Cache::Direct,
        },
        serial: block.serial.clone(),
        queues: QueueCount::new(block.queues)
            .ok_or_else(|| format!("a disk cannot have {} queues", block.queues))?,
        engine: IoEngine::Auto,
    })
}

/// Opens, examines and locks an image. One that is locked is tried again until `patience` is over: the worker
/// of a holder that was killed may need a moment to end.
///
/// # Errors
/// Told from the user's side.
pub(crate) fn open(
    path: &std::path::Path,
    config: &BlockConfig,
    patience: Duration,
) -> Result<File, ImageError> {
    let file = block::open_image(path, config).map_err(ImageError::Open)?;
    let started = Instant::now();
    loop {
        let copy = file.try_clone().map_err(|source| ImageError::Handle {
            path: path.to_owned(),
            source,
        })?;
        match block::Image::new(copy, config) {
            Ok(_) => return Ok(file),
            Err(block::ImageError::InUse) if started.elapsed() < patience => {
                thread::sleep(RETRY_PAUSE);
            }
            Err(source) => {
                return Err(ImageError::Unfit {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::Path;

    fn image(directory: &tempfile::TempDir, bytes: usize) -> PathBuf {
        let path = directory.path().join("image");
        std::fs::write(&path, vec![0; bytes]).unwrap();
        path
    }

    fn writer() -> BlockConfig {
        BlockConfig::default()
    }

    fn reader() -> BlockConfig {
        BlockConfig {
            readonly: true,
            ..writer()
        }
    }

    fn try_open(path: &Path, config: &BlockConfig) -> Result<File, ImageError> {
        open(path, config, Duration::ZERO)
    }

    fn in_use(result: Result<File, ImageError>) -> bool {
        matches!(
            result,
            Err(ImageError::Unfit {
                source: block::ImageError::InUse,
                ..
            })
        )
    }

    #[test]
    fn a_bad_image_is_told_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let missing = try_open(Path::new("/does/not/exist"), &writer()).unwrap_err();
        assert!(missing.to_string().contains("/does/not/exist"));
        let odd = image(&directory, 1000);
        let text = try_open(&odd, &writer()).unwrap_err().to_string();
        assert!(text.contains(&odd.display().to_string()), "{text}");
        assert!(text.contains("1000") && text.contains("512"), "{text}");
        let folder = try_open(directory.path(), &reader())
            .unwrap_err()
            .to_string();
        assert!(folder.contains("regular file"), "{folder}");
    }

    #[test]
    fn only_a_device_may_come_by_itself() {
        let missing = |path: &str| try_open(Path::new(path), &writer()).unwrap_err();
        assert!(missing("/dev/avps-not-probed-yet").may_come());
        assert!(!missing("/does/not/exist").may_come());
        // What is there and unfit stays so.
        let folder = try_open(Path::new("/dev"), &reader()).unwrap_err();
        assert!(!folder.may_come(), "{folder}");
    }

    #[test]
    fn a_fifo_in_an_images_place_does_not_hold_the_holder_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(try_open(&path, &writer()).is_err());
        assert!(try_open(&path, &reader()).is_err());
    }

    #[test]
    fn one_image_is_not_written_by_two_guests() {
        let directory = tempfile::tempdir().unwrap();
        let path = image(&directory, 4096);

        let first = try_open(&path, &writer()).unwrap();
        assert!(in_use(try_open(&path, &writer())));
        assert!(in_use(try_open(&path, &reader())));
        drop(first);

        let one = try_open(&path, &reader()).unwrap();
        let two = try_open(&path, &reader()).unwrap();
        assert!(in_use(try_open(&path, &writer())));
        drop((one, two));
        assert!(try_open(&path, &writer()).is_ok());
    }

    #[test]
    fn the_lock_outlives_the_holders_own_handle_while_a_worker_has_the_image() {
        let directory = tempfile::tempdir().unwrap();
        let path = image(&directory, 4096);
        let holder = try_open(&path, &writer()).unwrap();
        let worker = holder.try_clone().unwrap();
        drop(holder);
        assert!(in_use(try_open(&path, &writer())));
        drop(worker);
        assert!(try_open(&path, &writer()).is_ok());
    }

    #[test]
    fn an_image_that_is_let_go_in_time_is_got() {
        let directory = tempfile::tempdir().unwrap();
        let path = image(&directory, 4096);
        let first = try_open(&path, &writer()).unwrap();
        let release = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        assert!(open(&path, &writer(), Duration::from_secs(10)).is_ok());
        release.join().unwrap();
    }

    #[test]
    fn a_read_only_device_cannot_write_its_image() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = try_open(&image(&directory, 4096), &reader()).unwrap();
        assert!(file.write_all(b"x").is_err());
    }
}
