//! `destroy`, `pause`, `unpause`, `shutdown` and `reboot`: one verb, any number of domains.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Context, signals};
use crate::action::Action;
use crate::cancel::Cancel;
use crate::cli::{DestroyArgs, DomainsArg, ShutdownArgs};
use crate::error::{Error, Result};
use crate::machine::{DomainInfo, DomainState, Machine};
use crate::remove::{self, Leaving};
use crate::rundir::Lock;
use crate::{keys, order, start};

/// How long a supervisor may take to remove a guest that powered off.
const SUPERVISOR_REMOVES: Duration = Duration::from_secs(15);

/// The domains, all of them, or an error before anything is done to the first.
async fn find_all(machine: &Machine, names: &[String]) -> Result<Vec<DomainInfo>> {
    let names = names.to_vec();
    machine
        .run(move |machine| {
            let found: Result<Vec<_>> = names.iter().map(|name| machine.find(name)).collect();
            let mut found = found?;
            for info in &found {
                let why = match info.domid {
                    own if own == u32::from(machine.own) => "the domain this command runs in",
                    0 => "dom0, without which the machine does not run",
                    _ => continue,
                };
                return Err(Error::Usage(format!("{} is {why}", info.name)));
            }
            // Named twice, perhaps once by number: done once.
            let mut seen = BTreeSet::new();
            found.retain(|info| seen.insert(info.domid));
            Ok(found)
        })
        .await
}

fn report(context: &Context, done: &[(DomainInfo, Action)]) {
    let ui = &context.ui;
    if ui.json {
        let domains: Vec<Value> = done
            .iter()
            .map(|(info, action)| json!({"name": info.name, "domid": info.domid, "action": action}))
            .collect();
        ui.json(&json!({"schema": "avps-power/1", "domains": domains}));
    } else if !ui.quiet {
        for (info, action) in done {
            let words = action.words();
            ui.line(&format!("{}: {words} (domain {})", info.name, info.domid));
        }
    }
}

/// Refuses to end a domain that serves others which are not to end with it, and puts those that are served before those that serve.
async fn users_first(
    machine: &Machine,
    mut found: Vec<DomainInfo>,
    force: bool,
) -> Result<Vec<DomainInfo>> {
    machine
        .run(move |machine| {
            let mut depth = BTreeMap::new();
            for info in &found {
                let users = order::users(machine, info.domid)?;
                let stays = |user: &&DomainInfo| !found.iter().any(|f| f.domid == user.domid);
                let staying: Vec<String> = users
                    .iter()
                    .filter(stays)
                    .map(|user| format!("\"{}\"", user.name))
                    .collect();
                if !staying.is_empty() && !force {
                    return Err(Error::InUse {
                        name: info.name.clone(),
                        users: staying,
                    });
                }
                depth.insert(info.domid, !users.is_empty());
            }
            found.sort_by_key(|info| depth.get(&info.domid).copied());
            Ok(found)
        })
        .await
}

/// The right to change the platforms of these domains; those of no platform need none.
async fn lock(
    context: &Context,
    machine: &Machine,
    found: &[DomainInfo],
    cancel: &Cancel,
) -> Result<Vec<Lock>> {
    let mut platforms = BTreeSet::new();
    for info in found {
        platforms.extend(platform_of(machine, info.domid).await?);
    }
    let mut locks = Vec::new();
    // In one order everywhere, so that two of these never wait for each other.
    for platform in platforms {
        locks.push(context.run.lock(&platform, cancel).await?);
    }
    Ok(locks)
}

/// `avpsctl destroy`.
pub(super) async fn destroy(context: &Context, args: &DestroyArgs) -> Result<()> {
    let machine = context.machine()?;
    let cancel = signals()?;
    let found = find_all(&machine, &args.domains).await?;
    let _locks = lock(context, &machine, &found, &cancel).await?;
    // Whoever had the right before may have changed them.
    let found = find_all(&machine, &args.domains).await?;
    let found = users_first(&machine, found, args.force).await?;
    let observer = context.ui.observer();
    let leaving = found
        .iter()
        .map(|info| Leaving::new(&info.name, info.domid))
        .collect();
    let leaving = with_holders(&machine, leaving).await?;
    for result in remove::remove_all(&machine, &leaving, observer.as_ref()).await {
        result?;
    }
    drop(observer);
    let done: Vec<_> = found
        .into_iter()
        .map(|info| (info, Action::Destroyed))
        .collect();
    report(context, &done);
    Ok(())
}

