//! Words with a meaning, each list closed.

use crate::schema::words;

words! {
    /// What happens if a domain ends.
    Action {
        /// The domain is removed.
        Destroy = "destroy",
        /// It is removed and started again.
        Restart = "restart",
        /// It is kept for inspection.
        Preserve = "preserve",
    }

    /// Guest memory that a backend can access.
    MemoryModel {
        /// Pages that the guest granted: its rings, and the buffers of requests in flight.
        Grant = "grant",
        /// All of the guest's memory; dom0 only.
        Foreign = "foreign",
        /// One region, fixed before boot. Not implemented (AVPS0202).
        Pool = "pool",
    }

    /// How a disk's writes are cached.
    CacheMode {
        /// In the backend's page cache until the guest flushes.
        Writeback = "writeback",
        /// On the medium before the guest is told.
        Writethrough = "writethrough",
        /// Bypasses the page cache (`O_DIRECT`).
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
        /// Runs a real-time operating system or a bare-metal program.
        Rtos = "rtos",
    }

    /// Who starts a domain.
    Boot {
        /// The toolstack in the control domain, once that runs.
        Toolstack = "toolstack",
        /// Xen itself, at boot, as its device tree says (dom0less).
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
        /// Xen denies what the policy does not allow.
        Enforcing = "enforcing",
        /// Xen only logs what the policy does not allow. Use it to find missing rules.
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
        /// No IOMMU: every bus master can access all memory.
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

    /// Interfaces of Xen that a dom0less domain gets (`xen,enhanced`).
    Enhanced {
        /// None: the guest sees no hypervisor node.
        Disabled = "disabled",
        /// Grants and event channels; no XenStore.
        NoXenstore = "no-xenstore",
        /// Grants, event channels and XenStore; XenStore once the control domain serves it.
        Enabled = "enabled",
    }

    /// Role of a user of shared memory for Xen.
    ShmRole {
        /// The pages belong to this domain.
        Owner = "owner",
        /// The pages belong to another domain, or to Xen if there is no owner.
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

    /// Who mediates a domain's calls to OP-TEE.
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

    /// Protocol of an IPC link.
    IpcKind {
        /// Memory that only the sender is meant to write, and an event channel as doorbell. Nothing keeps the receiver from writing (AVPS0801).
        Mailbox = "mailbox",
        /// RPMsg: rings that both sides write to.
        Rpmsg = "rpmsg",
    }
}
