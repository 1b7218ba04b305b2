//! The caches and tools that recipes work with, and the files that a recipe is given: the pinned ones, or what stands in for them.

use std::path::PathBuf;

use super::error::{Error, Result};
use super::groups::Group;
use super::pins::{Pin, Pinned, StandIn, StandIns};
use super::rust::Profile;
use super::store::Store;
use super::{apt, download, mirror, notices};
use crate::paths;
use crate::progress::Step;

/// The caches and tools that recipes work with.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// Artefacts shared by all source trees of this user.
    pub(crate) store: Store,
    /// Artefacts of this source tree: initramfs images, which hold its binaries.
    pub(crate) tree: Store,
    /// Jobs of a compilation.
    pub(crate) jobs: usize,
    /// How the workspace's programs for arm64 are compiled.
    pub(crate) profile: Profile,
    pub(super) apt: apt::Apt,
    pub(super) downloads: download::Downloads,
    pub(super) stand_ins: StandIns,
    /// Try to get what is pinned even where something stands in for it.
    insist: bool,
}

impl Workshop {
    /// The user's cache. Nothing is created or fetched yet.
    pub(crate) fn open() -> Self {
        Self::with(None, false)
    }

    /// The user's cache with a number of jobs. One that insists tries again to get what is pinned where something stands in
    /// for it; so does each run that names a mirror.
    pub(crate) fn with(jobs: Option<usize>, insist: bool) -> Self {
        let cache = paths::cache();
        let jobs =
            jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from));
        Self {
            apt: apt::Apt::new(cache.join("apt")),
            downloads: download::Downloads::new(cache.join("downloads"), mirror::all()),
            stand_ins: StandIns::new(cache.join("pins")),
            insist: insist || mirror::is_named(),
            store: Store::new(cache),
            tree: Store::new(paths::tree_target()),
            jobs,
            profile: Profile::default(),
        }
    }

    /// The same, with programs compiled like this.
    pub(crate) fn compiling(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// Downloads files, as far as they are not there.
    pub(super) fn fetch(&self, pins: &[Pin], step: &Step) -> Result<Vec<PathBuf>> {
        let remotes: Vec<_> = pins.iter().map(|pin| pin.remote.clone()).collect();
        self.downloads.fetch(&remotes, step)
    }

    /// The files that `group` is made of in this cache: what stands in for the pinned ones, else those.
    pub(super) fn files_of(&self, group: &Group) -> Result<Vec<Pin>> {
        let pinned = Pinned::of_tree()?;
        let pinned = pinned.of(group);
        let stand_in = self.stand_ins.get(group.name, pinned);
        Ok(stand_in.map_or_else(|| pinned.to_vec(), |stand_in| stand_in.pins))
    }

    /// Runs `make` with the files of `group`. Where the archive no longer has them, others are chosen, which is told in a notice
    /// of this run and of each later one.
    pub(super) fn with_group<T>(
        &self,
        group: &Group,
        make: impl Fn(&[Pin]) -> Result<T>,
    ) -> Result<T> {
        let pinned = Pinned::of_tree()?;
        let choose = |step: &Step| group.choose(self, step);
        self.with_files(group.name, pinned.of(group), choose, make)
    }

    /// The same with the files that are pinned, and a way to choose others.
    pub(super) fn with_files<T>(
        &self,
        name: &str,
        pinned: &[Pin],
        choose: impl FnOnce(&Step) -> Result<Vec<Pin>>,
        make: impl Fn(&[Pin]) -> Result<T>,
    ) -> Result<T> {
        let stand_in = self.stand_ins.get(name, pinned);
        if let Some(stand_in) = stand_in.filter(|_| !self.insist) {
            match make(&stand_in.pins) {
                Err(error) if is_gone(&error, &stand_in.pins) => {}
                made => {
                    notices::add(told(name, pinned, &stand_in));
                    return made;
                }
            }
        }
        let missing = match pinned {
            [] => "no version of it is pinned that fits this host".to_owned(),
            pinned => match make(pinned) {
                Err(error) if is_gone(&error, pinned) => error.to_string(),
                Err(error) => return Err(error),
                Ok(made) => {
                    self.stand_ins.forget(name, pinned)?;
                    return Ok(made);
                }
            },
        };
        let stand_in = self.stand_in(name, pinned, missing, choose)?;
        let made = make(&stand_in.pins)?;
        if !same(&stand_in.pins, pinned) {
            notices::add(told(name, pinned, &stand_in));
        }
        Ok(made)
    }

    /// Chooses what stands in for files that are gone, unless another run has done so meanwhile.
    fn stand_in(
        &self,
        name: &str,
        pinned: &[Pin],
        missing: String,
        choose: impl FnOnce(&Step) -> Result<Vec<Pin>>,
    ) -> Result<StandIn> {
        let before = self.stand_ins.get(name, pinned);
        let _lock = self.stand_ins.lock(name)?;
        match self.stand_ins.get(name, pinned) {
            Some(other) if before.is_none_or(|before| before.pins != other.pins) => {
                return Ok(other);
            }
            _ => {}
        }
        let step = Step::begin(format!("{name} packages"), "looking for another version");
        step.note(&missing);
        let pins = choose(&step).map_err(|error| match error {
            Error::Unavailable { what, reason } => Error::Unavailable {
                what,
                reason: format!(
                    "{reason}\nWhat is pinned cannot be had either: {missing}\n\
                     Name a source that has it, such as a snapshot of the day: \
                     --mirror http://snapshot.debian.org/archive/debian/YYYYMMDDT000000Z"
                ),
            },
            error => error,
        })?;
        let stand_in = StandIn { missing, pins };
        if !same(&stand_in.pins, pinned) {
            self.stand_ins.set(name, pinned, &stand_in)?;
        }
        step.done(&versions(&stand_in.pins));
        Ok(stand_in)
    }
}