/// Notes who keeps Xen from freeing them: the guests they serve that stay.
async fn with_holders(machine: &Machine, mut leaving: Vec<Leaving>) -> Result<Vec<Leaving>> {
    machine
        .run(move |machine| {
            let going: BTreeSet<u32> = leaving.iter().map(|leaving| leaving.domid).collect();
            for leaving in &mut leaving {
                let mut users = order::users(machine, leaving.domid)?;
                users.retain(|user| !going.contains(&user.domid));
                let names: Vec<String> = users.into_iter().map(|user| user.name).collect();
                leaving.held_by = (!names.is_empty()).then(|| names.join(" and "));
            }
            Ok(leaving)
        })
        .await
}

/// Something that is done with a domain, unless it is so already.
struct Verb {
    action: Action,
    already: fn(&DomainInfo) -> bool,
    call: fn(&Machine, &DomainInfo) -> Result<()>,
}

/// Xen counts: a domain that is paused twice runs only after it was unpaused twice.
const PAUSE: Verb = Verb {
    action: Action::Paused,
    already: |info| info.state == DomainState::Paused,
    call: |m, info| m.domains.pause(info.domid),
};

const UNPAUSE: Verb = Verb {
    action: Action::Unpaused,
    already: |info| info.state != DomainState::Paused,
    call: |m, info| m.domains.unpause(info.domid),
};

/// A paused guest is let run first: it could not hear otherwise.
const REBOOT: Verb = Verb {
    action: Action::RebootRequested,
    already: |_| false,
    call: |m, info| remove::ask(m, info, |domains, domid| domains.reboot(domid)),
};

const SHUT_DOWN: Verb = Verb {
    action: Action::ShutdownRequested,
    already: |info| !info.is_alive(),
    call: |m, info| remove::ask(m, info, |domains, domid| domains.shutdown(domid)),
};

async fn all(
    machine: &Machine,
    found: Vec<DomainInfo>,
    verb: Verb,
) -> Result<Vec<(DomainInfo, Action)>> {
    let mut done = Vec::new();
    for info in found {
        let action = if (verb.already)(&info) {
            Action::Unchanged
        } else {
            let (call, info) = (verb.call, info.clone());
            machine.run(move |m| call(m, &info)).await?;
            verb.action
        };
        done.push((info, action));
    }
    Ok(done)
}

/// `avpsctl pause`.
pub(super) async fn pause(context: &Context, args: &DomainsArg) -> Result<()> {
    let machine = context.machine()?;
    let found = find_all(&machine, &args.domains).await?;
    report(context, &all(&machine, found, PAUSE).await?);
    Ok(())
}

/// `avpsctl unpause`.
pub(super) async fn unpause(context: &Context, args: &DomainsArg) -> Result<()> {
    let machine = context.machine()?;
    let found = find_all(&machine, &args.domains).await?;
    let mut paused = found.clone();
    paused.retain(|info| !(UNPAUSE.already)(info));
    let ready = |info: &DomainInfo, m: &Machine| start::require_devices(m, info);
    machine
        .run(move |m| paused.iter().try_for_each(|info| ready(info, m)))
        .await?;
    report(context, &all(&machine, found, UNPAUSE).await?);
    Ok(())
}

/// Refuses to ask domains that never ran: nobody would hear it.
fn can_hear(found: &[DomainInfo]) -> Result<()> {
    match found.iter().find(|info| info.never_ran()) {
        Some(info) => Err(Error::Usage(format!(
            "domain \"{0}\" never ran, so there is nobody to ask; avpsctl unpause {0} lets it run, avpsctl destroy {0} removes it",
            info.name
        ))),
        None => Ok(()),
    }
}

