//! One attack, as the worker is told and does it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use confinement::attacks::{self, Targets};
use serde::{Deserialize, Serialize};
use transport_xen::EngineSetup;
use xen::foreign::Resource;
use xen::grants::Access;
use xen::{
    CopySegment, DomId, EventPort, GrantDevice, GrantRef, GrantStatus, IoservId, Pfn, device_model,
};
use xen_sys::{evtchn, privcmd};

/// Grant references that are tried; a guest's first ones are its console and XenStore ring, then its drivers'.
const GRANTS: u32 = 256;
/// `__HYPERVISOR_xen_version` with `XENVER_version`: harmless, and needs no memory.
const XEN_VERSION: [u64; 6] = [17, 0, 0, 0, 0, 0];
/// A shared peripheral interrupt that nothing of a guest uses.
const INTERRUPT: u32 = 100;

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One of [`attacks::ALL`], by the attempt's name.
    Process,
    /// Open a path for reading and writing.
    Open(String),
    /// Connect to a unix socket.
    Connect(String),
    /// What a worker does all day: must be possible.
    OwnGuest,
    /// A raw hypercall.
    Hypercall,
    /// Give the restricted privcmd another domain.
    Restrict,
    /// A device-model call that asks.
    DeviceModel,
    /// One that acts.
    Interrupt,
    /// Foreign memory.
    ForeignMap,
    /// A page that Xen keeps for the victim.
    ResourceMap,
    /// A new event channel.
    Bind,
    /// Close a port.
    Unbind,
    /// Grants, mapped.
    GrantMap,
    /// Grants, copied.
    GrantCopy,
}

/// One attack with all it needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// For reports.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) victim: u16,
    /// Guest frame number of a page of the victim's.
    pub(crate) frame: u64,
    pub(crate) file: String,
    pub(crate) place: String,
    pub(crate) socket: String,
    pub(crate) process: i32,
}

impl Attempt {
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            victim: 0,
            frame: 0,
            file: String::new(),
            place: String::new(),
            socket: String::new(),
            process: 0,
        }
    }

    /// Tries it with a worker's handles.
    ///
    /// # Errors
    /// How it was refused.
    pub(crate) fn run(&self, setup: &EngineSetup, fds: Vec<OwnedFd>) -> Result<(), String> {
        let victim = DomId::new(self.victim).ok_or("no such domain number")?;
        let grants = fds.into_iter().next().ok_or("no grant device came")?;
        let grants = GrantDevice::from_fd(grants).map_err(text)?;
        let privcmd = &setup.privcmd;
        match &self.kind {
            Kind::Process => {
                let attack = attacks::Attack::named(&self.name).ok_or("no such attack")?;
                attack.run(&self.targets()?).map_err(text)
            }
            Kind::Open(path) => attacks::open(&c_string(path)?, READ_WRITE).map_err(text),
            Kind::Connect(path) => attacks::connect_to(&c_string(path)?).map_err(text),
            Kind::OwnGuest => device_model::vcpu_count(privcmd, setup.domid)
                .map(drop)
                .map_err(text),
            Kind::Hypercall => attacks::ioctl(
                privcmd.as_fd(),
                privcmd::HYPERCALL,
                &mut XEN_VERSION.clone(),
            )
            .map_err(text),
            Kind::Restrict => privcmd.restrict(victim).map_err(text),
            Kind::DeviceModel => device_model::vcpu_count(privcmd, victim)
                .map(drop)
                .map_err(text),
            Kind::Interrupt => {
                device_model::set_irq_level(privcmd, victim, INTERRUPT, false).map_err(text)
            }
            Kind::ForeignMap => privcmd
                .map_foreign(victim, &[Pfn(self.frame)], Access::ReadOnly)
                .map(drop)
                .map_err(text),
            Kind::ResourceMap => privcmd
                .map_resource(victim, Resource::IoreqServer(IoservId(0)), 1, 1)
                .map(drop)
                .map_err(text),
            // Whether the victim offers that port does not matter: the handle's domain is compared first.
            Kind::Bind => EventPort::new(1)
                .ok_or_else(|| "no such port".to_owned())
                .and_then(|port| {
                    let bound = setup.event_channels.bind_interdomain(victim, port);
                    bound.map(drop).map_err(text)
                }),
            // Port 1 of this domain, which is somebody's.
            Kind::Unbind => {
                attacks::ioctl(setup.event_channels.as_fd(), evtchn::UNBIND, &mut [1]).map_err(text)
            }
            Kind::GrantMap => first_of(|grant| {
                grants
                    .map(victim, &[grant], Access::ReadOnly)
                    .map(drop)
                    .map_err(text)
            }),
            Kind::GrantCopy => first_of(|grant| copy(&grants, victim, grant)),
        }
    }

    fn targets(&self) -> Result<Targets, String> {
        Ok(Targets {
            file: c_string(&self.file)?,
            place: c_string(&self.place)?,
            socket: c_string(&self.socket)?,
            process: self.process,
        })
    }
}

/// `O_RDWR`: the same on arm64 and x86_64.
const READ_WRITE: i32 = 2;

fn copy(grants: &GrantDevice, victim: DomId, grant: GrantRef) -> Result<(), String> {
    let mut page = [0; 64];
    let mut segments = [CopySegment::from_grant(victim, grant, 0, &mut page).map_err(text)?];
    grants.copy(&mut segments).map_err(text)?;
    let [segment] = &segments;
    match segment.status() {
        GrantStatus::OKAY => Ok(()),
        status => Err(format!("{status:?}")),
    }
}

/// Whether any of the victim's grants can be had; the last refusal if none.
fn first_of(attempt: impl Fn(GrantRef) -> Result<(), String>) -> Result<(), String> {
    let mut refused = Err("no grant was tried".to_owned());
    for number in 0..GRANTS {
        refused = attempt(GrantRef(number));
        if refused.is_ok() {
            break;
        }
    }
    refused
}

fn c_string(path: &str) -> Result<CString, String> {
    CString::new(path).map_err(text)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
