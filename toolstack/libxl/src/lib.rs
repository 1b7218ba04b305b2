//! Safe domain lifecycle on libxenlight, Xen's domain library.
//!
//! # Which library
//!
//! libxl is loaded at run time ([`Libxl::open`]): it has another binary interface in every Xen
//! release, and a program that links it belongs to one release. The crate knows the releases
//! `libxl-sys` has bindings for, tries them newest first, and keeps the one whose release is that
//! of the running hypervisor; anything else is refused with what was looked for. A program that
//! uses this crate must be linked dynamically, because a static one cannot load libraries.
//!
//! # What crosses the boundary
//!
//! A domain's configuration goes in as libxl's own JSON, whose field names come from Xen's
//! interface description and keep their meaning from release to release; a field that the loaded
//! release does not know is refused ([`Error::Unsupported`]), because libxl itself drops it
//! without a word. What comes out is read from structures with checked layouts.
//!
//! # Threads, children, signals
//!
//! * A call blocks until libxl is done; creating or destroying can take many seconds. An
//!   asynchronous program calls from a blocking thread (`tokio::task::spawn_blocking`).
//! * A [`Libxl`] may be shared; it does one call at a time, so that what libxl complains about
//!   can be told to the call it belongs to. Open a second one to work on two domains at once.
//! * libxl starts helper processes (hotplug scripts). It is told that it does **not** own
//!   `SIGCHLD`; a small thread passes the signal on to it. So children of the program itself, of
//!   `tokio::process` too, are reaped by whoever started them. `SIGCHLD` must not be ignored.
//! * Nothing is written to standard output or error: what libxl logs goes to the callback given
//!   to [`Libxl::open`], and its warnings and errors into the [`Error`] of the failing call.

mod api;
mod children;
mod config;
mod cpus;
mod error;
mod events;
mod foreign;
mod info;
mod library;
mod logger;

/// The one implementation of libxl's calls, against the binding of Xen 4.20.
#[path = "."]
mod v4_20 {
    use libxl_sys::v4_20 as sys;
    pub(crate) mod calls;
}

/// The same against the binding of Xen 4.17.
#[path = "."]
mod v4_17 {
    use libxl_sys::v4_17 as sys;
    #[expect(clippy::duplicate_mod, reason = "one source for all releases")]
    pub(crate) mod calls;
}

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use config::{
    Action, Disk, DiskAccess, DomainConfig, Tee, VirtioDevice, VirtioTransport, Vuart,
};
pub use cpus::{CpuPool, Scheduler, Vcpu};
pub use error::{Error, Result};
pub use events::{Canceller, DomainEvent, Event, Events};
pub use info::{Domain, HostInfo, PhysInfo, ShutdownReason};
pub use library::known_releases;
pub use logger::Level;
use serde_json::Value;
pub use uuid::Uuid;

use api::Context;
use children::ChildWatch;
use library::Library;
use logger::Log;

/// An open libxl: the way to list, create and change domains.
///
/// See the crate's own page for threads and signals.
pub struct Libxl {
    // Dropped in this order: nobody may call into the context once it is gone.
    _children: ChildWatch,
    context: Arc<dyn Context>,
    log: Log,
    library: &'static Library,
    turn: Mutex<()>,
}

impl std::fmt::Debug for Libxl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Libxl")
            .field("release", &self.release())
            .finish_non_exhaustive()
    }
}

impl Libxl {
    /// Loads libxl and opens it for the running hypervisor.
    ///
    /// `log` gets everything libxl says, from any thread that is inside libxl at that time, and
    /// must not call this crate.
    ///
    /// # Errors
    ///
    /// [`Error::NoLibrary`] where no known release is installed, [`Error::NotOnXen`],
    /// [`Error::Permission`] and [`Error::NoXenStore`] where the domain cannot be managed from,
    /// [`Error::OtherRelease`] when the hypervisor's release is none of the installed ones.
    pub fn open(log: impl Fn(Level, &str) + Send + Sync + 'static) -> Result<Self> {
        let log = Log::new(log);
        let (library, context) = library::open(&log)?;
        let children = ChildWatch::start(Arc::clone(&context))?;
        Ok(Self {
            _children: children,
            context,
            log,
            library,
            turn: Mutex::new(()),
        })
    }

    /// The loaded release, as in "4.20".
    #[must_use]
    pub fn release(&self) -> &str {
        self.library.release()
    }

    /// The running hypervisor, the machine, and how much memory is free.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when the hypervisor does not tell.
    pub fn version_info(&self) -> Result<HostInfo> {
        self.call("ask the hypervisor for its version", |context| {
            let version = context.version()?;
            let physical = context.physinfo()?;
            Ok(HostInfo::new(version, &physical))
        })
    }

