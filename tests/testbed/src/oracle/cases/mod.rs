//! Layouts whose verdict is known, written by hand: what the rules of the checker are measured against.
//!
//! Each class has at least two, on both sides of its border where there is one. A case says what Xen 4.20 does; a rule is
//! named by what is wrong, and stays a name here until the checker has one.

mod colours;
mod cpus;
mod devices;
mod events;
mod good;
mod heap;
mod memory;
mod modules;
mod places;
mod sharing;
mod sketch;

pub(super) use sketch::Sketch;

/// What is expected of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Every guest comes up, and has what was asked for.
    Accepted,
    /// Xen does not start all guests; the checker must refuse it by this rule.
    Refused {
        /// The rule.
        rule: &'static str,
    },
    /// Xen starts all guests, yet something else is given than was asked for; the checker must refuse it by this rule.
    Wrong {
        /// The rule.
        rule: &'static str,
    },
}

/// A layout with its expected verdict.
pub(super) struct Case {
    /// Cases of one class break one rule, or belong together otherwise.
    pub(super) class: &'static str,
    /// Unique.
    pub(super) name: &'static str,
    /// The layout.
    pub(super) sketch: Sketch,
    /// What is expected.
    pub(super) expected: Expected,
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    [
        good::cases(),
        memory::cases(),
        heap::cases(),
        sharing::cases(),
        events::cases(),
        cpus::cases(),
        colours::cases(),
        modules::cases(),
        places::cases(),
        devices::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn accepted(class: &'static str, name: &'static str, sketch: Sketch) -> Case {
    Case {
        class,
        name,
        sketch,
        expected: Expected::Accepted,
    }
}

fn refused(class: &'static str, name: &'static str, sketch: Sketch) -> Case {
    Case {
        class,
        name,
        sketch,
        expected: Expected::Refused { rule: class },
    }
}

fn wrong(class: &'static str, name: &'static str, sketch: Sketch) -> Case {
    Case {
        class,
        name,
        sketch,
        expected: Expected::Wrong { rule: class },
    }
}
