//! `avpsctl tee …`: the running avps-tee, asked over its socket. Needs no Xen.

use std::time::Duration;

use platform::units::ByteSize;
use tee_report::{Entry, Guest, Report};

use super::{Context, signals};
use crate::cli::{TeeArgs, TeeCommand};
use crate::error::{Error, Result};
use crate::ui::Ui;

/// How often a trail that is followed is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// `avpsctl tee`.
pub(super) async fn tee(context: &Context, command: &TeeCommand) -> Result<()> {
    let ui = &context.ui;
    let (args, openmetrics, show): (&TeeArgs, bool, fn(&Ui, &Report)) = match command {
        TeeCommand::Status(args) => (&args.tee, args.openmetrics, status),
        TeeCommand::Sessions(args) => (args, false, sessions),
        TeeCommand::Audit(args) if args.follow => return follow(&context.ui, &args.tee).await,
        TeeCommand::Audit(args) => (&args.tee, false, audit),
        TeeCommand::Policy(args) => (args, false, policy),
    };
    let mut report = tee_report::ask(&args.socket).map_err(Error::Mediator)?;
    if let Some(wanted) = &args.domain {
        report
            .guests
            .retain(|guest| is(args, &guest.name, guest.domid));
        report
            .leaving
            .retain(|guest| is(args, &guest.name, guest.domid));
        report
            .audit
            .retain(|entry| is(args, &entry.guest, entry.domid));
        let known = report.guests.len() + report.leaving.len() + report.audit.len();
        if known == 0 {
            return Err(Error::NoGuestOfMediator(wanted.clone()));
        }
    }
    if ui.json {
        ui.json(&report);
    } else if openmetrics {
        ui.raw(&tee_report::openmetrics(&report));
    } else {
        show(ui, &report);
    }
    Ok(())
}

/// Whether a guest is asked for.
fn is(args: &TeeArgs, name: &str, domid: u16) -> bool {
    let wanted = args.domain.as_deref();
    wanted.is_none_or(|wanted| name == wanted || domid.to_string() == wanted)
}

/// Shows entries as they come, until a signal.
async fn follow(ui: &Ui, args: &TeeArgs) -> Result<()> {
    let cancel = signals()?;
    // The daemon's process, and the first entry of it that was not shown.
    let (mut daemon, mut next) = (None, 0);
    loop {
        match tee_report::ask(&args.socket) {
            Ok(report) => {
                if daemon.replace(report.pid) != Some(report.pid) {
                    next = 0;
                }
                for entry in report.audit.iter().filter(|entry| entry.number >= next) {
                    if is(args, &entry.guest, entry.domid) {
                        show_one(ui, entry);
                    }
                }
                next = report
                    .audit
                    .last()
                    .map_or(next, |last| next.max(last.number.saturating_add(1)));
            }
            // It is being started again, or will be: whoever follows wants to see it then.
            Err(_) if daemon.is_some() => {}
            Err(error) => return Err(Error::Mediator(error)),
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(Error::Interrupted),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn show_one(ui: &Ui, entry: &Entry) {
    if ui.json {
        ui.json_line(entry);
        return;
    }
    ui.line(&format!(
        "{:.3}  {}  {}  {}",
        entry.at, entry.guest, entry.event, entry.text
    ));
}

fn counter(guest: &Guest, name: &str) -> u64 {
    guest.counters.get(name).copied().unwrap_or(0)
}

fn status(ui: &Ui, report: &Report) {
    let mut table = ui.table(&[
        "DOMAIN", "ID", "SMCS", "CALLS", "NOW", "SESSIONS", "SHARED", "DENIED", "LONGEST",
    ]);
    for guest in &report.guests {
        let longest = Duration::from_micros(counter(guest, "longest_call_us"));
        table.add_row([
            guest.name.clone(),
            guest.domid.to_string(),
            counter(guest, "smcs").to_string(),
            counter(guest, "calls").to_string(),
            guest.calls.to_string(),
            format!("{}/{}", guest.sessions.len(), guest.rights.sessions),
            format!(
                "{}/{}",
                ByteSize(guest.shared_bytes),
                ByteSize(guest.rights.shared_memory_bytes)
            ),
            counter(guest, "denied").to_string(),
            format!("{:.1}ms", longest.as_secs_f64() * 1e3),
        ]);
    }
    ui.show(&table);
    for line in unended(report) {
        ui.line(&line);
    }
}

/// Calls that nobody waits for any more and that have OP-TEE's threads.
fn unended(report: &Report) -> Vec<String> {
    let guests = report.guests.iter();
    let quarantined = guests.filter(|guest| guest.quarantined_by > 0).map(|guest| {
        format!(
            "{} is quarantined: {} not ended in OP-TEE after the time limit; other calls are refused until then",
            guest.name,
            calls_have(guest.quarantined_by)
        )
    });
    let leaving = report
        .leaving
        .iter()
        .filter(|guest| guest.calls > 0)
        .map(|guest| {
            format!(
                "{} (domain {}) has ended, and {} not ended in OP-TEE",
                guest.name,
                guest.domid,
                calls_have(guest.calls)
            )
        });
    quarantined.chain(leaving).collect()
}

fn calls_have(calls: usize) -> String {
    match calls {
        1 => "a call has".to_owned(),
        calls => format!("{calls} calls have"),
    }
}

fn sessions(ui: &Ui, report: &Report) {
    let mut table = ui.table(&["DOMAIN", "SESSION", "APPLICATION", ""]);
    for guest in &report.guests {
        for session in &guest.sessions {
            let state = match session.given_up {
                true => "ended by avps-tee: it can only be closed",
                false => "",
            };
            table.add_row([
                guest.name.clone(),
                session.id.to_string(),
                session.application.clone(),
                state.to_owned(),
            ]);
        }
    }
    ui.show(&table);
}

fn audit(ui: &Ui, report: &Report) {
    let mut table = ui.table(&["TIME", "DOMAIN", "EVENT", "WHAT"]);
    for entry in &report.audit {
        table.add_row([
            // As `date -d @…` reads it.
            format!("{:.3}", entry.at),
            entry.guest.clone(),
            entry.event.clone(),
            entry.text.clone(),
        ]);
    }
    ui.show(&table);
}

fn policy(ui: &Ui, report: &Report) {
    for guest in &report.guests {
        let rights = &guest.rights;
        ui.line(&format!("{} (domain {}):", guest.name, guest.domid));
        ui.line(&format!(
            "  {} sessions, {} of shared memory, {} calls at once, weight {}",
            rights.sessions,
            ByteSize(rights.shared_memory_bytes),
            rights.concurrency,
            rights.weight
        ));
        let rate = rights
            .rate
            .map_or("any number of calls".to_owned(), |rate| {
                format!("{rate} calls")
            });
        let timeout = rights.timeout_ms.map_or("no time limit".to_owned(), |ms| {
            format!("a time limit of {ms}ms")
        });
        ui.line(&format!("  {rate} per second, {timeout} for each"));
        let end = rights.interrupt.map_or(
            "asks again and again while a long call lasts".to_owned(),
            |interrupt| format!("can be told of a long call's end by interrupt {interrupt}"),
        );
        ui.line(&format!("  {end}"));
        for application in &rights.applications {
            ui.line(&format!("  may open {application}"));
        }
        for (asked, opened) in &rights.stand_ins {
            ui.line(&format!("  may open {opened} by the name of {asked}"));
        }
        if rights.applications.is_empty() && rights.stand_ins.is_empty() {
            ui.line("  may open nothing");
        }
    }
}
