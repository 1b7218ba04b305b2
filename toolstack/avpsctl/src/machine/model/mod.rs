//! A machine in memory, for tests: libxl's and XenStore's effects that this program relies on, and
//! a backend that behaves as told.

mod domains;
mod driver;
mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use platform::plan::Scheduler;
use tokio::sync::watch;
use xenstore::Permission;

use super::{DOMAIN_ENDED, DomainInfo, DomainState, Machine, PoolInfo, ShutdownReason};
use crate::ramdisks::Ramdisks;
use crate::tests::static_program;
use driver::Driver;

/// What the backend does when a device's parameters are complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Says that it is ready.
    Serves,
    /// Does nothing.
    Silent,
    /// Says why it cannot.
    Refuses(&'static str),
    /// Serves all images but this one, which it cannot open.
    RefusesImage(&'static str),
    /// Serves all images but this one, of which it says nothing.
    SilentAbout(&'static str),
    /// Ends.
    Dies,
}

/// Why there is no list of domains.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NoList {
    /// libxl does not answer.
    Refused,
    /// This program panics.
    Defect,
}

/// A hook that is called with the number of each domain that is created.
type OnCreate = Box<dyn FnMut(u32) + Send>;

struct Inner {
    nodes: BTreeMap<String, String>,
    domains: Vec<DomainInfo>,
    pools: Vec<PoolInfo>,
    next: u32,
    backend: Backend,
    /// The backend removes its folders when a domain goes; one in a driver domain may not.
    cleans: bool,
    obeys_shutdown: bool,
    log: Vec<String>,
    fail_create: Option<String>,
    fail_destroy: bool,
    fail_shutdown: Option<u32>,
    on_create: Option<OnCreate>,
    /// libxl answers no question, or this program has a defect where it asks.
    no_list: Option<NoList>,
    /// XenStore tells nothing of nodes whose path begins so.
    no_read: Option<String>,
    /// Who may read what, where that is not only the control domain.
    permissions: BTreeMap<String, Vec<Permission>>,
    driver: Driver,
}

/// The machine.
pub(crate) struct Model {
    inner: Mutex<Inner>,
    changed: Mutex<watch::Sender<u64>>,
    /// `avps-backend`, and below `run` what is made of it.
    files: tempfile::TempDir,
}

const READY: &str = "/local/domain/0/data/avps-backend";

impl Model {
    /// dom0 alone, with a backend that serves.
    pub(crate) fn new() -> Arc<Model> {
        let dom0 = info(0, "Domain-0", "00000000-0000-0000-0000-000000000000", 1);
        let nodes = [
            ("/local/domain/0/name", "Domain-0"),
            ("/local/domain/0/data/avps-backend/ready", "1"),
            ("/local/domain/0/data/avps-backend/pid", "77"),
        ];
        Arc::new(Model {
            inner: Mutex::new(Inner {
                nodes: nodes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
                domains: vec![dom0],
                pools: vec![PoolInfo {
                    id: 0,
                    name: "Pool-0".into(),
                    scheduler: Some(Scheduler::Credit2),
                    cpus: vec![0, 1],
                    domains: 1,
                }],
                next: 1,
                backend: Backend::Serves,
                cleans: true,
                obeys_shutdown: true,
                log: Vec::new(),
                fail_create: None,
                fail_destroy: false,
                fail_shutdown: None,
                on_create: None,
                no_list: None,
                no_read: None,
                permissions: BTreeMap::from([(DOMAIN_ENDED.to_owned(), store::owners(0))]),
                driver: Driver::default(),
            }),
            changed: Mutex::new(watch::channel(0).0),
            files: {
                let files = tempfile::tempdir().expect("temporary folder");
                std::fs::write(files.path().join("avps-backend"), static_program())
                    .expect("written");
                files
            },
        })
    }

    /// Files of ramdisks that are there now.
    pub(crate) fn ramdisks(&self) -> usize {
        let entries = std::fs::read_dir(self.files.path().join("run"));
        entries.map_or(0, Iterator::count)
    }

    /// The place of `avps-backend`, from which driver domains' ramdisks are made.
    pub(crate) fn program(&self) -> PathBuf {
        self.files.path().join("avps-backend")
    }

    pub(crate) fn machine(self: &Arc<Self>) -> Machine {
        Machine {
            domains: self.clone(),
            store: self.clone(),
            own: 0,
            ramdisks: Ramdisks::new(self.files.path().join("run")).with_program(self.program()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics inside")
    }

    fn bump(&self) {
        let changed = self.changed.lock().expect("no test panics inside");
        changed.send_modify(|count| *count += 1);
    }

    /// The connection with XenStore breaks: every watch ends. New ones can be set.
    pub(crate) fn lose_watches(&self) {
        *self.changed.lock().expect("no test panics inside") = watch::channel(0).0;
    }

    /// The number of the next domain.
    pub(crate) fn next_number(&self, domid: u32) {
        self.inner().next = domid;
    }

    /// What becomes of questions for the list of domains.
    pub(crate) fn no_list(&self, how: Option<NoList>) {
        self.inner().no_list = how;
    }

    /// XenStore refuses to read nodes whose path begins so.
    pub(crate) fn refuse_reads(&self, below: Option<&str>) {
        self.inner().no_read = below.map(str::to_owned);
    }

    pub(crate) fn backend(&self, backend: Backend) {
        self.inner().backend = backend;
    }

    pub(crate) fn backend_leaves_folders(&self) {
        self.inner().cleans = false;
    }

    pub(crate) fn ignores_shutdown(&self) {
        self.inner().obeys_shutdown = false;
    }

    pub(crate) fn fail_create(&self, name: &str) {
        self.inner().fail_create = Some(name.to_owned());
    }

    pub(crate) fn fail_destroy(&self) {
        self.inner().fail_destroy = true;
    }

    pub(crate) fn fail_shutdown(&self, domid: u32) {
        self.inner().fail_shutdown = Some(domid);
    }

    /// Xen has started a domain; `init-dom0less` gives it a name in XenStore.
    pub(crate) fn started_by_xen(&self, name: Option<&str>) -> u32 {
        let mut inner = self.inner();
        let domid = inner.next;
        inner.next += 1;
        let shown = name.unwrap_or("(null)");
        let uuid = "00000000-0000-0000-0000-000000000000";
        inner.domains.push(info(domid, shown, uuid, 1));
        if let Some(name) = name {
            let path = format!("/local/domain/{domid}/name");
            inner.nodes.insert(path, name.to_owned());
        }
        domid
    }

    pub(crate) fn on_create(&self, hook: impl FnMut(u32) + Send + 'static) {
        self.inner().on_create = Some(Box::new(hook));
    }

    /// Everything that was asked for, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        self.inner().log.clone()
    }

    /// The whole store.
    pub(crate) fn nodes(&self) -> BTreeMap<String, String> {
        self.inner().nodes.clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.inner()
            .domains
            .iter()
            .skip(1)
            .map(|info| info.name.clone())
            .collect()
    }

    pub(crate) fn domid(&self, name: &str) -> Option<u32> {
        self.inner()
            .domains
            .iter()
            .find(|info| info.name == name)
            .map(|info| info.domid)
    }

    pub(crate) fn set(&self, path: &str, value: &str) {
        self.inner().nodes.insert(path.to_owned(), value.to_owned());
        self.bump();
    }

    pub(crate) fn unset(&self, path: &str) {
        remove(&mut self.inner().nodes, path);
        self.bump();
    }

    pub(crate) fn stop_backend(&self) {
        self.unset(READY);
    }

    pub(crate) fn start_backend(&self) {
        self.inner()
            .nodes
            .insert(format!("{READY}/pid"), "77".into());
        self.set(&format!("{READY}/ready"), "1");
    }

    /// A guest ends by itself.
    pub(crate) fn end(&self, name: &str, reason: ShutdownReason) {
        let mut inner = self.inner();
        let guest = inner
            .domains
            .iter_mut()
            .find(|info| info.name == name)
            .expect("it runs");
        guest.state = DomainState::Shutdown;
        guest.reason = Some(reason);
        let domid = guest.domid;
        if reason == ShutdownReason::Poweroff {
            inner.driver.lets_go(domid);
        }
        drop(inner);
        self.bump();
    }

    /// Xen frees a domain that was dying. Nobody is told.
    pub(crate) fn free(&self, name: &str) {
        self.inner().domains.retain(|info| info.name != name);
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut DomainInfo)) {
        let mut inner = self.inner();
        change(
            inner
                .domains
                .iter_mut()
                .find(|info| info.name == name)
                .expect("it runs"),
        );
        drop(inner);
        self.bump();
    }
}

fn info(domid: u32, name: &str, uuid: &str, vcpus: u32) -> DomainInfo {
    DomainInfo {
        domid,
        name: name.to_owned(),
        uuid: uuid.to_owned(),
        state: DomainState::Running,
        reason: None,
        memory_kib: 1024,
        max_memory_kib: 1024,
        vcpus,
        cpu_time_ns: 1,
        cpupool: 0,
    }
}

fn remove<T>(nodes: &mut BTreeMap<String, T>, path: &str) {
    let below = format!("{path}/");
    nodes.retain(|node, _| node != path && !node.starts_with(&below));
}
