//! Why a command did not do what was wanted, with what to do and the exit code it means.

mod not_started;

use std::io;

use daemon::socket::SocketError;
use thiserror::Error;

pub use not_started::NotStarted;

/// `Result` with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Exit codes; `avpsctl --help` documents the same list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything wanted is so.
    Fine = 0,
    /// The document has findings, or the machine differs from it.
    Findings = 1,
    /// The command line, or a name in it, is wrong.
    Usage = 2,
    /// This host cannot; nothing was left behind.
    HostCannot = 3,
    /// Only a part was done or taken back; the message says what remains.
    Partly = 4,
    /// Ctrl-C or a signal ended it, and what it had begun was taken back: what a shell says of a program that SIGINT ended.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

/// What went wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No privcmd device: no Xen, or its driver is missing.
    #[error("this needs dom0 on Xen: {device} not found")]
    NotDom0 {
        /// The device that was looked for.
        device: &'static str,
    },
    /// A Xen domain, but not the one that may control others.
    #[error("this needs dom0 on Xen: this domain may not control others (/proc/xen/capabilities)")]
    OrdinaryDomain,
    /// The device is there and this user may not use it.
    #[error("may not open {device}: permission denied")]
    DevicePermission {
        /// The device.
        device: String,
    },
    /// libxl refused; the text is its own.
    #[error("{0}")]
    Xen(String),
    /// XenStore refused for lack of permission.
    #[error("XenStore refuses this user or domain: {0}")]
    StorePermission(String),
    /// XenStore failed in another way.
    #[error("XenStore: {0}")]
    Store(String),
    /// A file or the system refused.
    #[error("{wanted}: {source}")]
    Io {
        /// What was wanted.
        wanted: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The backend daemon cannot be asked.
    #[error("{0}")]
    Backend(SocketError),
    /// The backend serves no such guest.
    #[error("avps-backend serves no guest \"{0}\"")]
    NoGuestOfBackend(String),
    /// The mediator daemon cannot be asked.
    #[error("{0}")]
    Mediator(SocketError),
    /// The mediator knows no such guest.
    #[error("avps-tee has no guest \"{0}\"")]
    NoGuestOfMediator(String),
    /// Findings were shown already.
    #[error("the document has {errors} error(s)")]
    Findings {
        /// Number of errors.
        errors: usize,
    },
    /// What this machine lacks was shown already.
    #[error("this machine lacks what the document needs: {errors} error(s)")]
    HostFindings {
        /// Number of errors.
        errors: usize,
    },
    /// Running domains differ from the document, and were left alone.
    #[error("running domains differ from the document: {}", .0.join("; "))]
    Drift(Vec<String>),
    /// Differences were shown already.
    #[error("{0} domain(s) differ from the document")]
    Differences(usize),
    /// Differences of two documents were shown already.
    #[error("the documents differ")]
    DocumentsDiffer,
    /// The running Xen allows other things than the document needs; they were shown already.
    #[error("the running policy differs from the document's in {0} place(s)")]
    PolicyDiffers(usize),
    /// Xen runs without FLASK.
    #[error("Xen runs without FLASK")]
    NoFlask,
    /// Xen logs what it should refuse.
    #[error("Xen does not enforce its policy, and the document wants it to")]
    NotEnforcing,
    /// The running policy does not know a domain of the document.
    #[error("the policy that Xen runs with does not know domain \"{0}\"")]
    NoType(String),
    /// Xen does not take a file as a policy.
    #[error("Xen does not take {0} as a policy")]
    NotAPolicy(String),
    /// A tool that makes policies.
    #[error("{tool} {said}")]
    PolicyTool {
        /// Its name.
        tool: String,
        /// What happened, with its own words.
        said: String,
    },
    /// A domain of the same name is somebody else's.
    #[error("a domain named \"{name}\" runs already (domain {domid}) and is not of this document")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        domid: u32,
    },
    /// No domain has this name or number.
    #[error("no domain \"{0}\" runs here")]
    NoSuchDomain(String),
    /// A domain that Xen started, and XenStore does not know.
    #[error("domain \"{name}\" (domain {domid}) has no XenStore yet")]
    NoXenStore {
        /// The name in the document.
        name: String,
        /// Its number.
        domid: u32,
    },
    /// The number that Xen gives a domain of its own boot is another's.
    #[error("domain {domid} should be \"{name}\", and is \"{found}\"")]
    AnotherDomain {
        /// The name in the document.
        name: String,
        /// The number.
        domid: u32,
        /// Whose it is.
        found: String,
    },
    /// The document has no such domain.
    #[error("the document has no domain \"{name}\"; it has {known}")]
    NotInDocument {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The machine has less free memory than the domains want.
    #[error("the domains to start want {wanted_mib} MiB of memory, and {free_mib} MiB are free")]
    NotEnoughMemory {
        /// Wanted, in MiB.
        wanted_mib: u64,
        /// Free, in MiB.
        free_mib: u64,
    },
    /// A CPU pool of the document cannot be had on this machine.
    #[error("CPU pool \"{name}\": {why}")]
    CpuPool {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// Xen or libxl refused a domain that asks for what not every machine has.
    #[error("{cause}; what domain \"{domain}\" asks for needs {}", .needs.join("; and "))]
    NotBuilt {
        /// The domain.
        domain: String,
        /// What libxl said.
        cause: Box<Error>,
        /// What it asks for, and what that needs.
        needs: Vec<&'static str>,
    },
    /// A driver domain's ramdisk cannot be made.
    #[error("its ramdisk cannot be made of avps-backend: {0}")]
    NoRamdisk(String),
    /// The domain that serves virtio devices does not run.
    #[error("domain \"{backend}\" does not run, and serves devices of \"{needed_by}\"")]
    NoBackendDomain {
        /// The backend's domain.
        backend: String,
        /// Who needs it.
        needed_by: String,
    },
    /// Nobody serves virtio devices in a backend domain.
    #[error("avps-backend is not running in {}, and {needed_by} need(s) it", in_words(*domid, name.as_deref()))]
    BackendNotRunning {
        /// The backend domain.
        domid: u16,
        /// Its name, when the document has it.
        name: Option<String>,
        /// Who needs it.
        needed_by: String,
    },
    /// Nobody carries out calls into the secure world.
    #[error("avps-tee does not run, which {needed_by} needs (tee.mode = \"mediated\")")]
    NoMediator {
        /// Who needs it.
        needed_by: String,
    },
    /// The mediator says why it cannot.
    #[error("avps-tee cannot mediate the calls of domain \"{domain}\": {text}")]
    MediatorRefused {
        /// The guest.
        domain: String,
        /// The daemon's words.
        text: String,
    },
    /// The mediator did not become ready in time.
    #[error("after {seconds} s avps-tee had not taken over the calls of {}", .waiting.join(", "))]
    MediatorTimeout {
        /// The time limit.
        seconds: u64,
        /// The guests.
        waiting: Vec<String>,
    },
    /// The backend says why it cannot serve a device.
    #[error(
        "the backend{} cannot serve {device} of domain \"{domain}\": {text}",
        backend.as_ref().map(|name| format!(" in domain \"{name}\"")).unwrap_or_default()
    )]
    BackendRefused {
        /// The guest.
        domain: String,
        /// The backend's domain; none for the control domain.
        backend: Option<String>,
        /// The device.
        device: String,
        /// The backend's words (`avps/error`).
        text: String,
    },
    /// A domain that is to end serves others.
    #[error("\"{name}\" serves devices of {}", .users.join(", "))]
    InUse {
        /// Its name.
        name: String,
        /// Whose devices it serves.
        users: Vec<String>,
    },
    /// The backend did not become ready in time.
    #[error("not ready after {seconds} s: {}", .waiting.join(", "))]
    BackendTimeout {
        /// The time limit.
        seconds: u64,
        /// Devices that are not ready, with their state.
        waiting: Vec<String>,
    },
    /// A domain disappeared while it was being started.
    #[error("domain \"{0}\" disappeared while it was being started")]
    Disappeared(String),
    /// A domain still runs at the end of the time limit.
    #[error("still running after {seconds} s: {}", .domains.join(", "))]
    StillRunning {
        /// The time limit.
        seconds: u64,
        /// Names.
        domains: Vec<String>,
    },
    /// Ctrl-C or a signal.
    #[error("interrupted")]
    Interrupted,
    /// Another avpsctl works on the same platform.
    #[error("another avpsctl (process {pid}) is working on platform \"{platform}\"")]
    Locked {
        /// The platform.
        platform: String,
        /// The other one, as far as known.
        pid: String,
    },
    /// The supervisor could not be started or stopped.
    #[error("the supervisor of platform \"{platform}\": {reason}")]
    Supervisor {
        /// The platform.
        platform: String,
        /// What happened.
        reason: String,
    },
    /// The command line asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// Domains were removed to be started again, and that failed.
    #[error("{cause}; these were running before and are not any more: {}", .removed.join(", "))]
    NotReplaced {
        /// What failed.
        cause: Box<Error>,
        /// Names.
        removed: Vec<String>,
    },
    /// A domain that another one waits for did not start.
    #[error("it waits for \"{other}\"")]
    WaitsFor {
        /// The one that it waits for.
        other: String,
    },
    /// A domain that another one is to be started after does not run.
    #[error("\"{name}\" is started after \"{other}\", which does not run")]
    NotRunning {
        /// The one that is to be started.
        name: String,
        /// The one that has to run first.
        other: String,
    },
    /// What this machine lacks for a domain.
    #[error("this machine lacks what it needs: {}", .0.join("; "))]
    Lacks(Vec<String>),
    /// Devices of a domain that is to run are not ready.
    #[error("devices of \"{name}\" are not ready: {}", .devices.join(", "))]
    DevicesNotReady {
        /// The domain.
        name: String,
        /// The devices, with their states.
        devices: Vec<String>,
    },
    /// Some domains were not started.
    #[error(
        "not started: {}; running: {}",
        not_started::told(failed),
        not_started::names(running)
    )]
    NotStarted {
        /// Which, and why.
        failed: Vec<NotStarted>,
        /// Those of the document that run all the same.
        running: Vec<String>,
    },
    /// Something failed, and not all of it could be taken back.
    #[error("{cause}; these remain: {}", .remains.join(", "))]
    Remains {
        /// What failed.
        cause: Box<Error>,
        /// What is still there.
        remains: Vec<String>,
    },
}

