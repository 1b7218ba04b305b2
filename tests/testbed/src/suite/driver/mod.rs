//! Driver domains under FLASK, enforcing: a boot of their own.

mod attacks;
pub(super) mod bench;
mod faults;
mod leftovers;
mod path;
mod platform;
mod refusals;
mod restart;
mod rules;
mod serving;

pub(super) use platform::load;
pub(super) use refusals::Refusals;
pub(super) use rules::{Lacking, compile, lacking};

use super::bench::{Figures, on};
use super::{Context, Failed, Test};
use crate::failure::Failure;
use crate::run::media::Media;
use crate::run::qemu::Machine;

/// The machine of these tests.
pub(super) fn machine() -> Machine {
    Machine {
        xen_options: "xsm=flask flask=enforcing".to_owned(),
        ..Machine::default()
    }
}

/// The tests, in their order.
pub(super) fn tests() -> Vec<Test> {
    let mut tests = serving::tests();
    tests.extend(path::tests());
    tests.extend(faults::tests());
    tests.extend(leftovers::tests());
    tests.extend(attacks::tests());
    tests.extend(restart::tests());
    tests.extend(rules::tests());
    tests.extend(serving::last());
    tests
}

/// Tests on a Xen with the changes that ship in `configs/xen`.
pub(super) fn on_changed_xen() -> Vec<Test> {
    attacks::on_changed_xen()
}

/// What `cargo xtask soak drivers` shows.
pub(super) fn ends(context: &Context, ends: u32) -> Result<Figures, Failed> {
    let mut figures = Figures::default();
    restart::run(context, ends, &mut figures)?;
    Ok(figures)
}

/// What `cargo xtask policy` shows.
pub(super) fn policy(
    media: &Media,
    rules: Option<usize>,
    seed: Option<u64>,
) -> Result<Figures, Failure> {
    let mut figures = on(media, &machine(), "policy", |context| {
        let mut figures = Figures::default();
        attacks::run(context, &attacks::XEN_CANNOT_REFUSE, &mut figures)?;
        Ok(figures)
    })?;
    let seed = seed.map_or_else(rules::Seed::of_the_commit, rules::Seed::given);
    let mut trials = rules::Trials::new(rules, seed);
    let mut done = false;
    while !done {
        on(media, &machine(), "policy", |context| {
            done = trials.run(context)?;
            Ok(Figures::default())
        })?;
    }
    trials.tell(&mut figures);
    Ok(figures)
}
