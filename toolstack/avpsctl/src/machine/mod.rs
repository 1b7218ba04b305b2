//! The machine as this program sees it: domains and XenStore, behind two small traits.
//!
//! The traits block; commands call them through [`Machine::run`], which keeps the event loop
//! responsive (to Ctrl-C above all) while libxl works. Nothing here decides anything.

#[cfg(test)]
pub(crate) mod model;
mod permissions;
mod xen;

use std::path::PathBuf;
use std::sync::Arc;

use platform::plan::{Cpupool, Scheduler};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::ramdisks::Ramdisks;

/// What a domain is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainState {
    /// On a CPU at this moment.
    Running,
    /// Waiting for something to do.
    Blocked,
    /// Stopped by the toolstack.
    Paused,
    /// Ended, and not yet removed.
    Shutdown,
    /// Being removed.
    Dying,
}

impl DomainState {
    /// The word for tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            DomainState::Running => "running",
            DomainState::Blocked => "blocked",
            DomainState::Paused => "paused",
            DomainState::Shutdown => "shutdown",
            DomainState::Dying => "dying",
        }
    }
}

/// Why a domain ended (Xen: `SHUTDOWN_*` in xen/include/public/sched.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShutdownReason {
    /// The guest powered off.
    Poweroff,
    /// The guest wants to start again.
    Reboot,
    /// The guest suspended itself.
    Suspend,
    /// The guest crashed.
    Crash,
    /// The guest's watchdog ran out.
    Watchdog,
    /// Anything else.
    Unknown,
}

/// A domain that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainInfo {
    /// Number; given again after a domain is gone.
    pub domid: u32,
    /// Name.
    pub name: String,
    /// Identity.
    pub uuid: String,
    /// What it is doing.
    pub state: DomainState,
    /// Why it ended, when it did.
    pub reason: Option<ShutdownReason>,
    /// RAM it has now, in KiB.
    pub memory_kib: u64,
    /// RAM it may have, in KiB.
    pub max_memory_kib: u64,
    /// vCPUs online.
    pub vcpus: u32,
    /// CPU time used, in nanoseconds.
    pub cpu_time_ns: u64,
    /// Number of the CPU pool it runs in.
    pub cpupool: u32,
}

impl DomainInfo {
    /// Whether it neither has ended nor is being removed.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, DomainState::Shutdown | DomainState::Dying)
    }

    /// Whether it never had a CPU: nobody let it run since it was created, so that nothing is lost with it.
    pub fn never_ran(&self) -> bool {
        self.state == DomainState::Paused && self.cpu_time_ns == 0
    }

    /// Whether it is the domain of this identity. One that is being removed may have lost its name.
    pub fn is(&self, uuid: &str) -> bool {
        self.uuid.eq_ignore_ascii_case(uuid)
    }
}

/// The domain of this identity. While others hold one that is being removed, a second may run beside it: that one then.
pub fn by_uuid<'a>(list: &'a [DomainInfo], uuid: &str) -> Option<&'a DomainInfo> {
    let ours = || list.iter().filter(|info| info.is(uuid));
    let stays = |info: &&DomainInfo| info.state != DomainState::Dying;
    ours().find(stays).or_else(|| ours().next())
}

/// A CPU pool that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolInfo {
    /// Number; 0 is the one dom0 runs in.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Scheduler; none for one that documents do not know.
    pub scheduler: Option<Scheduler>,
    /// Its CPUs, in ascending order.
    pub cpus: Vec<u32>,
    /// How many domains run in it.
    pub domains: u32,
}

/// A virtual CPU of a domain that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VcpuInfo {
    /// Number in its domain.
    pub vcpu: u32,
    /// The CPU it runs on, or ran on last; none when it is offline.
    pub cpu: Option<u32>,
    /// CPUs it may run on (hard affinity), in ascending order; its pool decides too.
    pub affinity: Vec<u32>,
}

/// The machine and its hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostInfo {
    /// Version of Xen.
    pub xen_version: String,
    /// Release of the libxl in use.
    pub libxl_release: String,
    /// RAM in KiB.
    pub total_memory_kib: u64,
    /// RAM no domain has, in KiB.
    pub free_memory_kib: u64,
    /// Physical CPUs.
    pub cpus: u32,
}

