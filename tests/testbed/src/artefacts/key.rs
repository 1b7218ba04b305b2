//! An artefact's identity: everything that could change its content, written down line by line, and hashed.
//!
//! The lines are kept in the manifest, so that "why was this built again?" is answered by `diff`.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::{Error, Result};

/// How many hexadecimal digits of the hash name an artefact.
const NAME_DIGITS: usize = 16;

/// Inputs of an artefact, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key {
    lines: Vec<String>,
}

impl Key {
    /// A key that begins with the version of the recipe: raise it when the build steps change.
    pub(crate) fn new(recipe: u32) -> Self {
        Self {
            lines: vec![format!("recipe = {recipe}")],
        }
    }

    /// Adds one input by value: a version, an option, another artefact's identity.
    pub(crate) fn value(&mut self, label: &str, value: &str) -> &mut Self {
        // A line break inside a value must not look like another input.
        self.lines
            .push(format!("{label} = {}", value.escape_debug()));
        self
    }

    /// Adds a file by its content's hash; its path does not matter.
    pub(crate) fn file(&mut self, label: &str, path: &Path) -> Result<&mut Self> {
        self.lines
            .push(format!("{label} = sha256:{}", hash_file(path)?));
        Ok(self)
    }

    /// The inputs, one per line.
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The short hash used in names.
    pub(crate) fn id(&self) -> String {
        let mut id = hash(self.lines.join("\n").as_bytes());
        id.truncate(NAME_DIGITS);
        id
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file in hexadecimal, read in pieces.
pub(crate) fn hash_file(path: &Path) -> Result<String> {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = Sha256::new();
        std::io::copy(&mut file, &mut hasher)?;
        Ok(hex(&hasher.finalize()))
    };
    read().map_err(Error::io("read", path))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::{Key, hash};

    fn key(options: &[(&str, &str)]) -> String {
        let mut key = Key::new(1);
        for (label, value) in options {
            key.value(label, value);
        }
        key.id()
    }

    #[test]
    fn any_changed_input_gives_another_identity() {
        let base = key(&[("gcc", "12.2"), ("source", "4.20")]);
        assert_eq!(base, key(&[("gcc", "12.2"), ("source", "4.20")]));
        assert_eq!(base.len(), 16);
        assert_ne!(base, key(&[("gcc", "12.3"), ("source", "4.20")]));
        assert_ne!(base, key(&[("gcc", "12.2")]));
        assert_ne!(base, key(&[("cc", "12.2"), ("source", "4.20")]));
        assert_ne!(Key::new(1).id(), Key::new(2).id());
    }

    #[test]
    fn a_value_cannot_pretend_to_be_two_inputs() {
        assert_ne!(key(&[("a", "1\nb = 2")]), key(&[("a", "1"), ("b", "2")]));
    }

    #[test]
    fn a_file_counts_by_content_not_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, "same").unwrap();
        std::fs::write(&two, "same").unwrap();
        let id = |path| Key::new(1).file("config", path).unwrap().id();
        assert_eq!(id(&one), id(&two));
        std::fs::write(&two, "other").unwrap();
        assert_ne!(id(&one), id(&two));
    }

    #[test]
    fn the_hash_is_sha256() {
        assert_eq!(
            hash(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
