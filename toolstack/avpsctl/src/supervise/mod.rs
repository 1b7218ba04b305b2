//! What follows when a guest ends: the policy of its document, applied for as long as it runs.
//!
//! libxl does not restart a domain; xl keeps a process per domain for that. Here one supervisor
//! serves a whole platform. It sleeps until XenStore says that some domain ended, looks which one
//! and why, and removes, restarts or keeps it. A guest that ends again and again is not restarted
//! for ever: after [`MAX_RESTARTS`] within [`WINDOW`] it is removed.
//!
//! A domain that served others ends with what they had of it ([`outage`]): they go, it is started again, then they are.
//!
//! The loop knows neither process nor command line, so that a daemon can run it as a task.

mod lost;
mod outage;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::{DOMAIN_ENDED, DomainInfo, DomainState, Machine, ShutdownReason, by_uuid};
use crate::observe::{Event, Observer};
use crate::remove::{self, Leaving};
use crate::rundir::{Lock, RunDir};
use crate::{order, start};

use start::Started;

use policy::reason_words;
pub use policy::{Decision, History, MAX_RESTARTS, WINDOW};

/// Pause after the first failed attempt to start a domain again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long the right to change the platform is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(600);

/// How often domains that are dying are looked at: XenStore tells that one is taken apart, and nobody when Xen has freed it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A domain that is to be started again after a failed attempt.
struct Retry {
    at: Instant,
    pause: Duration,
}

/// The supervisor of one platform.
pub struct Supervisor<'a> {
    machine: Machine,
    plan: Plan,
    run: RunDir,
    /// How long backends may take to become ready again.
    timeout: Duration,
    observer: &'a dyn Observer,
    histories: BTreeMap<String, History>,
    kept: BTreeSet<u32>,
    seen: BTreeSet<String>,
    retries: BTreeMap<String, Retry>,
    /// Domains that were removed because nobody served them any more, and are to be started when somebody does.
    waiting: BTreeSet<String>,
    /// One was dying when they were looked at last.
    dying: bool,
}

impl<'a> Supervisor<'a> {
    /// A supervisor for the domains of a plan. Restarted domains get exactly this plan, whatever
    /// becomes of the document it came from.
    pub fn new(
        machine: Machine,
        mut plan: Plan,
        run: RunDir,
        timeout: Duration,
        observer: &'a dyn Observer,
    ) -> Self {
        plan.domains = order::in_order(&plan.domains);
        Supervisor {
            machine,
            plan,
            run,
            timeout,
            observer,
            histories: BTreeMap::new(),
            kept: BTreeSet::new(),
            seen: BTreeSet::new(),
            retries: BTreeMap::new(),
            waiting: BTreeSet::new(),
            dying: false,
        }
    }