/// Domains: what libxl does.
pub trait Domains: Send + Sync {
    /// The machine.
    fn host(&self) -> Result<HostInfo>;
    /// Every domain, dom0 too, ordered by number.
    fn list(&self) -> Result<Vec<DomainInfo>>;
    /// Creates a domain from libxl's JSON, paused, and tells its number.
    fn create(&self, config: &Value) -> Result<u32>;
    /// Ends and removes a domain.
    fn destroy(&self, domid: u32) -> Result<()>;
    /// Asks the guest to power off, and does not wait for it to hear that: a paused or hung one never does.
    fn shutdown(&self, domid: u32) -> Result<()>;
    /// Asks the guest to reboot, in the same way.
    fn reboot(&self, domid: u32) -> Result<()>;
    /// Stops its vCPUs.
    fn pause(&self, domid: u32) -> Result<()>;
    /// Lets its vCPUs run.
    fn unpause(&self, domid: u32) -> Result<()>;
    /// The terminal of its console.
    fn console(&self, domid: u32) -> Result<PathBuf>;
    /// Every CPU pool, ordered by number.
    fn pools(&self) -> Result<Vec<PoolInfo>>;
    /// Makes a pool of CPUs that are in none, and tells its number; there is no such pool when it fails.
    fn create_pool(&self, pool: &Cpupool, uuid: &str) -> Result<u32>;
    /// Removes a pool without domains; its CPUs are in none then.
    fn destroy_pool(&self, pool: u32) -> Result<()>;
    /// Puts a CPU that is in no pool into this one.
    fn add_cpu(&self, pool: u32, cpu: u32) -> Result<()>;
    /// Takes a CPU out of a pool.
    fn remove_cpu(&self, pool: u32, cpu: u32) -> Result<()>;
    /// A domain's vCPUs, ordered by number.
    fn vcpus(&self, domid: u32) -> Result<Vec<VcpuInfo>>;
    /// Whether a process of this domain exists.
    fn process_exists(&self, pid: u32) -> bool;
    /// Whether calls take their time, so that they belong into threads of their own.
    fn blocks(&self) -> bool {
        true
    }
}

/// XenStore.
pub trait Store: Send + Sync {
    /// The text at a path; `None` when there is no such node.
    fn read(&self, path: &str) -> Result<Option<String>>;
    /// Names below a path; none when there is no such node.
    fn children(&self, path: &str) -> Result<Vec<String>>;
    /// Writes all or nothing, in this order.
    fn write_all(&self, writes: &[Write]) -> Result<()>;
    /// Removes a node and everything below it; fine when it is not there.
    fn remove(&self, path: &str) -> Result<()>;
    /// Lets a domain read a node, and nothing below it; what others may do stays as it is. Also for the special path
    /// [`DOMAIN_ENDED`], whose readers are told of ends.
    fn permit(&self, path: &str, domid: u32) -> Result<()>;
    /// Takes [`Store::permit`] back; fine when there is no such node or right.
    fn forbid(&self, path: &str, domid: u32) -> Result<()>;
    /// Watches paths and everything below them.
    fn watch(&self, paths: &[String]) -> Result<Changes>;
}

/// One write to XenStore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A folder that only its owner, and dom0, may read and write; what is made below it later
    /// inherits that.
    Private {
        /// Its path.
        path: String,
        /// The domain it belongs to.
        owner: u16,
    },
    /// A value.
    Value {
        /// Its path.
        path: String,
        /// The text.
        value: String,
    },
}

impl Write {
    /// A value.
    pub fn value(path: impl Into<String>, value: impl Into<String>) -> Self {
        Write::Value {
            path: path.into(),
            value: value.into(),
        }
    }
}

/// The special path whose watch tells that a domain ended or went away.
pub const DOMAIN_ENDED: &str = "@releaseDomain";

/// Tells that something below watched paths has changed. Any number of changes in between count as
/// one: whoever waits looks at the store again.
#[derive(Debug)]
pub struct Changes {
    receiver: watch::Receiver<u64>,
}

impl Changes {
    /// From a counter that goes up with each change. The watch ends when the receiver is dropped.
    pub fn new(receiver: watch::Receiver<u64>) -> Self {
        Changes { receiver }
    }

    /// Waits for a change since the last call.
    ///
    /// # Errors
    /// [`Error::Store`] when the connection is lost: nothing more would ever come.
    pub async fn changed(&mut self) -> Result<()> {
        let lost = |_| Error::Store("the connection was lost while waiting".into());
        self.receiver.changed().await.map_err(lost)
    }
}

/// Domains and XenStore together. Cheap to clone.
#[derive(Clone)]
pub struct Machine {
    /// Domains.
    pub domains: Arc<dyn Domains>,
    /// XenStore.
    pub store: Arc<dyn Store>,
    /// The domain that this program runs in: the control domain of its documents. It is number 0, except where the toolstack has a
    /// domain of its own beside dom0.
    pub own: u16,
    /// What driver domains boot from.
    pub ramdisks: Ramdisks,
}

impl Machine {
    /// The machine this program runs on; `ramdisks` says where those of driver domains are made.
    ///
    /// # Errors
    /// Why this is not a dom0, or what is missing to control it.
    pub fn open(verbose: bool, ramdisks: Ramdisks) -> Result<Machine> {
        xen::open(verbose, ramdisks)
    }

    /// Does something that blocks without holding up the event loop. It is carried to its end even
    /// when nobody waits for it any more.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Machine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.domains.blocks() {
            tokio::task::yield_now().await;
            return work(self);
        }
        let machine = self.clone();
        match tokio::task::spawn_blocking(move || work(&machine)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Interrupted),
            },
        }
    }

    /// The domain of this name or number.
    ///
    /// # Errors
    /// [`Error::NoSuchDomain`], or libxl's.
    pub fn find(&self, name_or_domid: &str) -> Result<DomainInfo> {
        let list = self.domains.list()?;
        let number = name_or_domid.parse::<u32>().ok();
        list.into_iter()
            .find(|domain| domain.name == name_or_domid || Some(domain.domid) == number)
            .ok_or_else(|| Error::NoSuchDomain(name_or_domid.to_owned()))
    }
}
