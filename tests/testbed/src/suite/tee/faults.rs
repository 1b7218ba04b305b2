//! What ends in the middle of a call, and what is left of it.

use super::super::document::Document;
use super::super::{Context, Outcome, Test, ensure};
use super::callers;
use super::client::{begin, calls, ended, said, status, under_way};
use super::rights::{COMMUNICATION, CRYPT, OS_TEST, little, put};
use crate::artefacts::Workshop;
use serde_json::Value;
use std::time::{Duration, Instant};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "tee: avps-tee killed in mid-call costs that call a communication error, and later calls nothing",
            240,
            killed,
        ),
        Test::new(
            "tee: while long calls have all of OP-TEE's threads, a guest ends, another comes, rights change and status answers",
            240,
            busy,
        ),
        Test::new(
            "tee: a guest destroyed in mid-call leaves no session, memory or domain, and its neighbour unharmed",
            180,
            destroyed,
        ),
        Test::new(
            "tee: a guest that sends whatever it likes harms neither its neighbour nor avps-tee, and leaves nothing",
            240,
            hostile,
        ),
    ]
}

/// Times that avps-tee is killed in the gate and in the full tier.
const KILLS: [u32; 2] = [2, 5];
/// How long the call takes during which it is killed.
const CALL_MS: u32 = 8000;

fn killed(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let document = put(context, &little())?;
    document.up(context)?;
    let outcome = survived(context);
    document.down(context, outcome)
}

fn survived(context: &Context) -> Outcome {
    let guest = context.guest("limited")?;
    calls(&guest, 1, 0)?;
    let mut longest = Duration::ZERO;
    let [gate, full] = KILLS;
    let kills = context.amount(gate, full);
    for _ in 0..kills {
        begin(&guest, CALL_MS)?;
        under_way(context, "limited")?;
        // It has its session, and now it waits there.
        std::thread::sleep(Duration::from_millis(500));
        // The daemon, not the process that looks after it.
        context.sh("kill -9 $(xenstore-read data/avps-tee/pid)")?;
        let began = Instant::now();
        let said = ended(&guest, Duration::from_secs(25))?;
        longest = longest.max(began.elapsed());
        // Its session is gone, too: it cannot even be closed.
        ensure(
            said.contains(COMMUNICATION) || said.contains("cannot close a session"),
            || format!("the call said: {said}"),
        )?;
        calls(&guest, 10, 4096)?;
    }
    // Until it ends, what was killed has pages of the guest, which could not be removed as a whole.
    std::thread::sleep(Duration::from_millis(CALL_MS.into()));
    context.note(format!(
        "{kills} kills; at most {:.1} s until the call had its error",
        longest.as_secs_f64()
    ));
    Ok(())
}

fn destroyed(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let document = put(context, &little())?;
    document.up(context)?;
    let outcome = alone(context);
    document.down(context, outcome)
}

fn alone(context: &Context) -> Outcome {
    let other = context.guest("other")?;
    calls(&other, 1, 0)?;
    let guest = context.guest("limited")?;
    begin(&guest, 60_000)?;
    under_way(context, "limited")?;
    std::thread::sleep(Duration::from_millis(500));
    context.sh("avpsctl destroy limited")?;
    calls(&other, 20, 0)?;
    alone_is_left(context, "other")?;
    // Its call is still in OP-TEE, and that can be seen.
    let told = context.sh("avpsctl tee status")?;
    ensure(told.contains("has ended, and a call has not"), || told)
}

/// How long both of OP-TEE's threads are busy, and how soon everything else is done meanwhile.
const BUSY: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(30);

fn busy(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let (busy, soon) = (context.within(BUSY), context.within(SOON));
    let milliseconds = u32::try_from(busy.as_millis())?;
    let guest = |name: &str, memory: &str| {
        let rights = format!(
            "tee = {{ mode = \"mediated\", applications = [\"{OS_TEST}\"], shared_memory = \"{memory}\" }}"
        );
        callers::guest(name, "192MiB", &rights)
    };
    let text = |guests: &[(&str, &str)]| {
        let guests: String = guests
            .iter()
            .map(|(name, memory)| guest(name, memory))
            .collect();
        format!("schema = \"avps/1\"\n[platform]\nname = \"busy\"\n{guests}")
    };
    let document =
        |guests: &[(&str, &str)]| Document::put(context, "busy", &text(guests), callers::TIME);
    let before = document(&[("one", "1MiB"), ("two", "1MiB"), ("leaves", "1MiB")])?;
    before.up(context)?;
    let outcome = (|| -> Outcome {
        let [one, two, leaves] = ["one", "two", "leaves"].map(|name| context.guest(name));
        let (one, two) = (one?, two?);
        // It keeps buffers for its next call.
        calls(&leaves?, 5, 65_536)?;
        for guest in [&one, &two] {
            calls(guest, 1, 0)?;
            begin(guest, milliseconds)?;
        }
        for name in ["one", "two"] {
            under_way(context, name)?;
        }
        let began = Instant::now();
        context.sh("avpsctl destroy leaves")?;
        let answer = Instant::now();
        let names = context.sh("avpsctl tee status")?;
        let answered = answer.elapsed();
        // A domain is started once its calls are mediated.
        document(&[("one", "2MiB"), ("two", "1MiB"), ("comes", "1MiB")])?.up(context)?;
        status(context, "comes")?;
        while status(context, "one")?["rights"]["shared_memory_bytes"] != 2 << 20 {
            ensure(began.elapsed() < soon, || "rights do not change")?;
        }
        let took = began.elapsed();
        for guest in [&one, &two] {
            let said = said(guest)?;
            ensure(said.is_empty() && took < soon, || {
                format!("after {took:?} the calls said {said:?}; {names}")
            })?;
        }
        context.note(format!(
            "status answered in {:.1} s; another guest and new rights after {:.1} s, with both threads of OP-TEE busy",
            answered.as_secs_f64(),
            took.as_secs_f64()
        ));
        for guest in [&one, &two] {
            ended(guest, busy + soon)?;
        }
        calls(&one, 5, 65_536).map(drop)
    })();
    before.down(context, outcome)
}

