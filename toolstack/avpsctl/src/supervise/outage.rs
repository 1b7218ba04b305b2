//! What follows when a domain that serves others ends: those it served go, then what is left of it; it is started again, then they are.
//!
//! Domains that have nothing to do with each other are dealt with apart. All of it is told, with its times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use platform::plan::Action;

use super::job::Job;
use super::lost::{Guest, Outage, Server};
use super::policy::{Decision, reason_words};
use super::{Recovery, Supervisor};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::{Machine, ShutdownReason};
use crate::observe::Event;
use crate::order;
use crate::remove::Leaving;
use crate::rundir::Lock;

impl Supervisor {
    /// Deals with domains that have lost those that serve them.
    pub(super) async fn look_for_outages(&mut self, cancel: &Cancel) -> Result<()> {
        let (mut outage, mut trouble) = self.outage().await?;
        if !outage.is_empty() {
            let lock = self.lock(cancel).await?;
            // Whoever had the lock before may have dealt with it.
            (outage, trouble) = self.outage().await?;
            for part in outage.parts() {
                self.bring_back(&part, &lock, cancel).await;
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// What is lost and nobody works on, and what went wrong on looking at one of the domains.
    async fn outage(&self) -> Result<(Outage, Option<Error>)> {
        let site = Arc::clone(&self.site);
        let (left_alone, coming) = (self.left_alone(), self.coming());
        let look = move |m: &Machine| Outage::look(m, &site.plan.domains, &left_alone, &coming);
        self.site.ask(look).await
    }

    /// Domains that are being removed or started, or are to be started.
    fn coming(&self) -> BTreeSet<String> {
        let mut coming = self.jobs.names();
        coming.extend(self.starts.keys().cloned());
        coming
    }

    /// Brings back what was lost, as far as the document wants it.
    async fn bring_back(&mut self, outage: &Outage, lock: &Arc<Lock>, cancel: &Cancel) {
        let decisions = self.decide_all(outage);
        let returning = self.returning(outage, &decisions);
        self.tell(outage, &decisions, &returning);
        let leaving = self.take_away(outage, &decisions).await;
        let servers = outage.servers.iter().map(|server| &server.plan.name);
        let servers = servers.filter(|name| returning.contains(*name)).cloned();
        let recovery = Recovery::new(&returning, servers.collect());
        self.recoveries
            .retain(|known| !returning.iter().any(|name| known.concerns(name)));
        if !returning.is_empty() {
            self.recoveries.push(recovery);
        }
        for server in &outage.servers {
            let kept = decisions.get(&server.plan.name) == Some(&Decision::Keep);
            let goes = leaving.iter().any(|going| going.name == server.plan.name);
            if !returning.contains(&server.plan.name) && !kept && !goes {
                self.seen.remove(&server.plan.name);
            }
        }
        if !leaving.is_empty() || !returning.is_empty() {
            self.begin(Job::remove(leaving, returning), Arc::clone(lock), cancel);
        }
    }

    /// What the documents want of those that served, and how often they came back already.
    fn decide_all(&mut self, outage: &Outage) -> BTreeMap<String, Decision> {
        let mut decisions = BTreeMap::new();
        for server in &outage.servers {
            let reason = server.ended.unwrap_or(ShutdownReason::Unknown);
            let domid = server.domids.iter().max().copied();
            let decision = self.decide(&server.plan, domid, reason);
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
            let backends = order::backends_of(&guest.plan, &self.site.plan.domains);
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
            self.site.observer.observe(Event::Ended {
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

    /// Those that go: guests, the last of the plan first, then those that served them. Notes those that stay.
    async fn take_away(
        &mut self,
        outage: &Outage,
        decisions: &BTreeMap<String, Decision>,
    ) -> Vec<Leaving> {
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
                let domain = self.leaving(&server.plan, *domid, &leaving).await;
                leaving.push(domain);
            }
        }
        leaving
    }
}

/// Names in a sentence.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
