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
mod sign;
mod sketch;

pub(super) use sign::Sign;
pub(super) use sketch::Sketch;

/// What is expected of a layout. Where it is not that all is well, the checker must refuse it by the rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// Every guest comes up, and has what was asked for.
    Accepted,
    /// Xen does not start all guests, and says so.
    Refused {
        /// The rule.
        rule: &'static str,
    },
    /// Xen neither starts all guests nor says why.
    Stuck {
        /// The rule.
        rule: &'static str,
    },
    /// Xen gives something else than was asked for, and that shows.
    Wrong {
        /// The rule.
        rule: &'static str,
        /// What shows it.
        sign: Sign,
    },
    /// Xen starts all guests and notices nothing; nor does it show in what guests and Xen tell.
    Unnoticed {
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

fn stuck(class: &'static str, name: &'static str, sketch: Sketch) -> Case {
    Case {
        class,
        name,
        sketch,
        expected: Expected::Stuck { rule: class },
    }
}

fn wrong(class: &'static str, name: &'static str, sketch: Sketch, sign: Sign) -> Case {
    Case {
        class,
        name,
        sketch,
        expected: Expected::Wrong { rule: class, sign },
    }
}

fn unnoticed(class: &'static str, name: &'static str, sketch: Sketch) -> Case {
    Case {
        class,
        name,
        sketch,
        expected: Expected::Unnoticed { rule: class },
    }
}