impl Error {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NotStarted { failed, running } => not_started::exit(failed, running),
            Error::Findings { .. }
            | Error::Drift(_)
            | Error::Differences(_)
            | Error::PolicyDiffers(_)
            | Error::DocumentsDiffer => Exit::Findings,
            Error::Interrupted => Exit::Interrupted,
            Error::Usage(_)
            | Error::NoSuchDomain(_)
            | Error::NoGuestOfBackend(_)
            | Error::NoGuestOfMediator(_)
            | Error::InUse { .. }
            | Error::NotInDocument { .. } => Exit::Usage,
            Error::Remains { .. }
            | Error::NotReplaced { .. }
            | Error::StillRunning { .. }
            | Error::Supervisor { .. } => Exit::Partly,
            _ => Exit::HostCannot,
        }
    }

    /// What to do about it, where there is something general to say.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Error::NotDom0 { .. } => {
                "run it in dom0; if this is dom0, load the kernel's xen-privcmd driver. \
                 check, plan and emit work anywhere"
                    .into()
            }
            Error::OrdinaryDomain => "run it in dom0. check, plan and emit work anywhere".into(),
            Error::DevicePermission { .. } => "run it as root (sudo avpsctl …)".into(),
            Error::StorePermission(_) => {
                "run it in dom0 as root; if it already is, look at the node with xenstore-ls -p".into()
            }
            Error::Drift(_) => {
                "avpsctl up --replace restarts the domains that differ; avpsctl diff shows them".into()
            }
            Error::NameTaken { name, .. } => {
                format!("rename one of them, or remove the running one: avpsctl destroy {name}")
            }
            Error::NoSuchDomain(_) => "avpsctl list shows what runs".into(),
            Error::NoXenStore { .. } => {
                "run init-dom0less of Xen's tools; it connects domains that Xen started with XenStore".into()
            }
            Error::AnotherDomain { .. } => {
                "start the machine with what avpsctl emit dom0less-dtb writes for this document".into()
            }
            Error::NotEnoughMemory { .. } => {
                "stop another domain, give the domains less memory, or give dom0 less (dom0_mem= on \
                 Xen's command line)"
                    .into()
            }
            Error::NoRamdisk(_) => crate::ramdisks::HELP.into(),
            Error::NotBuilt { .. } => "xl dmesg shows Xen's own reason".into(),
            Error::NoFlask => {
                "boot Xen with xsm=flask flask=enforcing; avpsctl emit cmdline writes it".into()
            }
            Error::NotAPolicy(_) => {
                "make it with avpsctl policy build and the source of the Xen that runs here".into()
            }
            Error::NotEnforcing => {
                "boot Xen with flask=enforcing, or write flask = \"permissive\" into [xen] while you look for rules".into()
            }
            Error::PolicyDiffers(_) | Error::NoType(_) => {
                "avpsctl policy build and load give Xen the document's policy".into()
            }
            Error::PolicyTool { tool, .. } => format!(
                "policies are made with m4 and checkpolicy (packages of these names); see whether {tool} works"
            ),
            Error::NoBackendDomain { backend, .. } => {
                format!("start it first: avpsctl create --start DOC {backend}, or avpsctl up DOC")
            }
            Error::BackendNotRunning { domid: 0, .. } => {
                "start it: systemctl start avps-backend, or avps-backend serve".into()
            }
            Error::Backend(SocketError::NotRunning { .. }) => {
                "start it: systemctl start avps-backend, or avps-backend serve".into()
            }
            Error::Backend(SocketError::NoAnswer { program }) | Error::Mediator(SocketError::NoAnswer { program }) => {
                format!("ask again; if that does not help, look at its log: journalctl -u {program}")
            }
            Error::NoGuestOfMediator(_) => "avpsctl tee status shows all".into(),
            Error::NoMediator { .. } | Error::Mediator(SocketError::NotRunning { .. }) => "start it: systemctl start avps-tee, or avps-tee".into(),
            Error::MediatorRefused { .. } | Error::MediatorTimeout { .. } => {
                "look at avps-tee's log; avpsctl tee audit shows what it did".into()
            }
            Error::NoGuestOfBackend(_) => "avpsctl backend stats shows all".into(),
            Error::BackendNotRunning {
                name: Some(name), ..
            } => {
                format!("its ramdisk must start avps-backend serve; avpsctl console {name} shows what it does")
            }
            Error::BackendNotRunning { domid, .. } => {
                format!("start avps-backend serve in domain {domid}")
            }
            Error::BackendRefused {
                backend: Some(name),
                ..
            } => {
                format!(
                    "paths of images are paths inside domain \"{name}\", and Xen's policy must let it serve this guest \
                     (avpsctl emit flask); its log is on its console: avpsctl console {name}"
                )
            }
            Error::InUse { .. } => {
                "remove those that use it with it, let avpsctl down end all in order, or say --force: \
                 they lose their disks at once".into()
            }
            Error::BackendTimeout { .. } => {
                "look at the backend's log; --timeout gives it longer".into()
            }
            Error::StillRunning { .. } => {
                "give them longer with --timeout, or remove them with --force".into()
            }
            Error::Locked { .. } => "wait until it has finished".into(),
            Error::NotReplaced { cause, .. } => return cause.help(),
            Error::NotStarted { failed, .. } => {
                return failed.iter().find_map(|one| one.cause.help());
            }
            Error::NotRunning { other, .. } => {
                format!("avpsctl up DOC starts both in order; if {other} is paused, avpsctl unpause {other}")
            }
            Error::DevicesNotReady { name, .. } => format!(
                "a guest that touches such a device stops for good; see whether avps-backend runs (avpsctl info {name}), or \
                 create the domain again: avpsctl destroy {name}, then avpsctl up DOC"
            ),
            Error::Remains { cause, .. } => {
                let first = "avpsctl destroy NAME removes a domain and what it left in XenStore";
                match cause.help() {
                    Some(help) => format!("{first}; {help}"),
                    None => first.into(),
                }
            }
            _ => return None,
        })
    }

    /// The same, with what it left behind.
    #[must_use]
    pub fn with_remains(self, remains: Vec<String>) -> Error {
        if remains.is_empty() {
            return self;
        }
        Error::Remains {
            cause: Box::new(self),
            remains,
        }
    }

    /// Wraps an I/O error with what was wanted.
    pub fn io(wanted: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let wanted = wanted.into();
        move |source| Error::Io { wanted, source }
    }
}

/// A backend's domain in words.
fn in_words(domid: u16, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("domain {domid} (\"{name}\")"),
        None => format!("domain {domid}"),
    }
}
