//! The tables of the document, schema `avps/1`.
//!
//! Everything is optional here: what has to be there is reported by the reader, what is left out gets its value in
//! [`crate::resolve`]. No check of meaning happens in this module.

use crate::schema::tables;
use crate::units::{Address, ByteSize, Date, Numbers, Texts, TimeSpan, XenVersion};
use crate::words::{
    Action, Asil, Boot, CacheMode, Console, DeviceDma, DomainKind, Enhanced, Flask, Gic, Iommu,
    IpcKind, MemoryModel, Protection, Scheduler, ShmRole, TeeMode, WatchdogAction,
};

tables! {
    /// The whole document.
    DocumentTable {
        /// Version of the format.
        schema: Option<String> = required "schema = \"avps/1\"",
        /// Name and description of the platform.
        platform: Option<PlatformTable> = required "[platform]",
        /// The hardware. Where `device_tree` is given, the rest is taken from it and what is written here replaces it.
        machine: Option<MachineTable>,
        /// How Xen and the domains of its own boot get into memory.
        boot: Option<BootTable>,
        /// The hypervisor.
        xen: Option<XenTable>,
        /// The secure world.
        tee: Option<TeeFirmwareTable>,
        /// Groups of CPUs, each with a scheduler of its own.
        cpupool: Vec<CpupoolTable>,
        /// The domains, in the order they are started.
        domain: Vec<DomainTable>,
        /// Memory that several domains see.
        shared_memory: Vec<SharedMemoryTable>,
        /// Event channels between domains of Xen's own boot.
        event_channel: Vec<EventChannelTable>,
        /// Links between two domains, each made of shared memory and an event channel.
        ipc: Vec<IpcTable>,
        /// Networks between domains.
        network: Vec<NetworkTable>,
        /// Findings that somebody answers for.
        waive: Vec<WaiveTable>,
    }

    /// Name and description of the platform.
    PlatformTable {
        /// Name of the platform.
        name: Option<String> = required "name = \"demo\"",
        /// What it is, in a sentence.
        description: Option<String>,
    }

    /// The hardware.
    MachineTable {
        /// RAM for domains that the toolstack starts, without the shares of dom0 and Xen.
        memory: Option<ByteSize>,
        /// Path of the machine's device tree (`.dtb`).
        device_tree: Option<String>,
        /// RAM.
        bank: Vec<RangeTable>,
        /// RAM that nobody may use: firmware, secure world, carve-outs.
        reserved: Vec<ReservedTable>,
        /// Number of CPUs.
        cpus: Option<u64>,
        /// Groups of CPUs of one kind that share a cache.
        cluster: Vec<ClusterTable>,
        /// The interrupt controller.
        gic: Option<Gic>,
        /// The IOMMU that Xen uses.
        iommu: Option<Iommu> = default "none, or what the device tree has",
        /// The cache that all CPUs share, for cache colours.
        llc: Option<LlcTable>,
        /// How the processor protects memory.
        protection: Option<Protection> = default "mmu",
        /// Regions of the EL2 MPU, with `protection = "mpu"`.
        mpu_regions: Option<u64>,
        /// Frequency of the generic timer in Hz.
        timer_hz: Option<u64>,
    }

    /// A range of physical addresses.
    RangeTable {
        /// Where it begins.
        at: Option<Address> = required "at = 0x4000_0000",
        /// How long it is.
        size: Option<ByteSize> = required "size = \"1GiB\"",
    }

    /// A range of physical addresses with a name.
    ReservedTable {
        /// What lies there.
        name: Option<String> = required "name = \"firmware\"",
        /// Where it begins.
        at: Option<Address> = required "at = 0x4000_0000",
        /// How long it is.
        size: Option<ByteSize> = required "size = \"1MiB\"",
    }

    /// CPUs of one kind that share a cache.
    ClusterTable {
        /// A name for it.
        name: Option<String>,
        /// Its CPUs.
        cpus: Option<Numbers> = required "cpus = \"0-3\"",
        /// The core's name, as in a device tree: `arm,cortex-a57`.
        core: Option<String>,
    }

    /// The last-level cache.
    LlcTable {
        /// Its size.
        size: Option<ByteSize> = required "size = \"1MiB\"",
        /// Its ways.
        ways: Option<u64> = required "ways = 16",
    }

    /// How Xen and the domains of its own boot get into memory.
    BootTable {
        /// Path of Xen's image.
        xen: Option<String>,
        /// Where the modules (kernels, ramdisks, device trees) are loaded, one behind the other.
        window: Option<RangeTable>,
        /// Room for each module; a kernel or a ramdisk that is larger is refused.
        slot: Option<ByteSize> = default "32MiB",
        /// What U-Boot loads from: interface, device and partition.
        device: Option<String> = default "virtio 0:1",
        /// Where the device tree for Xen is loaded.
        device_tree_at: Option<Address>,
        /// Where Xen is loaded.
        xen_at: Option<Address>,
    }

    /// The hypervisor.
    XenTable {
        /// The release, which decides what it understands.
        version: Option<XenVersion> = default "4.20",
        /// Scheduler of the CPUs that are in no pool of the document.
        scheduler: Option<Scheduler> = default "credit2",
        /// More words for Xen's command line.
        cmdline: Option<String>,
        /// Console: path of its node in the device tree, with `stdout-path` options.
        console: Option<String>,
        /// Xen's own heap, at fixed places.
        static_heap: Vec<RangeTable>,
        /// Whether domains get the types of a FLASK policy, and what happens to what that does not allow.
        flask: Option<Flask> = default "no FLASK",
    }

    /// The secure world, as OP-TEE was built.
    TeeFirmwareTable {
        /// Domains that OP-TEE has room for, the control domain among them (`CFG_VIRT_GUEST_COUNT`; 0 for an OP-TEE without
        /// `CFG_NS_VIRTUALIZATION`).
        partitions: Option<u64>,
    }

    /// A group of CPUs with a scheduler of its own.
    CpupoolTable {
        /// Name.
        name: Option<String> = required "name = \"realtime\"",
        /// Its CPUs.
        cpus: Option<Numbers> = required "cpus = [1]",
        /// Its scheduler.
        scheduler: Option<Scheduler> = default "that of [xen]",
    }

    /// A domain.
    DomainTable {
        /// Name, unique on the machine.
        name: Option<String> = required "name = \"cockpit\"",
        /// What it is for.
        kind: Option<DomainKind> = default "guest",
        /// Who starts it.
        boot: Option<Boot> = default "toolstack",
        /// Safety integrity level of what runs in it.
        asil: Option<Asil> = default "QM",
        /// Path of the kernel image.
        kernel: Option<String> = required "kernel = \"Image\"",
        /// Path of the initial ramdisk, or `none`.
        ramdisk: Option<String> = default "none; for a driver domain, one of avps-backend alone, made by avpsctl",
        /// Path of a partial device tree (`.dtb`) that is added to the guest's.
        device_tree: Option<String>,
        /// Kernel command line.
        cmdline: Option<String> = default "console=hvc0, or console=ttyAMA0 on a vpl011",
        /// RAM. Where `static_memory` is given, its sum.
        memory: Option<ByteSize>,
        /// RAM at fixed places of the machine.
        static_memory: Vec<RangeTable>,
        /// The guest's addresses are the machine's.
        direct_map: Option<bool> = default "false",
        /// Colours of the last-level cache.
        colors: Option<Numbers>,
        /// Number of virtual CPUs.
        vcpus: Option<u64> = default "1",
        /// Physical CPUs that its vCPUs may run on.
        cpus: Option<Numbers>,
        /// The CPU pool it runs in.
        cpupool: Option<String>,
        /// Its share, with the RTDS scheduler.
        rtds: Option<RtdsTable>,
        /// Its time slot, with the ARINC653 scheduler.
        arinc653: Option<Arinc653Table>,
        /// Whether the amount of its memory may change while it runs.
        balloon: Option<bool> = default "true for a domain the toolstack starts",
        /// Where its console is.
        console: Option<Console> = default "pv; vpl011 for a domain of Xen's own boot",
        /// What it gets of Xen's interfaces, when Xen itself starts it.
        enhanced: Option<Enhanced> = default "disabled; no-xenstore with event channels; enabled with virtio devices",
        /// Shared interrupts it can have, when Xen itself starts it.
        interrupts: Option<u64>,
        /// Domains that have to be ready before it is started.
        after: Option<Texts>,
        /// What restarts the machine or the domain when it hangs. A device of the domain's own is what works: the guest sets it up.
        watchdog: Option<WatchdogTable>,
        /// Rights in the secure world.
        tee: Option<TeeTable>,
        /// What follows when the guest powers off.
        on_poweroff: Option<Action> = default "destroy",
        /// What follows when the guest reboots.
        on_reboot: Option<Action> = default "restart",
        /// What follows when the guest crashes.
        on_crash: Option<Action> = default "destroy",
        /// Virtio disks.
        block: Vec<BlockTable>,
        /// Devices of the machine that are its own.
        device: Vec<DeviceTable>,
    }

    /// A share of RTDS.
    RtdsTable {
        /// How often the budget is given.
        period: Option<TimeSpan> = required "period = \"10ms\"",
        /// How long it may run in a period.
        budget: Option<TimeSpan> = required "budget = \"4ms\"",
    }

    /// A slot of ARINC653.
    Arinc653Table {
        /// How long it runs in each major frame.
        runtime: Option<TimeSpan> = required "runtime = \"5ms\"",
    }

    /// A watchdog. The checks judge it; no program of this release arms, feeds or watches one (rule AVPS1002).
    WatchdogTable {
        /// Longest time between two signs of life.
        timeout: Option<TimeSpan> = required "timeout = \"2s\"",
        /// What it does.
        action: Option<WatchdogAction> = default "reset",
        /// The domain, or the device of the machine by its path in the device tree, that keeps it.
        owner: Option<String>,
    }

    /// Rights in the secure world.
    TeeTable {
        /// Who carries out its calls.
        mode: Option<TeeMode> = required "mode = \"mediated\"",
        /// UUIDs of the trusted applications it may open.
        applications: Option<Texts>,
        /// Applications of which it gets another one: its own, with objects of its own.
        stand_in: Vec<TeeStandInTable>,
        /// Sessions it may have open at once.
        sessions: Option<u64> = default "16",
        /// Memory it may share with the secure world.
        shared_memory: Option<ByteSize> = default "2MiB",
        /// Calls per second.
        rate: Option<u64>,
        /// Calls it may have under way at once, 1 to 8.
        concurrency: Option<u64> = default "4",
        /// How long a call may take before it is cancelled.
        timeout: Option<TimeSpan>,
        /// Its share of the secure world when others want it too, 1 to 1000.
        weight: Option<u64> = default "100",
    }

    /// A trusted application that stands in for another one, so that a domain shares it with nobody.
    TeeStandInTable {
        /// UUID that the domain asks for.
        application: Option<String> = required "application = \"8aaaf200-2450-11e4-abe2-0002a5d5c51b\"",
        /// UUID that is opened: the same application, signed under another UUID.
        opens: Option<String> = required "opens = \"b7a1c6de-52a4-4d5e-8f0e-3a7f0c2b9d10\"",
    }

    /// A virtio disk.
    BlockTable {
        /// Path of the image or block device.
        image: Option<String> = required "image = \"data.img\"",
        /// The domain that serves it.
        backend: Option<String> = default "the control domain",
        /// What the backend may reach of the guest's memory.
        memory: Option<MemoryModel> = default "grant",
        /// Whether the guest may only read.
        readonly: Option<bool> = default "false",
        /// Logical block size in bytes.
        block_size: Option<u64> = default "512",
        /// How writes are cached.
        cache: Option<CacheMode> = default "writeback",
        /// Serial number the guest can read.
        serial: Option<String>,
    }

    /// A device of the machine that is a domain's own.
    DeviceTable {
        /// Its path in the machine's device tree.
        path: Option<String> = required "path = \"/pl031@9010000\"",
        /// What keeps its DMA inside the domain's memory.
        dma: Option<DeviceDma> = default "iommu",
        /// Its registers. Left out, those of the device tree.
        region: Vec<DeviceRegionTable>,
        /// Its interrupts, as the interrupt controller counts them (SPI + 32). Left out, those of the device tree.
        interrupts: Option<Numbers>,
    }

    /// Registers of a device.
    DeviceRegionTable {
        /// Where they are.
        at: Option<Address> = required "at = 0x901_0000",
        /// How many bytes there are.
        size: Option<ByteSize> = required "size = \"4KiB\"",
        /// Where the guest sees them.
        guest_at: Option<Address> = default "where the machine has them",
    }

    /// Memory that several domains see.
    SharedMemoryTable {
        /// Its name for Xen, at most 15 bytes.
        id: Option<String> = required "id = \"speed\"",
        /// How much it is.
        size: Option<ByteSize> = required "size = \"64KiB\"",
        /// Where it is in the machine.
        at: Option<Address>,
        /// The domains that see it.
        user: Vec<SharedMemoryUserTable>,
    }

    /// A domain that sees shared memory.
    SharedMemoryUserTable {
        /// The domain.
        domain: Option<String> = required "domain = \"cluster\"",
        /// Where the guest sees it.
        at: Option<Address>,
        /// What it is to Xen.
        role: Option<ShmRole> = default "borrower",
        /// Whether it is meant to write.
        writes: Option<bool> = default "false",
    }

    /// An event channel.
    EventChannelTable {
        /// A name for it.
        name: Option<String>,
        /// The two domains.
        between: Option<Texts> = required "between = [\"adas\", \"cluster\"]",
        /// Their ports. Left out, each domain's next free one.
        ports: Option<Numbers>,
    }

    /// A link between two domains: shared memory and an event channel. No program of this release speaks its protocol (rule AVPS1003).
    IpcTable {
        /// Name; also that of its shared memory.
        name: Option<String> = required "name = \"speed\"",
        /// How they speak.
        kind: Option<IpcKind> = default "mailbox",
        /// Who sends.
        from: Option<String> = required "from = \"adas\"",
        /// Who receives.
        to: Option<String> = required "to = \"cluster\"",
        /// Size of the shared memory.
        size: Option<ByteSize> = default "4KiB",
        /// Where that is in the machine.
        at: Option<Address>,
        /// Where both guests see it.
        guest_at: Option<Address>,
    }

    /// A network between domains. The checks judge it; no program of this release makes one (rule AVPS1001).
    NetworkTable {
        /// Name.
        name: Option<String> = required "name = \"backbone\"",
        /// The machine's interface that belongs to it, if one does.
        uplink: Option<String>,
        /// What it can carry, in bits per second.
        rate: Option<u64>,
        /// The domains on it.
        port: Vec<NetworkPortTable>,
    }

    /// A domain on a network.
    NetworkPortTable {
        /// The domain.
        domain: Option<String> = required "domain = \"adas\"",
        /// MAC address. Left out, one made from the names of network and domain.
        mac: Option<String>,
        /// VLAN, 1 to 4094.
        vlan: Option<u64>,
        /// Priority code point, 0 to 7 (IEEE 802.1Q).
        priority: Option<u64> = default "0",
        /// Largest frame that is sent in reserved time.
        frame: Option<ByteSize>,
        /// How often such a frame is sent.
        interval: Option<TimeSpan>,
        /// Longest time such a frame may take.
        latency: Option<TimeSpan>,
    }

    /// A finding that somebody answers for.
    WaiveTable {
        /// Id of the rule.
        rule: Option<String> = required "rule = \"AVPS0601\"",
        /// The domain, link or other named thing it is about. Left out, all of them.
        subject: Option<String>,
        /// Why it is acceptable.
        reason: Option<String> = required "reason = \"the link is read only\"",
        /// Who answers for that.
        owner: Option<String> = required "owner = \"safety@example.com\"",
        /// The last day it holds.
        expires: Option<Date> = required "expires = 2027-06-30",
    }
}
