//! What a mediated guest may do, and what it is answered when it does more.

use super::super::document::Document;
use super::super::{Context, Failed, Outcome, Test, ensure};
use super::callers::{self, TIME};
use super::client::{SUCCESS, bed_tee, begin, calls, ended, said, status, under_way};
use agent::client::Remote;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Applications of OP-TEE's tests: of its services, and of cryptography.
pub(super) const OS_TEST: &str = "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b";
pub(super) const CRYPT: &str = "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b";
/// One that there is not: for the other guest the first stands in for it.
const NOWHERE: &str = "3c0f3e52-8a0c-4d5e-9b0e-5f3b2a1c7d44";
/// Results of GlobalPlatform's.
pub(super) const DENIED: &str = "0xffff0001";
const CANCELLED: &str = "0xffff0002";
const BUSY: &str = "0xffff000d";
pub(super) const COMMUNICATION: &str = "0xffff000e";
const TIMEOUT: &str = "0xffff3001";

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "tee: a guest gets what its document allows, and for the rest the right error and a line in the audit trail",
            180,
            limits,
        ),
        Test::new(
            "tee: a long call holds up neither another guest nor its caller's other vCPU, and costs few SMCs",
            180,
            long_call,
        ),
    ]
}

/// A document of guests `limited` and `other`; `rights` are the first one's.
pub(super) fn put(context: &Context, rights: &str) -> Result<Document, Failed> {
    let guest = |name: &str, rights: &str| {
        callers::guest(
            name,
            "192MiB",
            &format!("vcpus = 2\n[domain.tee]\nmode = \"mediated\"\n{rights}"),
        )
    };
    let text = format!(
        "schema = \"avps/1\"\n[platform]\nname = \"rights\"\n{}{}",
        guest("limited", rights),
        guest(
            "other",
            &format!(
                "applications = [\"{OS_TEST}\"]\n\
                 [[domain.tee.stand_in]]\napplication = \"{NOWHERE}\"\nopens = \"{OS_TEST}\""
            )
        )
    );
    Document::put(context, "rights", &text, TIME)
}

/// Rights to one application, and little else.
pub(super) fn little() -> String {
    format!("applications = [\"{OS_TEST}\"]\nsessions = 2\nshared_memory = \"128KiB\"")
}

pub(super) fn expect(what: &str, seen: &Value, wanted: Value) -> Outcome {
    ensure(*seen == wanted, || format!("{what}: {seen}, not {wanted}"))
}

fn limits(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let document = put(context, &little())?;
    document.up(context)?;
    let outcome = within(context);
    document.down(context, outcome)
}

fn within(context: &Context) -> Outcome {
    let guest = context.guest("limited")?;
    let seen = bed_tee(&guest, &["open", OS_TEST, "--count", "3"])?;
    expect(
        "a third session",
        &seen["answers"],
        serde_json::json!([SUCCESS, SUCCESS, BUSY]),
    )?;
    let seen = bed_tee(&guest, &["open", CRYPT])?;
    expect(
        "another application",
        &seen["answers"],
        serde_json::json!([DENIED]),
    )?;
    let seen = bed_tee(&guest, &["share", "65536", "--count", "3"])?;
    expect("memory", &seen["shared"], 1.into())?;
    // Given back, it can be had again; calls with memory work.
    calls(&guest, 20, 65536)?;

    // Other rights, while it runs.
    let less = format!("{}\nrate = 5\ntimeout = \"3s\"", little());
    given(context, &less, "5 calls per second")?;
    // The application does not look whether it was cancelled: it has OP-TEE's thread until it ends, but not its caller.
    let long = context.within(Duration::from_secs(12)).as_millis();
    let seen = bed_tee(&guest, &["wait", &long.to_string()])?;
    let answer = &seen["answers"][0];
    expect("a call that lasts", &answer["result"], TIMEOUT.into())?;
    let seconds = answer["seconds"].as_f64().unwrap_or(f64::NAN);
    ensure((2.5..8.0).contains(&seconds), || {
        format!("a call that may take 3 s took {seconds} s")
    })?;
    quarantined(context, &guest)?;
    let seen = bed_tee(&guest, &["calls", "40"])?;
    let busy = seen["results"][BUSY].as_u64().unwrap_or(0);
    ensure((1..=39).contains(&busy), || format!("40 calls: {seen}"))?;
    context.note(format!(
        "of 40 calls at 5 per second {busy} refused; 3 s were {seconds:.2} s"
    ));
    // Nobody else is the poorer for it.
    let other = context.guest("other")?;
    calls(&other, 40, 0)?;
    for (guest, answer) in [(&other, SUCCESS), (&guest, DENIED)] {
        let seen = bed_tee(guest, &["open", NOWHERE])?;
        expect(
            "what another one stands in for",
            &seen["answers"],
            serde_json::json!([answer]),
        )?;
    }

    taken_away(context, &guest)?;

    let report: Value = serde_json::from_str(&context.sh("avpsctl tee audit limited --json")?)?;
    for (event, words) in [
        ("denied", "sessions open"),
        ("denied", "is not among its applications"),
        ("denied", "would share more"),
        ("denied", "calls in a second"),
        ("timed-out", "took too long"),
        ("given-up", "is given up"),
        ("quarantined", "until the one ends"),
        ("denied", "it is quarantined"),
        ("released", "has ended"),
        ("rights", "changed"),
        ("revoked", "no longer allowed"),
    ] {
        let mut entries = report["audit"].as_array().into_iter().flatten();
        let found = entries.any(|entry| {
            let text = entry["text"].as_str().unwrap_or_default();
            entry["event"] == event && text.contains(words)
        });
        ensure(found, || {
            format!("the trail does not say: {event}: {words}")
        })?;
    }
    Ok(())
}

