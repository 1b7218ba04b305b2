//! What follows when a guest ends: the policy of its document, applied for as long as it runs.
//!
//! libxl does not restart a domain; xl keeps a process per domain for that. Here one supervisor
//! serves a whole platform. It sleeps until XenStore says that some domain ended, looks which one
//! and why, and removes, restarts or keeps it. A guest that ends again and again is not restarted
//! for ever: after [`MAX_RESTARTS`] within [`WINDOW`] it is removed.
//!
//! The supervisor itself only looks and decides, with the platform's lock held. What takes time is
//! done by [jobs](job), side by side: one guest's slow start delays no other guest. A domain that
//! served others ends with what they had of it ([`outage`]): they go, it is started again, then
//! they are.
//!
//! An error or a panic ends one job or one look, and what it was about is tried again after a
//! pause. The supervisor ends when it is cancelled, and when no domain is left.
//!
//! The loop knows neither process nor command line, so that a daemon can run it as a task.

mod finished;
mod job;
mod lost;
mod outage;
mod pause;
mod policy;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::{
    Changes, DOMAIN_ENDED, DomainInfo, DomainState, Machine, ShutdownReason, by_uuid,
};
use crate::observe::{Event, Observer};
use crate::order;
use crate::remove::Leaving;
use crate::rundir::{Lock, RunDir};

use job::{Job, Jobs, Site};
use pause::{Pause, Trouble};
use policy::reason_words;
pub use policy::{Decision, History, MAX_RESTARTS, WINDOW};
use recovery::Recovery;

/// How long one look waits for the right to change the platform.
const LOCK_WAIT: Duration = Duration::from_secs(600);

/// How often domains that are dying are looked at: XenStore tells that one is taken apart, and nobody when Xen has freed it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A domain that is to be started.
#[derive(Default)]
struct Start {
    /// Before the next attempt; none for the first.
    pause: Option<Pause>,
    /// The next attempt counts as a restart.
    counts: bool,
    /// Why the last attempt failed, as it was told.
    told: Option<String>,
    /// The last attempt may have left the domain, paused and not complete.
    half_made: bool,
}

/// The supervisor of one platform.
pub struct Supervisor {
    site: Arc<Site>,
    run: RunDir,
    /// The platform's lock, while jobs or this loop hold it.
    lock: Weak<Lock>,
    histories: BTreeMap<String, History>,
    /// What was decided about a domain of this number that ended.
    decided: BTreeMap<u32, Decision>,
    /// Numbers of domains that ended, or lost their devices, and stay.
    kept: BTreeSet<u32>,
    /// Numbers of domains that could not be removed: they are left alone for a while.
    blocked: BTreeMap<u32, Pause>,
    seen: BTreeSet<String>,
    starts: BTreeMap<String, Start>,
    jobs: Jobs,
    recoveries: Vec<Recovery>,
    /// One was dying when they were looked at last.
    dying: bool,
    trouble: Trouble,
}

impl Supervisor {
    /// A supervisor for the domains of a plan. Restarted domains get exactly this plan, whatever
    /// becomes of the document it came from. `timeout`: how long backends may take to become ready.
    pub fn new(
        machine: Machine,
        mut plan: Plan,
        run: RunDir,
        timeout: Duration,
        observer: Arc<dyn Observer>,
    ) -> Self {
        plan.domains = order::in_order(&plan.domains);
        let site = Site {
            machine,
            plan,
            timeout,
            observer,
        };
        Supervisor {
            site: Arc::new(site),
            run,
            lock: Weak::new(),
            histories: BTreeMap::new(),
            decided: BTreeMap::new(),
            kept: BTreeSet::new(),
            blocked: BTreeMap::new(),
            seen: BTreeSet::new(),
            starts: BTreeMap::new(),
            jobs: Jobs::default(),
            recoveries: Vec::new(),
            dying: false,
            trouble: Trouble::default(),
        }
    }

