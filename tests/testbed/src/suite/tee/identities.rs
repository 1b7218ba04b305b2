//! Users and groups of guests as clients of applications, and whose network applications have.

use super::super::{Context, Failed, Outcome, Test, ensure};
use super::callers;
use super::client::bed_tee;
use super::rights::{little, put};
use super::{QUICK_LIMIT, differences, xtest};
use agent::client::Remote;
use std::collections::BTreeSet;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "tee: an application is told each user and group of each guest apart, also after avps-tee was started again",
            180,
            apart,
        ),
        Test::new(
            "tee: with a supplicant that has no network applications work, and their sockets reach nobody",
            180,
            without_network,
        ),
    ]
}

/// Users and groups that ask.
const CLIENTS: [(&str, &str); 4] = [("1", "0"), ("1", "1000"), ("2", "0"), ("2", "1000")];

/// What an application is told of each.
fn told(caller: &Remote) -> Result<Vec<String>, Failed> {
    let mut all = Vec::new();
    for (login, number) in CLIENTS {
        let seen = bed_tee(caller, &["identity", "--login", login, "--number", number])?;
        let as_login = seen["login"].as_u64().map(|login| login.to_string());
        ensure(as_login.as_deref() == Some(login), || {
            format!("login {login} is told as {seen}")
        })?;
        let client = seen["client"].as_str().unwrap_or_default();
        ensure(client.len() == 32, || format!("no identity: {seen}"))?;
        all.push(client.to_owned());
    }
    Ok(all)
}

fn apart(context: &Context) -> Outcome {
    callers::mediator(context)?;
    let document = put(context, &little())?;
    document.up(context)?;
    let outcome = each_is_its_own(context);
    document.down(context, outcome)
}

fn each_is_its_own(context: &Context) -> Outcome {
    let guests = [context.guest("limited")?, context.guest("other")?];
    let all = || -> Result<Vec<String>, Failed> {
        let mut all = told(&context.dom0())?;
        for guest in &guests {
            all.extend(told(guest)?);
        }
        Ok(all)
    };
    let before = all()?;
    let distinct: BTreeSet<&String> = before.iter().collect();
    ensure(distinct.len() == 3 * CLIENTS.len(), || {
        format!("clients are told alike: {before:#?}")
    })?;
    callers::restart_mediator(context)?;
    let after = all()?;
    ensure(before == after, || {
        format!("after a restart: {after:#?}, and before: {before:#?}")
    })
}

/// Cases of xtest whose application opens sockets, to servers that xtest has in the same domain.
const SOCKETS: &str = "regression_2001";

/// Replaces dom0's supplicant by one that is started with this before its command.
fn replace_supplicant(context: &Context, before: &str) -> Outcome {
    let dom0 = context.dom0();
    let stop = "kill $(pidof tee-supplicant); for i in $(seq 50); do pidof tee-supplicant > /dev/null || exit 0; sleep 0.1; done; exit 1";
    dom0.shell(stop).text()?;
    callers::supplicant(&dom0, before)?;
    // OP-TEE keeps files of secure storage open, by handles of the supplicant that has ended: the first access finds that out and
    // may fail.
    let first = ["regression_1004"];
    xtest::run(context, &dom0, &first, QUICK_LIMIT, |_| ()).map(drop)
}

fn without_network(context: &Context) -> Outcome {
    let dom0 = context.dom0();
    callers::prepare(&dom0)?;
    let outcome = replace_supplicant(context, "unshare -n").and_then(|()| {
        super::quick(context, &dom0)?;
        let results = xtest::run(context, &dom0, &[SOCKETS], QUICK_LIMIT, |_| ())?;
        let names: Vec<&str> = results.names().collect();
        ensure(names == [SOCKETS] && results.failed() == 1, || {
            format!("an application reached dom0's network: {results:?}")
        })
    });
    // The next tests are to find the one that has it.
    let replaced = replace_supplicant(context, "");
    outcome?;
    replaced?;
    let results = xtest::run(context, &dom0, &[SOCKETS], QUICK_LIMIT, |_| ())?;
    let (others, _) = differences::judge(&[], &results, false);
    ensure(others.is_empty() && results.passed() == 1, || {
        others.join("; ")
    })
}
