//! The real machine: libxl and XenStore.

use std::fs::File;
use std::io::{ErrorKind, Write as _, stderr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use libxl::Libxl;
use platform::plan::{Cpupool, Scheduler};
use serde_json::Value;
use tokio::sync::watch;
use xenstore::{Access, Permission};

use super::{
    Changes, DomainInfo, DomainState, Domains, HostInfo, Machine, PoolInfo, ShutdownReason, Store,
    VcpuInfo, Write, permissions,
};
use crate::error::{Error, Result};
use crate::ramdisks::Ramdisks;

/// The device through which dom0 talks to the hypervisor.
const PRIVCMD: &str = "/dev/xen/privcmd";
/// What a domain may do, told by the kernel's xenfs where it is mounted.
const CAPABILITIES: &str = "/proc/xen/capabilities";
/// Connections of libxl that are kept for the next use.
const MAX_IDLE: usize = 4;
/// How often a thread that waits for a watch looks whether it is still wanted.
const STILL_WANTED: Duration = Duration::from_secs(2);

/// Opens the machine, or says why this is no dom0.
pub(super) fn open(verbose: bool, ramdisks: Ramdisks) -> Result<Machine> {
    let privcmd = File::options().read(true).write(true).open(PRIVCMD);
    match privcmd.map_err(|error| error.kind()) {
        Ok(_) => {}
        Err(ErrorKind::PermissionDenied) => {
            return Err(Error::DevicePermission {
                device: PRIVCMD.into(),
            });
        }
        Err(_) => return Err(Error::NotDom0 { device: PRIVCMD }),
    }
    if std::fs::read_to_string(CAPABILITIES).is_ok_and(|text| !text.contains("control_d")) {
        return Err(Error::OrdinaryDomain);
    }
    // XenStore first: libxl tells less about it.
    let store = Arc::new(XenStore::open(|| {
        xenstore::Client::open().map_err(open_error)
    })?);
    let own = own_domain(&store.client()?)?;
    Ok(Machine {
        domains: Arc::new(Xen {
            libxl: open_libxl(verbose)?,
            verbose,
            idle: Mutex::new(Vec::new()),
            store: Arc::clone(&store),
        }),
        store,
        own,
        ramdisks,
    })
}

fn open_libxl(verbose: bool) -> Result<Libxl> {
    let log = move |level, text: &str| {
        if verbose {
            let _ = writeln!(stderr(), "libxl: {level:?}: {}", printable::line(text));
        }
    };
    Libxl::open(log).map_err(libxl_error)
}

/// The domain that this program runs in. Its number is found relative to its own folder, which xenstored knows for a connection by way
/// of the kernel; its socket is only where it runs itself, and has no folder where dom0's was never written.
fn own_domain(store: &xenstore::Client) -> Result<u16> {
    match store.read_string_opt("domid").map_err(store_error)? {
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::Store(format!("the number of this domain is not one: {text:?}"))),
        None => Ok(0),
    }
}

fn libxl_error(error: libxl::Error) -> Error {
    match error {
        libxl::Error::NoDomain { domid } => Error::NoSuchDomain(domid.to_string()),
        libxl::Error::Permission { .. } => Error::DevicePermission {
            device: PRIVCMD.into(),
        },
        error => Error::Xen(error.to_string()),
    }
}

/// The client names the last thing it tried, which need not be the one that was refused.
fn open_error(error: xenstore::Error) -> Error {
    match File::options()
        .read(true)
        .write(true)
        .open(xenstore::DEVICE)
    {
        Err(refused) if refused.kind() == ErrorKind::PermissionDenied => {
            Error::StorePermission(error.to_string())
        }
        _ => store_error(error),
    }
}

fn store_error(error: xenstore::Error) -> Error {
    let text = error.to_string();
    match &error {
        xenstore::Error::Unreachable { source, .. }
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            Error::StorePermission(text)
        }
        error if error.is_permission_denied() => Error::StorePermission(text),
        _ => Error::Store(text),
    }
}

struct Xen {
    /// For questions, and what is done at once.
    libxl: Libxl,
    verbose: bool,
    /// For what takes time, one at a time each.
    idle: Mutex<Vec<Libxl>>,
    store: Arc<XenStore>,
}

