//! A machine in memory, for tests: libxl's and XenStore's effects that this program relies on, and
//! a backend that behaves as told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use platform::plan::{Cpupool, Scheduler, VIRTIO_IRQ_FIRST, VIRTIO_MMIO_BASE, VIRTIO_MMIO_STRIDE};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    Changes, DomainInfo, DomainState, Domains, HostInfo, Machine, PoolInfo, ShutdownReason, Store,
    VcpuInfo, Write,
};
use crate::error::{Error, Result};
use crate::ramdisks::Ramdisks;
use crate::tests::static_program;

/// What the backend does when a device's parameters are complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Says that it is ready.
    Serves,
    /// Does nothing.
    Silent,
    /// Says why it cannot.
    Refuses(&'static str),
    /// Ends.
    Dies,
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
}

/// The machine.
pub(crate) struct Model {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
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
            }),
            changed: watch::channel(0).0,
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
            ramdisks: Ramdisks::new(self.files.path().join("run")).with_program(self.program()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics inside")
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
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
        drop(inner);
        self.bump();
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
        cpu_time_ns: 0,
        cpupool: 0,
    }
}

fn remove(nodes: &mut BTreeMap<String, String>, path: &str) {
    let below = format!("{path}/");
    nodes.retain(|node, _| node != path && !node.starts_with(&below));
}

impl Domains for Model {
    fn host(&self) -> Result<HostInfo> {
        Ok(HostInfo {
            xen_version: "4.20.3".into(),
            libxl_release: "4.20".into(),
            total_memory_kib: 1 << 20,
            free_memory_kib: 1 << 19,
            cpus: 2,
        })
    }

    fn list(&self) -> Result<Vec<DomainInfo>> {
        Ok(self.inner().domains.clone())
    }

    fn create(&self, config: &Value) -> Result<u32> {
        let mut inner = self.inner();
        let about = &config["c_info"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let name = text(&about["name"]);
        if inner.fail_create.as_ref() == Some(&name) {
            return Err(Error::Xen("could not create: too little memory".into()));
        }
        let ramdisk = config["b_info"]["ramdisk"].as_str().unwrap_or_default();
        if ramdisk.starts_with(&*self.files.path().to_string_lossy()) {
            // Others are only names here.
            std::fs::read(ramdisk).map_err(|_| Error::Xen(format!("cannot read {ramdisk}")))?;
            inner.log.push(format!("read the ramdisk of {name}"));
        }
        let domid = inner.next;
        inner.next += 1;
        inner.log.push(format!("create {name}"));
        let vcpus = number(&config["b_info"]["max_vcpus"]).unwrap_or(1);
        let mut guest = info(domid, &name, &text(&about["uuid"]), vcpus);
        guest.state = DomainState::Paused;
        guest.cpupool = number(&about["poolid"]).unwrap_or(0);
        inner.domains.push(guest);
        inner
            .nodes
            .insert(format!("/local/domain/{domid}/name"), name);
        inner
            .nodes
            .insert(format!("/libxl/{domid}/type"), "pvh".into());
        for device in config["virtios"].as_array().into_iter().flatten() {
            let index = number(&device["devid"]).unwrap_or(0);
            let backend = number(&device["backend_domid"]).unwrap_or(0);
            let base = VIRTIO_MMIO_BASE + VIRTIO_MMIO_STRIDE * u64::from(index);
            let folder = format!("/local/domain/{backend}/backend/virtio/{domid}/{index}");
            for (key, value) in [
                ("frontend-id", domid.to_string()),
                ("online", "1".into()),
                ("state", "1".into()),
                ("type", text(&device["type"])),
                ("base", format!("{base:#x}")),
                ("irq", (VIRTIO_IRQ_FIRST + index).to_string()),
            ] {
                inner.nodes.insert(format!("{folder}/{key}"), value);
            }
        }
        let hook = inner.on_create.take();
        drop(inner);
        if let Some(mut hook) = hook {
            hook(domid);
            self.inner().on_create = Some(hook);
        }
        self.bump();
        Ok(domid)
    }

    fn destroy(&self, domid: u32) -> Result<()> {
        let mut inner = self.inner();
        if inner.fail_destroy {
            return Err(Error::Xen(format!("could not destroy domain {domid}")));
        }
        inner.log.push(format!("destroy {domid}"));
        let cleans = inner.cleans && inner.nodes.contains_key(&format!("{READY}/ready"));
        inner.domains.retain(|info| info.domid != domid);
        remove(&mut inner.nodes, &format!("/local/domain/{domid}"));
        remove(&mut inner.nodes, &format!("/libxl/{domid}"));
        if cleans {
            remove(
                &mut inner.nodes,
                &format!("/local/domain/0/backend/virtio/{domid}"),
            );
        }
        drop(inner);
        self.bump();
        Ok(())
    }

    fn shutdown(&self, domid: u32) -> Result<()> {
        let mut inner = self.inner();
        if inner.fail_shutdown == Some(domid) {
            return Err(Error::Xen("cannot ask it".into()));
        }
        inner.log.push(format!("shutdown {domid}"));
        if inner.obeys_shutdown {
            for info in inner.domains.iter_mut().filter(|info| info.domid == domid) {
                info.state = DomainState::Shutdown;
                info.reason = Some(ShutdownReason::Poweroff);
            }
        }
        drop(inner);
        self.bump();
        Ok(())
    }

    fn reboot(&self, _: u32) -> Result<()> {
        Ok(())
    }

    fn pause(&self, _: u32) -> Result<()> {
        Ok(())
    }

    fn unpause(&self, domid: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("unpause {domid}"));
        for info in inner.domains.iter_mut().filter(|info| info.domid == domid) {
            if info.state == DomainState::Paused {
                info.state = DomainState::Running;
            }
        }
        Ok(())
    }