    /// Runs until no domain of the platform is left, or until cancelled. Jobs that were begun are
    /// carried to their end.
    pub async fn run(mut self, cancel: &Cancel) {
        let mut changes: Option<Changes> = None;
        // Held from the end of a job through the look that follows, so that nobody comes between a removal and the start.
        let mut held: Option<Arc<Lock>> = None;
        loop {
            let looked = self.watch_and_look(&mut changes, cancel).await;
            drop(held.take());
            match looked {
                Ok(true) => self.trouble.is_over(self.site.observer.as_ref()),
                Ok(false) | Err(Error::Interrupted) => break,
                Err(error) => self.trouble.had(&error, self.site.observer.as_ref()),
            }
            let look = self.next_look();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some((job, outcome, lock)) = self.jobs.next() => {
                    held = lock;
                    self.finished(job, outcome);
                }
                () = changed(&mut changes) => {}
                () = tokio::time::sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {}
            }
        }
        while self.jobs.next().await.is_some() {}
    }

    async fn watch_and_look(
        &mut self,
        changes: &mut Option<Changes>,
        cancel: &Cancel,
    ) -> Result<bool> {
        let mut lost = None;
        if changes.is_none() {
            let paths = vec![DOMAIN_ENDED.to_owned()];
            let watch = self.site.ask(move |m| m.store.watch(&paths)).await;
            match watch {
                Ok(watch) => *changes = Some(watch),
                Err(error) => lost = Some(error),
            }
        }
        let looked = self.look(cancel).await;
        match lost {
            // Nobody tells of changes: the next look must not wait for one.
            Some(error) if looked.is_ok() => Err(error),
            _ => looked,
        }
    }

    /// When to look although nobody told of a change.
    fn next_look(&self) -> Option<Instant> {
        let starts = self.starts.values().filter_map(|start| start.pause);
        let pauses = starts.chain(self.blocked.values().copied());
        let pauses = pauses.chain(self.trouble.pause());
        let pauses = pauses.filter(|pause| !pause.is_over()).map(|p| p.until);
        let dying = self.dying.then(|| Instant::now() + LOOK_AGAIN);
        pauses.chain(dying).min()
    }

    /// Looks at every domain once. `false` when there is nothing left to supervise. What goes wrong with one domain keeps no other
    /// from being looked at; the first error comes back.
    async fn look(&mut self, cancel: &Cancel) -> Result<bool> {
        let mut trouble = None;
        let mut check = |result: Result<()>| match result {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => {
                trouble.get_or_insert(error);
                Ok(())
            }
            Ok(()) => Ok(()),
        };
        let list = self.site.ask(|m| m.domains.list()).await?;
        self.forget_numbers(&list);
        check(self.look_for_outages(cancel).await)?;
        self.dying = false;
        let list = self.site.ask(|m| m.domains.list()).await?;
        let site = Arc::clone(&self.site);
        for domain in &site.plan.domains {
            check(self.look_at(domain, &list, cancel).await)?;
        }
        match trouble {
            Some(error) => Err(error),
            None => Ok(!(self.seen.is_empty() && self.starts.is_empty() && self.jobs.is_empty())),
        }
    }

    /// Numbers that Xen no longer knows may be given to other domains.
    fn forget_numbers(&mut self, list: &[DomainInfo]) {
        let known = |domid: &u32| list.iter().any(|info| info.domid == *domid);
        self.kept.retain(known);
        self.decided.retain(|domid, _| known(domid));
        self.blocked.retain(|domid, _| known(domid));
    }

    async fn look_at(
        &mut self,
        domain: &DomainPlan,
        list: &[DomainInfo],
        cancel: &Cancel,
    ) -> Result<()> {
        if self.jobs.work_on(&domain.name) {
            return Ok(());
        }
        let info = by_uuid(list, &domain.uuid);
        let start = self.starts.get(&domain.name);
        match info.map(|info| info.state) {
            Some(DomainState::Shutdown) => {
                self.seen.insert(domain.name.clone());
                self.ended(domain, cancel).await
            }
            Some(DomainState::Paused) if start.is_some_and(|start| start.half_made) => {
                self.remove_half_made(domain, cancel).await
            }
            state if start.is_some() && state.is_none_or(|s| s == DomainState::Dying) => {
                self.start(domain, list, cancel).await
            }
            Some(DomainState::Dying) => {
                self.dying = true;
                self.seen.insert(domain.name.clone());
                Ok(())
            }
            Some(_) => {
                self.runs(&domain.name);
                Ok(())
            }
            None => {
                if self.seen.remove(&domain.name) {
                    self.note(domain, "gone, no longer supervised");
                }
                Ok(())
            }
        }
    }

    /// The right to change the platform. This loop and its jobs share it.
    async fn lock(&mut self, cancel: &Cancel) -> Result<Arc<Lock>> {
        if let Some(lock) = self.lock.upgrade() {
            return Ok(lock);
        }
        let deadline = Instant::now() + LOCK_WAIT;
        let platform = &self.site.plan.platform;
        let lock = Arc::new(self.run.lock_until(platform, deadline, cancel).await?);
        self.lock = Arc::downgrade(&lock);
        Ok(lock)
    }

    /// Numbers of domains that are not touched now.
    fn left_alone(&self) -> BTreeSet<u32> {
        let blocked = self.blocked.iter();
        let blocked = blocked.filter(|(_, pause)| !pause.is_over());
        let kept = self.kept.iter();
        kept.chain(blocked.map(|(domid, _)| domid))
            .copied()
            .collect()
    }

    async fn ended(&mut self, domain: &DomainPlan, cancel: &Cancel) -> Result<()> {
        let list = self.site.ask(|m| m.domains.list()).await?;
        if self.to_be_removed(domain, &list).is_none() {
            return Ok(());
        }
        let lock = self.lock(cancel).await?;
        // Whoever had the lock before may have dealt with it.
        let list = self.site.ask(|m| m.domains.list()).await?;
        let Some(info) = self.to_be_removed(domain, &list) else {
            return Ok(());
        };
        let reason = info.reason.unwrap_or(ShutdownReason::Unknown);
        let decision = match self.decided.get(&info.domid) {
            Some(decision) => *decision,
            None => {
                let decision = self.decide(domain, Some(info.domid), reason);
                self.site.observer.observe(Event::Ended {
                    domain: domain.name.clone(),
                    reason: reason_words(reason).to_owned(),
                    then: decision.words().to_owned(),
                });
                decision
            }
        };
        if decision == Decision::Keep {
            self.kept.insert(info.domid);
            return Ok(());
        }
        let leaving = self.leaving(domain, info.domid, &[]).await;
        let returns = decision == Decision::Restart;
        let returning = returns.then(|| domain.name.clone()).into_iter().collect();
        self.begin(Job::remove(vec![leaving], returning), lock, cancel);
        Ok(())
    }

    /// The domain, if it has ended and may be touched.
    fn to_be_removed<'l>(
        &self,
        domain: &DomainPlan,
        list: &'l [DomainInfo],
    ) -> Option<&'l DomainInfo> {
        let info = by_uuid(list, &domain.uuid);
        info.filter(|info| {
            info.state == DomainState::Shutdown && !self.left_alone().contains(&info.domid)
        })
    }

    /// What the document wants of a domain that ended. An end counts once, however often it is dealt with.
    fn decide(
        &mut self,
        domain: &DomainPlan,
        domid: Option<u32>,
        reason: ShutdownReason,
    ) -> Decision {
        let known = domid.and_then(|domid| self.decided.get(&domid));
        if let Some(decision) = known {
            return *decision;
        }
        let history = self.histories.entry(domain.name.clone()).or_default();
        let decision = history.decide(domain, reason, Instant::now());
        self.decided.extend(domid.map(|domid| (domid, decision)));
        decision
    }

    /// A domain that is to go, with those it serves that do not go with it: they keep Xen from freeing it.
    async fn leaving(&self, domain: &DomainPlan, domid: u32, going: &[Leaving]) -> Leaving {
        let users = self.site.ask(move |m| order::users(m, domid)).await;
        let mut users = users.unwrap_or_else(|error| {
            self.note(domain, &format!("its users cannot be listed: {error}"));
            Vec::new()
        });
        users.retain(|user| !going.iter().any(|going| going.domid == user.domid));
        let names: Vec<String> = users.into_iter().map(|user| user.name).collect();
        Leaving {
            held_by: (!names.is_empty()).then(|| names.join(" and ")),
            ..Leaving::new(&domain.name, domid)
        }
    }

    /// Removes what a failed start left of a domain, which is tried again then.
    async fn remove_half_made(&mut self, domain: &DomainPlan, cancel: &Cancel) -> Result<()> {
        let lock = self.lock(cancel).await?;
        let list = self.site.ask(|m| m.domains.list()).await?;
        let info = by_uuid(&list, &domain.uuid).filter(|i| i.state == DomainState::Paused);
        let Some(info) = info.filter(|info| !self.left_alone().contains(&info.domid)) else {
            return Ok(());
        };
        let leaving = Leaving::new(&domain.name, info.domid);
        let returning = BTreeSet::from([domain.name.clone()]);
        self.begin(Job::remove(vec![leaving], returning), lock, cancel);
        Ok(())
    }

    /// Starts a domain, when its pause is over and those that serve it run.
    async fn start(
        &mut self,
        domain: &DomainPlan,
        list: &[DomainInfo],
        cancel: &Cancel,
    ) -> Result<()> {
        let start = self.starts.get(&domain.name);
        let rests = |start: &Start| start.pause.is_some_and(|pause| !pause.is_over());
        if start.is_none_or(rests) {
            return Ok(());
        }
        for backend in order::backends_of(domain, &self.site.plan.domains) {
            let coming =
                self.starts.contains_key(&backend.name) || self.jobs.work_on(&backend.name);
            match by_uuid(list, &backend.uuid) {
                _ if coming => return Ok(()),
                Some(info) if info.is_alive() => {}
                // What follows is decided in one of the next looks.
                Some(_) if self.to_be_removed(backend, list).is_some() => return Ok(()),
                Some(info) if self.blocked.contains_key(&info.domid) => return Ok(()),
                _ => {
                    let why = format!("not started again: {} does not run", backend.name);
                    self.give_up(domain, &why);
                    return Ok(());
                }
            }
        }
        let lock = self.lock(cancel).await?;
        let list = self.site.ask(|m| m.domains.list()).await?;
        let there = by_uuid(&list, &domain.uuid);
        if there.is_some_and(|info| info.state != DomainState::Dying) {
            // Somebody else made it; the next look sees how it stands.
            return Ok(());
        }
        let counts = self.starts.get(&domain.name).is_some_and(|s| s.counts);
        let history = self.histories.entry(domain.name.clone()).or_default();
        if counts && !history.count(Instant::now()) {
            self.give_up(domain, "cannot be started again, given up");
            return Ok(());
        }
        let mut waiting = self.site.plan.domains.iter();
        let waits = |other: &&DomainPlan| {
            self.starts.contains_key(&other.name)
                && order::serves(&domain.name, std::slice::from_ref(other))
        };
        let job = Job::Start {
            domain: Box::new(domain.clone()),
            serves: waiting.find(waits).map(|waits| waits.name.clone()),
        };
        self.begin(job, lock, cancel);
        Ok(())
    }

    fn begin(&mut self, job: Job, lock: Arc<Lock>, cancel: &Cancel) {
        self.jobs.begin(&self.site, job, lock, cancel);
    }

    fn note(&self, domain: &DomainPlan, text: &str) {
        self.site.note(&domain.name, text);
    }
}

/// Waits for a change. A watch that ended is taken away, so that it is set again.
async fn changed(changes: &mut Option<Changes>) {
    match changes {
        Some(watch) => {
            if watch.changed().await.is_err() {
                *changes = None;
            }
        }
        None => std::future::pending().await,
    }
}
