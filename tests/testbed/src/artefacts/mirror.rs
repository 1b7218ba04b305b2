//! Where Debian's archive is reached: deb.debian.org, or the mirrors that the user names.
//!
//! Files are written down with their address at deb.debian.org. A mirror serves the same paths below its own address, so that
//! a company's mirror or a snapshot of a day takes its place. Content is checked by SHA-256 wherever it comes from.

use std::sync::OnceLock;

use super::error::{Error, Result};

const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
/// Variables that name a mirror as well, for whoever cannot pass an option.
const VARIABLES: [&str; 2] = ["AVPS_DEBIAN_MIRROR", "AVPS_DEBIAN_SECURITY_MIRROR"];

/// Set once by the command line.
static NAMED: OnceLock<Vec<String>> = OnceLock::new();

/// One place that serves Debian's archive and its security updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    archive: String,
    security: String,
}

impl Mirror {
    /// Debian's own.
    pub(crate) fn debian() -> Self {
        Self {
            archive: ARCHIVE.to_owned(),
            security: SECURITY.to_owned(),
        }
    }

    /// The mirror at this address of the ordinary archive. Security updates are expected beside it, as `debian-security`
    /// beside `debian`.
    ///
    /// # Errors
    /// An address that is neither a URL nor an absolute path.
    pub(crate) fn at(address: &str) -> Result<Self> {
        let address = address.trim_end_matches('/');
        let archive = if address.starts_with('/') {
            format!("copy:{address}")
        } else if address.contains(':') {
            address.to_owned()
        } else {
            return Err(Error::Host(format!(
                "--mirror {address}: a URL or an absolute path is wanted, such as {ARCHIVE}"
            )));
        };
        let mut parts: Vec<&str> = archive.split('/').collect();
        let security = match parts.iter().rposition(|part| *part == "debian") {
            Some(place) => {
                parts[place] = "debian-security";
                parts.join("/")
            }
            None => archive.clone(),
        };
        Ok(Self { archive, security })
    }

    /// The address of the ordinary archive.
    pub(crate) fn archive(&self) -> &str {
        &self.archive
    }

    /// The address of the archive of security updates.
    pub(crate) fn security(&self) -> &str {
        &self.security
    }

    /// Whether it is Debian's own, whose indices are expected to be of today.
    pub(crate) fn is_debian(&self) -> bool {
        *self == Self::debian()
    }

    /// The address here of a file that Debian has at `uri`. Other addresses stay as they are.
    pub(crate) fn place(&self, uri: &str) -> String {
        moved(uri, (ARCHIVE, &self.archive), (SECURITY, &self.security))
    }

    /// The address at Debian of a file that this mirror has at `uri`.
    pub(crate) fn original(&self, uri: &str) -> String {
        moved(uri, (&self.archive, ARCHIVE), (&self.security, SECURITY))
    }
}

fn moved(uri: &str, archive: (&str, &str), security: (&str, &str)) -> String {
    for (from, to) in [security, archive] {
        if let Some(path) = uri.strip_prefix(from).filter(|path| path.starts_with('/')) {
            return format!("{to}{path}");
        }
    }
    uri.to_owned()
}

/// Takes the mirrors that the command line names. Call once, before the first [`all`].
///
/// # Errors
/// An address that cannot be one.
pub(crate) fn name(addresses: &[String]) -> Result<()> {
    for address in addresses {
        Mirror::at(address)?;
    }
    let _ = NAMED.set(addresses.to_vec());
    Ok(())
}

/// Whether the command line names a mirror.
pub(crate) fn is_named() -> bool {
    NAMED.get().is_some_and(|named| !named.is_empty())
}

/// All mirrors, in the order in which they are asked: those of the command line, else that of the environment, else Debian's own.
pub(crate) fn all() -> Vec<Mirror> {
    let named = NAMED.get().into_iter().flatten();
    let mut mirrors: Vec<Mirror> = named.filter_map(|name| Mirror::at(name).ok()).collect();
    if mirrors.is_empty() {
        let [archive, security] = VARIABLES.map(|variable| std::env::var(variable).ok());
        let mut mirror = archive
            .and_then(|address| Mirror::at(&address).ok())
            .unwrap_or_else(Mirror::debian);
        if let Some(security) = security {
            mirror.security = security;
        }
        mirrors.push(mirror);
    }
    mirrors
}

/// The mirror whose indices are read.
pub(crate) fn first() -> Mirror {
    all().into_iter().next().unwrap_or_else(Mirror::debian)
}

#[cfg(test)]
mod tests {
    use super::Mirror;

    const FILE: &str = "http://deb.debian.org/debian/pool/main/x/xen/x%2b1.deb";
    const UPDATE: &str = "http://deb.debian.org/debian-security/pool/updates/main/z.deb";

    #[test]
    fn a_snapshot_and_a_companys_mirror_serve_the_same_paths() {
        for (address, file, update) in [
            (
                "http://snapshot.debian.org/archive/debian/20261201T000000Z/",
                "http://snapshot.debian.org/archive/debian/20261201T000000Z/pool/main/x/xen/x%2b1.deb",
                "http://snapshot.debian.org/archive/debian-security/20261201T000000Z/pool/updates/main/z.deb",
            ),
            (
                "https://mirror.example/debian",
                "https://mirror.example/debian/pool/main/x/xen/x%2b1.deb",
                "https://mirror.example/debian-security/pool/updates/main/z.deb",
            ),
            (
                "/media/debian",
                "copy:/media/debian/pool/main/x/xen/x%2b1.deb",
                "copy:/media/debian-security/pool/updates/main/z.deb",
            ),
        ] {
            let mirror = Mirror::at(address).unwrap();
            assert_eq!(mirror.place(FILE), file);
            assert_eq!(mirror.place(UPDATE), update);
            assert_eq!(mirror.original(file), FILE);
            assert_eq!(mirror.original(update), UPDATE);
            assert!(!mirror.is_debian());
        }
    }

    #[test]
    fn an_address_elsewhere_is_left_alone() {
        let mirror = Mirror::at("http://mirror.example/debian").unwrap();
        let elsewhere = "http://deb.debian.org/debian-ports/pool/y.deb";
        assert_eq!(mirror.place(elsewhere), elsewhere);
        assert_eq!(Mirror::debian().place(FILE), FILE);
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        let error = Mirror::at("mirror.example").unwrap_err().to_string();
        assert!(
            error.contains("--mirror mirror.example") && error.contains("http://"),
            "{error}"
        );
    }
}
