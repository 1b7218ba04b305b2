//! The tests, and what runs them: `cargo xtask test`, `demo`, `bench`, `soak`.
//!
//! A test of the bed is a function of a [`Context`], registered with a name ("area: promise") and a time limit.
//! One boot serves many tests; after a failure the next test gets a fresh one, so that failures do not spread.

pub(crate) mod bench;
mod bench_block;
mod bench_start;
mod bench_vhost;
mod bindings;
mod block;
mod case;
mod checks;
mod context;
mod control;
pub(crate) mod demo;
mod deny;
mod document;
mod documents;
mod dom0less;
mod dom0less_disk;
mod driver;
mod faults;
mod groups;
mod guests;
mod history;
mod hostile;
mod in_dom0;
mod junit;
mod kept;
mod kills;
mod lifecycle;
mod long;
mod null_disk;
mod oracle;
mod own_machine;
mod pages;
mod placement;
mod plain_xl;
pub(crate) mod policy;
mod refusals;
mod registry;
mod report;
mod run;
mod runner;
mod sandbox;
mod shipped;
pub(crate) mod soak;
mod soak_block;
mod starts;
mod style;
pub(crate) mod tee;
pub(crate) mod test;
mod tiers;
mod unit;
mod upgrade;
mod vhost_user;

pub(crate) use context::{Context, Failed, Outcome, ensure};

use std::time::Duration;

/// Names of all cases that are known without building anything.
#[cfg(test)]
pub(crate) fn case_names() -> Vec<String> {
    let mut names = groups::static_names();
    names.extend(checks::CHECKS.iter().map(|check| check.name.to_owned()));
    let others = [deny::NAME, bindings::NAME];
    names.extend(others.map(str::to_owned));
    names
}

/// A test that runs in the bed.
pub(crate) struct Test {
    /// `area: promise`, unique.
    pub(crate) name: String,
    /// After this the machine is switched off and the test has failed.
    pub(crate) limit: Duration,
    /// Nothing can be tested in its boot afterwards.
    pub(crate) ruins: bool,
    /// What it does.
    pub(crate) body: Box<dyn Fn(&Context) -> Outcome + Send + Sync>,
}

impl Test {
    /// A test with a time limit in seconds.
    pub(crate) fn new(name: &str, seconds: u64, body: fn(&Context) -> Outcome) -> Self {
        Self {
            name: name.into(),
            limit: Duration::from_secs(seconds),
            ruins: false,
            body: Box::new(body),
        }
    }

    /// Nothing can be tested in its boot afterwards: the next test gets a fresh one.
    pub(crate) fn ruins_its_boot(self) -> Self {
        Self {
            ruins: true,
            ..self
        }
    }
}
