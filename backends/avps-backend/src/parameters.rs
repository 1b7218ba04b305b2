//! What a block device is made of: the image and how to present it.
//!
//! The same values come from three places (avpsctl's `avps/*` keys, `--adopt` rules, libxl's
//! `virtio_disk` folders); each place parses its own text and ends here, so that everything behind
//! this module works on checked values only.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use devices::block::QueueCount;
use devices::block::config::MAX_QUEUES;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Length of a virtio-blk serial in bytes (virtio 1.4 §5.2.6, `VIRTIO_BLK_ID_BYTES`).
pub(crate) const SERIAL_BYTES: usize = 20;

/// How the backend reaches guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Memory {
    /// Only what the guest granted, page by page.
    Grant,
    /// The whole guest, mapped on demand; dom0 only.
    Foreign,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Memory::Grant => "grant",
            Memory::Foreign => "foreign",
        })
    }
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cache {
    /// In the host's page cache; the guest flushes when it needs durability.
    #[default]
    Writeback,
    /// On the medium, for each write; no flush is offered.
    Writethrough,
    /// Past the host's page cache.
    Direct,
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cache::Writeback => "writeback",
            Cache::Writethrough => "writethrough",
            Cache::Direct => "direct",
        })
    }
}

/// Everything a block device needs besides its place in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockParameters {
    /// Image file or block device, as an absolute path in the backend's domain.
    pub(crate) image: PathBuf,
    /// The guest may not write; the image is opened read-only.
    pub(crate) read_only: bool,
    /// Asked-for memory model; `None` takes the one the guest's device tree was made for.
    pub(crate) memory: Option<Memory>,
    /// Logical block size in bytes: 512 or 4096.
    pub(crate) block_size: u32,
    /// What the guest reads as the disk's serial; at most [`SERIAL_BYTES`] bytes, may be empty.
    pub(crate) serial: String,
    /// Cache mode.
    pub(crate) cache: Cache,
    /// Number of queues, 1 to [`MAX_QUEUES`].
    pub(crate) queues: u16,
}

impl BlockParameters {
    /// A read-write image with every other value at its default.
    pub(crate) fn new(image: PathBuf) -> Self {
        Self {
            image,
            read_only: false,
            memory: None,
            block_size: 512,
            serial: String::new(),
            cache: Cache::default(),
            queues: 1,
        }
    }
}

/// A parameter's value that cannot be served.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ParameterError {
    /// `memory` is not one of the known models.
    #[error("memory = {0:?} is not a memory model; use \"grant\" or \"foreign\"")]
    UnknownMemory(String),
    /// The pool model does not exist yet.
    #[error(
        "memory = \"pool\" is not offered by this backend: there is no pre-shared region to use; use \"grant\""
    )]
    Pool,
    /// `cache` is not one of the known modes.
    #[error("cache = {0:?} is not a cache mode; use \"writeback\", \"writethrough\" or \"direct\"")]
    UnknownCache(String),
    /// Neither 512 nor 4096.
    #[error("block size {0:?} is not supported; use 512 or 4096")]
    BlockSize(String),
    /// Longer than the field virtio gives it.
    #[error("serial {0:?} is longer than {SERIAL_BYTES} bytes or holds control characters")]
    Serial(String),
    /// Neither 0 nor 1.
    #[error("read-only flag {0:?} is neither \"0\" nor \"1\"")]
    Flag(String),
    /// Not a number of queues a disk can have.
    #[error("queues = {0:?} is not possible; a disk has 1 to {MAX_QUEUES} queues")]
    Queues(String),
    /// Empty or relative path.
    #[error("image path {0:?} is not absolute; the backend has no working directory of yours")]
    RelativeImage(String),
}

impl FromStr for Memory {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text {
            "grant" => Ok(Memory::Grant),
            "foreign" => Ok(Memory::Foreign),
            "pool" => Err(ParameterError::Pool),
            _ => Err(ParameterError::UnknownMemory(text.to_owned())),
        }
    }
}

impl FromStr for Cache {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        match text {
            "writeback" => Ok(Cache::Writeback),
            "writethrough" => Ok(Cache::Writethrough),
            "direct" => Ok(Cache::Direct),
            _ => Err(ParameterError::UnknownCache(text.to_owned())),
        }
    }
}

/// Parses a logical block size in bytes.
pub(crate) fn block_size(text: &str) -> Result<u32, ParameterError> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err(ParameterError::BlockSize(text.to_owned())),
    }
}

/// Parses a number of queues.
pub(crate) fn queues(text: &str) -> Result<u16, ParameterError> {
    // Digits alone: `parse` would also take a sign.
    Some(text)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .and_then(QueueCount::new)
        .map(QueueCount::get)
        .ok_or_else(|| ParameterError::Queues(text.to_owned()))
}

/// Checks a serial's length and characters.
pub(crate) fn serial(text: &str) -> Result<String, ParameterError> {
    if text.len() > SERIAL_BYTES || text.chars().any(char::is_control) {
        return Err(ParameterError::Serial(text.to_owned()));
    }
    Ok(text.to_owned())
}

/// Parses `0` or `1`.
pub(crate) fn flag(text: &str) -> Result<bool, ParameterError> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(ParameterError::Flag(text.to_owned())),
    }
}

/// Checks that an image path is absolute.
pub(crate) fn image(text: &str) -> Result<PathBuf, ParameterError> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(ParameterError::RelativeImage(text.to_owned()));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_model_is_refused_with_its_reason() {
        let error = "pool".parse::<Memory>().unwrap_err();
        assert_eq!(error, ParameterError::Pool);
        assert!(error.to_string().contains("no pre-shared region"));
    }

    #[test]
    fn only_block_sizes_the_device_can_present_are_taken() {
        assert_eq!(block_size("512"), Ok(512));
        assert_eq!(block_size("4096"), Ok(4096));
        for bad in ["", "0", "513", "1024", "-512", "512 "] {
            assert!(block_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_numbers_of_queues_a_disk_can_have_are_taken() {
        assert_eq!(queues("1"), Ok(1));
        assert_eq!(queues("16"), Ok(16));
        for bad in ["", "0", "17", "65536", "-1", "+1", "1 ", "two"] {
            assert!(queues(bad).is_err(), "{bad:?}");
        }
        assert!(queues("17").unwrap_err().to_string().contains("1 to 16"));
    }

    #[test]
    fn a_serial_fits_the_twenty_bytes_of_virtio() {
        assert!(serial("12345678901234567890").is_ok());
        assert!(serial("123456789012345678901").is_err());
        assert!(serial("a\nb").is_err());
    }

    #[test]
    fn a_relative_image_is_refused() {
        assert!(image("data.img").is_err());
        assert!(image("").is_err());
        assert_eq!(image("/x/y"), Ok(PathBuf::from("/x/y")));
    }
}
