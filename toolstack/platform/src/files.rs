//! The files a document is analysed with. Analysis itself opens nothing: whoever calls it says where files come from.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::device_tree::MAX_DEVICE_TREE_BYTES;

/// Where files come from.
pub trait Files {
    /// The content of a file.
    ///
    /// # Errors
    /// Those of reading. [`ErrorKind::Unsupported`] says that there are no files at all: what they would tell is then
    /// unknown, and nobody is to blame.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
}

/// No files: a document is judged by what it says itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> io::Result<Vec<u8>> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// The files of this machine, up to [`MAX_DEVICE_TREE_BYTES`] each.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = Path::new(path);
        // A pipe would make us wait for whoever writes to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a file"));
        }
        let limit = u64::try_from(MAX_DEVICE_TREE_BYTES).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        File::open(path)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() > MAX_DEVICE_TREE_BYTES {
            let message = format!("it has more than {MAX_DEVICE_TREE_BYTES} bytes");
            return Err(io::Error::new(ErrorKind::FileTooLarge, message));
        }
        Ok(bytes)
    }
}
