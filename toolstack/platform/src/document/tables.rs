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
        /// The hardware. With `device_tree`, values that are not given here are taken from the device tree, as far as
        /// it has them. Values given here replace those of the device tree, except that `reserved` entries are added.
        machine: Option<MachineTable>,
        /// How Xen and the dom0less domains are loaded into memory.
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
        /// Event channels between dom0less domains; dom0 may be one end.
        event_channel: Vec<EventChannelTable>,
        /// Links between two domains, each made of shared memory and an event channel.
        ipc: Vec<IpcTable>,
        /// Networks between domains.
        network: Vec<NetworkTable>,
        /// Waivers: findings that are accepted, each with a reason, an owner and an expiry date.
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
        /// RAM for all domains of the document together (AVPS0114).
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
        /// Number of EL2 MPU regions, with `protection = "mpu"`.
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
        name: Option<String> = default "`cluster` and its number",
        /// Its CPUs.
        cpus: Option<Numbers> = required "cpus = \"0-3\"",
        /// The core's name, as in a device tree: `arm,cortex-a57`.
        core: Option<String>,
    }

    /// The last-level cache.
    LlcTable {
        /// Its size.
        size: Option<ByteSize> = required "size = \"1MiB\"",
        /// Number of ways.
        ways: Option<u64> = required "ways = 16",
    }

    /// How Xen and the dom0less domains are loaded into memory.
    BootTable {
        /// Path of Xen's image.
        xen: Option<String>,
        /// Address range into which the modules (kernels, ramdisks, device trees) are loaded, one after the other.
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
        /// Release of Xen. The checks and the emitted files depend on it.
        version: Option<XenVersion> = default "4.20",
        /// Scheduler of the CPUs that are in no pool of the document.
        scheduler: Option<Scheduler> = default "credit2",
        /// Further options for Xen's command line.
        cmdline: Option<String>,
        /// Console: path of its node in the device tree, with `stdout-path` options.
        console: Option<String>,
        /// Xen's own heap, at fixed places.
        static_heap: Vec<RangeTable>,
        /// FLASK mode. If it is set, `avpsctl` gives each domain that it starts a type in the document's policy.
        flask: Option<Flask> = default "no FLASK",
    }

    /// The secure world, as OP-TEE was built.
    TeeFirmwareTable {
        /// Number of domains that OP-TEE was built for, including the control domain (`CFG_VIRT_GUEST_COUNT`; 0 for an
        /// OP-TEE without `CFG_NS_VIRTUALIZATION`).
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
        ramdisk: Option<String> = default "none; for a driver domain that the toolstack starts, `avpsctl` makes one that contains only `avps-backend`",
        /// Path of a partial device tree (`.dtb`) that is added to the guest's.
        device_tree: Option<String> = default "none; with assigned devices, and with virtio devices of a dom0less domain, `avpsctl` makes one",
        /// Kernel command line. That of a driver domain also gets `xen_privcmd.unrestricted=1`, unless it sets that
        /// parameter itself.
        cmdline: Option<String> = default "console=hvc0, or console=ttyAMA0 with a vpl011",
        /// Amount of RAM. Required, unless `static_memory` is given; then the default is the sum of its ranges.
        memory: Option<ByteSize>,
        /// RAM at fixed places of the machine.
        static_memory: Vec<RangeTable>,
        /// Maps the guest's RAM 1:1: guest-physical addresses equal host-physical addresses.
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
        console: Option<Console> = default "pv; vpl011 for a dom0less domain",
        /// Interfaces of Xen that a dom0less domain gets (`xen,enhanced`).
        enhanced: Option<Enhanced> = default "disabled; no-xenstore with event channels; enabled with virtio devices or `console = \"pv\"`",
        /// Number of SPIs of a dom0less domain (`nr_spis`).
        interrupts: Option<u64> = default "as many as the machine has",
        /// Domains that have to be ready before it is started.
        after: Option<Texts>,
        /// Restarts the machine or the domain if the domain hangs. In this release only a watchdog device that is
        /// assigned to the domain works; the guest sets it up (AVPS1002).
        watchdog: Option<WatchdogTable>,
        /// Rights in the secure world.
        tee: Option<TeeTable>,
        /// What happens if the guest powers off.
        on_poweroff: Option<Action> = default "destroy",
        /// What happens if the guest reboots.
        on_reboot: Option<Action> = default "restart",
        /// What happens if the guest crashes.
        on_crash: Option<Action> = default "destroy",
        /// Virtio disks.
        block: Vec<BlockTable>,
        /// Devices of the machine that are assigned to it (passthrough).
        device: Vec<DeviceTable>,
    }

    /// CPU time under the RTDS scheduler: a budget in each period.
    RtdsTable {
        /// Period after which the budget is renewed.
        period: Option<TimeSpan> = required "period = \"10ms\"",
        /// How long it may run in a period.
        budget: Option<TimeSpan> = required "budget = \"4ms\"",
    }

    /// Time slot under the ARINC 653 scheduler.
    Arinc653Table {
        /// How long it runs in each major frame.
        runtime: Option<TimeSpan> = required "runtime = \"5ms\"",
    }

    /// A watchdog. `avpsctl check` evaluates it, but no program of this release arms, services or monitors one
    /// (AVPS1002).
    WatchdogTable {
        /// Longest time between two signs of life.
        timeout: Option<TimeSpan> = required "timeout = \"2s\"",
        /// What it does.
        action: Option<WatchdogAction> = default "reset",
        /// Who watches the domain: another domain (by name), or a watchdog device (by its path in the machine's device
        /// tree). Without an owner it is Xen's own watchdog.
        owner: Option<String>,
    }

    /// Rights in the secure world.
    TeeTable {
        /// Who mediates its calls to OP-TEE.
        mode: Option<TeeMode> = required "mode = \"mediated\"",
        /// UUIDs of the trusted applications it may open.
        applications: Option<Texts>,
        /// Replacements for trusted applications: the domain asks for one UUID, and another one is opened, for example
        /// a copy that only this domain uses.
        stand_in: Vec<TeeStandInTable>,
        /// Sessions it may have open at once.
        sessions: Option<u64> = default "16",
        /// Memory it may share with the secure world.
        shared_memory: Option<ByteSize> = default "2MiB",
        /// Maximum number of calls per second.
        rate: Option<u64> = default "no limit",
        /// Calls it may have under way at once, 1 to 8.
        concurrency: Option<u64> = default "4",
        /// How long a call may take before it is cancelled.
        timeout: Option<TimeSpan> = default "no limit",
        /// Its weight, 1 to 1000, when several domains wait for OP-TEE's threads.
        weight: Option<u64> = default "100",
    }

    /// Opens another trusted application than the domain asks for, so that the domain need not share one with other
    /// domains.
    TeeStandInTable {
        /// UUID that the domain asks for.
        application: Option<String> = required "application = \"8aaaf200-2450-11e4-abe2-0002a5d5c51b\"",
        /// UUID that is opened: the same application, signed under another UUID.
        opens: Option<String> = required "opens = \"b7a1c6de-52a4-4d5e-8f0e-3a7f0c2b9d10\"",
    }

    /// A virtio disk.
    BlockTable {
        /// Path of the image or block device, in the domain that serves it.
        image: Option<String> = required "image = \"data.img\"",
        /// The domain that serves it.
        backend: Option<String> = default "the control domain",
        /// Guest memory that the backend can access.
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

    /// A device of the machine that is assigned to a domain (passthrough).
    DeviceTable {
        /// Its path in the machine's device tree.
        path: Option<String> = required "path = \"/pl031@9010000\"",
        /// What keeps its DMA inside the domain's memory.
        dma: Option<DeviceDma> = default "iommu",
        /// Its registers.
        region: Vec<DeviceRegionTable> = default "those of the device tree",
        /// Its interrupts, as the interrupt controller counts them (SPI + 32).
        interrupts: Option<Numbers> = default "those of the device tree",
    }

    /// Registers of a device.
    DeviceRegionTable {
        /// Where they are.
        at: Option<Address> = required "at = 0x901_0000",
        /// Size of the region.
        size: Option<ByteSize> = required "size = \"4KiB\"",
        /// Where the guest sees them.
        guest_at: Option<Address> = default "where the machine has them",
    }

    /// Memory that several domains see.
    SharedMemoryTable {
        /// Its name for Xen, at most 15 bytes.
        id: Option<String> = required "id = \"speed\"",
        /// Size of the region.
        size: Option<ByteSize> = required "size = \"64KiB\"",
        /// Host-physical address.
        at: Option<Address> = default "Xen takes the memory from its heap (Xen 4.19 and newer)",
        /// The domains that see it.
        user: Vec<SharedMemoryUserTable>,
    }

    /// A domain that sees shared memory.
    SharedMemoryUserTable {
        /// The domain.
        domain: Option<String> = required "domain = \"cluster\"",
        /// Guest-physical address.
        at: Option<Address> = default "a free one from 0x3300_0000; with `direct_map` and in dom0, `at` of the region",
        /// Role of the domain for Xen.
        role: Option<ShmRole> = default "borrower",
        /// Whether it is meant to write. Xen does not enforce this: every user can write (AVPS0801).
        writes: Option<bool> = default "false",
    }

    /// An event channel.
    EventChannelTable {
        /// A name for it.
        name: Option<String> = default "the names of the two domains",
        /// The two domains.
        between: Option<Texts> = required "between = [\"adas\", \"cluster\"]",
        /// Their ports.
        ports: Option<Numbers> = default "the next free port of each domain, from 10",
    }

    /// A link between two domains: shared memory and an event channel. No program of this release speaks its protocol (rule AVPS1003).
    IpcTable {
        /// Name; also that of its shared memory.
        name: Option<String> = required "name = \"speed\"",
        /// Protocol.
        kind: Option<IpcKind> = default "mailbox",
        /// Who sends.
        from: Option<String> = required "from = \"adas\"",
        /// Who receives.
        to: Option<String> = required "to = \"cluster\"",
        /// Size of the shared memory.
        size: Option<ByteSize> = default "4KiB",
        /// Host-physical address of the shared memory.
        at: Option<Address> = default "Xen takes the memory from its heap (Xen 4.19 and newer)",
        /// Guest-physical address of the shared memory, in both domains.
        guest_at: Option<Address> = default "a free one from 0x3300_0000; with `direct_map` and in dom0, `at`",
    }

    /// A network between domains. `avpsctl check` evaluates it, but no program of this release creates one (AVPS1001).
    NetworkTable {
        /// Name.
        name: Option<String> = required "name = \"backbone\"",
        /// Network interface of the machine that is connected to it.
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
        /// MAC address.
        mac: Option<String> = default "made from the names of platform, network and domain",
        /// VLAN, 1 to 4094.
        vlan: Option<u64>,
        /// Priority code point, 0 to 7 (IEEE 802.1Q).
        priority: Option<u64> = default "0",
        /// Largest frame of its reserved traffic.
        frame: Option<ByteSize>,
        /// How often such a frame is sent.
        interval: Option<TimeSpan>,
        /// Longest time such a frame may take.
        latency: Option<TimeSpan>,
    }

    /// A waiver: accepts findings of one rule until a date.
    WaiveTable {
        /// Id of the rule.
        rule: Option<String> = required "rule = \"AVPS0616\"",
        /// The domain, link or other named thing it is about.
        subject: Option<String> = default "all findings of the rule",
        /// Why it is acceptable.
        reason: Option<String> = required "reason = \"the region has one page, so little can be evicted through it\"",
        /// Who is responsible for that.
        owner: Option<String> = required "owner = \"safety@example.com\"",
        /// The last day it holds.
        expires: Option<Date> = required "expires = 2027-06-30",
    }
}
