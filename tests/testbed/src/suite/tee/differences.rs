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

const LOGIN: &str = "the client is a user or a group: OP-TEE would be told dom0's instead of the guest's, so avps-tee refuses";
const SOCKETS: &str = "the application opens network sockets: dom0's supplicant does that, in dom0's network and not in the guest's, \
                       where the test's server is";
/// In any mediated guest.
const MEDIATED: [Difference; 6] = [
    always("regression_1027", LOGIN),
    always("regression_1028", LOGIN),
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

/// What is to be said of results, and whether all is as it should be: what differs does, and nothing else.
pub(super) fn judge(differences: &[Difference], results: &Results) -> (Vec<String>, bool) {
    let known = |name: &str| differences.iter().find(|known| known.case == name);
    let (mut said, mut right) = (Vec::new(), true);
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
            (Verdict::Skipped(why), _) => said.push(format!("{name} skipped: {why}")),
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
        let judged = |known: &[Difference], all: &[_]| judge(known, &results(all));
        let login = ("regression_1027", failed());
        assert!(judged(&mediated(1, 1), std::slice::from_ref(&login)).1);
        assert!(!judged(&[], &[login]).1);
        assert!(!judged(&mediated(1, 1), &[("regression_1027", Verdict::Passed)]).1);
        assert!(!judged(&mediated(1, 1), &[("regression_1004", failed())]).1);
        let skipped = ("regression_1033", Verdict::Skipped("no device".into()));
        let (said, right) = judged(
            &mediated(1, 1),
            &[("regression_1004", Verdict::Passed), skipped],
        );
        assert!(right);
        assert_eq!(said, ["regression_1033 skipped: no device"]);
    }

    #[test]
    fn what_a_neighbour_may_cause_need_not_happen_and_a_stand_in_has_its_own() {
        let one = |name, verdict| results(&[(name, verdict)]);
        let failed = || Verdict::Failed(String::new());
        for verdict in [Verdict::Passed, failed()] {
            assert!(judge(&mediated(1, 2), &one("regression_1016", verdict)).1);
        }
        assert!(!judge(&mediated(1, 1), &one("regression_1016", failed())).1);
        assert!(judge(&mediated(2, 2), &one("regression_1021", failed())).1);
        assert!(!judge(&mediated(1, 2), &one("regression_1021", failed())).1);
    }
}
