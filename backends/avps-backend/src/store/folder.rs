//! A device's folder in XenStore, as libxl and avpsctl write it, parsed once.
//!
//! libxl writes `frontend-id`, `online`, `state`, `irq`, `base`, `type`, `transport` and `grant_usage`
//! (tools/libs/light/libxl_virtio.c; for `virtio_disk` libxl_disk.c, where `base` is decimal and
//! `params` and `mode` name the image). avpsctl adds `avps/*` later, `avps/version` last. Anything
//! may be absent at any moment; nothing here may panic on what a folder holds.

use std::collections::BTreeMap;

use thiserror::Error;
use xen::DomId;

use crate::parameters::{self, BlockParameters, Memory, ParameterError};

/// Bytes of guest address space one virtio-mmio device takes (Xen's VIRTIO_MMIO_DEV_SIZE).
pub(crate) const WINDOW_BYTES: u64 = 0x200;
/// First shared peripheral interrupt of a GIC.
const FIRST_SPI: u32 = 32;
/// Last shared peripheral interrupt of a GIC (without the extended range).
const LAST_SPI: u32 = 1019;
/// The `avps/version` this backend understands.
const AVPS_VERSION: &str = "1";

/// Which of libxl's folders a device stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// `backend/virtio`: `virtio = [ … ]`.
    Virtio,
    /// `backend/virtio_disk`: `disk = [ "…,specification=virtio,backendtype=standalone" ]`.
    VirtioDisk,
}

impl Class {
    /// Both classes.
    pub(crate) const ALL: [Class; 2] = [Class::Virtio, Class::VirtioDisk];

    /// Name of the folder below `backend/`.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Class::Virtio => "virtio",
            Class::VirtioDisk => "virtio_disk",
        }
    }
}

/// A device's identity: its place in XenStore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceKey {
    /// The guest.
    pub(crate) guest: DomId,
    /// Which of libxl's folders.
    pub(crate) class: Class,
    /// libxl's device number (0, 1, … for virtio; an encoded disk number for virtio_disk).
    pub(crate) device: u32,
}

impl std::fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.class.folder(), self.guest, self.device)
    }
}

/// XenStore's device states (xen/include/public/io/xenbus.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BusState {
    /// 0: unknown, or no number.
    Unknown,
    /// 1
    Initialising,
    /// 2: the backend is ready.
    InitWait,
    /// 3
    Initialised,
    /// 4: the driver runs.
    Connected,
    /// 5: the toolstack wants it gone.
    Closing,
    /// 6: it is gone.
    Closed,
}

impl BusState {
    /// The number written to the `state` key.
    pub(crate) fn number(self) -> &'static str {
        match self {
            BusState::Unknown => "0",
            BusState::Initialising => "1",
            BusState::InitWait => "2",
            BusState::Initialised => "3",
            BusState::Connected => "4",
            BusState::Closing => "5",
            BusState::Closed => "6",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "1" => BusState::Initialising,
            "2" => BusState::InitWait,
            "3" => BusState::Initialised,
            "4" => BusState::Connected,
            "5" => BusState::Closing,
            "6" => BusState::Closed,
            _ => BusState::Unknown,
        }
    }
}

/// Where the guest sees the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// First guest physical address; the window is [`WINDOW_BYTES`] long.
    pub(crate) base: u64,
    /// Interrupt number as libxl counts (SPIs start at 32).
    pub(crate) irq: u32,
}

/// What the folder says about the device's substance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nobody has said what to serve yet; an adoption rule may.
    Unsaid,
    /// A block device.
    Block(BlockParameters),
    /// Something is said that cannot be served.
    Refused(FolderError),
}

/// A device folder with all of libxl's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    /// Where the guest sees it.
    pub(crate) window: Window,
    /// Memory model the guest's device tree was made for.
    pub(crate) wired_for: Memory,
    /// The toolstack wants the device (`online`).
    pub(crate) online: bool,
    /// The `state` key.
    pub(crate) state: BusState,
    /// What to serve.
    pub(crate) content: Content,
    /// Our own `avps/error` is (still) there.
    pub(crate) error_shown: bool,
}

/// A folder, or the fact that it is still being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A key of libxl's is missing; look again at the next event.
    Incomplete(&'static str),
    /// All keys are there.
    Complete(Folder),
}

/// Why a folder cannot be served.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum FolderError {
    /// A key holds something else than expected.
    #[error("key {key} holds {value:?}: {expected} was expected")]
    Key {
        /// Name of the key.
        key: &'static str,
        /// What it holds.
        value: String,
        /// What should be there.
        expected: &'static str,
    },
    /// Not virtio-mmio.
    #[error("transport {0:?} is not offered by this backend; use transport=mmio")]
    Transport(String),
    /// The folder stands below another domain's number than it says.
    #[error("frontend-id is {found}, but the folder belongs to domain {folder}")]
    Frontend {
        /// Number in the path.
        folder: DomId,
        /// Number in the key.
        found: String,
    },
    /// `avps/version` is newer than this program.
    #[error(
        "avps/version is {0:?}, this backend understands {AVPS_VERSION:?}: avpsctl and avps-backend are of different releases"
    )]
    Version(String),
    /// `avps/version` is there but another key is not.
    #[error("avps/version is there but {0} is missing")]
    Missing(&'static str),
    /// `avps/kind` or `type` names no device of ours.
    #[error("device kind {0:?} is not known to this backend; it serves \"block\"")]
    Kind(String),
    /// A value cannot be served.
    #[error("{0}")]
    Parameter(String),
}

