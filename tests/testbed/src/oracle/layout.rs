//! What is judged: a device tree, what lies in memory beside it, and the machine.

use std::path::PathBuf;

pub(crate) use crate::run::board::Board as Machine;

/// Xen's command line for a layout that is to be judged: everything on the first serial port, every guest's word printed,
/// and the port's input for Xen itself, whose debug keys are read back.
pub(crate) const XEN_ARGUMENTS: &str =
    "console=dtuart dtuart=serial0 bootscrub=0 loglvl=all guest_loglvl=all conswitch=ax";

/// A layout, complete.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The host's device tree with the domains in `/chosen`; `xen,xen-bootargs` should begin with [`XEN_ARGUMENTS`].
    pub(crate) dtb: Vec<u8>,
    /// What is loaded beside it.
    pub(crate) modules: Vec<Module>,
    /// The machine.
    pub(crate) machine: Machine,
    /// Ask Xen for its domains once all guests have reported: [`super::Readback`] then has vCPUs, pools, and colours.
    pub(crate) readback: bool,
    /// Domains whose guest is not the oracle's.
    pub(crate) strangers: Vec<Stranger>,
}

/// A guest that does not report. It runs when it has said these words on its emulated serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// Its domain's id.
    pub(crate) domain: u16,
    /// The words, of one line.
    pub(crate) words: &'static str,
}

impl Stranger {
    /// Whether it says its words in this line, which Xen has marked with the domain.
    pub(super) fn speaks(&self, line: &str) -> bool {
        let mark = format!("DOM{}:", self.domain);
        line.split_once(&mark)
            .is_some_and(|(_, said)| said.contains(self.words))
    }
}

/// Something in memory before Xen starts.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// What it is.
    pub(crate) content: Content,
    /// Host physical address. Xen itself lies at 0x40200000 (2 MiB), the device tree at 0x48000000.
    pub(crate) address: u64,
}

/// What a module is made of.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// The oracle's own guest.
    Guest,
    /// A file of this host.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// The device tree with this source: what a domain is given of the board.
    Source(String),
}