/// Nothing is left of any other mediated guest.
fn alone_is_left(context: &Context, guest: &str) -> Outcome {
    let until = Instant::now() + context.within(Duration::from_secs(20));
    loop {
        let report: Value = serde_json::from_str(&context.sh("avpsctl tee status --json")?)?;
        let names: Vec<&str> = report["guests"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|guest| guest["name"].as_str())
            .collect();
        let domains = context.sh("xl list | awk 'NR > 1 { print $1 }'")?;
        let zombie = domains.lines().any(|name| name == "(null)");
        let journals = context.sh("ls /run/avps/tee")?;
        if names == [guest] && !zombie && journals.lines().count() == 1 {
            return Ok(());
        }
        ensure(Instant::now() < until, || {
            format!("left: {names:?}; domains: {domains}; journals: {journals}")
        })?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The hostile guest's kernel in dom0.
const HOSTILE: &str = "/run/hostile.bin";
/// Its SMCs, and how long they may take.
const SMCS: f64 = 10_000.0;
const HOSTILITIES: Duration = Duration::from_secs(120);

fn hostile(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let guest = crate::artefacts::oracle::guest(&Workshop::open())?;
    let bytes = std::fs::read(guest)?;
    context.dom0().put_bytes(&bytes, HOSTILE, 0o644)?;
    let text = format!(
        "schema = \"avps/1\"\n[platform]\nname = \"hostile\"\n\
         [[domain]]\nname = \"hostile\"\nkernel = \"{HOSTILE}\"\ncmdline = \"flood=smc:{CRYPT}\"\nmemory = \"32MiB\"\n\
         tee = {{ mode = \"mediated\", applications = [\"{CRYPT}\"], sessions = 2, shared_memory = \"128KiB\", timeout = \"5s\" }}\n{}",
        callers::guest(
            "other",
            "192MiB",
            &format!("tee = {{ mode = \"mediated\", applications = [\"{OS_TEST}\"] }}")
        )
    );
    let document = Document::put(context, "hostile", &text, callers::TIME)?;
    document.up(context)?;
    let outcome = beside_it(context);
    document.down(context, outcome)
}

fn beside_it(context: &Context) -> Outcome {
    let daemon = || context.sh("xenstore-read data/avps-tee/pid");
    let (before, other) = (daemon()?, context.guest("other")?);
    let until = Instant::now() + context.within(HOSTILITIES);
    let mut beside = 0_u32;
    let counters = loop {
        calls(&other, 10, 4096)?;
        beside += 10;
        let hostile = status(context, "hostile")?;
        let open = hostile["sessions"].as_array().map_or(usize::MAX, Vec::len);
        let shared = hostile["shared_bytes"].as_u64().unwrap_or(u64::MAX);
        ensure(open <= 2 && shared <= 128 * 1024, || {
            format!("more than its rights: {hostile}")
        })?;
        let counters = &hostile["counters"];
        if counters["smcs"].as_f64() >= Some(SMCS) {
            break counters.clone();
        }
        ensure(Instant::now() < until, || {
            format!("it has not called {SMCS} times: {hostile}")
        })?;
    };
    let trail = context.sh("avpsctl tee audit hostile")?;
    ensure(trail.contains("malformed"), || trail)?;
    // Some of it was right.
    ensure(counters["calls"].as_u64() > Some(0), || {
        counters.to_string()
    })?;
    context.note(format!(
        "{} SMCs, {} messages, {} calls of the secure world; {beside} calls of the other guest meanwhile",
        counters["smcs"], counters["messages"], counters["calls"]
    ));
    context.sh("avpsctl destroy hostile")?;
    calls(&other, 20, 4096)?;
    alone_is_left(context, "other")?;
    let after = daemon()?;
    ensure(before == after, || {
        format!("avps-tee was started again: process {before}, then {after}")
    })
}
