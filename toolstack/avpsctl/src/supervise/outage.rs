//! What follows when a domain that serves others ends: those it served go, then what is left of it; it is started again, then they are.
//!
//! All of it happens under one lock, and is told with its times.

use std::collections::{BTreeMap, BTreeSet};

use platform::plan::{Action, DomainPlan};
use tokio::time::Instant;

use super::lost::{Guest, Outage, Server};
use super::policy::{Decision, reason_words};
use super::{FIRST_RETRY, Supervisor};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::machine::{ShutdownReason, by_uuid};
use crate::observe::Event;
use crate::order;
use crate::remove::{self, Leaving};

impl Supervisor<'_> {
    /// Whether domains have lost those that serve them. Nothing is changed.
    pub(super) async fn look_for_outage(&self) -> Result<Outage> {
        let domains = self.plan.domains.clone();
        let (kept, coming) = (self.kept.clone(), self.coming());
        self.machine
            .run(move |m| Outage::look(m, &domains, &kept, &coming))
            .await
    }

    /// Domains that are to be started again.
    fn coming(&self) -> BTreeSet<String> {
        let retries = self.retries.keys().cloned();
        retries.chain(self.waiting.iter().cloned()).collect()
    }

    /// Brings back what was lost, as far as the document wants it.
    pub(super) async fn outage(&mut self, cancel: &Cancel) -> Result<()> {
        let _lock = self.lock(cancel).await?;
        // Whoever had the lock before may have dealt with it.
        let outage = self.look_for_outage().await?;
        if outage.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let decisions = self.decide(&outage);
        let mut returning = self.returning(&outage, &decisions);
        self.tell(&outage, &decisions, &returning);
        let failed = self.take_away(&outage, &decisions).await?;
        returning.retain(|name| !failed.contains(name));
        let removed = began.elapsed();
        for guest in &outage.guests {
            self.expect(&guest.plan, returning.contains(&guest.plan.name));
        }
        for server in &outage.servers {
            let name = &server.plan.name;
            if !returning.contains(name) {
                self.seen.remove(name);
                continue;
            }
            self.start(&server.plan, FIRST_RETRY, cancel).await?;
        }
        let served = began.elapsed();
        self.start_waiting(cancel).await?;
        let names: Vec<&String> = returning.iter().collect();
        if names.iter().any(|name| self.coming().contains(*name)) || names.is_empty() {
            return Ok(());
        }
        let all = began.elapsed();
        self.observer.observe(Event::Note(format!(
            "{} run again after {:.1} s: {:.1} s to remove what was left, {:.1} s until those that serve were ready, {:.1} s for \
             those they serve",
            list(names.into_iter().map(String::as_str)),
            all.as_secs_f64(),
            removed.as_secs_f64(),
            served.saturating_sub(removed).as_secs_f64(),
            all.saturating_sub(served).as_secs_f64(),
        )));
        Ok(())
    }

    /// What the documents want of those that served, and how often they came back already.
    fn decide(&mut self, outage: &Outage) -> BTreeMap<String, Decision> {
        let now = Instant::now();
        let mut decisions = BTreeMap::new();
        for server in &outage.servers {
            let reason = server.ended.unwrap_or(ShutdownReason::Unknown);
            let history = self.histories.entry(server.plan.name.clone()).or_default();
            let decision = history.decide(&server.plan, reason, now);
            decisions.insert(server.plan.name.clone(), decision);
        }
        decisions
    }

    /// Those that are started again: whom the document wants back, and whose servers run or come back, too.
    fn returning(
        &self,
        outage: &Outage,
        decisions: &BTreeMap<String, Decision>,
    ) -> BTreeSet<String> {
        let back = decisions.iter().filter(|(_, d)| **d == Decision::Restart);
        let mut returning: BTreeSet<String> = back.map(|(name, _)| name.clone()).collect();
        let coming = self.coming();
        for guest in &outage.guests {
            let gone = |name: &str| {
                decisions.contains_key(name) || outage.guests.iter().any(|g| g.plan.name == name)
            };
            let backends = order::backends_of(&guest.plan, &self.plan.domains);
            let served = backends.iter().all(|backend| {
                let name = &backend.name;
                !gone(name) || returning.contains(name) || coming.contains(name)
            });
            if guest.action == Action::Restart && served {
                returning.insert(guest.plan.name.clone());
            }
        }
        returning
    }

    fn tell(
        &self,
        outage: &Outage,
        decisions: &BTreeMap<String, Decision>,
        returning: &BTreeSet<String>,
    ) {
        for server in &outage.servers {
            let served = outage.guests.iter();
            let served = served.filter(|guest| guest.by.contains(&server.plan.name));
            let decision = decisions.get(&server.plan.name);
            let then = match (decision, server.ended) {
                (Some(Decision::Keep), None) => "nothing is left of it for examination",
                (decision, _) => decision.map_or("", |decision| decision.words()),
            };
            self.observer.observe(Event::Ended {
                domain: server.plan.name.clone(),
                reason: server
                    .ended
                    .map_or("destroyed while it served others", reason_words)
                    .to_owned(),
                then: format!(
                    "{then}; it served {}",
                    list(served.map(|guest| guest.plan.name.as_str()))
                ),
            });
        }
        for guest in &outage.guests {
            let then = match guest.action {
                Action::Preserve => {
                    "kept as it is, for examination; the number of who served it stays taken as long as it is there"
                }
                Action::Destroy => "removing it",
                Action::Restart if returning.contains(&guest.plan.name) => {
                    "removing it, and starting it again when it is served"
                }
                Action::Restart => {
                    "removing it; it is not started again, for nobody would serve it"
                }
            };
            let by = list(guest.by.iter().map(String::as_str));
            self.note(&guest.plan, &format!("lost its devices with {by}; {then}"));
        }
    }

    /// Removes guests, the last of the plan first, then those that served them. Tells which of them could not be removed.
    async fn take_away(
        &mut self,
        outage: &Outage,
        decisions: &BTreeMap<String, Decision>,
    ) -> Result<BTreeSet<String>> {
        let stays = |server: &&Server| {
            server.ended.is_some() && decisions.get(&server.plan.name) == Some(&Decision::Keep)
        };
        let (kept, gone): (Vec<&Server>, Vec<&Server>) = outage.servers.iter().partition(stays);
        let preserved = |guest: &&Guest| guest.action == Action::Preserve;
        for server in &kept {
            self.kept.extend(&server.domids);
        }
        let guests = outage.guests.iter();
        self.kept
            .extend(guests.filter(preserved).map(|guest| guest.domid));
        let mut leaving = Vec::new();
        for guest in outage.guests.iter().rev().filter(|g| !preserved(g)) {
            // One that crashed still maps pages of those it served.
            let by = kept.iter().map(|server| server.plan.name.as_str());
            let by: Vec<&str> = by
                .filter(|name| guest.by.iter().any(|b| b == name))
                .collect();
            leaving.push(Leaving {
                held_by: (!by.is_empty()).then(|| by.join(" and ")),
                ..Leaving::new(&guest.plan.name, guest.domid)
            });
        }
        for server in gone.iter().rev() {
            for domid in &server.domids {
                let domain = self.leaving(&server.plan, *domid, &leaving).await?;
                leaving.push(domain);
            }
        }
        let results = remove::remove_all(&self.machine, &leaving, self.observer).await;
        let mut failed = BTreeSet::new();
        for (domain, result) in leaving.iter().zip(results) {
            if let Err(error) = result {
                // Kept out of later rounds: the same failure would come back for ever.
                self.kept.insert(domain.domid);
                failed.insert(domain.name.clone());
                let text = format!("{}: cannot be removed: {error}", domain.name);
                self.observer.observe(Event::Note(text));
            }
        }
        Ok(failed)
    }

    /// Notes whether a domain that is gone is to be started when it can be.
    fn expect(&mut self, domain: &DomainPlan, returns: bool) {
        self.retries.remove(&domain.name);
        if returns {
            self.waiting.insert(domain.name.clone());
        } else {
            self.waiting.remove(&domain.name);
            self.seen.remove(&domain.name);
        }
    }

    /// Starts those that wait and are served again; forgets those that never will be. The lock is held.
    pub(super) async fn start_waiting(&mut self, cancel: &Cancel) -> Result<()> {
        for domain in self.plan.domains.clone() {
            if !self.waiting.contains(&domain.name) {
                continue;
            }
            let running = self.machine.run(|m| m.domains.list()).await?;
            if by_uuid(&running, &domain.uuid).is_some_and(|info| info.is_alive()) {
                self.waiting.remove(&domain.name);
                continue;
            }
            let mut missing = order::backends_of(&domain, &self.plan.domains);
            missing.retain(|backend| {
                by_uuid(&running, &backend.uuid).is_none_or(|info| !info.is_alive())
            });
            let coming = self.coming();
            if let Some(never) = missing.iter().find(|b| !coming.contains(&b.name)) {
                let why = format!("not started again: {} does not run", never.name);
                self.note(&domain, &why);
                self.waiting.remove(&domain.name);
                self.seen.remove(&domain.name);
            } else if missing.is_empty() {
                self.waiting.remove(&domain.name);
                self.start(&domain, FIRST_RETRY, cancel).await?;
            }
        }
        Ok(())
    }
}

/// Names in a sentence.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
