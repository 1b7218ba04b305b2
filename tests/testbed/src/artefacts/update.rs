//! `cargo xtask update`: moves the pins to what Debian's archive has today.

use std::process::ExitCode;

use clap::Args;

use super::apt::compare;
use super::error::{Error, Result};
use super::groups::{ALL, Group, Rule};
use super::pins::{Pin, Pinned};
use super::{Workshop, host};
use crate::failure::{FAILED, Failure};
use crate::progress::Step;

/// Options of `cargo xtask update`.
#[derive(Args)]
pub(crate) struct Update {
    /// Only these groups, as they are called in the file [default: all].
    groups: Vec<String>,
}

impl Update {
    /// Moves them; exit code 1 when a group stays because the archive does not have all of its files.
    pub(crate) fn run(self) -> std::result::Result<ExitCode, Failure> {
        if let Some(name) = self.groups.iter().find(|name| !is_group(name)) {
            let names = ALL.map(|group| group.name).join(", ");
            return Err(Failure::new(format!(
                "there is no group {name}; there are {names}"
            )));
        }
        let workshop = Workshop::open();
        host::ensure_tools(&workshop)?;
        let path = Pinned::path();
        let mut pinned = Pinned::read_unchecked(&path)?;
        let (mut moved, mut stayed) = (0, 0);
        for group in ALL {
            if !self.groups.is_empty() && !self.groups.iter().any(|name| name == group.name) {
                continue;
            }
            let step = Step::begin(format!("{} packages", group.name), "looking up versions");
            match group.choose(&workshop, &step) {
                Ok(chosen) => {
                    let chosen = kept(group, pinned.of(group), chosen);
                    moved += tell(group, pinned.of(group), &chosen);
                    pinned.set(group, chosen);
                }
                Err(Error::Unavailable { what, reason }) => {
                    stayed += 1;
                    println!("{:<13} stays: {what}: {reason}", group.name);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if moved > 0 {
            pinned.updated = today()?;
            pinned.write(&path)?;
        }
        println!("{moved} files moved in {}", path.display());
        Ok(if stayed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        })
    }
}

fn is_group(name: &str) -> bool {
    ALL.iter().any(|group| group.name == name)
}

/// `chosen`, but never older than what is pinned: an archive may lag behind.
fn kept(group: &Group, pinned: &[Pin], chosen: Vec<Pin>) -> Vec<Pin> {
    if group.problem(pinned).is_some() {
        return chosen;
    }
    let is_older = |(new, old): (&Pin, &Pin)| compare(&new.version, &old.version).is_lt();
    if matches!(group.rule, Rule::OneRelease(_)) {
        let older = chosen.iter().zip(pinned).any(is_older);
        return if older { pinned.to_vec() } else { chosen };
    }
    let newer = |(new, old): (Pin, &Pin)| match is_older((&new, old)) {
        true => old.clone(),
        false => new,
    };
    chosen.into_iter().zip(pinned).map(newer).collect()
}

/// Prints what moves; how many files that are.
fn tell(group: &Group, pinned: &[Pin], chosen: &[Pin]) -> usize {
    let mut moved = 0;
    for (place, new) in chosen.iter().enumerate() {
        let old = pinned.get(place);
        if old == Some(new) {
            continue;
        }
        moved += 1;
        let from = old.map_or("not pinned", |old| old.version.as_str());
        println!(
            "{:<13} {:<26} {from} → {}",
            group.name, new.package, new.version
        );
    }
    moved
}

fn today() -> Result<String> {
    let asked = crate::process::Run::new("date")
        .args(["-u", "+%F"])
        .output();
    let date = asked.map_err(Error::child("asking for the date"))?;
    Ok(date.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::kept;
    use crate::artefacts::groups::{USERLAND, XEN};
    use crate::artefacts::pins::{Pin, Pinned};
    use crate::paths;

    fn with(pins: &[Pin], place: usize, version: &str) -> Vec<Pin> {
        let mut pins = pins.to_vec();
        pins[place].version = version.to_owned();
        pins
    }

    #[test]
    fn an_archive_that_lags_behind_does_not_move_a_pin_back() {
        let pinned = Pinned::read(&paths::testbed().join("pins.toml")).unwrap();
        let (xen, userland) = (pinned.of(&XEN), pinned.of(&USERLAND));
        let newer = with(userland, 3, "99");
        assert_eq!(kept(&USERLAND, userland, newer.clone()), newer);
        let mixed = with(&newer, 5, "0.1");
        assert_eq!(kept(&USERLAND, userland, mixed), newer);
        let older: Vec<Pin> =
            (0..xen.len()).fold(xen.to_vec(), |pins, n| with(&pins, n, "4.20.0-1"));
        assert_eq!(kept(&XEN, xen, older), xen);
        let newer: Vec<Pin> =
            (0..xen.len()).fold(xen.to_vec(), |pins, n| with(&pins, n, "4.20.9-1"));
        assert_eq!(kept(&XEN, xen, newer.clone()), newer);
    }
}
