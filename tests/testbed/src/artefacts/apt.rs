//! A private APT: Debian's indices for several suites and for arm64, without touching the host's sources or packages.
//!
//! Used for `update`, `madison` and `--print-uris` only, always through `-c <own file>`. It must never be used for
//! an installation: its dpkg is `/bin/false`, and nothing here exports `APT_CONFIG`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::error::{Error, Result};
use super::index::{self, Offer, Remote};
use super::lock::Lock;
use super::mirror::{self, Mirror};
use super::store::create;
use crate::process::Run;
use crate::progress::Step;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The suite that moves on by itself. A mirror that lags behind offers indices past their date; they are good enough
/// here, since signatures are still checked and the versions found are written down.
const SID: &str = "sid";
/// Suites of the ordinary archive, and whether their sources are wanted as well.
const SUITES: [(&str, bool); 4] = [
    ("trixie", true),
    ("trixie-updates", false),
    (SID, true),
    ("bookworm", false),
];
/// Suites of the security archive.
const SECURITY_SUITES: [(&str, bool); 2] =
    [("trixie-security", true), ("bookworm-security", false)];

/// Which suites a package may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Debian 13 with its updates: what runs in dom0.
    Trixie,
    /// Debian's development suite.
    Sid,
    /// Debian 12 with its updates: its Xen is the oldest supported.
    Bookworm,
    /// Any of the above.
    Anywhere,
}

impl From {
    fn includes(self, suite: &str) -> bool {
        match self {
            Self::Trixie => suite.starts_with("trixie"),
            Self::Sid => suite == SID,
            Self::Bookworm => suite.starts_with("bookworm"),
            Self::Anywhere => true,
        }
    }
}

/// The private APT state below the cache folder.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
    /// Whether the indices were fetched in this run.
    updated: Mutex<bool>,
}

impl Apt {
    /// State in `folder`; nothing is created yet.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            updated: Mutex::new(false),
        }
    }

    /// Fetches the indices, at most once per run. A failure counts only when there are no older indices.
    pub(crate) fn update(&self) -> Result<()> {
        let mut updated = self
            .updated
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *updated {
            return Ok(());
        }
        let _lock = Lock::take(&self.folder.join("lock"), "Debian's indices")?;
        let configuration = self.configure()?;
        let step = Step::begin("Debian's indices", "fetching");
        let mut count = 0_u32;
        let fetched = Run::new("apt-get")
            .arg("-c")
            .arg(&configuration)
            .args(["-q", "update"])
            .lines(|line| {
                if line.starts_with("Get:") || line.starts_with("Hit:") {
                    count += 1;
                    step.state(format!("{count} files"));
                }
            });
        match fetched {
            Ok(()) => step.done(&format!("{count} files")),
            Err(crate::process::Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) if self.has_indices() => step.note(&format!(
                "not all could be fetched, going on with what is there ({error})"
            )),
            Err(error) => {
                return Err(Error::Unavailable {
                    what: "the package indices".to_owned(),
                    reason: error.to_string(),
                });
            }
        }
        if !self.has_indices() {
            return Err(Error::Unavailable {
                what: "the package indices".to_owned(),
                reason: "the archive cannot be reached; is there a network, or a proxy to be set for apt? \
                             --mirror names another source".to_owned(),
            });
        }
        *updated = true;
        Ok(())
    }

    /// Versions of arm64 binary packages on offer, newest first within each package.
    pub(crate) fn offers(&self, packages: &[&str], from: From) -> Result<Vec<Offer>> {
        let mut args = vec!["madison"];
        args.extend(packages);
        let mut offers = index::madison(&self.query("apt-cache", &args)?);
        offers.retain(|offer| from.includes(&offer.suite));
        offers.sort_by(|one, two| {
            one.package
                .cmp(&two.package)
                .then(compare(&two.version, &one.version))
        });
        Ok(offers)
    }

    /// Names of packages that match a regular expression.
    pub(crate) fn search(&self, pattern: &str) -> Result<Vec<String>> {
        let output = self.query("apt-cache", &["search", "--names-only", pattern])?;
        Ok(output
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    }

    /// Where the files of these offers lie, in their order.
    pub(crate) fn packages(&self, offers: &[&Offer]) -> Result<Vec<Remote>> {
        let wanted: Vec<String> = offers
            .iter()
            .map(|offer| format!("{}={}", offer.package, offer.version))
            .collect();
        let mut args = vec!["--print-uris", "download"];
        args.extend(wanted.iter().map(String::as_str));
        let remotes = originals(&self.query("apt-get", &args)?);
        let find = |offer: &&Offer| {
            let prefix = format!("{}_", offer.package);
            let remote = remotes
                .iter()
                .find(|remote| remote.file.starts_with(&prefix));
            remote.cloned().ok_or_else(|| Error::Unavailable {
                what: format!("{} {}", offer.package, offer.version),
                reason: "apt knows no file for it".to_owned(),
            })
        };
        offers.iter().map(find).collect()
    }

    /// Versions of a source package on offer, newest first.
    pub(crate) fn source_versions(&self, source: &str) -> Result<Vec<String>> {
        let output = self.query("apt-cache", &["showsrc", "--only-source", source])?;
        let mut versions = index::source_versions(&output, source);
        versions.sort_by(|one, two| compare(two, one));
        Ok(versions)
    }

    /// The files of a source package: tarballs and description.
    pub(crate) fn source(&self, source: &str, version: &str) -> Result<Vec<Remote>> {
        let wanted = format!("{source}={version}");
        let output = self.query(
            "apt-get",
            &["--print-uris", "--only-source", "source", &wanted],
        )?;
        Ok(originals(&output))
    }

    fn query(&self, program: &str, args: &[&str]) -> Result<String> {
        let configuration = self.configure()?;
        Run::new(program)
            .arg("-c")
            .arg(configuration)
            .args(args)
            // apt-get wants to write a file per package beside it only when it downloads; it looks nevertheless.
            .current_dir(&self.folder)
            .output()
            .map_err(Error::child("asking apt"))
    }

    fn has_indices(&self) -> bool {
        std::fs::read_dir(self.folder.join("lists")).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        })
    }

    /// Writes the configuration where it is missing or differs, and returns its path.
    fn configure(&self) -> Result<PathBuf> {
        for folder in ["lists/partial", "cache/archives/partial", "state"] {
            create(&self.folder.join(folder))?;
        }
        let sources = self.folder.join("sources.list");
        let configuration = self.folder.join("apt.conf");
        write_if_changed(&sources, &source_list(&mirror::first()))?;
        write_if_changed(&self.folder.join("status"), "")?;
        write_if_changed(&configuration, &configuration_text(&self.folder))?;
        Ok(configuration)
    }
}