    /// What the hypervisor says of the machine.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when the hypervisor does not tell.
    pub fn physinfo(&self) -> Result<PhysInfo> {
        self.call("ask the hypervisor about the machine", |context| {
            context.physinfo()
        })
    }

    /// All domains, dom0 included, by rising number. A domain that goes away meanwhile may have
    /// no name.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when the hypervisor does not tell.
    pub fn list(&self) -> Result<Vec<Domain>> {
        let mut domains = self.call("list the domains", |context| context.list())?;
        domains.sort_by_key(|domain| domain.domid);
        Ok(domains)
    }

    /// One domain.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`] when there is none with this number.
    pub fn domain(&self, domid: u32) -> Result<Domain> {
        self.on(domid, "ask about", |context| context.info(domid))
    }

    /// The domain of this name, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when XenStore or the hypervisor does not answer.
    pub fn domain_by_name(&self, name: &str) -> Result<Option<Domain>> {
        Ok(self
            .list()?
            .into_iter()
            .find(|domain| domain.name.as_deref() == Some(name)))
    }

    /// Creates a domain and leaves it paused; returns its number.
    ///
    /// Memory is not made available first: see [`Libxl::need_memory_kib`]. When it fails, libxl
    /// has removed what it had made of the domain.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for configuration the loaded release does not know,
    /// [`Error::Invalid`] for text libxl cannot take, [`Error::Failed`] with libxl's own messages
    /// for all else (a name in use, a missing kernel, too little memory).
    pub fn create(&self, config: &DomainConfig) -> Result<u32> {
        self.create_from_json(&config.to_json()?)
    }

    /// The same from the whole configuration in libxl's JSON.
    ///
    /// # Errors
    ///
    /// As [`Libxl::create`].
    pub fn create_from_json(&self, config: &Value) -> Result<u32> {
        let name = config["c_info"]["name"].as_str().unwrap_or_default();
        let what = format!("create domain \"{name}\"");
        let json = self.checked_json(config)?;
        self.call(&what, |context| context.create(&json))
    }

    /// Destroys a domain at once, without asking it; blocks until its devices are gone too.
    ///
    /// Returns what libxl complained about although the domain is gone, for example a backend
    /// that did not let go of a device within 10 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`] when there is none with this number; [`Error::Failed`].
    pub fn destroy(&self, domid: u32) -> Result<Vec<String>> {
        let _turn = self.turn();
        self.domain_call(domid, "destroy", |context| context.destroy(domid))?;
        Ok(self.log.take_complaints())
    }

