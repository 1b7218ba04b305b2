//! What domains share.

use serde::{Deserialize, Serialize};

use crate::units::{Date, TimeSpan};
use crate::words::{IpcKind, ShmRole};

/// Memory that several domains see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMemory {
    /// Its name for Xen.
    pub id: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Where it is in the machine; none where Xen chooses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<u64>,
    /// The domains that see it.
    pub users: Vec<SharedMemoryUser>,
    /// The IPC link it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ipc: Option<String>,
    /// Document path of its table.
    pub from: String,
}

/// A domain that sees shared memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMemoryUser {
    /// The domain.
    pub domain: String,
    /// Guest-physical address.
    pub at: u64,
    /// Role of the domain for Xen.
    pub role: ShmRole,
    /// Whether it is meant to write. Xen 4.20 lets every user write.
    pub writes: bool,
    /// Document path of its table.
    pub from: String,
}

/// An event channel between dom0less domains; dom0 may be one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventChannel {
    /// Name.
    pub name: String,
    /// Both ends.
    pub ends: [EventChannelEnd; 2],
    /// The IPC link it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ipc: Option<String>,
    /// Document path of its table.
    pub from: String,
}

/// An end of an event channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventChannelEnd {
    /// The domain.
    pub domain: String,
    /// Its port.
    pub port: u32,
}

/// A link between two domains, made of shared memory and an event channel of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpcLink {
    /// Name.
    pub name: String,
    /// Protocol.
    pub kind: IpcKind,
    /// Who sends.
    pub sender: String,
    /// Who receives.
    pub receiver: String,
    /// Document path of its table.
    pub from: String,
}

/// A network between domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Name.
    pub name: String,
    /// The machine's interface that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uplink: Option<String>,
    /// What it can carry, in bits per second.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_bps: Option<u64>,
    /// The domains on it.
    pub ports: Vec<NetworkPort>,
    /// Document path of its table.
    pub from: String,
}

/// A domain on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPort {
    /// The domain.
    pub domain: String,
    /// MAC address.
    pub mac: String,
    /// VLAN.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vlan: Option<u32>,
    /// Priority code point.
    pub priority: u32,
    /// Largest frame that is sent in reserved time, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frame_bytes: Option<u64>,
    /// How often such a frame is sent, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval_us: Option<u64>,
    /// Longest time such a frame may take, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency_us: Option<u64>,
    /// Document path of its table.
    pub from: String,
}

/// A waiver: accepts findings of one rule until a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// Id of the rule.
    pub rule: String,
    /// What it is about; none for everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// Why it is acceptable.
    pub reason: String,
    /// Who is responsible for that.
    pub owner: String,
    /// The last day it holds.
    pub expires: Option<Date>,
    /// Document path of its table.
    pub from: String,
}

impl NetworkPort {
    /// The interval of reserved frames.
    pub fn interval(&self) -> Option<TimeSpan> {
        self.interval_us.map(TimeSpan)
    }
}