fn source_list(from: &Mirror) -> String {
    let mut text = String::new();
    let suites = SUITES
        .iter()
        .map(|(suite, sources)| (from.archive(), suite, sources))
        .chain(
            SECURITY_SUITES
                .iter()
                .map(|(suite, sources)| (from.security(), suite, sources)),
        );
    for (mirror, suite, sources) in suites {
        // A mirror may be a snapshot of a day that has passed.
        let date = if *suite == SID || !from.is_debian() {
            " check-valid-until=no"
        } else {
            ""
        };
        text.push_str(&format!(
            "deb [arch=arm64 target=Packages signed-by={KEYRING}{date}] {mirror} {suite} main\n"
        ));
        if *sources {
            text.push_str(&format!(
                "deb-src [target=Sources signed-by={KEYRING}{date}] {mirror} {suite} main\n"
            ));
        }
    }
    text
}

fn configuration_text(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/lists";
Dir::State::Status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Bin::dpkg "/bin/false";
#clear APT::Architectures;
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "3";
"#
    )
}

fn write_if_changed(path: &Path, text: &str) -> Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(Error::io("write", path))
}

/// The files that apt prints, with the addresses that Debian has them at and the names that these end in.
fn originals(output: &str) -> Vec<Remote> {
    let mirror = mirror::first();
    let original = |mut remote: Remote| {
        remote.uri = mirror.original(&remote.uri);
        remote.file = index::file_name(&remote.uri)?;
        Some(remote)
    };
    let remotes = index::uris(output);
    remotes.into_iter().filter_map(original).collect()
}

/// A version without the suffix of a rebuild (`+b1`): the source is the same.
pub(crate) fn without_rebuild(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((base, number))
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            base
        }
        _ => version,
    }
}