impl From<ParameterError> for FolderError {
    fn from(error: ParameterError) -> Self {
        FolderError::Parameter(error.to_string())
    }
}

/// The keys of one folder by their path below it (`state`, `avps/image`).
pub(crate) type Keys = BTreeMap<String, String>;

/// Parses a folder.
///
/// # Errors
/// The window itself is unusable (so not even an empty slot can be shown). What is wrong only with
/// the substance is told in [`Content::Refused`].
pub(crate) fn parse(key: DeviceKey, keys: &Keys) -> Result<Parsed, FolderError> {
    let get = |name: &str| keys.get(name).map(|value| value.trim());
    let Some(frontend) = get("frontend-id") else {
        return Ok(Parsed::Incomplete("frontend-id"));
    };
    let Some(state) = get("state") else {
        return Ok(Parsed::Incomplete("state"));
    };
    let Some(base) = get("base") else {
        return Ok(Parsed::Incomplete("base"));
    };
    let Some(irq) = get("irq") else {
        return Ok(Parsed::Incomplete("irq"));
    };
    if frontend.parse::<u16>().ok() != Some(key.guest.get()) {
        return Err(FolderError::Frontend {
            folder: key.guest,
            found: frontend.to_owned(),
        });
    }
    if let Some(transport) = get("transport").filter(|name| *name != "mmio") {
        return Err(FolderError::Transport(transport.to_owned()));
    }
    let window = Window {
        base: parse_base(key.class, base)?,
        irq: parse_irq(irq)?,
    };
    let wired_for = match get("grant_usage") {
        Some("0") => Memory::Foreign,
        _ => Memory::Grant,
    };
    let content = match key.class {
        Class::Virtio => virtio_content(&get),
        Class::VirtioDisk => disk_content(&get),
    };
    Ok(Parsed::Complete(Folder {
        window,
        wired_for,
        online: get("online") != Some("0"),
        state: BusState::parse(state),
        content: content.unwrap_or_else(Content::Refused),
        error_shown: keys.contains_key("avps/error"),
    }))
}

fn parse_base(class: Class, text: &str) -> Result<u64, FolderError> {
    let number = match (text.strip_prefix("0x"), class) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).ok(),
        (None, Class::Virtio) => u64::from_str_radix(text, 16).ok(),
        (None, Class::VirtioDisk) => text.parse().ok(),
    };
    number
        .filter(|base| {
            base.is_multiple_of(WINDOW_BYTES)
                && *base != 0
                && base.checked_add(WINDOW_BYTES).is_some()
        })
        .ok_or_else(|| FolderError::Key {
            key: "base",
            value: text.to_owned(),
            expected: "a guest address that is a multiple of 0x200",
        })
}

fn parse_irq(text: &str) -> Result<u32, FolderError> {
    text.parse()
        .ok()
        .filter(|irq| (FIRST_SPI..=LAST_SPI).contains(irq))
        .ok_or_else(|| FolderError::Key {
            key: "irq",
            value: text.to_owned(),
            expected: "the number of a shared peripheral interrupt, 32 to 1019",
        })
}

fn virtio_content<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Content, FolderError> {
    // libxl's type tells the guest's device tree (children of i2c and gpio); a bare "virtio,device"
    // fits everything. A number must be ours.
    if let Some(kind) = get("type").and_then(|kind| kind.strip_prefix("virtio,device"))
        && !kind.is_empty()
        && u32::from_str_radix(kind, 16).ok() != Some(2)
    {
        return Err(FolderError::Kind(format!("virtio,device{kind}")));
    }
    match get("avps/version") {
        None => Ok(Content::Unsaid),
        Some(AVPS_VERSION) => avps_content(get),
        Some(other) => Err(FolderError::Version(other.to_owned())),
    }
}

fn avps_content<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Content, FolderError> {
    let kind = get("avps/kind").ok_or(FolderError::Missing("avps/kind"))?;
    if kind != "block" {
        return Err(FolderError::Kind(kind.to_owned()));
    }
    let image = get("avps/image").ok_or(FolderError::Missing("avps/image"))?;
    let mut block = BlockParameters::new(parameters::image(image)?);
    if let Some(text) = get("avps/readonly") {
        block.read_only = parameters::flag(text)?;
    }
    if let Some(text) = get("avps/memory") {
        block.memory = Some(text.parse()?);
    }
    if let Some(text) = get("avps/block-size") {
        block.block_size = parameters::block_size(text)?;
    }
    if let Some(text) = get("avps/serial") {
        block.serial = parameters::serial(text)?;
    }
    if let Some(text) = get("avps/cache") {
        block.cache = text.parse()?;
    }
    if let Some(text) = get("avps/queues") {
        block.queues = parameters::queues(text)?;
    }
    Ok(Content::Block(block))
}

fn disk_content<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Content, FolderError> {
    // `params` is the path alone here; a PV disk would say `aio:/path`.
    let Some(image) = get("params").filter(|image| !image.is_empty()) else {
        return Ok(Content::Unsaid);
    };
    let mut block = BlockParameters::new(parameters::image(image)?);
    block.read_only = match get("mode") {
        None | Some("w") => false,
        Some("r") => true,
        Some(other) => {
            return Err(FolderError::Key {
                key: "mode",
                value: other.to_owned(),
                expected: "\"r\" or \"w\"",
            });
        }
    };
    Ok(Content::Block(block))
}

#[cfg(test)]
mod tests;
