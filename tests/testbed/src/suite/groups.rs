//! The table of groups: what each boots, where it runs, and the time it may take.
//!
//! Groups of one lane run one after the other. The bed's lane has the machines that emulate two CPUs with two threads. The
//! other one has those that need a single thread of this host: their time is counted in instructions, or they end in a second.
//! They run beside the bed, with less priority.

use super::case::Case;
use super::run::{Run, Tier};
use super::{
    Test, bindings, checks, deny, documents, dom0less, dom0less_disk, driver, long, oracle, pages,
    registry, runner, tee, unit, vhost_user,
};
use crate::artefacts::Workshop;
use crate::artefacts::rust::Profile;
use crate::failure::{FAILED, Failure};
use crate::oracle::Oracle;
use crate::run::media::Media;
use crate::run::qemu::Machine;
use std::time::{Duration, Instant};

/// Where a group runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// One group at a time has this host's cores.
    Bed,
    /// Beside it.
    Beside,
}

/// What a group boots.
type Boot = fn() -> Result<(Media, Machine), Failure>;

/// How a group runs.
enum Work {
    /// Programs of this host: no Xen.
    Host(fn(&Run) -> Result<(), Failure>),
    /// Tests in boots of one machine.
    Machine {
        tests: fn() -> Result<Vec<Test>, Failure>,
        boot: Boot,
    },
    /// Tests that boot machines of their own.
    Own {
        names: fn() -> Vec<String>,
        run: fn(&Run) -> Result<(), Failure>,
    },
}

/// A group of cases.
pub(super) struct Group {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it runs.
    pub(super) lane: Lane,
    /// Minutes that it may take in the gate when everything is built; 0 if the gate has none of it.
    pub(super) gate: u64,
    /// The same in the full tier.
    pub(super) full: u64,
    work: Work,
}

/// All groups, in the order of each lane.
pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "source",
        lane: Lane::Bed,
        gate: 1,
        full: 2,
        work: Work::Host(source),
    },
    Group {
        name: "unit tests",
        lane: Lane::Bed,
        gate: 2,
        full: 3,
        work: Work::Host(unit::run),
    },
    Group {
        name: "bed",
        lane: Lane::Bed,
        gate: 10,
        full: 12,
        work: Work::Machine {
            tests: registry::tests,
            boot: plain_boot,
        },
    },
    Group {
        name: "vhost-user",
        lane: Lane::Bed,
        gate: 1,
        full: 1,
        work: Work::Own {
            names: || vec![vhost_user::NAME.to_owned()],
            run: vhost_user::run,
        },
    },
    Group {
        name: "driver domain",
        lane: Lane::Bed,
        gate: 4,
        full: 10,
        work: Work::Machine {
            tests: || Ok(driver::tests()),
            boot: || Ok((Media::get()?, driver::machine())),
        },
    },
    Group {
        name: "driver, changed Xen",
        lane: Lane::Bed,
        gate: 0,
        full: 3,
        work: Work::Machine {
            tests: || Ok(driver::on_changed_xen()),
            boot: || Ok((Media::changed()?, driver::machine())),
        },
    },
    Group {
        name: "OP-TEE",
        lane: Lane::Bed,
        gate: 5,
        full: 6,
        work: Work::Machine {
            tests: || Ok(tee::tests()),
            boot: || tee::boot(Profile::Bed),
        },
    },
    Group {
        name: "OP-TEE under FLASK",
        lane: Lane::Bed,
        gate: 1,
        full: 3,
        work: Work::Machine {
            tests: || Ok(tee::under_flask()),
            boot: tee::boot_under_flask,
        },
    },
    Group {
        name: "late disks",
        lane: Lane::Bed,
        gate: 1,
        full: 1,
        work: Work::Own {
            names: || vec![dom0less_disk::NAME.to_owned()],
            run: |run| dom0less_disk::run(&Media::get()?, &own_oracle()?, &run.report),
        },
    },
    Group {
        name: "documents",
        lane: Lane::Beside,
        gate: 2,
        full: 5,
        work: Work::Own {
            names: || documents::names().collect(),
            run: |run| documents::run(&own_oracle()?, run),
        },
    },
    Group {
        name: "rhythm",
        lane: Lane::Beside,
        gate: 2,
        full: 8,
        work: Work::Own {
            names: || vec![dom0less::NAME.to_owned()],
            run: |run| dom0less::run(&Media::get()?, &own_oracle()?, &run.report),
        },
    },
    Group {
        name: "oracle",
        lane: Lane::Beside,
        gate: 5,
        full: 8,
        work: Work::Own {
            names: || vec![oracle::NAME.to_owned()],
            run: |run| oracle::run(&own_oracle()?, run),
        },
    },
    // Last of its lane: then unit tests have built the programs, and QEMU is there.
    Group {
        name: "pages",
        lane: Lane::Beside,
        gate: 5,
        full: 2,
        work: Work::Own {
            names: pages::names,
            run: pages::run,
        },
    },
    Group {
        name: "long proofs beside",
        lane: Lane::Beside,
        gate: 0,
        full: 30,
        work: Work::Own {
            names: || long::names(Lane::Beside),
            run: |run| long::run(run, Lane::Beside),
        },
    },
    Group {
        name: "long proofs",
        lane: Lane::Bed,
        gate: 0,
        full: 90,
        work: Work::Own {
            names: || long::names(Lane::Bed),
            run: |run| long::run(run, Lane::Bed),
        },
    },
];