/// A call that was given up is still in OP-TEE: its guest gets no other one there until it ends, and everybody can see why.
fn quarantined(context: &Context, guest: &Remote) -> Outcome {
    let by = || Ok::<_, Failed>(status(context, "limited")?["quarantined_by"].take());
    expect("calls that do not end", &by()?, 1.into())?;
    let seen = bed_tee(guest, &["open", OS_TEST])?;
    expect("in quarantine", &seen["answers"], serde_json::json!([BUSY]))?;
    let told = context.sh("avpsctl tee status")?;
    ensure(told.contains("limited is quarantined"), || told)?;
    calls(&context.guest("other")?, 5, 0)?;
    let until = Instant::now() + context.within(Duration::from_secs(20));
    while by()? != 0 {
        ensure(Instant::now() < until, || "the quarantine does not end")?;
        std::thread::sleep(Duration::from_millis(200));
    }
    // Its calls of a second are there again.
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// Gives the first guest other rights while it runs, and waits until its policy says so.
fn given(context: &Context, rights: &str, says: &str) -> Outcome {
    let changed = put(context, rights)?;
    let diff = || context.sh(&format!("avpsctl diff {}; echo $?", changed.path));
    let said = diff()?;
    let announced = said.contains("~ limited") && said.contains("would get the rights");
    ensure(announced && said.trim_end().ends_with('1'), || said)?;
    let up = ["avpsctl", "up", &changed.path];
    let said = context.dom0().command(up).time(TIME).text()?;
    ensure(said.contains("limited: given other rights"), || said)?;
    let said = diff()?;
    ensure(said.trim_end().ends_with('0'), || said)?;
    let until = Instant::now() + context.within(Duration::from_secs(10));
    while !context.sh("avpsctl tee policy limited")?.contains(says) {
        ensure(Instant::now() < until, || "its rights did not change")?;
    }
    Ok(())
}

/// The right to an application is taken away in the middle of a call: the call is cancelled, which OP-TEE sees when its wait is over,
/// and nothing follows it.
fn taken_away(context: &Context, guest: &Remote) -> Outcome {
    given(context, &little(), "no time limit")?;
    let long = context.within(Duration::from_secs(10));
    begin(guest, u32::try_from(long.as_millis())?)?;
    under_way(context, "limited")?;
    let other = little().replace(OS_TEST, CRYPT);
    given(context, &other, &format!("may open {CRYPT}"))?;
    ensure(
        said(guest)?.is_empty(),
        || "the call has ended before its right was taken away",
    )?;
    let said = ended(guest, 2 * long + context.within(Duration::from_secs(10)))?;
    let seen: Value = serde_json::from_str(&said)?;
    expect(
        "a call that was under way",
        &seen["answers"][0]["result"],
        CANCELLED.into(),
    )?;
    let seen = bed_tee(guest, &["open", OS_TEST])?;
    expect("taken away", &seen["answers"], serde_json::json!([DENIED]))?;
    let until = Instant::now() + context.within(Duration::from_secs(10));
    loop {
        let sessions = status(context, "limited")?["sessions"].take();
        if sessions == serde_json::json!([]) {
            return Ok(());
        }
        ensure(Instant::now() < until, || format!("sessions: {sessions}"))?;
    }
}

fn long_call(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let document = put(context, &little())?;
    document.up(context)?;
    let outcome = beside(context);
    document.down(context, outcome)
}

fn counter(context: &Context, name: &str) -> Result<f64, Failed> {
    let value = status(context, "limited")?["counters"][name].as_f64();
    value.ok_or_else(|| Failed(format!("no counter {name}")))
}

/// How long the long call takes.
const LONG: Duration = Duration::from_secs(6);

fn beside(context: &Context) -> Outcome {
    let (guest, other) = (context.guest("limited")?, context.guest("other")?);
    // The application is loaded, and what is measured is calls.
    for guest in [&guest, &other] {
        calls(guest, 1, 0)?;
    }
    let long = context.within(LONG);
    let before = counter(context, "smcs")?;
    let milliseconds = u32::try_from(long.as_millis())?;
    begin(&guest, milliseconds)?;
    under_way(context, "limited")?;
    let began = Instant::now();
    // Its other vCPU: time passes for its programs.
    guest
        .shell("for i in $(seq 200); do :; done; sleep 0.2")
        .text()?;
    calls(&other, 100, 0)?;
    let took = began.elapsed();
    let still = said(&guest)?;
    ensure(still.is_empty(), || {
        format!("100 calls of the other guest took {took:?}; the long one: {still}")
    })?;
    let said = ended(&guest, long + Duration::from_secs(20))?;
    let seen: Value = serde_json::from_str(&said)?;
    let answer = &seen["answers"][0];
    expect("the long call", &answer["result"], SUCCESS.into())?;
    let smcs = counter(context, "smcs")? - before;
    let seconds = answer["seconds"].as_f64().unwrap_or(f64::NAN);
    ensure(seconds >= long.as_secs_f64(), || {
        format!("a call of {long:?} took {seconds} s")
    })?;
    context.note(format!(
        "a call of {} s took {seconds:.2} s and {smcs} SMCs with its session; 100 calls of the other guest took {:.2} s meanwhile",
        long.as_secs(),
        took.as_secs_f64()
    ));
    ensure(smcs < 60.0 * long.as_secs_f64(), || {
        format!("{smcs} SMCs for {seconds} s")
    })
}
