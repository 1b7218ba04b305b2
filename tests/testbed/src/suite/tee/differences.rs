//! Where OP-TEE's own tests end otherwise in a mediated guest than in dom0, and why.

use super::callers::Mode;
use super::xtest::{Results, Verdict};

/// A case that cannot pass in a mediated guest, and the reason.
const MEDIATED: [(&str, &str); 6] = [
    ("regression_1027", LOGIN),
    ("regression_1028", LOGIN),
    ("regression_2001", SOCKETS),
    ("regression_2002", SOCKETS),
    ("regression_2003", SOCKETS),
    ("regression_2004", SOCKETS),
];
const LOGIN: &str = "the client is a user or a group: OP-TEE would be told dom0's instead of the guest's, so avps-tee refuses";
const SOCKETS: &str = "the application opens network sockets: dom0's supplicant does that, in dom0's network and not in the guest's, \
                       where the test's server is";

/// What is to be said of results, and whether all is as it should be: what differs does, and nothing else.
pub(super) fn judge(mode: Option<Mode>, results: &Results) -> (Vec<String>, bool) {
    let known = |case: &str| {
        let known = MEDIATED.iter().find(|(name, _)| *name == case);
        known
            .filter(|_| mode == Some(Mode::Mediated))
            .map(|(_, why)| *why)
    };
    let (mut said, mut right) = (Vec::new(), true);
    for case in &results.cases {
        let name = &case.name;
        match (&case.verdict, known(name)) {
            (Verdict::Passed, None) => {}
            (Verdict::Passed, Some(_)) => {
                said.push(format!("{name} passed, which is not expected here"));
                right = false;
            }
            (Verdict::Failed(_), Some(why)) => said.push(format!("{name} differs: {why}")),
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
        let mediated = Some(Mode::Mediated);
        let judged = |mode, all: &[_]| judge(mode, &results(all));
        let login = ("regression_1027", failed());
        assert!(judged(mediated, std::slice::from_ref(&login)).1);
        assert!(!judged(Some(Mode::Hypervisor), std::slice::from_ref(&login)).1);
        assert!(!judged(None, &[login]).1);
        assert!(!judged(mediated, &[("regression_1027", Verdict::Passed)]).1);
        assert!(!judged(mediated, &[("regression_1004", failed())]).1);
        let skipped = ("regression_1033", Verdict::Skipped("no device".into()));
        let (said, right) = judged(mediated, &[("regression_1004", Verdict::Passed), skipped]);
        assert!(right);
        assert_eq!(said, ["regression_1033 skipped: no device"]);
    }
}
