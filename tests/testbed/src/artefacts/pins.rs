//! Which versions this cache works with: chosen once, written down, used until asked for newer ones.
//!
//! Pins make a warm run independent of the network and of what Debian's archive offers today. When a pinned file has to
//! be downloaded again and is gone, the group is chosen anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::apt::{Apt, From};
use super::download::Downloads;
use super::error::{Error, Result};
use super::index::{Offer, Remote};
use super::key::Key;
use super::lock::Lock;
use super::store::{create, remove};
use crate::progress::Step;

/// One chosen file of Debian's archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// Source or binary package.
    pub(crate) package: String,
    /// Debian version.
    pub(crate) version: String,
    /// Where it lies and what it is.
    #[serde(flatten)]
    pub(crate) remote: Remote,
}

impl Pin {
    /// Adds the file as an input of an artefact. Where it came from does not matter, what is in it does.
    pub(crate) fn add_to(&self, key: &mut Key) {
        key.value(
            &format!("{} {}", self.package, self.remote.file),
            &self.remote.sha256,
        );
    }
}

/// The folder of pins.
#[derive(Debug)]
pub(crate) struct Pins {
    folder: PathBuf,
    /// Choose anew, once in this run, even where a choice is written down.
    refresh: bool,
    /// Choices made in this run.
    made: Mutex<BTreeSet<PathBuf>>,
}

impl Pins {
    /// Pins in `folder`.
    pub(crate) fn new(folder: PathBuf, refresh: bool) -> Self {
        Self {
            folder,
            refresh,
            made: Mutex::default(),
        }
    }

    /// The choice written down for `group` with this request, if there is one.
    pub(crate) fn read(&self, group: &str, request: &Key) -> Option<Vec<Pin>> {
        read(&self.path(group, request))
    }

    /// The choice written down, else the one that `choose` makes (which also proves that its files can be had).
    pub(crate) fn get(
        &self,
        group: &str,
        request: &Key,
        choose: impl FnOnce(&Step) -> Result<Vec<Pin>>,
    ) -> Result<Vec<Pin>> {
        let path = self.path(group, request);
        let stale = self.refresh && !self.made().contains(&path);
        if !stale && let Some(pins) = read(&path) {
            return Ok(pins);
        }
        let before = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok();
        let _lock = Lock::take(&self.folder.join(format!("{group}.lock")), group)?;
        let now = path
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok();
        if now != before
            && let Some(pins) = read(&path)
        {
            return Ok(pins);
        }
        let step = Step::begin(format!("{group} packages"), "looking up versions");
        let pins = choose(&step)?;
        write(&path, &pins)?;
        self.made().insert(path);
        let versions = pins
            .first()
            .map_or(String::new(), |pin| pin.version.clone());
        step.done(&versions);
        Ok(pins)
    }

    /// Forgets a choice whose files have gone.
    pub(crate) fn forget(&self, group: &str, request: &Key) -> Result<()> {
        remove(&self.path(group, request))
    }

    fn made(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, group: &str, request: &Key) -> PathBuf {
        self.folder.join(format!("{group}-{}.json", request.id()))
    }
}