/// Whether an error says that one of these files cannot be had.
fn is_gone(error: &Error, pins: &[Pin]) -> bool {
    matches!(error, Error::Unavailable { what, .. } if pins.iter().any(|pin| pin.remote.file == *what))
}

/// Whether versions and content are the same, wherever they were got.
fn same(one: &[Pin], two: &[Pin]) -> bool {
    let equal = |(one, two): (&Pin, &Pin)| {
        one.version == two.version && one.remote.sha256 == two.remote.sha256
    };
    one.len() == two.len() && one.iter().zip(two).all(equal)
}

fn told(name: &str, pinned: &[Pin], stand_in: &StandIn) -> String {
    let differing: Vec<Pin> = stand_in
        .pins
        .iter()
        .filter(|pin| !pinned.contains(pin))
        .cloned()
        .collect();
    let instead: Vec<Pin> = pinned
        .iter()
        .filter(|pin| !stand_in.pins.contains(pin))
        .cloned()
        .collect();
    let pinned = match instead.as_slice() {
        [] => String::new(),
        pins => format!(" instead of the pinned {}", versions(pins)),
    };
    format!(
        "{name}: {}{pinned}: {}",
        versions(&differing),
        stand_in.missing.lines().next().unwrap_or_default()
    )
}

/// Packages with their versions; those of the same version are counted.
fn versions(pins: &[Pin]) -> String {
    let mut told: Vec<(&Pin, usize)> = Vec::new();
    for pin in pins {
        match told
            .iter_mut()
            .find(|(other, _)| other.version == pin.version)
        {
            Some((_, count)) => *count += 1,
            None => told.push((pin, 1)),
        }
    }
    let text = |(pin, count): &(&Pin, usize)| match count {
        1 => format!("{} {}", pin.package, pin.version),
        more => format!("{} {} (and {} more)", pin.package, pin.version, more - 1),
    };
    told.iter().map(text).collect::<Vec<_>>().join(", ")
}
