//! What takes time: removing domains, and starting one. Jobs run side by side.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use platform::plan::{DomainPlan, Plan};
use tokio::task::{Id, JoinSet};

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::observe::{Event, Observer};
use crate::remove::{self, Leaving};
use crate::rundir::Lock;
use crate::start::{self, Started};

/// What every job needs.
pub(super) struct Site {
    pub(super) machine: Machine,
    pub(super) plan: Plan,
    /// How long backends may take to become ready.
    pub(super) timeout: Duration,
    pub(super) observer: Arc<dyn Observer>,
}

/// One job. Its domains are nobody else's until it is done.
#[derive(Clone)]
pub(super) enum Job {
    /// Removes domains that may hold each other.
    Remove {
        leaving: Vec<Leaving>,
        /// Those that are to be started afterwards.
        returning: BTreeSet<String>,
        /// All of these.
        names: BTreeSet<String>,
    },
    /// Starts a domain.
    Start {
        domain: Box<DomainPlan>,
        /// A domain that waits for this one to serve it.
        serves: Option<String>,
    },
}

/// How a job ended.
pub(super) enum Outcome {
    /// For each domain that was to leave.
    Removed(Vec<Result<()>>),
    Started(Result<()>),
    /// It panicked.
    Defect,
}

impl Job {
    pub(super) fn remove(leaving: Vec<Leaving>, returning: BTreeSet<String>) -> Job {
        let mut names = returning.clone();
        names.extend(leaving.iter().map(|domain| domain.name.clone()));
        Job::Remove {
            leaving,
            returning,
            names,
        }
    }

    fn works_on(&self, name: &str) -> bool {
        match self {
            Job::Remove { names, .. } => names.contains(name),
            Job::Start { domain, .. } => domain.name == name,
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Job::Remove { names, .. } => names.iter().cloned().collect(),
            Job::Start { domain, .. } => vec![domain.name.clone()],
        }
    }

    async fn carry_out(self, site: &Site, cancel: &Cancel) -> Outcome {
        match self {
            Job::Remove { leaving, .. } => {
                let observer = site.observer.as_ref();
                Outcome::Removed(remove::remove_all(&site.machine, &leaving, observer).await)
            }
            Job::Start { domain, serves } => {
                Outcome::Started(site.start(&domain, serves, cancel).await)
            }
        }
    }
}

/// The jobs that run.
#[derive(Default)]
pub(super) struct Jobs {
    tasks: JoinSet<(Outcome, Arc<Lock>)>,
    jobs: HashMap<Id, Job>,
}

impl Jobs {
    /// Begins a job, which keeps the platform's lock until it is done.
    pub(super) fn begin(&mut self, site: &Arc<Site>, job: Job, lock: Arc<Lock>, cancel: &Cancel) {
        let (site, work, cancel) = (Arc::clone(site), job.clone(), cancel.clone());
        let task = async move { (work.carry_out(&site, &cancel).await, lock) };
        self.jobs.insert(self.tasks.spawn(task).id(), job);
    }

    /// The next job that is done, with the lock that it held; none when none runs.
    pub(super) async fn next(&mut self) -> Option<(Job, Outcome, Option<Arc<Lock>>)> {
        let (id, outcome, lock) = match self.tasks.join_next_with_id().await? {
            Ok((id, (outcome, lock))) => (id, outcome, Some(lock)),
            Err(error) => (error.id(), Outcome::Defect, None),
        };
        Some((self.jobs.remove(&id)?, outcome, lock))
    }

    pub(super) fn work_on(&self, name: &str) -> bool {
        self.jobs.values().any(|job| job.works_on(name))
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.jobs.values().flat_map(Job::names).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

/// Stands for the error of what panicked; the panic itself is on standard error.
pub(super) const DEFECT: &str = "avpsctl has a defect and gave this attempt up";

impl Site {
    /// As [`Machine::run`]; a panic is an error.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Machine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let machine = self.machine.clone();
        match tokio::spawn(async move { machine.run(work).await }).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(Error::Xen(DEFECT.into())),
            Err(_) => Err(Error::Interrupted),
        }
    }

    pub(super) fn note(&self, name: &str, text: &str) {
        self.observer
            .observe(Event::Note(format!("{name}: {text}")));
    }

    /// Starts a domain or leaves nothing of it. One that others wait for has to serve them, too.
    async fn start(
        &self,
        domain: &DomainPlan,
        serves: Option<String>,
        cancel: &Cancel,
    ) -> Result<()> {
        let options = start::Options {
            timeout: self.timeout,
            unpause: true,
        };
        let wanted = std::slice::from_ref(domain);
        let (machine, observer) = (&self.machine, self.observer.as_ref());
        let started = start::start(machine, &self.plan, wanted, options, observer, cancel).await?;
        let Some(waits) = serves else {
            return Ok(());
        };
        let ready =
            start::backend_domain_ready(machine, domain, &waits, self.timeout, observer, cancel);
        let Err(cause) = ready.await else {
            return Ok(());
        };
        let mut remains = Vec::new();
        for domain in started {
            let Started { name, domid, .. } = domain;
            if let Err(error) = remove::remove(machine, &name, domid, observer).await {
                remains.push(format!("domain {domid} (\"{name}\": {error})"));
            }
        }
        Err(cause.with_remains(remains))
    }
}
