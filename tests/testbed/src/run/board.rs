//! The board under every Xen: QEMU's `virt`, as far as boots differ in it.

/// Model of CPUs. Unlike on a Cortex-A57 (Arm erratum 1319537), Xen need not point them at an empty address space whenever a vCPU
/// stops, which under emulation costs all translations.
pub(super) const CPU: &str = "cortex-a76";

/// A board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Board {
    /// CPUs.
    pub(crate) cpus: u8,
    /// RAM in MiB, from 0x40000000 on.
    pub(crate) memory_mib: u32,
    /// Appended to `-M`: `,iommu=smmuv3`.
    pub(crate) options: String,
    /// One thread and a clock that counts instructions (`-icount`): slower, and time is the guest's own.
    pub(crate) counted: bool,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory_mib: 1024,
            options: String::new(),
            counted: false,
        }
    }
}

impl Board {
    /// The value of `-M`.
    pub(crate) fn kind(&self) -> String {
        format!("virt,virtualization=on,gic-version=3{}", self.options)
    }

    /// The arguments that, with [`Board::kind`], decide what is in its device tree.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let (cpus, memory) = (self.cpus.to_string(), self.memory_mib.to_string());
        ["-cpu", CPU, "-smp", &cpus, "-m", &memory]
            .map(str::to_owned)
            .to_vec()
    }

    /// The arguments that decide how it runs. An idle board's counted time leaps to the next timer.
    ///
    /// CPUs of counted time take turns until the next timer of QEMU's, and one that is interrupted waits for the others' turns: the
    /// timer of a network filter that has nothing to filter keeps them below a millisecond in all.
    pub(crate) fn clock(&self) -> &'static [&'static str] {
        if self.counted {
            &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=3,sleep=off",
                "-netdev",
                "hubport,hubid=0,id=turns",
                "-object",
                "filter-buffer,id=turn,netdev=turns,interval=1000",
            ]
        } else {
            &["-accel", "tcg,thread=multi"]
        }
    }
}
