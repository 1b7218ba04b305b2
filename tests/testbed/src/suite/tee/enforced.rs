//! A mediated guest while Xen enforces a FLASK policy: a boot of its own. The policy is the document's; what it has for avps-tee is
//! enough, and no permission of that can be left out.

use super::super::document::Document;
use super::super::driver::{self, Lacking, Refusals};
use super::super::{Context, Failed, Outcome, Test, ensure};
use super::callers::{self, TIME};
use super::client::{bed_tee, begin, calls, ended};
use super::rights::{CRYPT, DENIED, OS_TEST, expect};
use ::platform::Plan;
use ::platform::flask::Policy;
use agent::client::Remote;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "tee: under FLASK: OP-TEE's quick tests pass in a mediated guest, what it may not do is refused, and Xen refuses nothing",
            180,
            serves,
        ),
        Test::new(
            "tee: under FLASK: without one of the permissions for avps-tee no call is mediated, or no guest told of its end",
            240,
            needed,
        ),
    ]
}

/// OP-TEE's own tests of itself.
const CORE: &str = "d96a5b40-c3e5-21e3-8794-1002a5d5c61b";
/// An application that there is, and that the guest may not open: of tests of storage.
const STORAGE: &str = "b689f2a7-8adf-477a-9f99-32e90c0ad0a2";
/// The guest whose calls come to avps-tee, and the one whose calls Xen carries out.
const MEDIATED: &str = "mediated";
const DIRECT: &str = "direct";
/// How long a call is let stand that nobody carries out.
const HELD: Duration = Duration::from_secs(3);

fn document() -> String {
    let applications = [CORE, CRYPT, OS_TEST];
    let rights = format!(
        "vcpus = 2\n[domain.tee]\nmode = \"mediated\"\napplications = {applications:?}\nsessions = 16\nshared_memory = \"4MiB\""
    );
    format!(
        "schema = \"avps/1\"\n[platform]\nname = \"enforced\"\n[xen]\nflask = \"enforcing\"\n{}{}",
        callers::guest(MEDIATED, "192MiB", &rights),
        callers::guest(DIRECT, "192MiB", "tee = { mode = \"hypervisor\" }")
    )
}

/// The guests run under their document's policy, from whose loading on refusals count: `avpsctl up` refuses where Xen does not
/// enforce it.
fn running(context: &Context) -> Result<(Document, Policy, Refusals), Failed> {
    callers::mediator(context)?;
    let document = Document::put(context, "enforced", &document(), TIME)?;
    let policy = Policy::of(&document.plan);
    driver::load(context, &driver::compile(context, &policy)?)?;
    let refusals = Refusals::watch(context)?;
    document.up(context)?;
    Ok((document, policy, refusals))
}

fn serves(context: &Context) -> Outcome {
    let (document, _, refusals) = running(context)?;
    let guest = context.guest(MEDIATED)?;
    callers::prepare(&guest)?;
    super::quick(context, &guest)?;
    calls(&guest, 20, 65_536)?;
    let seen = bed_tee(&guest, &["open", STORAGE])?;
    expect(
        "an application that it may not open",
        &seen["answers"],
        serde_json::json!([DENIED]),
    )?;
    let direct = context.guest(DIRECT)?;
    callers::prepare(&direct)?;
    calls(&direct, 1, 0)?;
    // Taking over and letting go need their permissions, too.
    callers::restart_mediator(context)?;
    calls(&guest, 1, 0)?;
    let refused = refusals.seen(context, MEDIATED)?;
    ensure(refused.is_empty(), || format!("Xen refused: {refused:#?}"))?;
    let check = format!("avpsctl policy check {}", document.path);
    context.note(context.sh(&check)?);
    Ok(())
}

fn needed(context: &Context) -> Outcome {
    let (document, policy, _) = running(context)?;
    let guest = context.guest(MEDIATED)?;
    callers::prepare(&guest)?;
    calls(&guest, 1, 0)?;
    let whole = driver::compile(context, &policy)?;
    let permissions = of_the_mediator(&document.plan, &policy);
    ensure(
        !permissions.is_empty(),
        || "the mediator has no permission of its own",
    )?;
    for lacking in &permissions {
        let seen = without(context, &guest, lacking, &whole)
            .map_err(|Failed(seen)| Failed(format!("without {}: {seen}", lacking.what)))?;
        context.note(format!("without {}: {seen}", lacking.what));
    }
    document.down(context, Ok(()))
}

/// The permissions that the same platform without a secure world does not have.
fn of_the_mediator(plan: &Plan, policy: &Policy) -> Vec<Lacking> {
    let mut without = plan.clone();
    for domain in &mut without.domains {
        domain.tee = None;
    }
    let known = driver::lacking(&Policy::of(&without));
    let known: BTreeSet<String> = known.into_iter().map(|lacking| lacking.what).collect();
    let mut all = driver::lacking(policy);
    all.retain(|lacking| !known.contains(&lacking.what));
    all
}

/// Starts the mediator under a policy that lacks a permission: it cannot take the guest over, or not tell it of the end of a call,
/// or a call of the guest stands until the policy is `whole` again, as may the whole guest, whose driver calls when it is
/// interrupted. What was seen.
fn without(
    context: &Context,
    guest: &Remote,
    lacking: &Lacking,
    whole: &[u8],
) -> Result<String, Failed> {
    lacking.load(context)?;
    let refusals = Refusals::watch(context)?;
    callers::restart_mediator(context)?;
    let taken_over = told(context, "state")? == "ready";
    let error = told(context, "error")?;
    let untold = context.sh(&format!(
        "grep -o 'interrupt .* cannot be used' {} || true",
        callers::LOG
    ))?;
    let taken_over = taken_over && untold.is_empty();
    let speaks = taken_over && guest.ping(HELD).is_ok();
    if speaks {
        begin(guest, 1)?;
        std::thread::sleep(HELD);
    }
    let refused = lacking.was_refused(context, &refusals)?;
    driver::load(context, whole)?;
    callers::restart_mediator(context)?;
    ensure(refused, || "Xen refused nothing")?;
    if !speaks {
        calls(guest, 1, 0)?;
        let stood = if taken_over {
            "the guest stood still"
        } else {
            ""
        };
        let seen = format!("{error}{untold}{stood}");
        ensure(
            !seen.is_empty(),
            || "the mediator does not say what it lacks",
        )?;
        return Ok(seen);
    }
    let said = ended(guest, Duration::from_secs(20))?;
    let seen: Value = serde_json::from_str(&said)?;
    let seconds = seen["seconds"].as_f64().unwrap_or_default();
    ensure(seconds >= HELD.as_secs_f64(), || {
        format!("a call took {seconds} s: somebody has answered it")
    })?;
    Ok(format!("a call stood still, {seconds:.1} s in all"))
}

/// What the mediator says of the guest in XenStore; nothing where it says nothing.
fn told(context: &Context, key: &str) -> Result<String, Failed> {
    context.sh(&format!(
        "xenstore-read /libxl/$(xl domid {MEDIATED})/avps/tee/{key} 2>/dev/null || true"
    ))
}