impl Xen {
    /// Asks a guest through XenStore, as libxl does, but does not wait for its answer: libxl does for a minute, one guest after
    /// the other (`libxl__domain_pvcontrol` in tools/libs/light/libxl_domain.c).
    fn ask(&self, domid: u32, wish: &str) -> Result<()> {
        self.libxl.domain(domid).map_err(libxl_error)?;
        let path = format!("/local/domain/{domid}/control/shutdown");
        let client = self.store.client()?;
        client.write(&path, wish).map_err(store_error)
    }

    /// Does something that takes time without holding up questions and others that do: a [`Libxl`] does one thing at a time.
    fn slowly<T>(&self, work: impl FnOnce(&Libxl) -> libxl::Result<T>) -> Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let known = idle().pop();
        let libxl = match known {
            Some(libxl) => libxl,
            None => open_libxl(self.verbose)?,
        };
        let done = work(&libxl).map_err(libxl_error)?;
        // One whose call failed may be the reason, and is closed.
        let mut idle = idle();
        if idle.len() < MAX_IDLE {
            idle.push(libxl);
        }
        Ok(done)
    }
}

fn reason(reason: libxl::ShutdownReason) -> ShutdownReason {
    match reason {
        libxl::ShutdownReason::Poweroff => ShutdownReason::Poweroff,
        libxl::ShutdownReason::Reboot => ShutdownReason::Reboot,
        libxl::ShutdownReason::Suspend => ShutdownReason::Suspend,
        libxl::ShutdownReason::Crash => ShutdownReason::Crash,
        libxl::ShutdownReason::Watchdog => ShutdownReason::Watchdog,
        _ => ShutdownReason::Unknown,
    }
}

fn scheduler(scheduler: Scheduler) -> libxl::Scheduler {
    match scheduler {
        Scheduler::Credit => libxl::Scheduler::Credit,
        Scheduler::Credit2 => libxl::Scheduler::Credit2,
        Scheduler::Null => libxl::Scheduler::Null,
        Scheduler::Rtds => libxl::Scheduler::Rtds,
        Scheduler::Arinc653 => libxl::Scheduler::Arinc653,
    }
}

fn known(scheduler: libxl::Scheduler) -> Option<Scheduler> {
    Some(match scheduler {
        libxl::Scheduler::Credit => Scheduler::Credit,
        libxl::Scheduler::Credit2 => Scheduler::Credit2,
        libxl::Scheduler::Null => Scheduler::Null,
        libxl::Scheduler::Rtds => Scheduler::Rtds,
        libxl::Scheduler::Arinc653 => Scheduler::Arinc653,
        libxl::Scheduler::Unknown => return None,
    })
}

/// The first of these that holds, in the order in which they matter.
fn state(domain: &libxl::Domain) -> DomainState {
    if domain.dying {
        DomainState::Dying
    } else if domain.shutdown {
        DomainState::Shutdown
    } else if domain.paused {
        DomainState::Paused
    } else if domain.running {
        DomainState::Running
    } else {
        DomainState::Blocked
    }
}

impl Domains for Xen {
    fn host(&self) -> Result<HostInfo> {
        let info = self.libxl.version_info().map_err(libxl_error)?;
        Ok(HostInfo {
            xen_version: info.xen_version,
            libxl_release: self.libxl.release().to_owned(),
            total_memory_kib: info.total_memory_kib,
            free_memory_kib: info.free_memory_kib,
            cpus: info.cpus,
        })
    }

    fn list(&self) -> Result<Vec<DomainInfo>> {
        let list = self.libxl.list().map_err(libxl_error)?;
        Ok(list
            .into_iter()
            .map(|domain| DomainInfo {
                domid: domain.domid,
                state: state(&domain),
                reason: domain.shutdown_reason.map(reason),
                memory_kib: domain.memory_kib,
                max_memory_kib: domain.max_memory_kib,
                vcpus: domain.vcpus_online,
                cpu_time_ns: domain.cpu_time_ns,
                cpupool: domain.cpupool,
                uuid: domain.uuid.to_string(),
                // As xl shows a domain that has no name (any more).
                name: domain.name.unwrap_or_else(|| "(null)".to_owned()),
            })
            .collect())
    }

    fn create(&self, config: &Value) -> Result<u32> {
        self.slowly(|libxl| libxl.create_from_json(config))
    }

    fn destroy(&self, domid: u32) -> Result<()> {
        // Complaints about a domain that is gone are about its backends; what they left is
        // found and removed by whoever called.
        self.slowly(|libxl| libxl.destroy(domid).map(drop))
    }