/// `avpsctl reboot`.
pub(super) async fn reboot(context: &Context, args: &DestroyArgs) -> Result<()> {
    let machine = context.machine()?;
    let cancel = signals()?;
    let found = find_all(&machine, &args.domains).await?;
    let locks = lock(context, &machine, &found, &cancel).await?;
    let found = find_all(&machine, &args.domains).await?;
    let found = users_first(&machine, found, args.force).await?;
    can_hear(&found)?;
    let done = all(&machine, found, REBOOT).await?;
    drop(locks);
    report(context, &done);
    for (info, _) in done {
        if supervisor_of(context, &machine, info.domid)
            .await?
            .is_none()
        {
            context.ui.note(&format!(
                "{}: no avpsctl supervise watches it, so it stays down until avpsctl up",
                info.name
            ));
        }
    }
    Ok(())
}

/// The platform that a domain was started for.
async fn platform_of(machine: &Machine, domid: u32) -> Result<Option<String>> {
    machine
        .run(move |m| keys::platform_of(m.store.as_ref(), domid))
        .await
}

/// The process that supervises the platform of a domain.
async fn supervisor_of(context: &Context, machine: &Machine, domid: u32) -> Result<Option<u32>> {
    let platform = platform_of(machine, domid).await?;
    Ok(platform.and_then(|platform| context.run.supervisor(&platform)))
}