impl Group {
    /// Whether it boots anything.
    pub(super) fn needs_xen(&self) -> bool {
        !matches!(self.work, Work::Host(_))
    }

    /// The time it may take in a tier.
    pub(super) fn budget(&self, tier: Tier) -> Duration {
        Duration::from_secs(
            60 * match tier {
                Tier::Gate => self.gate,
                Tier::Full => self.full,
            },
        )
    }

    /// The names of its cases, as far as they are known before it runs.
    pub(super) fn names(&self) -> Result<Vec<String>, Failure> {
        Ok(match &self.work {
            Work::Host(_) => Vec::new(),
            Work::Machine { tests, .. } => tests()?.into_iter().map(|test| test.name).collect(),
            Work::Own { names, .. } => names(),
        })
    }

    /// Runs those of its cases that are wanted; returns the time without what was built before.
    ///
    /// What keeps it from running is a failed case, unless no group could run for the same reason.
    pub(super) fn run(&self, run: &Run) -> Result<Duration, Failure> {
        let began = Instant::now();
        let mut building = Duration::ZERO;
        let ended = match &self.work {
            Work::Host(work) => work(run),
            Work::Own { names, run: work } => {
                let names = names();
                if names.iter().any(|name| self.wants(run, name)) {
                    work(run)
                } else {
                    run.report.skip(names.len());
                    Ok(())
                }
            }
            Work::Machine { tests, boot } => self.boot(run, *tests, *boot, &mut building),
        };
        match ended {
            Err(failure) if failure.code == FAILED => {
                let name = format!("{}: its tests can be run", self.name);
                let seen = Some(failure.message);
                run.report
                    .case(Case::new("bed", name, began.elapsed(), seen));
            }
            ended => ended?,
        }
        run.report.built(building);
        Ok(began.elapsed().saturating_sub(building))
    }

    /// The oracle's cases have names of their own below the group's.
    fn wants(&self, run: &Run, name: &str) -> bool {
        run.wants(name)
            || run
                .filter
                .as_deref()
                .is_some_and(|filter| name == oracle::NAME && filter.starts_with(name))
    }

    fn boot(
        &self,
        run: &Run,
        tests: fn() -> Result<Vec<Test>, Failure>,
        boot: Boot,
        building: &mut Duration,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut tests = tests()?;
        tests.retain(|test| run.wants_or_skips(&test.name));
        if tests.is_empty() {
            return Ok(());
        }
        let (media, machine) = boot()?;
        *building = began.elapsed();
        runner::run(run, self.name, &media, &machine, tests)
    }
}

fn plain_boot() -> Result<(Media, Machine), Failure> {
    Ok((Media::get()?, Machine::default()))
}

fn own_oracle() -> Result<Oracle, Failure> {
    Ok(Oracle::get(Workshop::open())?)
}

fn source(run: &Run) -> Result<(), Failure> {
    for check in checks::CHECKS {
        if run.wants_or_skips(check.name) {
            check.run(&run.report)?;
        }
    }
    if run.wants_or_skips(deny::NAME) {
        deny::run(&run.report)?;
    }
    if run.wants_or_skips(bindings::NAME) {
        bindings::run(&run.report)?;
    }
    Ok(())
}

/// Names of all cases that are known without building anything.
#[cfg(test)]
pub(super) fn static_names() -> Vec<String> {
    let mut names: Vec<String> = registry::without_in_dom0()
        .into_iter()
        .map(|test| test.name)
        .collect();
    for group in GROUPS.iter().filter(|group| group.name != "bed") {
        names.extend(group.names().expect("nothing has to be built"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_fits_into_its_time() {
        let minutes = |lane| -> u64 {
            let groups = GROUPS.iter().filter(|group| group.lane == lane);
            groups.map(|group| group.gate).sum()
        };
        assert!(minutes(Lane::Bed) <= 25, "{}", minutes(Lane::Bed));
        assert!(minutes(Lane::Beside) <= 25, "{}", minutes(Lane::Beside));
        let full: u64 = GROUPS
            .iter()
            .filter(|group| group.lane == Lane::Bed)
            .map(|group| group.full)
            .sum();
        assert!(full <= 150, "{full}");
    }

    #[test]
    fn names_of_cases_are_unique() {
        let mut names = static_names();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
