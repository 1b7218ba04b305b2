//! What apt prints, read: versions on offer, and where files lie with which SHA-256.
//!
//! apt has checked the archive's signature on the indices that these answers come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    /// Where it is.
    pub(crate) uri: String,
    /// Its name, as apt would store it.
    pub(crate) file: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Hexadecimal.
    pub(crate) sha256: String,
}

/// Reads the lines of `apt-get --print-uris`: `'uri' name size SHA256:hash`. Other lines and other hashes are skipped.
pub(crate) fn uris(output: &str) -> Vec<Remote> {
    let parse = |line: &str| -> Option<Remote> {
        let (uri, rest) = line.strip_prefix('\'')?.split_once('\'')?;
        let mut fields = rest.split_whitespace();
        let file = fields.next()?.to_owned();
        let size = fields.next()?.parse().ok()?;
        let sha256 = fields.next()?.strip_prefix("SHA256:")?.to_owned();
        let whole = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (whole && !file.contains('/')).then_some(Remote {
            uri: uri.to_owned(),
            file,
            size,
            sha256,
        })
    };
    output.lines().filter_map(parse).collect()
}

/// The name of the file at an address, with `%2b` and its like resolved; none for an address that ends in a folder.
pub(crate) fn file_name(uri: &str) -> Option<String> {
    let last = uri.rsplit('/').next().filter(|last| !last.is_empty())?;
    let mut name = String::new();
    let mut rest = last;
    while let Some((before, after)) = rest.split_once('%') {
        let code = u8::from_str_radix(after.get(..2)?, 16).ok()?;
        let plain = char::from(code);
        if !plain.is_ascii_graphic() || plain == '/' {
            return None;
        }
        name.push_str(before);
        name.push(plain);
        rest = after.get(2..)?;
    }
    name.push_str(rest);
    Some(name)
}

/// A version on offer, and the suite that offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Package name, without architecture.
    pub(crate) package: String,
    /// Debian version.
    pub(crate) version: String,
    /// `trixie`, `trixie-security`, `sid` …
    pub(crate) suite: String,
}

/// Reads `apt-cache madison`: `package | version | base suite/component arch Packages`.
///
/// Source packages, which madison lists too, are left out; the order (newest first) is kept.
pub(crate) fn madison(output: &str) -> Vec<Offer> {
    let parse = |line: &str| -> Option<Offer> {
        let mut fields = line.split('|').map(str::trim);
        let (package, version, place) = (fields.next()?, fields.next()?, fields.next()?);
        let mut place = place.split_whitespace();
        let suite = place.nth(1)?.split('/').next()?;
        if place.last()? != "Packages" {
            return None;
        }
        let package = package.split(':').next()?;
        Some(Offer {
            package: package.to_owned(),
            version: version.to_owned(),
            suite: suite.to_owned(),
        })
    };
    let mut offers: Vec<Offer> = Vec::new();
    for offer in output.lines().filter_map(parse) {
        if !offers.contains(&offer) {
            offers.push(offer);
        }
    }
    offers
}

/// Splits a `Packages` or `Sources` text (deb822) into stanzas of field → value.
///
/// Continuation lines are joined by line breaks, without their leading space.
pub(crate) fn stanzas(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut stanzas = Vec::new();
    let mut current = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            if !current.is_empty() {
                stanzas.push(std::mem::take(&mut current));
            }
        } else if let Some(more) = line.strip_prefix([' ', '\t']) {
            if let Some(value) = current.get_mut(&last) {
                let value: &mut String = value;
                value.push('\n');
                value.push_str(more);
            }
        } else if let Some((field, value)) = line.split_once(':') {
            last = field.to_owned();
            current.insert(last.clone(), value.trim().to_owned());
        }
    }
    stanzas
}