/// `avpsctl shutdown`.
pub(super) async fn shutdown(context: &Context, args: &ShutdownArgs) -> Result<()> {
    let machine = context.machine()?;
    let found = find_all(&machine, &args.domains).await?;
    if !args.wait {
        let found = users_first(&machine, found, args.force).await?;
        can_hear(&found)?;
        report(context, &all(&machine, found, SHUT_DOWN).await?);
        return Ok(());
    }
    let cancel = signals()?;
    let locks = lock(context, &machine, &found, &cancel).await?;
    let found = find_all(&machine, &args.domains).await?;
    let found = users_first(&machine, found, args.force).await?;
    let observer = context.ui.observer();
    let mut supervised = Vec::new();
    for info in &found {
        supervised.push(
            supervisor_of(context, &machine, info.domid)
                .await?
                .is_some(),
        );
    }
    let timeout = Duration::from_secs(args.timeout);
    let running = remove::shut_down(&machine, &found, timeout, observer.as_ref(), &cancel).await?;
    let mut theirs = Vec::new();
    for (info, supervised) in found.iter().zip(supervised) {
        match (running.contains(&info.domid), supervised) {
            (true, _) if !args.force => {}
            (false, true) => theirs.push(info.domid),
            _ => remove::remove(&machine, &info.name, info.domid, observer.as_ref()).await?,
        }
    }
    // What follows for those that are supervised is the supervisor's to do, as soon as it may.
    drop(locks);
    for domid in theirs {
        let deadline = Instant::now() + SUPERVISOR_REMOVES;
        remove::wait_until_gone(&machine, domid, deadline).await?;
    }
    drop(observer);
    let done: Vec<_> = found
        .into_iter()
        .map(|info| {
            let action = match (running.contains(&info.domid), args.force) {
                (false, _) => Action::PoweredOff,
                (true, true) => Action::Forced,
                (true, false) => Action::Running,
            };
            (info, action)
        })
        .collect();
    report(context, &done);
    let still = done
        .into_iter()
        .filter(|(_, action)| *action == Action::Running);
    let domains: Vec<String> = still.map(|(info, _)| info.name).collect();
    if domains.is_empty() {
        return Ok(());
    }
    Err(Error::StillRunning {
        seconds: args.timeout,
        domains,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::model::Model;
    use crate::tests::drivers::{model, plan, start as start_drivers};

    /// Names in the order in which they go, or why not.
    async fn going(
        model: &std::sync::Arc<Model>,
        names: &[&str],
        force: bool,
    ) -> Result<Vec<String>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = find_all(&model.machine(), &names).await?;
        let found = users_first(&model.machine(), found, force).await?;
        Ok(found.into_iter().map(|info| info.name).collect())
    }

    #[tokio::test]
    async fn a_domain_that_serves_others_goes_only_with_them_or_by_force() {
        let model = model();
        start_drivers(&model, &plan()).await.expect("starts");
        let error = going(&model, &["storage", "b"], false)
            .await
            .expect_err("a stays");
        assert!(
            matches!(&error, Error::InUse { name, users } if name == "storage" && users == &["\"a\""]),
            "{error}"
        );
        assert!(error.help().is_some_and(|help| help.contains("--force")));
        assert_eq!(
            going(&model, &["storage"], true).await.expect("by force"),
            ["storage"]
        );
        let all = going(&model, &["storage", "b", "a"], false).await;
        assert_eq!(all.expect("together"), ["b", "a", "storage"]);
        assert_eq!(
            going(&model, &["a"], false).await.expect("serves nobody"),
            ["a"]
        );
    }

    #[tokio::test]
    async fn what_is_so_already_is_left_alone_and_is_no_error() {
        let model = model();
        start_drivers(&model, &plan()).await.expect("starts");
        let machine = model.machine();
        let found = || async {
            find_all(&machine, &["a".to_owned()])
                .await
                .expect("it runs")
        };
        let actions = |done: Vec<(DomainInfo, Action)>| -> Vec<Action> {
            done.into_iter().map(|(_, action)| action).collect()
        };
        let from = model.log().len();
        for expected in [Action::Paused, Action::Unchanged] {
            let done = all(&machine, found().await, PAUSE).await.expect("works");
            assert_eq!(actions(done), [expected]);
        }
        for expected in [Action::Unpaused, Action::Unchanged] {
            let done = all(&machine, found().await, UNPAUSE).await.expect("works");
            assert_eq!(actions(done), [expected]);
        }
        // Xen counts pauses: the second one would have needed a second unpause.
        assert_eq!(model.log().split_off(from), ["pause 3", "unpause 3"]);
    }

    #[tokio::test]
    async fn neither_the_own_domain_nor_dom0_is_ended() {
        let model = model();
        start_drivers(&model, &plan()).await.expect("starts");
        let mut machine = model.machine();
        machine.own = 3;
        for (name, why) in [("a", "this command runs in"), ("Domain-0", "dom0")] {
            let error = find_all(&machine, &[name.to_owned()]).await;
            let error = error.expect_err("refused").to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn a_driver_domain_that_goes_by_force_is_held_by_its_guests() {
        let model = model();
        start_drivers(&model, &plan()).await.expect("starts");
        let leaving = vec![Leaving::new("storage", 1), Leaving::new("a", 3)];
        let leaving = with_holders(&model.machine(), leaving)
            .await
            .expect("a model");
        let holders: Vec<_> = leaving.into_iter().map(|leaving| leaving.held_by).collect();
        assert_eq!(holders, [Some("b".to_owned()), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn verbs_that_end_domains_wait_for_whoever_works_on_their_platform() {
        let model = Model::new();
        crate::tests::start(&model, &crate::tests::plan().domains)
            .await
            .expect("starts");
        let dir = tempfile::tempdir().expect("temporary folder");
        let context = Context {
            ui: crate::ui::Ui {
                json: false,
                quiet: true,
                verbose: 0,
                color_out: false,
                color_err: false,
            },
            run: crate::rundir::RunDir::new(dir.path()),
        };
        let machine = model.machine();
        let found = vec![
            machine.find("a").expect("runs"),
            machine.find("b").expect("runs"),
        ];
        let cancel = Cancel::never();
        let held = context.run.lock("test", &cancel).await.expect("free");
        let refused = lock(&context, &machine, &found, &cancel).await;
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        drop(held);
        let locks = lock(&context, &machine, &found, &cancel)
            .await
            .expect("free");
        assert_eq!(locks.len(), 1, "one platform");
        let refused = context.run.lock("test", &cancel).await;
        assert!(
            matches!(refused, Err(Error::Locked { .. })),
            "held meanwhile"
        );
    }
}
