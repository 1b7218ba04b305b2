//! Paths and identities.

use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::document::SCHEMA;

/// The path seen from the document's folder, without `.` components; empty stays empty.
pub(super) fn path(base: &str, path: Option<&str>) -> String {
    let path = path.unwrap_or_default();
    if path.is_empty() {
        return String::new();
    }
    let joined = Path::new(base).join(path);
    // ".." stays: what it means depends on symbolic links.
    let clean: PathBuf = joined
        .components()
        .filter(|component| *component != Component::CurDir)
        .collect();
    clean.to_string_lossy().into_owned()
}

/// A UUID made from the names (RFC 9562, version 8: the content is the maker's own affair).
pub(super) fn uuid(platform: &str, domain: &str) -> String {
    let mut bytes: [u8; 16] = digest([SCHEMA, platform, domain]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// A MAC address made from the names: locally administered, of one station (IEEE 802, 8.4).
pub(super) fn mac(platform: &str, network: &str, domain: &str) -> String {
    let mut bytes: [u8; 6] = digest([platform, network, domain]);
    bytes[0] = (bytes[0] & 0xfc) | 0x02;
    let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(":")
}

/// The first bytes of the names' SHA-256.
fn digest<const N: usize>(names: [&str; 3]) -> [u8; N] {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    std::array::from_fn(|index| digest.get(index).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_relative_to_the_document() {
        assert_eq!(
            path("/etc/avps", Some("./a/../b.img")),
            "/etc/avps/a/../b.img"
        );
        assert_eq!(path("/etc/avps", Some("/b.img")), "/b.img");
        assert_eq!(path("/etc/avps", Some("")), "");
    }

    #[test]
    fn the_identity_of_a_domain_depends_on_both_names_and_nothing_else() {
        let id = uuid("demo", "cockpit");
        assert_eq!(id, uuid("demo", "cockpit"));
        assert_ne!(id, uuid("demo", "cluster"));
        assert_ne!(id, uuid("democ", "ockpit"));
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'8');
    }
}
