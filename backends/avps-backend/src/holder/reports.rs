//! Answers to `avps-backend stats`: every worker is asked, and waited for a little.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::{Holder, workers};
use crate::ipc::Order;
use backend_stats as stats;
use backend_stats::Report;

/// How long workers may take to tell their counters.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions that may be open at once: one client is served at a time, this is only a bound.
const MAX_PENDING: usize = 4;

/// A question that is not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    question: u64,
    answer: SyncSender<Report>,
    /// Generations of the workers that have not answered.
    waiting: BTreeSet<u64>,
    deadline: Instant,
}

impl Pending {
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Holder {
    /// Somebody asks for the counters.
    pub(super) fn report_wanted(&mut self, answer: SyncSender<Report>) {
        if self.reports.len() >= MAX_PENDING {
            return;
        }
        self.question = self.question.saturating_add(1);
        let question = self.question;
        let mut waiting = BTreeSet::new();
        for guest in self.guests.values() {
            if let Some(worker) = &guest.worker {
                waiting.insert(worker.generation);
                workers::send(guest, &Order::Count { question }, &[]);
            }
        }
        let now = Instant::now();
        self.reports.push(Pending {
            question,
            answer,
            waiting,
            deadline: now.checked_add(PATIENCE).unwrap_or(now),
        });
        self.finish_reports(now);
    }

    /// A worker has answered a question, or is dead and answers none.
    pub(super) fn counted(&mut self, question: u64, generation: u64) {
        for pending in &mut self.reports {
            if question == 0 || pending.question == question {
                pending.waiting.remove(&generation);
            }
        }
    }

    /// Answers the questions that are complete, or overdue.
    pub(super) fn finish_reports(&mut self, now: Instant) {
        for pending in std::mem::take(&mut self.reports) {
            if pending.waiting.is_empty() || pending.deadline <= now {
                // Fails only when the client has gone.
                let _ = pending.answer.try_send(self.report(&pending.waiting));
            } else {
                self.reports.push(pending);
            }
        }
    }

    fn report(&self, silent: &BTreeSet<u64>) -> Report {
        let guests = self.guests.values().map(|guest| stats::Guest {
            domid: guest.domid.get(),
            name: guest.facts.name.clone(),
            worker_pid: guest.worker.as_ref().map(|worker| worker.pid),
            sandbox_lacks: guest
                .worker
                .as_ref()
                .and_then(|worker| worker.missing.clone()),
            restarts: guest.restarts.total(),
            stale: guest
                .worker
                .as_ref()
                .is_some_and(|worker| silent.contains(&worker.generation)),
            counters: {
                let mut counters = guest.counted_before.clone();
                stats::add(&mut counters, &guest.counted_now);
                counters
            },
            devices: self
                .devices
                .iter()
                .filter(|(key, _)| key.guest == guest.domid)
                .map(|(key, device)| {
                    let mut counters = device.counted_before.clone();
                    stats::add(&mut counters, &device.counted_now);
                    stats::Device {
                        path: key.to_string(),
                        state: device.life.word().to_owned(),
                        memory: device
                            .block
                            .as_ref()
                            .map(|block| block.description.memory.to_string()),
                        counters,
                    }
                })
                .collect(),
        });
        Report {
            schema: stats::SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            guests: guests.collect(),
        }
    }
}