    fn console(&self, _: u32) -> Result<PathBuf> {
        Err(Error::Xen("no console".into()))
    }

    fn pools(&self) -> Result<Vec<PoolInfo>> {
        let inner = self.inner();
        let mut pools = inner.pools.clone();
        for pool in &mut pools {
            let members = inner.domains.iter().filter(|info| info.cpupool == pool.id);
            pool.domains = u32::try_from(members.count()).unwrap_or(u32::MAX);
        }
        Ok(pools)
    }

    fn create_pool(&self, pool: &Cpupool, uuid: &str) -> Result<u32> {
        let mut inner = self.inner();
        if inner.fail_create.as_ref() == Some(&pool.name) {
            return Err(Error::Xen("could not create the pool".into()));
        }
        inner
            .log
            .push(format!("pool {} of {:?}", pool.name, pool.cpus));
        let taken = inner.pools.iter().flat_map(|pool| &pool.cpus);
        assert!(
            !taken.clone().any(|cpu| pool.cpus.contains(cpu)),
            "a CPU of two pools"
        );
        let id = inner.pools.last().map_or(0, |pool| pool.id + 1);
        inner
            .nodes
            .insert(format!("/local/pool/{id}/uuid"), uuid.to_owned());
        inner.pools.push(PoolInfo {
            id,
            name: pool.name.clone(),
            scheduler: Some(pool.scheduler),
            cpus: pool.cpus.clone(),
            domains: 0,
        });
        Ok(id)
    }

    fn destroy_pool(&self, pool: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("destroy pool {pool}"));
        inner.pools.retain(|known| known.id != pool);
        remove(&mut inner.nodes, &format!("/local/pool/{pool}"));
        Ok(())
    }

    fn add_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("CPU {cpu} into pool {pool}"));
        for known in inner.pools.iter_mut().filter(|known| known.id == pool) {
            known.cpus.push(cpu);
            known.cpus.sort_unstable();
        }
        Ok(())
    }

    fn remove_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("CPU {cpu} out of pool {pool}"));
        for known in inner.pools.iter_mut().filter(|known| known.id == pool) {
            known.cpus.retain(|known| *known != cpu);
        }
        Ok(())
    }

    fn vcpus(&self, _: u32) -> Result<Vec<VcpuInfo>> {
        Ok(Vec::new())
    }

    fn process_exists(&self, pid: u32) -> bool {
        pid == 77
    }
}

impl Store for Model {
    fn read(&self, path: &str) -> Result<Option<String>> {
        Ok(self.inner().nodes.get(path).cloned())
    }

    fn children(&self, path: &str) -> Result<Vec<String>> {
        let below = format!("{path}/");
        let mut names: Vec<String> = self
            .inner()
            .nodes
            .keys()
            .filter_map(|node| {
                node.strip_prefix(&below)?
                    .split('/')
                    .next()
                    .map(str::to_owned)
            })
            .collect();
        names.dedup();
        Ok(names)
    }

    fn write_all(&self, writes: &[Write]) -> Result<()> {
        let mut inner = self.inner();
        for write in writes {
            let (path, value) = match write {
                Write::Private { path, owner } => {
                    inner.log.push(format!("private {path} of {owner}"));
                    continue;
                }
                Write::Value { path, value } => (path, value),
            };
            inner.log.push(format!("write {path}"));
            inner.nodes.insert(path.clone(), value.clone());
            let Some(folder) = path.strip_suffix("/avps/version") else {
                continue;
            };
            match inner.backend.clone() {
                Backend::Serves => {
                    inner.nodes.insert(format!("{folder}/state"), "2".into());
                }
                Backend::Silent => {}
                Backend::Refuses(why) => {
                    inner
                        .nodes
                        .insert(format!("{folder}/avps/error"), why.into());
                }
                Backend::Dies => remove(&mut inner.nodes, READY),
            }
        }
        drop(inner);
        self.bump();
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.unset(path);
        Ok(())
    }

    fn watch(&self, _: &[String]) -> Result<Changes> {
        let mut receiver = self.changed.subscribe();
        // As XenStore does: each new watch fires at once.
        receiver.mark_changed();
        Ok(Changes::new(receiver))
    }
}
