//! What an attempt works with: the doors to Xen and XenStore, and who is who.

use std::io;

use xen::{DomId, PrivCmd};

use crate::attempt::Target;
use crate::raw::{Page, Raw};

/// A frame number in this domain's address space where nothing lies: 512 GiB, far above any RAM and what Linux uses of the
/// unused address space.
pub(crate) const SCRATCH_FRAME: u64 = 0x800_0000;

/// The domains an attempt may be aimed at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Domains {
    /// This driver domain.
    pub(crate) me: u16,
    /// A guest it serves.
    pub(crate) own: u16,
    /// A guest it does not serve.
    pub(crate) foreign: u16,
    /// Another driver domain.
    pub(crate) other: Option<u16>,
}

impl Domains {
    /// The number of a target; `None` if there is none.
    pub(crate) fn number(&self, target: Target) -> Option<u16> {
        match target {
            Target::Own => Some(self.own),
            Target::Foreign => Some(self.foreign),
            Target::Dom0 => Some(0),
            Target::Other => self.other,
            Target::Here => Some(self.me),
        }
    }
}

/// The doors.
pub(crate) struct Attacker {
    /// Who is who.
    pub(crate) domains: Domains,
    /// Raw hypercalls.
    pub(crate) raw: Raw,
    /// The workspace's own handle on the same device.
    pub(crate) privcmd: PrivCmd,
}

impl Attacker {
    /// Opens them.
    ///
    /// # Errors
    /// A sentence that names what is missing.
    pub(crate) fn open(domains: Domains) -> Result<Self, String> {
        Ok(Self {
            domains,
            raw: Raw::open().map_err(|error| format!("cannot open /dev/xen/privcmd: {error}"))?,
            privcmd: PrivCmd::open().map_err(|error| error.to_string())?,
        })
    }

    /// A page of arguments, filled.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn page(fill: impl FnOnce(&Page)) -> io::Result<Page> {
        let page = Page::new()?;
        fill(&page);
        Ok(page)
    }
}

/// A domain number as the `xen` crate takes it; reserved ones become one that nobody has.
pub(crate) fn domid(number: u16) -> DomId {
    const NOBODY: DomId = match DomId::new(0x7fe0) {
        Some(domain) => domain,
        None => DomId::SELF,
    };
    DomId::new(number).unwrap_or(NOBODY)
}
