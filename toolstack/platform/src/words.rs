//! Words with a meaning, each list closed.

use crate::schema::words;

words! {
    /// What follows when a domain ends.
    Action {
        /// Remove it.
        Destroy = "destroy",
        /// Remove it and start it again.
        Restart = "restart",
        /// Leave it as it is, for examination.
        Preserve = "preserve",
    }

    /// What a backend may reach of a guest's memory.
    MemoryModel {
        /// The pages of the request at hand.
        Grant = "grant",
        /// All of the guest; dom0 only.
        Foreign = "foreign",
        /// One region agreed on before boot.
        Pool = "pool",
    }

    /// How a disk's writes are cached.
    CacheMode {
        /// In the backend's page cache until the guest flushes.
        Writeback = "writeback",
        /// On the medium before the guest is told.
        Writethrough = "writethrough",
        /// Past the page cache.
        Direct = "direct",
    }

    /// What a domain is for.
    DomainKind {
        /// Controls the machine: the first domain of Xen (dom0), with the toolstack.
        Control = "control",
        /// Drives devices and serves them to others.
        Driver = "driver",
        /// Runs applications.
        Guest = "guest",
        /// Runs a real-time operating system or a program without one.
        Rtos = "rtos",
    }

    /// Who starts a domain.
    Boot {
        /// The toolstack in the control domain, once that runs.
        Toolstack = "toolstack",
        /// Xen itself, before any other domain runs, from the device tree.
        Dom0less = "dom0less",
    }

    /// Safety integrity level (ISO 26262-9). It says what is asked of a domain; nothing here certifies it.
    Asil {
        /// Quality management: no safety requirement.
        Qm = "QM",
        /// The lowest level.
        A = "A",
        /// The second level.
        B = "B",
        /// The third level.
        C = "C",
        /// The highest level.
        D = "D",
    }

    /// Xen's schedulers.
    Scheduler {
        /// Shares CPUs by weight; Xen's default.
        Credit2 = "credit2",
        /// The older one that shares by weight.
        Credit = "credit",
        /// One vCPU per physical CPU, for good.
        Null = "null",
        /// Period and budget per vCPU, earliest deadline first.
        Rtds = "rtds",
        /// A fixed table of time slots (ARINC 653).
        Arinc653 = "arinc653",
    }

    /// What Xen's security module FLASK does with what its policy does not allow.
    Flask {
        /// Refuses it.
        Enforcing = "enforcing",
        /// Writes it to the log, and allows it: to find out what a policy lacks.
        Permissive = "permissive",
    }

    /// The interrupt controller.
    Gic {
        /// GICv2: at most 8 CPUs.
        V2 = "v2",
        /// GICv3 or v4.
        V3 = "v3",
    }

    /// The IOMMU that Xen uses.
    Iommu {
        /// None: every device that is a bus master reaches all of the memory.
        None = "none",
        /// Arm SMMUv1 or v2.
        SmmuV2 = "smmu-v2",
        /// Arm SMMUv3; a technology preview in Xen.
        SmmuV3 = "smmu-v3",
        /// Renesas IPMMU.
        Ipmmu = "ipmmu",
    }

    /// How the processor protects memory.
    Protection {
        /// Pages and translation tables.
        Mmu = "mmu",
        /// Regions without translation (Armv8-R).
        Mpu = "mpu",
    }

    /// Where a domain's console is.
    Console {
        /// An emulated PL011 inside Xen.
        Vpl011 = "vpl011",
        /// The paravirtual console, which needs XenStore and a control domain.
        Pv = "pv",
        /// None.
        None = "none",
    }

    /// What a domain of Xen's own boot gets of Xen's interfaces (`xen,enhanced`).
    Enhanced {
        /// None: the guest sees no hypervisor node.
        Disabled = "disabled",
        /// Grants and event channels; no XenStore.
        NoXenstore = "no-xenstore",
        /// All of it, once the control domain's XenStore runs.
        Enabled = "enabled",
    }

    /// What a user of shared memory is to Xen.
    ShmRole {
        /// The memory is this domain's.
        Owner = "owner",
        /// The memory is somebody else's, or nobody's.
        Borrower = "borrower",
    }

    /// What keeps a device that is a bus master inside its domain's memory.
    DeviceDma {
        /// The machine's IOMMU.
        Iommu = "iommu",
        /// The device is no bus master.
        NoDma = "none",
        /// Nothing: it is trusted with all of the memory.
        Trusted = "trusted",
    }

    /// What a watchdog does when it is not fed in time.
    WatchdogAction {
        /// Resets the machine.
        Reset = "reset",
        /// Restarts the domain.
        Restart = "restart",
    }

    /// Who carries out a domain's TEE calls.
    TeeMode {
        /// Nobody: they are refused.
        None = "none",
        /// Xen's mediator for OP-TEE.
        Hypervisor = "hypervisor",
        /// Xen's mediator for FF-A, where OP-TEE is the Secure Partition Manager.
        Ffa = "ffa",
        /// avps-tee, which applies the rights written here.
        Mediated = "mediated",
    }

    /// How two domains speak over an IPC link.
    IpcKind {
        /// One writer's area and a doorbell; the receiver cannot write to it.
        Mailbox = "mailbox",
        /// RPMsg: rings that both sides write to.
        Rpmsg = "rpmsg",
    }
}