/// Versions of source package `name` in a `Sources` text, in its order.
pub(crate) fn source_versions(sources: &str, name: &str) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for stanza in stanzas(sources) {
        if stanza.get("Package").map(String::as_str) == Some(name)
            && let Some(version) = stanza.get("Version")
            && !versions.contains(version)
        {
            versions.push(version.clone());
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::{file_name, madison, source_versions, stanzas, uris};

    const SOURCES: &str = "\
Package: xen
Binary: xenstore-utils, xen-utils-4.20
Version: 4.20.3+127-gc42374a105-0+deb13u1
Checksums-Sha256:
 659b 4061 xen_4.20.3.dsc
 df08 4961352 xen_4.20.3.orig.tar.xz
Directory: pool/main/x/xen

Package: xen
Version: 4.20.4+63-g7abfd2bce2-0+deb13u1
Directory: pool/updates/main/x/xen

Package: xen-tools
Version: 4.10-1
";

    #[test]
    fn every_version_in_a_sources_index_is_found_and_no_other_packages() {
        assert_eq!(
            source_versions(SOURCES, "xen"),
            [
                "4.20.3+127-gc42374a105-0+deb13u1",
                "4.20.4+63-g7abfd2bce2-0+deb13u1"
            ]
        );
        assert!(source_versions(SOURCES, "linux").is_empty());
    }

    #[test]
    fn continuation_lines_belong_to_their_field() {
        let first = &stanzas(SOURCES)[0];
        assert_eq!(
            first["Checksums-Sha256"],
            "\n659b 4061 xen_4.20.3.dsc\ndf08 4961352 xen_4.20.3.orig.tar.xz"
        );
        assert_eq!(first["Directory"], "pool/main/x/xen");
    }

    #[test]
    fn uris_come_with_size_and_sha256_or_not_at_all() {
        let hash = "df0831854a55a8f31cb3cb85036f2edc928e2ef098d77f815f5714bfafac68f3";
        let output = format!(
            "Reading package lists...\nNeed to get 5 kB of source archives.\n\
             'http://deb.debian.org/debian/pool/x%2b1.tar.xz' x+1.tar.xz 4961352 SHA256:{hash}\n\
             'http://deb.debian.org/debian/pool/y.tar.xz' y.tar.xz 1 MD5Sum:abc\n\
             'http://deb.debian.org/debian/pool/z.tar.xz' z.tar.xz 1 SHA256:short\n\
             'http://deb.debian.org/debian/pool/e' ../e 1 SHA256:{hash}\n"
        );
        let found = uris(&output);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].uri,
            "http://deb.debian.org/debian/pool/x%2b1.tar.xz"
        );
        assert_eq!(
            (found[0].file.as_str(), found[0].size),
            ("x+1.tar.xz", 4_961_352)
        );
        assert_eq!(found[0].sha256, hash);
    }

    #[test]
    fn a_files_name_is_the_end_of_its_address() {
        assert_eq!(
            file_name("http://x/pool/x_4.20%2b127.orig.tar.xz").as_deref(),
            Some("x_4.20+127.orig.tar.xz")
        );
        for none in [
            "http://x/",
            "http://x/a%2fb",
            "http://x/a%zz",
            "http://x/a%2",
        ] {
            assert_eq!(file_name(none), None, "{none}");
        }
    }

    #[test]
    fn offers_name_their_suite_once_each_and_leave_out_sources() {
        let offers = madison(
            "xen-utils-4.20:arm64 | 4.20.4+63 | http://deb.debian.org/debian-security trixie-security/main arm64 Packages\n\
             linux-source-7.2 | 7.2.13-1 | http://deb.debian.org/debian sid/main amd64 Packages\n\
             linux-source-7.2 | 7.2.13-1 | http://deb.debian.org/debian sid/main arm64 Packages\n\
             linux | 7.2.7-1 | http://deb.debian.org/debian sid/main Sources\n",
        );
        let told: Vec<_> = offers
            .iter()
            .map(|offer| {
                (
                    offer.package.as_str(),
                    offer.version.as_str(),
                    offer.suite.as_str(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("xen-utils-4.20", "4.20.4+63", "trixie-security"),
                ("linux-source-7.2", "7.2.13-1", "sid")
            ]
        );
    }
}