    /// Runs until no domain of the platform is left, or until cancelled; both are fine.
    ///
    /// # Errors
    /// When XenStore or libxl can no longer be asked. A domain that cannot be started again is
    /// told to the observer, and does not end the supervision of the others.
    pub async fn run(mut self, cancel: &Cancel) -> Result<()> {
        let paths = vec![DOMAIN_ENDED.to_owned()];
        let mut changes = self.machine.run(move |m| m.store.watch(&paths)).await?;
        loop {
            match self.round(cancel).await {
                Ok(true) => {}
                Ok(false) | Err(Error::Interrupted) => return Ok(()),
                Err(error) => return Err(error),
            }
            let retry = self.retries.values().map(|retry| retry.at).min();
            let dying = self.dying.then(|| Instant::now() + LOOK_AGAIN);
            let look = retry.into_iter().chain(dying).min();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                changed = changes.changed() => changed?,
                () = tokio::time::sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {}
            }
        }
    }

    /// Looks at every domain once. `false` when there is nothing left to supervise.
    async fn round(&mut self, cancel: &Cancel) -> Result<bool> {
        if !self.look_for_outage().await?.is_empty() {
            self.outage(cancel).await?;
        }
        self.dying = false;
        for domain in self.plan.domains.clone() {
            if self.waiting.contains(&domain.name) {
                continue;
            }
            let info = find(&self.machine, &domain).await?;
            let dying = info
                .as_ref()
                .is_some_and(|info| info.state == DomainState::Dying);
            match info.filter(|_| !dying) {
                Some(info) if info.state == DomainState::Shutdown => {
                    self.seen.insert(domain.name.clone());
                    if !self.kept.contains(&info.domid) {
                        self.ended(&domain, cancel).await?;
                    }
                }
                Some(_) => {
                    self.retries.remove(&domain.name);
                    self.seen.insert(domain.name.clone());
                }
                None if self.retries.contains_key(&domain.name) => {
                    self.retry(&domain, cancel).await?;
                }
                None if dying => {
                    self.dying = true;
                    self.seen.insert(domain.name.clone());
                }
                None => {
                    if self.seen.remove(&domain.name) {
                        self.observer.observe(Event::Note(format!(
                            "{}: gone, no longer supervised",
                            domain.name
                        )));
                    }
                }
            }
        }
        if !self.waiting.is_empty() {
            let _lock = self.lock(cancel).await?;
            self.start_waiting(cancel).await?;
        }
        Ok(!self.seen.is_empty())
    }

    /// A domain that is to go, with those it serves that do not go with it: they keep Xen from freeing it.
    async fn leaving(&self, domain: &DomainPlan, domid: u32, going: &[Leaving]) -> Result<Leaving> {
        let mut users = self.machine.run(move |m| order::users(m, domid)).await?;
        users.retain(|user| !going.iter().any(|going| going.domid == user.domid));
        let names: Vec<String> = users.into_iter().map(|user| user.name).collect();
        Ok(Leaving {
            held_by: (!names.is_empty()).then(|| names.join(" and ")),
            ..Leaving::new(&domain.name, domid)
        })
    }

    /// The right to change the platform.
    async fn lock(&self, cancel: &Cancel) -> Result<Lock> {
        let deadline = Instant::now() + LOCK_WAIT;
        self.run
            .lock_until(&self.plan.platform, deadline, cancel)
            .await
    }

    async fn ended(&mut self, domain: &DomainPlan, cancel: &Cancel) -> Result<()> {
        let _lock = self.lock(cancel).await?;
        // Whoever had the lock before may have dealt with it.
        let Some(info) = find(&self.machine, domain).await? else {
            return Ok(());
        };
        if info.state != DomainState::Shutdown {
            return Ok(());
        }
        let reason = info.reason.unwrap_or(ShutdownReason::Unknown);
        let history = self.histories.entry(domain.name.clone()).or_default();
        let decision = history.decide(domain, reason, Instant::now());
        self.observer.observe(Event::Ended {
            domain: domain.name.clone(),
            reason: reason_words(reason).to_owned(),
            then: decision.words().to_owned(),
        });
        if decision == Decision::Keep {
            self.kept.insert(info.domid);
            return Ok(());
        }
        let leaving = self.leaving(domain, info.domid, &[]).await?;
        let removed = remove::remove_all(&self.machine, &[leaving], self.observer).await;
        if let Some(Err(error)) = removed.into_iter().next() {
            // Kept out of later rounds: the same failure would come back for ever.
            self.kept.insert(info.domid);
            self.note(domain, &format!("cannot be removed: {error}"));
            return Ok(());
        }
        if decision == Decision::Restart {
            self.start(domain, FIRST_RETRY, cancel).await?;
        } else {
            self.seen.remove(&domain.name);
        }
        Ok(())
    }

    async fn retry(&mut self, domain: &DomainPlan, cancel: &Cancel) -> Result<()> {
        let Some(retry) = self.retries.get(&domain.name) else {
            return Ok(());
        };
        if retry.at > Instant::now() {
            return Ok(());
        }
        let pause = retry.pause.saturating_mul(2);
        let _lock = self.lock(cancel).await?;
        if let Some(info) = find(&self.machine, domain).await?
            && info.state != DomainState::Dying
        {
            self.retries.remove(&domain.name);
            return Ok(());
        }
        // It need not fail to be known: whoever serves it is about to be started again.
        let backends = order::backends_of(domain, &self.plan.domains);
        if backends
            .iter()
            .any(|backend| self.retries.contains_key(&backend.name))
        {
            self.retries.remove(&domain.name);
            self.waiting.insert(domain.name.clone());
            return Ok(());
        }
        if !self
            .histories
            .entry(domain.name.clone())
            .or_default()
            .count(Instant::now())
        {
            self.note(domain, "cannot be started again, given up");
            self.retries.remove(&domain.name);
            self.seen.remove(&domain.name);
            return Ok(());
        }
        self.start(domain, pause, cancel).await
    }

    /// Starts a domain; when that fails, it is tried again later. The lock is held.
    async fn start(&mut self, domain: &DomainPlan, pause: Duration, cancel: &Cancel) -> Result<()> {
        match self.try_start(domain, cancel).await {
            Ok(()) => {
                self.retries.remove(&domain.name);
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                self.note(
                    domain,
                    &format!("not started again ({error}), trying again in {pause:?}"),
                );
                let at = Instant::now() + pause;
                self.retries
                    .insert(domain.name.clone(), Retry { at, pause });
            }
        }
        Ok(())
    }

    /// Starts a domain or leaves nothing of it. One that others wait for has to serve them, too.
    async fn try_start(&self, domain: &DomainPlan, cancel: &Cancel) -> Result<()> {
        let options = start::Options {
            timeout: self.timeout,
            unpause: true,
        };
        let wanted = std::slice::from_ref(domain);
        let (machine, plan) = (&self.machine, &self.plan);
        let started = start::start(machine, plan, wanted, options, self.observer, cancel).await?;
        let mut waiting = self.plan.domains.iter();
        let waits = |other: &&DomainPlan| {
            self.waiting.contains(&other.name)
                && order::serves(&domain.name, std::slice::from_ref(other))
        };
        let Some(waits) = waiting.find(waits) else {
            return Ok(());
        };
        let serves = start::backend_domain_ready(
            machine,
            domain,
            &waits.name,
            self.timeout,
            self.observer,
            cancel,
        )
        .await;
        if let Err(cause) = serves {
            let mut remains = Vec::new();
            for domain in started {
                let removed =
                    remove::remove(machine, &domain.name, domain.domid, self.observer).await;
                if let Err(error) = removed {
                    let Started { name, domid, .. } = domain;
                    remains.push(format!("domain {domid} (\"{name}\": {error})"));
                }
            }
            return Err(cause.with_remains(remains));
        }
        Ok(())
    }

    fn note(&self, domain: &DomainPlan, text: &str) {
        self.observer
            .observe(Event::Note(format!("{}: {text}", domain.name)));
    }
}

/// The domain of this plan, if it exists: by its identity, since one that is being removed may have lost its name.
async fn find(machine: &Machine, domain: &DomainPlan) -> Result<Option<DomainInfo>> {
    let list = machine.run(|m| m.domains.list()).await?;
    Ok(by_uuid(&list, &domain.uuid).cloned())
}