    fn shutdown(&self, domid: u32) -> Result<()> {
        self.ask(domid, "poweroff")
    }

    fn reboot(&self, domid: u32) -> Result<()> {
        self.ask(domid, "reboot")
    }

    fn pause(&self, domid: u32) -> Result<()> {
        self.libxl.pause(domid).map_err(libxl_error)
    }

    fn unpause(&self, domid: u32) -> Result<()> {
        self.libxl.unpause(domid).map_err(libxl_error)
    }

    fn console(&self, domid: u32) -> Result<PathBuf> {
        self.libxl.console_tty(domid).map_err(libxl_error)
    }

    fn pools(&self) -> Result<Vec<PoolInfo>> {
        let pools = self.libxl.pools().map_err(libxl_error)?;
        Ok(pools
            .into_iter()
            .map(|pool| PoolInfo {
                id: pool.id,
                name: pool.name,
                scheduler: known(pool.scheduler),
                cpus: pool.cpus,
                domains: pool.domains,
            })
            .collect())
    }

    fn create_pool(&self, pool: &Cpupool, uuid: &str) -> Result<u32> {
        let uuid = uuid
            .parse()
            .map_err(|_| Error::Xen(format!("\"{uuid}\" is no UUID")))?;
        let scheduler = scheduler(pool.scheduler);
        let id = self
            .libxl
            .create_pool(&pool.name, scheduler, &pool.cpus, uuid);
        id.map_err(libxl_error)
    }

    fn destroy_pool(&self, pool: u32) -> Result<()> {
        self.libxl.destroy_pool(pool).map_err(libxl_error)
    }

    fn add_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        self.libxl.add_cpu(pool, cpu).map_err(libxl_error)
    }

    fn remove_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        self.libxl.remove_cpu(pool, cpu).map_err(libxl_error)
    }

    fn vcpus(&self, domid: u32) -> Result<Vec<VcpuInfo>> {
        let vcpus = self.libxl.vcpus(domid).map_err(libxl_error)?;
        Ok(vcpus
            .into_iter()
            .map(|vcpu| VcpuInfo {
                vcpu: vcpu.id,
                cpu: vcpu.cpu,
                affinity: vcpu.affinity,
            })
            .collect())
    }

    fn process_exists(&self, pid: u32) -> bool {
        Path::new("/proc").join(pid.to_string()).exists()
    }
}

/// Opens XenStore.
type Connect = fn() -> Result<xenstore::Client>;

struct XenStore {
    connect: Connect,
    client: Mutex<xenstore::Client>,
}

impl XenStore {
    fn open(connect: Connect) -> Result<XenStore> {
        Ok(XenStore {
            connect,
            client: Mutex::new(connect()?),
        })
    }

    /// The connection; a new one when it broke. Watches and transactions end with the old one, and those who had them know.
    fn client(&self) -> Result<xenstore::Client> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if client.is_broken() {
            *client = (self.connect)()?;
        }
        Ok(client.clone())
    }

    /// Changes who may read a node. The special paths are nodes of the same database as all others and take part in
    /// transactions like them (Xen: `do_set_perms`, `access_node` in tools/xenstored), so that two programs lose nothing.
    fn change_permissions(
        client: &xenstore::Client,
        path: &str,
        change: impl Fn(&mut Vec<Permission>) -> bool,
    ) -> xenstore::Result<()> {
        client.transaction(|transaction| {
            let mut all = transaction.permissions(path)?;
            if change(&mut all) {
                transaction.set_permissions(path, &all)?;
            }
            Ok(())
        })
    }

    /// Those with an entry of their own that are gone. xenstored no longer heeds such an entry, but shows it; written back, it would
    /// be the next domain's of that number.
    fn gone(client: &xenstore::Client, path: &str) -> xenstore::Result<Vec<u16>> {
        let mut gone = Vec::new();
        let all = client.permissions(path)?;
        for entry in all.iter().skip(1) {
            // dom0 runs, whether it was introduced or is where xenstored came from.
            let may_be_gone = entry.domid != 0 && permissions::is_of_one_domain(entry);
            if may_be_gone && !client.is_introduced(entry.domid)? {
                gone.push(entry.domid);
            }
        }
        Ok(gone)
    }
}

fn number(domid: u32) -> Result<u16> {
    u16::try_from(domid).map_err(|_| Error::Store(format!("there is no domain {domid}")))
}

