//! What follows when a job is done.

use platform::plan::DomainPlan;

use super::job::{DEFECT, Job, Outcome};
use super::pause::Pause;
use super::policy::is_outage;
use super::{Start, Supervisor};
use crate::error::{Error, Result};
use crate::observe::Event;
use crate::remove::Leaving;

impl Supervisor {
    pub(super) fn finished(&mut self, job: Job, outcome: Outcome) {
        match (job, outcome) {
            (Job::Start { domain, .. }, Outcome::Started(result)) => self.started(&domain, result),
            (Job::Start { domain, .. }, _) => self.not_started(&domain, DEFECT, true, true),
            (
                Job::Remove {
                    leaving,
                    returning,
                    names,
                },
                outcome,
            ) => {
                let mut results = match outcome {
                    Outcome::Removed(results) => results,
                    _ => Vec::new(),
                }
                .into_iter();
                let mut failed = Vec::new();
                for domain in &leaving {
                    let result = results.next();
                    match result.unwrap_or_else(|| Err(Error::Xen(DEFECT.into()))) {
                        Ok(()) => self.removed(domain),
                        Err(error) => {
                            self.not_removed(domain, &error);
                            failed.push(domain.name.as_str());
                        }
                    }
                }
                // The next look finds what could not be removed.
                for name in names.iter().filter(|name| !failed.contains(&name.as_str())) {
                    if returning.contains(name) {
                        self.starts.entry(name.clone()).or_default().half_made = false;
                    } else {
                        self.starts.remove(name);
                        self.seen.remove(name);
                    }
                }
                let recoveries = self.recoveries.iter_mut();
                recoveries
                    .filter(|recovery| names.iter().any(|name| recovery.concerns(name)))
                    .for_each(|recovery| recovery.removed());
            }
        }
    }

    fn removed(&mut self, domain: &Leaving) {
        self.blocked.remove(&domain.domid);
        self.decided.remove(&domain.domid);
    }

    fn not_removed(&mut self, domain: &Leaving, error: &Error) {
        let previous = self.blocked.get(&domain.domid).copied();
        let pause = Pause::after(previous);
        // The last ones are equally long, and told once.
        if previous.is_none_or(|previous| previous.length < pause.length) {
            let text = format!(
                "cannot be removed: {error}; trying again in {:?}",
                pause.length
            );
            self.site.note(&domain.name, &text);
        }
        self.blocked.insert(domain.domid, pause);
    }

    fn started(&mut self, domain: &DomainPlan, result: Result<()>) {
        match result {
            Ok(()) => self.runs(&domain.name),
            // Only whoever ends the supervisor says so.
            Err(Error::Interrupted) => {}
            Err(error) => {
                let half_made = matches!(error, Error::Remains { .. });
                let counts = !is_outage(&error);
                self.not_started(domain, &error.to_string(), counts, half_made);
            }
        }
    }

    /// A domain runs, whoever started it.
    pub(super) fn runs(&mut self, name: &str) {
        self.starts.remove(name);
        self.seen.insert(name.to_owned());
        let observer = &self.site.observer;
        self.recoveries.retain_mut(|recovery| {
            let told = recovery.runs(name);
            let done = told.is_some();
            told.into_iter()
                .for_each(|text| observer.observe(Event::Note(text)));
            !done
        });
    }

    fn not_started(&mut self, domain: &DomainPlan, error: &str, counts: bool, half_made: bool) {
        let start = self.starts.entry(domain.name.clone()).or_default();
        let pause = Pause::after(start.pause);
        let told = start.told.replace(error.to_owned());
        let repeats = told.as_deref() == Some(error);
        *start = Start {
            pause: Some(pause),
            counts,
            told: start.told.take(),
            half_made,
        };
        let text = match counts {
            true => format!(
                "not started again ({error}), trying again in {:?}",
                pause.length
            ),
            false => format!("not started again ({error}), trying again until it can be"),
        };
        if counts || !repeats {
            self.site.note(&domain.name, &text);
        }
    }

    /// A domain is not started any more.
    pub(super) fn give_up(&mut self, domain: &DomainPlan, why: &str) {
        self.note(domain, why);
        self.starts.remove(&domain.name);
        self.seen.remove(&domain.name);
        self.recoveries
            .retain(|recovery| !recovery.concerns(&domain.name));
    }
}
