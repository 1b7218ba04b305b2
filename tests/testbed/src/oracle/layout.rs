//! What is judged: a device tree, what lies in memory beside it, and the machine.

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
    /// These bytes.
    Bytes(Vec<u8>),
    /// The device tree with this source: what a domain is given of the board.
    Source(String),
}

/// QEMU's machine, as far as layouts differ in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// CPUs.
    pub(crate) cpus: u8,
    /// RAM in MiB, from 0x40000000 on.
    pub(crate) memory_mib: u32,
    /// Appended to `-M`: `,iommu=smmuv3`.
    pub(crate) options: String,
    /// One thread and a clock that counts instructions (`-icount`): slower, and time is the guest's own.
    pub(crate) counted: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory_mib: 1024,
            options: String::new(),
            counted: false,
        }
    }
}

impl Machine {
    /// The value of `-M`.
    pub(crate) fn kind(&self) -> String {
        format!("virt,virtualization=on,gic-version=3{}", self.options)
    }

    /// The arguments that decide what is in its device tree.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let (cpus, memory) = (self.cpus.to_string(), self.memory_mib.to_string());
        ["-cpu", "cortex-a57", "-smp", &cpus, "-m", &memory]
            .map(str::to_owned)
            .to_vec()
    }
}