    /// Asks the domain to power off, through XenStore's `control/shutdown`; returns when its
    /// kernel has acknowledged that. That it has shut down is told by [`Libxl::events`].
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`], with "timedout" when the kernel does not answer
    /// within 60 seconds (a paused one never does).
    pub fn shutdown(&self, domid: u32) -> Result<()> {
        self.on(domid, "shut down", |context| context.shutdown(domid))
    }

    /// Asks the domain to reboot, as [`Libxl::shutdown`] asks it to power off. The domain then
    /// shuts down with [`ShutdownReason::Reboot`], and it is the caller who builds it again.
    ///
    /// # Errors
    ///
    /// As [`Libxl::shutdown`].
    pub fn reboot(&self, domid: u32) -> Result<()> {
        self.on(domid, "reboot", |context| context.reboot(domid))
    }

    /// Stops the domain's vCPUs. Pauses count: each needs its [`Libxl::unpause`].
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`].
    pub fn pause(&self, domid: u32) -> Result<()> {
        self.on(domid, "pause", |context| context.pause(domid))
    }

    /// Lets a paused, or a newly created, domain run.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`].
    pub fn unpause(&self, domid: u32) -> Result<()> {
        self.on(domid, "unpause", |context| context.unpause(domid))
    }

    /// Follows shutdown and death of these domains, in a context of its own.
    ///
    /// A domain that has already shut down or is gone is reported too.
    ///
    /// # Errors
    ///
    /// As [`Libxl::open`]; [`Error::Failed`] when a watch cannot be set.
    pub fn events(&self, domids: &[u32]) -> Result<Events> {
        let (context, log) = library::open_again(self.library, &self.log)?;
        let mut events = Events::new(context, log)?;
        for &domid in domids {
            events.watch(domid)?;
        }
        Ok(events)
    }

    /// The terminal of the domain's primary console, served by xenconsoled.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`], also when xenconsoled has not come to it yet.
    pub fn console_tty(&self, domid: u32) -> Result<PathBuf> {
        self.on(domid, "find the console of", |context| {
            context.console_tty(domid)
        })
    }

    /// What libxl itself knows of the domain's configuration, in its JSON.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`], also for a domain libxl did not create.
    pub fn config_json(&self, domid: u32) -> Result<Value> {
        let text = self.on(domid, "read the configuration of", |context| {
            context.retrieve_config(domid)
        })?;
        serde_json::from_str(&text).map_err(|error| Error::Foreign(error.to_string()))
    }

    /// Memory that creating this domain takes, its overhead included, in KiB.
    ///
    /// # Errors
    ///
    /// As [`Libxl::create`].
    pub fn need_memory_kib(&self, config: &DomainConfig) -> Result<u64> {
        let json = self.checked_json(&config.to_json()?)?;
        self.call("work out the memory a domain needs", |context| {
            context.need_memory(&json)
        })
    }

    /// Memory the hypervisor can give to new domains, in KiB: what is free and not claimed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when the hypervisor does not tell.
    pub fn free_memory_kib(&self) -> Result<u64> {
        Ok(self.version_info()?.free_memory_kib)
    }

    /// The memory a domain is asked to keep to, in KiB.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`].
    pub fn memory_target_kib(&self, domid: u32) -> Result<u64> {
        self.on(domid, "ask for the memory target of", |context| {
            context.memory_target(domid)
        })
    }

    /// Asks the domain's balloon driver for another memory size, in KiB; with `enforce` the
    /// hypervisor holds it to that.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`], also for a target outside what the domain may have;
    /// [`Error::Invalid`] on Arm for a domain that was not created by this crate, dom0 included.
    pub fn set_memory_target_kib(&self, domid: u32, target: u64, enforce: bool) -> Result<()> {
        if cfg!(target_arch = "aarch64") && self.config_json(domid)?["b_info"].get("acpi").is_none()
        {
            return Err(Error::Invalid(format!(
                "libxl cannot change the memory of domain {domid}: its stored configuration does \
                 not say whether it has ACPI, and libxl ends the program over that; write \
                 /local/domain/{domid}/memory/target in XenStore instead"
            )));
        }
        let target = i64::try_from(target)
            .map_err(|_| Error::Invalid(format!("{target} KiB is more than libxl can express")))?;
        self.on(domid, "set the memory target of", |context| {
            context.set_memory_target(domid, target, enforce)
        })
    }

    /// Waits until the domain has come down to its memory target, as long as it makes progress
    /// within each `seconds`.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`], also when it makes no progress.
    pub fn wait_for_memory_target(&self, domid: u32, seconds: u16) -> Result<()> {
        self.on(domid, "wait for the memory target of", |context| {
            context.wait_for_memory_target(domid, i32::from(seconds))
        })
    }

    /// The configuration as libxl's JSON, refused if the loaded release would drop part of it.
    fn checked_json(&self, wanted: &Value) -> Result<CString> {
        let text = CString::new(wanted.to_string())
            .map_err(|_| Error::Invalid("the configuration contains a NUL".to_owned()))?;
        let understood = self.call("read the domain's configuration", |context| {
            context.round_trip(&text)
        })?;
        let understood: Value =
            serde_json::from_str(&understood).map_err(|error| Error::Foreign(error.to_string()))?;
        let dropped = config::dropped(wanted, &understood);
        if dropped.is_empty() {
            return Ok(text);
        }
        Err(Error::Unsupported {
            release: self.release().to_owned(),
            keys: dropped,
        })
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // The mutex guards no data: a panic in the log callback leaves nothing half done.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.log.take_complaints();
        turn
    }

    fn call<T>(
        &self,
        what: &str,
        call: impl FnOnce(&dyn Context) -> std::result::Result<T, api::Code>,
    ) -> Result<T> {
        let _turn = self.turn();
        call(&*self.context).map_err(|code| Error::failed(what, code, self.log.take_complaints()))
    }

    fn on<T>(
        &self,
        domid: u32,
        verb: &str,
        call: impl FnOnce(&dyn Context) -> std::result::Result<T, api::Code>,
    ) -> Result<T> {
        let _turn = self.turn();
        self.domain_call(domid, verb, call)
    }

    fn domain_call<T>(
        &self,
        domid: u32,
        verb: &str,
        call: impl FnOnce(&dyn Context) -> std::result::Result<T, api::Code>,
    ) -> Result<T> {
        call(&*self.context).map_err(|code| {
            let messages = self.log.take_complaints();
            // Most calls only say "fail" for a domain that is not there.
            let gone =
                code.is_no_domain() || self.context.info(domid).is_err_and(api::Code::is_no_domain);
            if gone {
                return Error::NoDomain { domid };
            }
            Error::failed(&format!("{verb} domain {domid}"), code, messages)
        })
    }
}