impl Store for XenStore {
    fn read(&self, path: &str) -> Result<Option<String>> {
        match self.client()?.read_opt(path) {
            // What a guest wrote may be anything; it is shown, not believed.
            Ok(value) => Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => Err(store_error(error)),
        }
    }

    fn children(&self, path: &str) -> Result<Vec<String>> {
        match self.client()?.directory(path) {
            Ok(names) => Ok(names),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(store_error(error)),
        }
    }

    fn write_all(&self, writes: &[Write]) -> Result<()> {
        self.client()?
            .transaction(|transaction| {
                writes.iter().try_for_each(|write| match write {
                    Write::Private { path, owner } => {
                        transaction.mkdir(path)?;
                        let nobody_else = Permission::new(*owner, Access::None);
                        transaction.set_permissions(path, &[nobody_else])
                    }
                    Write::Value { path, value } => transaction.write(path, value),
                })
            })
            .map_err(store_error)
    }

    fn remove(&self, path: &str) -> Result<()> {
        match self.client()?.rm(path) {
            Err(error) if !error.is_not_found() => Err(store_error(error)),
            _ => Ok(()),
        }
    }

    fn permit(&self, path: &str, domid: u32) -> Result<()> {
        let (domid, client) = (number(domid)?, self.client()?);
        let permitted = Self::gone(&client, path).and_then(|gone| {
            Self::change_permissions(&client, path, |all| {
                let gone = permissions::forbid(all, &gone);
                permissions::permit(all, domid) || gone
            })
        });
        permitted.map_err(store_error)
    }

    fn forbid(&self, path: &str, domid: u32) -> Result<()> {
        let (domid, client) = (number(domid)?, self.client()?);
        let forbid = |all: &mut Vec<Permission>| permissions::forbid(all, &[domid]);
        match Self::change_permissions(&client, path, forbid) {
            Err(error) if !error.is_not_found() => Err(store_error(error)),
            _ => Ok(()),
        }
    }

    fn watch(&self, paths: &[String]) -> Result<Changes> {
        let (sender, receiver) = watch::channel(0_u64);
        let (sender, client) = (Arc::new(sender), self.client()?);
        for path in paths {
            let watch = client.watch(path).map_err(store_error)?;
            let sender = Arc::clone(&sender);
            thread::Builder::new()
                .name("xenstore watch".into())
                .spawn(move || forward(&watch, &sender))
                .map_err(Error::io("starting a thread"))?;
        }
        Ok(Changes::new(receiver))
    }
}

/// Counts events until nobody is interested any more or the connection is lost.
fn forward(watch: &xenstore::Watch, sender: &watch::Sender<u64>) {
    while !sender.is_closed() {
        match watch.recv_timeout(STILL_WANTED) {
            Ok(Some(_)) => sender.send_modify(|count| *count = count.wrapping_add(1)),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use xenstore::wire::{MessageType, encode};

    use super::*;

    /// A server that answers the first request, and then closes the connection.
    fn one_answer() -> Result<xenstore::Client> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        thread::spawn(move || {
            let mut request = [0; 256];
            let count = std::io::Read::read(&mut theirs, &mut request).unwrap_or(0);
            assert!(count > 16, "a request");
            // The client's first request has the id 1.
            let answer = encode(MessageType::READ, 1, 0, b"value").expect("short");
            theirs.write_all(&answer)
        });
        xenstore::Client::from_socket(ours.into()).map_err(store_error)
    }

    #[test]
    fn a_connection_with_xenstore_that_broke_is_made_again() {
        let store = XenStore::open(one_answer).expect("connects");
        for _ in 0..3 {
            let value = store.read("/a").expect("it is told");
            assert_eq!(value.as_deref(), Some("value"));
            let broken = || store.client.lock().expect("no panic").is_broken();
            let start = std::time::Instant::now();
            while !broken() {
                assert!(start.elapsed() < Duration::from_secs(10), "it is closed");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn permission_denied_by_xenstore_is_told_as_such() {
        let error = store_error(xenstore::Error::Unreachable {
            tried: "/dev/xen/xenbus".into(),
            source: ErrorKind::PermissionDenied.into(),
        });
        assert!(matches!(error, Error::StorePermission(_)), "{error}");
        assert!(error.help().is_some_and(|help| help.contains("root")));
    }
}
