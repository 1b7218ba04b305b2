//! What follows when a guest ends: the policy of its document, applied for as long as it runs.
//!
//! libxl does not restart a domain; xl keeps a process per domain for that. Here one supervisor
//! serves a whole platform. It sleeps until XenStore says that some domain ended, looks which one
//! and why, and removes, restarts or keeps it. A guest that ends again and again is not restarted
//! for ever: after [`MAX_RESTARTS`] within [`WINDOW`] it is removed.
//!
//! The loop knows neither process nor command line, so that a daemon can run it as a task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use platform::plan::{Action, DomainPlan, Plan};
use tokio::time::Instant;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::{DOMAIN_ENDED, DomainInfo, DomainState, Machine, ShutdownReason};
use crate::observe::{Event, Observer};
use crate::remove;
use crate::rundir::RunDir;
use crate::start;

/// Restarts of one domain that are allowed within [`WINDOW`].
pub const MAX_RESTARTS: usize = 5;
/// The time in which restarts are counted.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Pause after the first failed attempt to start a domain again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How long the right to change the platform is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(600);

/// What is done about a domain that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Remove it and start it again.
    Restart,
    /// Remove it.
    Remove,
    /// Leave it as it is.
    Keep,
    /// It ended too often: remove it.
    GiveUp,
}

impl Decision {
    fn words(self) -> &'static str {
        match self {
            Decision::Restart => "starting it again",
            Decision::Remove => "removing it",
            Decision::Keep => "kept as it is, for examination",
            Decision::GiveUp => "it ended too often in a short time and is removed",
        }
    }
}

/// Recent restarts of one domain. Bounded: never more than [`MAX_RESTARTS`] entries.
#[derive(Debug, Default)]
pub struct History(VecDeque<Instant>);

impl History {
    /// Decides what follows when a domain ended at `now`, and counts a restart if that is it.
    pub fn decide(&mut self, plan: &DomainPlan, reason: ShutdownReason, now: Instant) -> Decision {
        let action = match reason {
            ShutdownReason::Poweroff => plan.on_poweroff,
            ShutdownReason::Reboot => plan.on_reboot,
            ShutdownReason::Crash | ShutdownReason::Watchdog | ShutdownReason::Unknown => {
                plan.on_crash
            }
            // Nobody here saves and resumes guests; whoever asked for it knows what to do with it.
            ShutdownReason::Suspend => return Decision::Keep,
        };
        match action {
            Action::Destroy => Decision::Remove,
            Action::Preserve => Decision::Keep,
            Action::Restart if self.count(now) => Decision::Restart,
            Action::Restart => Decision::GiveUp,
        }
    }

    /// Counts a restart; `false` when there were too many.
    fn count(&mut self, now: Instant) -> bool {
        while self
            .0
            .front()
            .is_some_and(|then| now.duration_since(*then) >= WINDOW)
        {
            self.0.pop_front();
        }
        if self.0.len() >= MAX_RESTARTS {
            return false;
        }
        self.0.push_back(now);
        true
    }
}

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
}

impl<'a> Supervisor<'a> {
    /// A supervisor for the domains of a plan. Restarted domains get exactly this plan, whatever
    /// becomes of the document it came from.
    pub fn new(
        machine: Machine,
        plan: Plan,
        run: RunDir,
        timeout: Duration,
        observer: &'a dyn Observer,
    ) -> Self {
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
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                changed = changes.changed() => changed?,
                () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            }
        }
    }

    /// Looks at every domain once. `false` when there is nothing left to supervise.
    async fn round(&mut self, cancel: &Cancel) -> Result<bool> {
        for domain in self.plan.domains.clone() {
            match find(&self.machine, &domain).await? {
                Some(info) if info.state == DomainState::Shutdown => {
                    self.seen.insert(domain.name.clone());
                    if !self.kept.contains(&info.domid) {
                        self.ended(&domain, cancel).await?;
                    }
                }
                Some(info) => {
                    if info.state != DomainState::Dying {
                        self.retries.remove(&domain.name);
                    }
                    self.seen.insert(domain.name.clone());
                }
                None if self.retries.contains_key(&domain.name) => {
                    self.retry(&domain, cancel).await?;
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
        Ok(!self.seen.is_empty())
    }

    async fn ended(&mut self, domain: &DomainPlan, cancel: &Cancel) -> Result<()> {
        let deadline = Instant::now() + LOCK_WAIT;
        let _lock = self
            .run
            .lock_until(&self.plan.platform, deadline, cancel)
            .await?;
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
        let removed = remove::remove(&self.machine, &domain.name, info.domid, self.observer).await;
        if let Err(error) = removed {
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
        let deadline = Instant::now() + LOCK_WAIT;
        let _lock = self
            .run
            .lock_until(&self.plan.platform, deadline, cancel)
            .await?;
        if find(&self.machine, domain).await?.is_some() {
            self.retries.remove(&domain.name);
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

    async fn start(&mut self, domain: &DomainPlan, pause: Duration, cancel: &Cancel) -> Result<()> {
        let options = start::Options {
            timeout: self.timeout,
            unpause: true,
        };
        let plan = std::slice::from_ref(domain);
        let started = start::start(
            &self.machine,
            &self.plan,
            plan,
            options,
            self.observer,
            cancel,
        )
        .await;
        match started {
            Ok(_) => {
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

    fn note(&self, domain: &DomainPlan, text: &str) {
        self.observer
            .observe(Event::Note(format!("{}: {text}", domain.name)));
    }
}

/// The domain of this plan, if it exists: same name and same identity.
async fn find(machine: &Machine, domain: &DomainPlan) -> Result<Option<DomainInfo>> {
    let list = machine.run(|m| m.domains.list()).await?;
    Ok(list
        .into_iter()
        .find(|info| info.name == domain.name && info.uuid.eq_ignore_ascii_case(&domain.uuid)))
}

fn reason_words(reason: ShutdownReason) -> &'static str {
    match reason {
        ShutdownReason::Poweroff => "powered off",
        ShutdownReason::Reboot => "rebooted",
        ShutdownReason::Suspend => "suspended itself",
        ShutdownReason::Crash => "crashed",
        ShutdownReason::Watchdog => "its watchdog ran out",
        ShutdownReason::Unknown => "ended for an unknown reason",
    }
}
