//! Which cases only the full tier runs, and what covers each in the gate.
//!
//! Everything that is not named here is in the gate.

/// A case of the full tier.
pub(super) struct Moved {
    /// Its whole name.
    pub(super) case: &'static str,
    /// A case of the gate that keeps the same promise in a smaller form.
    pub(super) covered_by: &'static str,
}

/// All of them.
pub(super) const FULL_ONLY: &[Moved] = &[
    Moved {
        case: "block: threads that sleep and requests that are mapped serve a guest as well",
        covered_by: "block: mixed requests of all sizes leave no grant in use, cached and direct",
    },
    Moved {
        case: "placement: RTDS shares are the plan's, and their pool outlives down",
        covered_by: "placement: pools and pinned vCPUs are the plan's, and down gives the CPUs back",
    },
    Moved {
        case: "driver: a holder killed again and again in a driver domain costs a guest no data and no error",
        covered_by: "restart: a holder killed again and again costs a guest no data and no error",
    },
    Moved {
        case: "driver: of two that serve a guest, one can take the other's place; the rest of the guests does not notice",
        covered_by: TAKEN_OVER,
    },
    Moved {
        case: "driver: one that was taken over reaches no page that was not granted, on a Xen with the change for it",
        covered_by: TAKEN_OVER,
    },
    Moved {
        case: "tee: under FLASK: without one of the permissions for avps-tee no call is mediated, or no guest told of its end",
        covered_by: "tee: under FLASK: OP-TEE's quick tests pass in a mediated guest, what it may not do is refused, and Xen refuses nothing",
    },
];

const TAKEN_OVER: &str = "driver: one that was taken over reaches no other domain, and of its guests what Xen is known not to refuse";

/// What the table says of this case.
pub(super) fn moved(case: &str) -> Option<&'static Moved> {
    FULL_ONLY.iter().find(|moved| moved.case == case)
}

/// Whether the gate leaves this case out.
pub(super) fn is_full_only(case: &str) -> bool {
    moved(case).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::groups;
    use super::*;

    #[test]
    fn each_case_that_the_gate_leaves_out_exists_and_is_covered_there() {
        let names = groups::static_names();
        for moved in FULL_ONLY {
            assert!(
                names.iter().any(|name| name == moved.case),
                "{}",
                moved.case
            );
            let by = moved.covered_by;
            assert!(names.iter().any(|name| name == by), "{by}");
            assert!(!is_full_only(by), "{by} is not in the gate");
        }
    }
}
