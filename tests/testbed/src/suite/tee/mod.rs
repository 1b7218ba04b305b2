//! OP-TEE in the secure world, called by dom0 and by guests: a boot of their own, on a machine that has one.

pub(super) mod bench;
mod callers;
mod client;
pub(crate) mod command;
mod differences;
mod enforced;
mod faults;
mod identities;
mod many;
pub(super) mod page;
mod rights;
mod xtest;

use super::{Context, Failed, Outcome, Test, driver, ensure};
use crate::artefacts::rust::Profile;
use crate::artefacts::tee::Abi;
use crate::failure::Failure;
use crate::run::media::Media;
use crate::run::qemu::Machine;
use crate::run::secure;
use agent::client::Remote;
use callers::{Callers, Mode};
use std::time::Duration;

/// What these tests boot.
pub(super) fn boot(profile: Profile) -> Result<(Media, Machine), Failure> {
    secure::machine(Machine::default(), Abi::Smc, profile)
}

/// The tests, in their order.
pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("tee: OP-TEE's own quick tests pass in dom0", 120, in_dom0),
        Test::new(
            "tee: hypervisor mode: they pass in a guest by Xen's mediator, and the next guest finds its place free",
            240,
            in_guest,
        ),
        Test::new(
            "tee: mediated: they pass in two guests at once, and so do tests of storage, in each with applications of its own",
            300,
            mediated,
        ),
    ];
    tests.extend(rights::tests());
    tests.push(super::pages::tee_test());
    tests.extend(many::tests());
    tests.extend(identities::tests());
    tests.extend(faults::tests());
    tests
}

/// What the tests under FLASK boot.
pub(super) fn boot_under_flask() -> Result<(Media, Machine), Failure> {
    secure::machine(driver::machine(), Abi::Smc, Profile::Bed)
}

/// The tests under FLASK, enforcing, in their order.
pub(super) fn under_flask() -> Vec<Test> {
    enforced::tests()
}

/// Cases of xtest that reach all parts between a program and an application without taking long: the core's own tests,
/// applications loaded by the supplicant, and hashes, whose texts go through shared memory.
const QUICK: [&str; 3] = ["regression_1001", "regression_1004", "regression_4001"];
const QUICK_LIMIT: Duration = Duration::from_secs(90);

/// Tests of persistent objects: they create, rename and delete some of the same names.
const STORAGE: &str = "regression_600";

fn in_dom0(context: &Context) -> Outcome {
    callers::prepare(&context.dom0())?;
    quick(context, &context.dom0())?;
    let revision = context.sh("dmesg | grep -m 1 -o 'optee: revision .*'")?;
    context.note(revision);
    Ok(())
}

fn in_guest(context: &Context) -> Outcome {
    for _ in 0..2 {
        let callers = Callers::start(context, 1, Mode::Hypervisor)?;
        let outcome = callers
            .all(context)
            .and_then(|guests| guests.iter().try_for_each(|guest| quick(context, guest)));
        callers.end(context, outcome)?;
    }
    Ok(())
}

fn mediated(context: &Context) -> Outcome {
    let callers = Callers::apart(context, 2)?;
    let outcome = callers
        .at_once(context, |guest| {
            quick(context, guest)?;
            stored(context, guest)?;
            large(guest)
        })
        .map(drop);
    context.note(context.sh("avpsctl tee status")?);
    callers.end(context, outcome)
}

/// Tests of storage have passed: OP-TEE's suite has a dozen of these.
fn stored(context: &Context, caller: &Remote) -> Outcome {
    let results = xtest::run(context, caller, &[STORAGE], QUICK_LIMIT, |_| ())?;
    let (others, _) = differences::judge(&[], &results, false);
    ensure(others.is_empty() && results.passed() >= 5, || {
        format!("{} passed; {}", results.passed(), others.join("; "))
    })
}

/// A call with four buffers, each as large as Xen's mediator takes, is answered like one without.
fn large(caller: &Remote) -> Outcome {
    let answer = |more: &[&str]| {
        let args = [&["calls", "2"], more].concat();
        Ok::<_, Failed>(client::bed_tee(caller, &args)?["results"].take())
    };
    let (bytes, plain) = ((129 * 4096).to_string(), answer(&[])?);
    let wanted = serde_json::json!({ client::NO_SUCH_FUNCTION: 2 });
    ensure(plain == wanted, || format!("without buffers: {plain}"))?;
    let seen = answer(&["--buffers", "4", "--bytes", &bytes])?;
    ensure(seen == plain, || {
        format!("{seen}, and {plain} without buffers")
    })
}

/// The quick cases, and no others, have passed.
fn quick(context: &Context, caller: &Remote) -> Outcome {
    let results = xtest::run(context, caller, &QUICK, QUICK_LIMIT, |_| ())?;
    let names: Vec<&str> = results.names().collect();
    ensure(names == QUICK, || format!("these ran: {names:?}"))?;
    let (others, _) = differences::judge(&[], &results, false);
    ensure(others.is_empty(), || others.join("; "))
}
