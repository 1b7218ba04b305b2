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
pub(super) const FULL_ONLY: &[Moved] = &[];

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
