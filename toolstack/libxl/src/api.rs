//! What this crate needs of an opened libxl, without a word about its release.
//!
//! [`Context`] is implemented once, in `calls.rs`, which is compiled against each release's
//! binding. Everything that crosses it is an ordinary Rust value.

use std::ffi::CStr;
use std::path::PathBuf;

use uuid::Uuid;

use crate::cpus::{CpuPool, Vcpu};
use crate::info::{Domain, PhysInfo, Version};

/// One of libxl's error codes (`ERROR_*`, negative).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) number: i32,
    /// libxl's own name of it, where it has one.
    pub(crate) name: Option<&'static str>,
}

/// `ERROR_FAIL`; the error numbers are the same in every release.
const FAIL: i32 = -3;
/// `ERROR_DOMAIN_NOTFOUND`.
const DOMAIN_NOTFOUND: i32 = -21;
/// `ERROR_DOMAIN_DESTROYED`.
const DOMAIN_DESTROYED: i32 = -24;

impl Code {
    /// libxl gave up without a code.
    pub(crate) const FAIL: Self = Self {
        number: FAIL,
        name: Some("fail"),
    };

    /// Whether it says that the domain does not exist (any more).
    pub(crate) fn is_no_domain(self) -> bool {
        matches!(self.number, DOMAIN_NOTFOUND | DOMAIN_DESTROYED)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name {
            Some(name) => write!(
                formatter,
                "\"{}\" ({})",
                name.replace('_', " "),
                self.number
            ),
            None => write!(formatter, "error {}", self.number),
        }
    }
}

/// An event that libxl reported, not yet filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawEvent {
    pub(crate) domid: u32,
    pub(crate) kind: RawEventKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawEventKind {
    /// The domain shut down, with this `SHUTDOWN_*` reason.
    Shutdown(u8),
    /// It is dying or gone.
    Death,
    /// Something this crate never asks for.
    Other,
}

/// Stands for a watch on one domain's death (`libxl_evgen_domain_death *`, as an address).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeathWatch(pub(crate) usize);

/// An opened libxl context. Its calls may come from any thread: a `libxl_ctx` is thread safe and
/// locks itself (libxl.h, "libxl memory management").
pub(crate) trait Context: Send + Sync {
    fn version(&self) -> Result<Version, Code>;
    fn physinfo(&self) -> Result<PhysInfo, Code>;
    fn list(&self) -> Result<Vec<Domain>, Code>;
    fn info(&self, domid: u32) -> Result<Domain, Code>;
    fn console_tty(&self, domid: u32) -> Result<PathBuf, Code>;

    fn vcpus(&self, domid: u32) -> Result<Vec<Vcpu>, Code>;

    fn pools(&self) -> Result<Vec<CpuPool>, Code>;
    fn create_pool(
        &self,
        name: &CStr,
        scheduler: u32,
        cpus: &[u32],
        uuid: Uuid,
    ) -> Result<u32, Code>;
    fn destroy_pool(&self, pool: u32) -> Result<(), Code>;
    fn add_cpu(&self, pool: u32, cpu: i32) -> Result<(), Code>;
    fn remove_cpu(&self, pool: u32, cpu: i32) -> Result<(), Code>;

    /// What libxl makes of a configuration, as JSON again, before it fills in defaults.
    fn round_trip(&self, json: &CStr) -> Result<String, Code>;
    fn retrieve_config(&self, domid: u32) -> Result<String, Code>;
    /// In KiB.
    fn need_memory(&self, json: &CStr) -> Result<u64, Code>;
    fn create(&self, json: &CStr) -> Result<u32, Code>;

    fn destroy(&self, domid: u32) -> Result<(), Code>;
    fn shutdown(&self, domid: u32) -> Result<(), Code>;
    fn reboot(&self, domid: u32) -> Result<(), Code>;
    fn pause(&self, domid: u32) -> Result<(), Code>;
    fn unpause(&self, domid: u32) -> Result<(), Code>;

    /// In KiB.
    fn memory_target(&self, domid: u32) -> Result<u64, Code>;
    fn set_memory_target(&self, domid: u32, kib: i64, enforce: bool) -> Result<(), Code>;
    fn wait_for_memory_target(&self, domid: u32, seconds: i32) -> Result<(), Code>;

    /// Starts watching a domain; end it with [`Context::unwatch_death`], on the same context.
    fn watch_death(&self, domid: u32) -> Result<DeathWatch, Code>;
    fn unwatch_death(&self, watch: DeathWatch);
    /// Appends what libxl wants to poll to `fds`, and shortens `timeout_ms` if it must (negative:
    /// no limit).
    fn before_poll(&self, fds: &mut Vec<libc::pollfd>, timeout_ms: &mut i32) -> Result<(), Code>;
    /// Tells libxl what became of the entries the last [`Context::before_poll`] appended.
    fn after_poll(&self, fds: &[libc::pollfd]);
    fn next_event(&self) -> Option<RawEvent>;

    /// Looks after libxl's own children after a SIGCHLD.
    fn child_signal(&self);
    /// Whether libxl has declared its event handling broken.
    fn is_broken(&self) -> bool;
}