/// Compares Debian versions as dpkg does (deb-version(7)).
pub(crate) fn compare(one: &str, two: &str) -> std::cmp::Ordering {
    let split = |version: &str| -> (u64, String, String) {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        (
            epoch.parse().unwrap_or(0),
            upstream.to_owned(),
            revision.to_owned(),
        )
    };
    let (one, two) = (split(one), split(two));
    one.0
        .cmp(&two.0)
        .then_with(|| compare_part(&one.1, &two.1))
        .then_with(|| compare_part(&one.2, &two.2))
}

/// Compares upstream versions or revisions: runs of non-digits (`~` first, letters before others), runs of digits.
fn compare_part(mut one: &str, mut two: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let rank = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    };
    loop {
        let (text_one, rest_one) =
            one.split_at(one.find(|c: char| c.is_ascii_digit()).unwrap_or(one.len()));
        let (text_two, rest_two) =
            two.split_at(two.find(|c: char| c.is_ascii_digit()).unwrap_or(two.len()));
        for index in 0..text_one.len().max(text_two.len()) {
            let order = rank(text_one.as_bytes().get(index).copied())
                .cmp(&rank(text_two.as_bytes().get(index).copied()));
            if order != Ordering::Equal {
                return order;
            }
        }
        let end = |text: &str| {
            text.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len())
        };
        let (digits_one, after_one) = rest_one.split_at(end(rest_one));
        let (digits_two, after_two) = rest_two.split_at(end(rest_two));
        let (digits_one, digits_two) = (
            digits_one.trim_start_matches('0'),
            digits_two.trim_start_matches('0'),
        );
        let order = digits_one
            .len()
            .cmp(&digits_two.len())
            .then_with(|| digits_one.cmp(digits_two));
        if order != Ordering::Equal || (after_one.is_empty() && after_two.is_empty()) {
            return order;
        }
        (one, two) = (after_one, after_two);
    }
}

#[cfg(test)]
mod tests {
    use super::{Apt, Mirror, compare, configuration_text, source_list, without_rebuild};
    use std::cmp::Ordering::{Equal, Greater, Less};

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        for (one, two, order) in [
            ("4.20.3+127-0+deb13u1", "4.20.4+39-1", Less),
            (
                "4.20.4+63-g7abfd2bce2-0+deb13u1",
                "4.20.4+39-gf1e1321c87-1",
                Greater,
            ),
            ("7.2.9-1", "7.2.13-1", Less),
            ("1.96.0+dfsg1-1~deb12u2", "1.96.0+dfsg1-1", Less),
            ("1:1.0", "2.0", Greater),
            ("1.0", "1.0-0", Equal),
            ("1.0a", "1.0+", Less),
            ("1.0~rc1-1", "1.0-1", Less),
            ("1.007", "1.7", Equal),
        ] {
            assert_eq!(compare(one, two), order, "{one} against {two}");
            assert_eq!(compare(two, one), order.reverse(), "{two} against {one}");
        }
    }

    #[test]
    fn the_private_apt_cannot_install_and_checks_signatures() {
        let configuration = configuration_text(std::path::Path::new("/cache/apt"));
        assert!(configuration.contains("Dir::Bin::dpkg \"/bin/false\""));
        let sources = source_list(&Mirror::debian());
        assert!(sources.lines().count() >= 8);
        assert!(sources.lines().all(|line| line.contains("signed-by=")));
        assert!(!sources.contains("trusted"));
        let snapshot = source_list(&Mirror::at("http://x/debian/20261201T000000Z").unwrap());
        for line in snapshot.lines() {
            assert!(
                line.contains("signed-by=") && line.contains("check-valid-until=no"),
                "{line}"
            );
            assert!(line.contains("20261201T000000Z"), "{line}");
        }
    }

    #[test]
    fn a_rebuild_of_the_same_version_counts_as_the_same() {
        assert_eq!(
            without_rebuild("1.96.0+dfsg1-1~deb13u1+b1"),
            "1.96.0+dfsg1-1~deb13u1"
        );
        assert_eq!(
            without_rebuild("1.96.0+dfsg1-1~deb12u2"),
            "1.96.0+dfsg1-1~deb12u2"
        );
        assert_eq!(without_rebuild("1.0+bug"), "1.0+bug");
    }

    #[test]
    fn there_are_no_indices_before_the_first_update() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Apt::new(folder.path().to_path_buf()).has_indices());
    }
}