fn read(path: &Path) -> Option<Vec<Pin>> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, pins: &[Pin]) -> Result<()> {
    let failed = |source| Error::Io {
        wanted: "write",
        path: path.to_path_buf(),
        source,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    serde_json::to_writer_pretty(&mut file, pins).map_err(|error| failed(error.into()))?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Picks one offer per package, the first in `preferred` order whose file can really be had, and downloads it.
pub(crate) fn pick(
    apt: &Apt,
    downloads: &Downloads,
    packages: &[&str],
    from: From,
    preferred: Option<&str>,
    step: &Step,
) -> Result<Vec<Pin>> {
    let mut offers = apt.offers(packages, from)?;
    // Stable: newest first stays the order among the others.
    offers.sort_by_key(|offer| Some(offer.version.as_str()) != preferred);
    let of = |package: &str| -> Vec<&Offer> {
        offers
            .iter()
            .filter(|offer| offer.package == package)
            .collect()
    };
    let mut first = Vec::new();
    for package in packages {
        first.push(*of(package).first().ok_or_else(|| not_offered(package))?);
    }
    // The usual case: all files at once.
    let remotes = apt.packages(&first)?;
    match downloads.fetch(&remotes, step) {
        Ok(_) => {
            return Ok(first
                .into_iter()
                .zip(remotes)
                .map(|(offer, remote)| pin(offer, remote))
                .collect());
        }
        Err(Error::Unavailable { .. }) => {}
        Err(error) => return Err(error),
    }
    packages
        .iter()
        .map(|package| first_available(apt, downloads, package, &of(package), step))
        .collect()
}

fn first_available(
    apt: &Apt,
    downloads: &Downloads,
    package: &str,
    offers: &[&Offer],
    step: &Step,
) -> Result<Pin> {
    let candidates = offers
        .iter()
        .map(|offer| Ok(pin(offer, apt.packages(&[offer])?.remove(0))));
    first(downloads, package, candidates, step)
}

/// Downloads and gives the first candidate for `package` whose file can really be had.
pub(crate) fn first(
    downloads: &Downloads,
    package: &str,
    candidates: impl Iterator<Item = Result<Pin>>,
    step: &Step,
) -> Result<Pin> {
    let mut last = not_offered(package);
    for candidate in candidates {
        let pin = match candidate {
            Ok(pin) => pin,
            Err(error @ Error::Unavailable { .. }) => {
                last = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        match downloads.fetch(std::slice::from_ref(&pin.remote), step) {
            Ok(_) => return Ok(pin),
            Err(error @ Error::Unavailable { .. }) => {
                step.note(&format!(
                    "{package} {} cannot be had, trying the next version",
                    pin.version
                ));
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The tarballs of a source package's wanted versions on offer, newest first. The description (`.dsc`) is not needed.
pub(crate) fn tarballs<'a>(
    apt: &'a Apt,
    source: &'a str,
    wanted: impl Fn(&str) -> bool,
) -> Result<impl Iterator<Item = Result<Pin>>> {
    let mut versions = apt.source_versions(source)?;
    versions.retain(|version| wanted(version));
    let tarball = |version: String| {
        let files = match apt.source(source, &version) {
            Ok(files) => files,
            Err(error) => return Some(Err(error)),
        };
        let mut files = files.into_iter();
        let remote = files.find(|remote| remote.file.contains(".orig.tar."))?;
        Some(Ok(Pin {
            package: source.to_owned(),
            version,
            remote,
        }))
    };
    Ok(versions.into_iter().filter_map(tarball))
}

fn pin(offer: &Offer, remote: Remote) -> Pin {
    Pin {
        package: offer.package.clone(),
        version: offer.version.clone(),
        remote,
    }
}

fn not_offered(package: &str) -> Error {
    Error::Unavailable {
        what: package.to_owned(),
        reason: "no suite offers it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Pin, Pins};
    use crate::artefacts::index::Remote;
    use crate::artefacts::key::Key;

    fn pin(version: &str) -> Pin {
        Pin {
            package: "xen".to_owned(),
            version: version.to_owned(),
            remote: Remote {
                uri: "http://x/y".to_owned(),
                file: "y".to_owned(),
                size: 1,
                sha256: "0".repeat(64),
            },
        }
    }

    #[test]
    fn a_choice_is_made_once_and_kept_until_asked_anew_or_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let request = Key::new(1);
        let pins = Pins::new(folder.path().to_path_buf(), false);
        let chosen = pins
            .get("xen", &request, |_| Ok(vec![pin("4.20.3")]))
            .unwrap();
        assert_eq!(
            pins.get("xen", &request, |_| panic!("chosen twice"))
                .unwrap(),
            chosen
        );
        assert_eq!(
            pins.get("xen", &Key::new(2), |_| Ok(vec![pin("4.21")]))
                .unwrap(),
            [pin("4.21")]
        );

        let refreshing = Pins::new(folder.path().to_path_buf(), true);
        assert_eq!(
            refreshing
                .get("xen", &request, |_| Ok(vec![pin("4.20.4")]))
                .unwrap(),
            [pin("4.20.4")]
        );
        assert_eq!(
            refreshing
                .get("xen", &request, |_| panic!("chosen twice in one run"))
                .unwrap(),
            [pin("4.20.4")]
        );
        assert_eq!(pins.read("xen", &request).unwrap(), [pin("4.20.4")]);

        pins.forget("xen", &request).unwrap();
        assert_eq!(
            pins.get("xen", &request, |_| Ok(vec![pin("4.20.5")]))
                .unwrap(),
            [pin("4.20.5")]
        );
    }
}
