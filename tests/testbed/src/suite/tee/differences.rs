//! Where OP-TEE's own tests end otherwise in a mediated guest than in dom0, and why.

use super::xtest::{Results, Verdict};

/// A case that ends otherwise.
pub(super) struct Difference {
    case: &'static str,
    why: &'static str,
    /// Each time, and not just when it meets another guest's.
    always: bool,
}

const fn always(case: &'static str, why: &'static str) -> Difference {
    let always = true;
    Difference { case, why, always }
}

const IDENTITY: &str = "the client is a user or a group: the application is told an identity that is this guest's user's alone, and not the one \
                        that follows from the user's number, which another guest's or dom0's has, too";
const SOCKETS: &str = "the application opens network sockets: dom0's supplicant does that, in dom0's network and not in the guest's, \
                       where the test's server is";
/// In any mediated guest.
const MEDIATED: [Difference; 6] = [
    always("regression_1027", IDENTITY),
    always("regression_1028", IDENTITY),
    always("regression_2001", SOCKETS),
    always("regression_2002", SOCKETS),
    always("regression_2003", SOCKETS),
    always("regression_2004", SOCKETS),
];
/// Where others stand in for the applications.
const STAND_IN: Difference = always(
    "regression_1021",
    "the application calls another one, and does so by the UUID in its code: that is not the one that stands in for it",
);
/// Where another guest runs the same.
const NEIGHBOUR: Difference = Difference {
    case: "regression_1016",
    why: "there was no secure memory left: all mediated guests are one client of OP-TEE's, and share what it gives one",
    always: false,
};

/// What differs in the mediated guest of this number, the first being 1, when so many run.
pub(super) fn mediated(number: u8, guests: u8) -> Vec<Difference> {
    let mut all = Vec::from(MEDIATED);
    if number > 1 {
        all.push(STAND_IN);
    }
    if guests > 1 {
        all.push(NEIGHBOUR);
    }
    all
}

/// Cases that a run of all has, at least.
const ALL: usize = 100;

/// What is to be said of results, and whether all is as it should be: what differs does, and nothing else. No case may be skipped.
/// Where `all` were wanted, none of those that differ may be missing, nor many others.
pub(super) fn judge(
    differences: &[Difference],
    results: &Results,
    all: bool,
) -> (Vec<String>, bool) {
    let known = |name: &str| differences.iter().find(|known| known.case == name);
    let (mut said, mut right) = (Vec::new(), true);
    if results.cases.is_empty() || (all && results.cases.len() < ALL) {
        said.push(format!("only {} cases ran", results.cases.len()));
        right = false;
    }
    for known in differences.iter().filter(|known| all && known.always) {
        if !results.names().any(|name| name == known.case) {
            said.push(format!("{} did not run", known.case));
            right = false;
        }
    }
    for case in &results.cases {
        let name = &case.name;
        match (&case.verdict, known(name)) {
            (Verdict::Passed, None | Some(Difference { always: false, .. })) => {}
            (Verdict::Passed, Some(_)) => {
                said.push(format!("{name} passed, which is not expected here"));
                right = false;
            }
            (Verdict::Failed(_), Some(known)) => {
                said.push(format!("{name} differs: {}", known.why))
            }
            (Verdict::Failed(what), None) => {
                said.push(format!("{name} FAILED {what}"));
                right = false;
            }
            (Verdict::Skipped(why), _) => {
                said.push(format!("{name} was skipped, so it shows nothing: {why}"));
                right = false;
            }
        }
    }
    (said, right)
}

#[cfg(test)]
mod tests {
    use super::super::xtest::Case;
    use super::*;

    fn results(all: &[(&str, Verdict)]) -> Results {
        let case = |(name, verdict): &(&str, Verdict)| Case {
            name: (*name).to_owned(),
            verdict: verdict.clone(),
        };
        Results {
            cases: all.iter().map(case).collect(),
        }
    }

    #[test]
    fn what_differs_must_differ_and_nothing_else_may() {
        let failed = || Verdict::Failed("first error at a.c:1".into());
        let judged = |known: &[Difference], all: &[_]| judge(known, &results(all), false);
        let login = ("regression_1027", failed());
        assert!(judged(&mediated(1, 1), std::slice::from_ref(&login)).1);
        assert!(!judged(&[], &[login]).1);
        assert!(!judged(&mediated(1, 1), &[("regression_1027", Verdict::Passed)]).1);
        assert!(!judged(&mediated(1, 1), &[("regression_1004", failed())]).1);
        let skipped = ("regression_1033", Verdict::Skipped("no device".into()));
        let passed = ("regression_1004", Verdict::Passed);
        let (said, right) = judged(&mediated(1, 1), &[passed.clone(), skipped]);
        assert!(!right);
        assert_eq!(
            said,
            ["regression_1033 was skipped, so it shows nothing: no device"]
        );
        assert!(judged(&mediated(1, 1), &[passed]).1);
        assert!(!judged(&[], &[]).1);
    }

    #[test]
    fn a_run_of_all_has_them_all() {
        let names: Vec<String> = (0..ALL)
            .map(|number| format!("regression_{number}"))
            .collect();
        let mut cases: Vec<(&str, Verdict)> = names
            .iter()
            .map(|name| (name.as_str(), Verdict::Passed))
            .collect();
        let failed = || Verdict::Failed(String::new());
        let known = [always("regression_2001", SOCKETS)];
        assert!(judge(&[], &results(&cases), true).1);
        let (said, right) = judge(&known, &results(&cases), true);
        assert!(!right, "{said:?}");
        assert_eq!(said, ["regression_2001 did not run"]);
        cases.push(("regression_2001", failed()));
        assert!(judge(&known, &results(&cases), true).1);
        assert!(!judge(&[], &results(&cases[..ALL - 1]), true).1);
    }

    #[test]
    fn what_a_neighbour_may_cause_need_not_happen_and_a_stand_in_has_its_own() {
        let one = |name, verdict| results(&[(name, verdict)]);
        let failed = || Verdict::Failed(String::new());
        for verdict in [Verdict::Passed, failed()] {
            assert!(judge(&mediated(1, 2), &one("regression_1016", verdict), false).1);
        }
        assert!(!judge(&mediated(1, 1), &one("regression_1016", failed()), false).1);
        assert!(judge(&mediated(2, 2), &one("regression_1021", failed()), false).1);
        assert!(!judge(&mediated(1, 2), &one("regression_1021", failed()), false).1);
    }
}
