//! The machine's own devices, and the secure world.

use super::rules;

rules! {
    /// A device that the machine does not have.
    DEVICE_PATH = "AVPS0701", "device-path", Error,
        help "use the path of a node of the machine's device tree, for example \"/soc/serial@9040000\"",
        why "Interrupts and the IOMMU's settings are taken from the node; without it Xen stops the machine, and libxl does \
             not start the domain.",
        source "Xen: xen/arch/arm/dom0less-build.c, handle_passthrough_prop (\"Couldn't find node\")";
    /// A device that is disabled.
    DEVICE_DISABLED = "AVPS0702", "device-disabled", Warning,
        help "use another device, or enable it in the machine's device tree",
        why "The firmware says that the device is not wired or not powered.",
        source "Devicetree Specification 0.4, 2.3.4 (status)";
    /// A device has two owners.
    DEVICE_TWICE = "AVPS0703", "device-twice", Error,
        help "give the device to one domain",
        why "Two drivers cannot drive one device. Xen notices it by the IOMMU or the interrupts, and stops the machine.",
        source "Xen: xen/drivers/passthrough/device_tree.c, iommu_assign_dt_device; xen/arch/arm/irq.c, route_irq_to_guest";
    /// DMA behind an IOMMU that is not there.
    DEVICE_WITHOUT_IOMMU = "AVPS0704", "device-without-iommu", Error,
        help "say what keeps its DMA in bounds: dma = \"none\" for a device that is no bus master, or \"trusted\"",
        why "Without an IOMMU a bus master can access all memory. Xen refuses the device unless the document says \
             explicitly that this is intended.",
        source "Xen: xen/drivers/passthrough/device_tree.c, iommu_assign_dt_device; docs/misc/arm/passthrough.txt";
    /// Registers that are no whole pages.
    DEVICE_PAGES = "AVPS0705", "device-pages", Error,
        help "use whole pages of 4KiB, if nothing else is in them",
        why "Registers are mapped in pages. For a part of a page Xen stops the machine: \"not page aligned \
             addresses/sizes\". A region of no bytes maps nothing: Xen starts the domain, and its driver finds no device.",
        source "Xen: xen/arch/arm/dom0less-build.c, handle_passthrough_prop";
    /// Devices of two owners in one page.
    DEVICE_PAGE_SHARED = "AVPS0706", "device-page-shared", Error,
        help "give both devices to one domain",
        why "A page is mapped as a whole: who drives one of the devices can also drive the other.",
        source "Arm ARM, D8 (stage 2 translation: 4 KiB granule)";
    /// Registers where RAM is.
    DEVICE_IN_RAM = "AVPS0707", "device-in-ram", Error,
        help "correct the address",
        why "The domain would be given memory that belongs to others.",
        source "Xen: xen/arch/arm/dom0less-build.c, handle_passthrough_prop (iomem_permit_access without a look at RAM)";
    /// An interrupt that Xen uses for something else in this guest.
    INTERRUPT_CLASH = "AVPS0708", "interrupt-clash", Error,
        help "use console = \"none\" for interrupt 32, or fewer virtio devices for 33 to 43",
        why "Passthrough keeps the machine's numbers. Xen's own console has 32, and virtio 33 to 43: both would raise one line.",
        source "Xen: xen/include/public/arch-arm.h, GUEST_VPL011_SPI, GUEST_VIRTIO_MMIO_SPI_FIRST";
    /// One interrupt of two owners.
    INTERRUPT_SHARED = "AVPS0709", "interrupt-shared", Error,
        help "give both devices to one domain",
        why "An interrupt goes to one domain; Xen stops the machine at the second one. Each owner could also silence the other.",
        source "Xen: xen/arch/arm/irq.c, route_irq_to_guest (EBUSY)";
    /// An interrupt that cannot be given to a guest.
    INTERRUPT_RANGE = "AVPS0710", "interrupt-range", Error,
        help "use interrupts from 32 to 1019, as the interrupt controller counts them (SPI + 32)",
        why "The first 32 are private to each CPU: timers and inter-processor interrupts. Xen passes only shared ones on.",
        source "Xen: xen/arch/arm/irq.c, route_irq_to_guest (NR_LOCAL_IRQS)";
    /// Registers where the guest has something else.
    DEVICE_GUEST_PLACE = "AVPS0711", "device-guest-place", Error,
        help "choose another guest_at",
        why "Xen does not notice: the guest finds the device where its RAM or its interrupt controller should be, or the \
             other way round.",
        source "Xen: xen/include/public/arch-arm.h; xen/arch/arm/dom0less-build.c, handle_passthrough_prop";
    /// A device that Xen itself drives.
    DEVICE_OF_XEN = "AVPS0712", "device-of-xen", Error,
        help "leave the device to Xen",
        why "Xen drives its console, the interrupt controller, the timer and the IOMMU itself, and hides them from \
             all domains. Whoever drives the IOMMU or the interrupt controller controls the machine.",
        source "Xen: xen/arch/arm/domain_build.c, handle_node (skip_matches, DOMID_XEN)";
    /// A device without registers.
    DEVICE_REGISTERS = "AVPS0713", "device-registers", Error,
        help "add [[domain.device.region]] with at and size, or name the machine's device tree",
        why "Nothing is mapped into the guest without them.",
        source "Xen: xen/arch/arm/dom0less-build.c, handle_prop_pfdt (\"xen,reg or xen,path missing\")";
    /// Rights in the secure world for a domain that Xen starts.
    TEE_OF_DOM0LESS = "AVPS0720", "tee-of-dom0less", Error,
        help "use boot = \"toolstack\" for a domain that needs the TEE",
        why "Xen's device tree has no property for it: a dom0less domain gets no access to the secure world.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (no tee_type)";
    /// A text that is no UUID.
    TEE_UUID = "AVPS0721", "tee-uuid", Error,
        help "write it like 8aaaf200-2450-11e4-abe2-0002a5d5c51b",
        why "Trusted applications are named by UUIDs; one that cannot be read would allow nothing, or the wrong thing.",
        source "RFC 9562, 4; GlobalPlatform TEE Client API 1.0, 4.3 (TEEC_UUID)";
    /// A trusted application is listed twice.
    TEE_UUID_TWICE = "AVPS0722", "tee-uuid-twice", Error,
        help "remove one of the entries",
        why "Most often the second was meant to be another one.",
        source "platform document, schema avps/1";
    /// No session is allowed.
    TEE_SESSIONS = "AVPS0723", "tee-sessions", Error,
        help "use at least 1, or mode = \"none\"",
        why "Without a session no application can be called.",
        source "GlobalPlatform TEE Client API 1.0, 4.5";
    /// Rights that nobody applies.
    TEE_RIGHTS_UNUSED = "AVPS0724", "tee-rights-unused", Error,
        help "use mode = \"mediated\", or remove applications, stand_in, rate and timeout",
        why "Only avps-tee applies these keys. Xen's own mediators let a guest open every application. The document \
             would promise a limit that nothing enforces.",
        source "Xen: xen/arch/arm/tee/optee.c, ffa.c; this project's design: the OP-TEE mediator";
    /// Rights to nothing.
    TEE_NO_APPLICATION = "AVPS0725", "tee-no-application", Warning,
        help "list the UUIDs in applications, or use mode = \"none\"",
        why "The mediator allows what is listed, and nothing else.",
        source "this project's design: the OP-TEE mediator";
    /// More shared memory than the mode has.
    TEE_SHARED_MEMORY = "AVPS0726", "tee-shared-memory", Error,
        help "use a multiple of 4KiB, at most 8256KiB in mode \"hypervisor\" and 32640KiB in mode \"ffa\"",
        why "Memory is shared in pages, and Xen's own mediators bound what a guest shares: 16 buffers of at most 129 pages \
             each for OP-TEE's own calls, 32 regions of at most 255 pages each for FF-A.",
        source "Xen: xen/arch/arm/tee/optee.c, MAX_SHM_BUFFER_COUNT, MAX_SHM_BUFFER_PG; ffa_private.h, FFA_MAX_SHM_COUNT, \
                FFA_MAX_SHM_PAGE_COUNT; ffa_shm.c, alloc_ffa_shm_mem";
    /// A share of the secure world that avps-tee cannot give.
    TEE_SHARE = "AVPS0727", "tee-share", Error,
        help "use a concurrency of 1 to 8 and a weight of 1 to 1000",
        why "The mediator keeps a thread for each call that a domain may have under way, and divides the secure world by weight.",
        source "this project's design: the OP-TEE mediator";
    /// One application for two domains whose calls are mediated.
    TEE_STORAGE_SHARED = "AVPS0728", "tee-storage-shared", Warning error from B waivable true,
        help "give each domain an application of its own (the same code signed under another UUID, which a \
              [[domain.tee.stand_in]] puts in the place of the first), or waive this if the application keeps no objects or \
              keeps its clients apart itself",
        why "OP-TEE keeps an application's persistent objects by the application's UUID, and all mediated domains are one \
             client to it: each of them finds, and can delete, what the others stored.",
        source "OP-TEE: core/tee/tee_svc_storage.c and tee_ree_fs.c (objects by UUID); this project's design: the OP-TEE mediator";
    /// More domains than OP-TEE has room for.
    TEE_PARTITIONS = "AVPS0729", "tee-partitions", Error,
        help "use mode = \"mediated\" for some, which takes no partition of OP-TEE, or build OP-TEE with a larger \
              CFG_VIRT_GUEST_COUNT and correct partitions in [tee]",
        why "OP-TEE divides its memory into as many equal parts as it was built for, and the control domain has one of them. \
             When all are taken, Xen refuses to create the next domain.",
        source "OP-TEE: core/arch/arm/kernel/virtualization.c, virt_guest_created; Xen: xen/arch/arm/tee/optee.c, \
                optee_domain_init; ffa_partinfo.c, ffa_partinfo_domain_init";
    /// Nobody knows how many domains OP-TEE has room for.
    TEE_PARTITIONS_UNKNOWN = "AVPS0730", "tee-partitions-unknown", Warning,
        help "add [tee] with partitions = 3, or what OP-TEE's CFG_VIRT_GUEST_COUNT is",
        why "OP-TEE is built for two domains unless it is told otherwise, and the control domain is one of them: most builds \
             have no room for these.",
        source "OP-TEE: mk/config.mk, CFG_VIRT_GUEST_COUNT";
    /// Two of Xen's mediators.
    TEE_MODES = "AVPS0731", "tee-modes", Error,
        help "use the mode that fits the firmware: \"ffa\" where OP-TEE is the Secure Partition Manager \
              (CFG_CORE_SEL1_SPMC), \"hypervisor\" where it is not",
        why "OP-TEE is called either by its own SMCs or by FF-A, as it was built. Xen looks for one mediator when it boots, and \
             refuses to create a domain that asks for another.",
        source "Xen: xen/arch/arm/tee/tee.c, tee_init, tee_domain_init; OP-TEE: core/arch/arm/arm.mk, CFG_CORE_FFA";
}
