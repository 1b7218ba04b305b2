//! Freedom from interference: what a domain can do to one of a higher safety level although no function of either
//! needs it (ISO 26262-6, annex D: timing and execution, memory, exchange of information).
//!
//! Each rule is about one shared resource or one open door between two domains. What a safety domain's own function
//! rests on (its disk, its clocks) is in `levels`.

use super::rules;

rules! {
    /// Shared memory that a domain of a lower level can write.
    MEMORY_ACROSS_LEVELS = "AVPS0801", "memory-across-levels", Warning error from B waivable true,
        help "keep the region within one level; or protect what passes through it end to end (sequence counter, CRC, \
              timeout: AUTOSAR E2E), read it once, and waive this with that as the reason",
        why "Xen maps static shared memory readable and writable for every user: \"writes\" in the document is an \
             intention that nothing enforces. Whoever sees the region can change it at any moment.",
        source "Xen: xen/arch/arm/static-shmem.c, assign_shared_memory and p2m_map_foreign_rw; ISO 26262-6, D.2.3";
    /// Two writers of different levels in one region.
    WRITERS_ACROSS_LEVELS = "AVPS0802", "writers-across-levels", Error waivable true,
        help "give each direction a region of its own with one writer",
        why "Where two domains are meant to write, a wrong value cannot even be told from a right one: neither side \
             owns the data.",
        source "Jailhouse ivshmem v2 (one writer per section); ISO 26262-6, D.2.3 and D.2.4";
    /// RPMsg between levels.
    RPMSG_ACROSS_LEVELS = "AVPS0803", "rpmsg-across-levels", Warning error from B waivable true,
        help "use kind = \"mailbox\" from the higher to the lower level, and a second one back if needed",
        why "RPMsg lies on virtio rings: both sides write descriptors, indices and buffers of the same memory, and each \
             believes indices that the other one wrote.",
        source "OpenAMP RPMsg, virtqueue layout; Linux: Documentation/staging/rpmsg.rst";
    /// A backend that maps all of a safety domain.
    FOREIGN_MEMORY = "AVPS0805", "foreign-memory", Warning error from B waivable true,
        help "use memory = \"grant\": then the backend accesses granted pages only (rings, and buffers of requests in \
              flight)",
        why "With \"foreign\" the backend process maps whatever page of the guest it likes, readable and writable: one \
             wrong pointer in it is a write into the safety domain, also when both have the same level.",
        source "Xen: xen/include/public/memory.h, XENMEM_add_to_physmap_batch with XENMAPSPACE_gmfn_foreign";
    /// A safety domain whose memory can shrink.
    BALLOON = "AVPS0808", "balloon", Warning error from B waivable true,
        help "set balloon = false",
        why "A balloon driver gives memory away when XenStore says so, and the control domain writes that. An allocation \
             that worked in every test fails in the field.",
        source "Xen: xen/include/public/memory.h, XENMEM_decrease_reservation; ISO 26262-6, D.2.3";
    /// A physical CPU shared with a lower level.
    CPU_SHARED = "AVPS0809", "cpu-shared-across-levels", Warning error from B waivable true,
        help "give the safety domain CPUs of its own: a [[cpupool]] with all of them, or cpus = [..] in all domains of a pool",
        why "Time that one domain uses on a CPU is not available to the other. This includes busy loops, hypercalls, \
             and interrupts of its devices, which Xen handles on that CPU whichever domain runs there. Schedulers \
             that share by weight do not limit this.",
        source "Xen: docs/features/sched_credit2.pandoc; ISO 26262-6, D.2.2";
    /// The last-level cache shared with a lower level.
    CACHE_SHARED = "AVPS0810", "cache-shared-across-levels", Warning waivable true,
        help "give the domains of each level colours of their own (colors = \"0-3\"), or CPUs in clusters with separate caches",
        why "A neighbour that streams through memory evicts the lines of the safety domain, whatever CPU it runs on: no \
             measurement of worst-case time holds without a partition of the cache.",
        source "Xen: docs/misc/cache-coloring.rst; ISO 26262-6, D.2.2";
    /// Several vCPUs take turns under a scheduler without guarantees.
    SCHEDULER = "AVPS0811", "scheduler-without-guarantee", Warning error from C waivable true,
        help "use a pool with scheduler = \"null\" (a CPU for each vCPU) or \"arinc653\" (fixed slots), or one in which no \
              other domain runs and which has a CPU for each vCPU",
        why "The credit schedulers share time by weight: they are fair over many milliseconds and promise nothing about the \
             next one.",
        source "Xen: docs/features/sched_credit2.pandoc, xen/common/sched/null.c and arinc653.c; ISO 26262-6, D.2.2";
    /// A device that can write everywhere.
    DMA_EVERYWHERE = "AVPS0812", "dma-everywhere", Warning error from B waivable true,
        help "use dma = \"iommu\"; if the machine has no IOMMU for this device, its driver needs the level of the domains it \
              can overwrite",
        why "A bus master without an IOMMU reads and writes any physical address its driver gives it: no page table of Xen \
             stands between it and the safety domain.",
        source "Xen: docs/misc/arm/passthrough-noiommu.txt; ISO 26262-6, D.2.3";
    /// An interrupt line that a lower level can pull at will.
    DOORBELL = "AVPS0816", "doorbell-from-lower-level", Warning error from D waivable true,
        help "poll instead, mask the port in the handler and unmask it at the rate that was budgeted, or waive this with that \
              as the reason",
        why "The other end can send as often as it likes, and Xen does not limit it. One pending bit bounds the number of \
             interrupts that wait, not how often the handler runs.",
        source "Xen: xen/common/event_channel.c, evtchn_send; ISO 26262-6, D.2.2";
    /// A console that the control domain serves.
    CONSOLE_PV = "AVPS0817", "console-of-control-domain", Warning error from B waivable true,
        help "use console = \"vpl011\" (inside Xen) or \"none\"",
        why "The paravirtual console is a ring that a daemon in the control domain empties. If it does not, a guest \
             that waits for space in the ring hangs. The daemon can also read and change what the guest prints.",
        source "Xen: xen/include/public/io/console.h, tools/console/daemon/io.c";
    /// Secure-world calls that the control domain carries out.
    TEE_MEDIATED = "AVPS0818", "tee-by-control-domain", Warning error from B waivable true,
        help "use tee.mode = \"hypervisor\", or do without the secure world",
        why "With \"mediated\" a process in the control domain answers each call. While that process hangs or does \
             not run, the calling vCPU is blocked. The process also sees what the domain sends.",
        source "this project's design: the OP-TEE mediator; Xen: xen/common/monitor.c, privileged calls";
    /// XenStore for a safety domain that has nothing to look up in it.
    XENSTORE = "AVPS0819", "xenstore-without-need", Warning error from B waivable true,
        help "use enhanced = \"no-xenstore\" or \"disabled\"",
        why "The guest waits for XenStore when it starts, and XenStore is a process in the control domain that can change \
             what it reads.",
        source "Xen: docs/misc/arm/device-tree/booting.txt, xen,enhanced";
    /// A control domain of a lower level.
    CONTROL_DOMAIN = "AVPS0820", "control-domain-below-level", Warning error from B waivable true,
        help "leave the control domain out and let Xen start all domains (boot = \"dom0less\"): without a hardware domain nobody \
              can stop them. Or give the control domain the highest level and treat it as such",
        why "When the first domain shuts down or crashes, Xen halts or restarts the machine, whatever else runs. While it runs, it \
             may map, pause and destroy every other domain.",
        source "Xen: xen/common/shutdown.c, hwdom_shutdown; xen/include/xsm/dummy.h, XSM_PRIV; ISO 26262-6, D.2.2 and D.2.3";
    /// A safety domain that somebody else starts.
    BOOT_BY_TOOLSTACK = "AVPS0821", "boot-by-toolstack", Warning error from B waivable true,
        help "use boot = \"dom0less\"",
        why "A kernel, a user land, XenStore and a toolstack have to come up before the domain exists, and it starts again only if \
             they still work. Xen itself starts it within a second, before any other domain runs.",
        source "Xen: docs/features/dom0less.pandoc";
    /// A time table that nobody sets at boot.
    ARINC653_AT_BOOT = "AVPS0823", "arinc653-set-by-toolstack", Warning error from B waivable true,
        help "use scheduler = \"null\" for domains that Xen starts",
        why "At boot the ARINC653 scheduler gives slots to domain 0 and to no other. Until a toolstack sets the time table, a domain \
             that Xen started in such a pool does not run at all.",
        source "Xen: xen/common/sched/arinc653.c, a653sched_alloc_udata";
    /// A safety domain that nobody watches.
    NO_WATCHDOG = "AVPS0824", "no-watchdog", Warning error from B waivable true,
        help "add a watchdog: watchdog = { timeout = \"500ms\", owner = \"/watchdog@…\" }, with a device of the domain's own or a \
              domain of at least its level as the owner",
        why "A domain that hangs looks like one that has nothing to say. Somebody has to notice within the fault-tolerant time \
             interval, and to be able to act.",
        source "ISO 26262-6, D.2.2 and 7.4.12 (program flow monitoring)";
    /// A lower level whose watchdog resets the machine.
    RESET_BY_LOWER = "AVPS0825", "reset-by-lower-level", Warning error from C waivable true,
        help "use action = \"restart\" for the domain of the lower level, or no watchdog at all",
        why "A watchdog that resets the machine gives its domain the power to do so: it only has to hang. Every domain of a higher \
             level stops with it.",
        source "Xen: xen/common/sched/core.c, domain_watchdog_timeout; ISO 26262-6, D.2.2";
    /// A network on which lower levels go first.
    NETWORK_PRIORITY = "AVPS0830", "network-without-precedence", Warning error from B waivable true,
        help "give the safety domain's port a higher priority than every port of a lower level, or reserved time (frame and \
              interval), or a network of its own",
        why "Frames of one priority wait for each other: a domain that floods the network delays those of the safety domain \
             without bound.",
        source "IEEE 802.1Q, 8.6.8 (transmission selection); ISO 26262-6, D.2.4";
    /// Freed or earlier memory that is handed over as it is.
    BOOTSCRUB = "AVPS0831", "memory-not-scrubbed", Warning error from C waivable true,
        help "leave bootscrub out of [xen].cmdline, or say bootscrub=idle",
        why "With bootscrub=on or off the memory of domains that Xen starts is not cleared: a domain begins with what the last run \
             left there, and may read it.",
        source "Xen: SUPPORT.md, Dom0less";
    /// A feature that Xen itself calls experimental.
    EXPERIMENTAL = "AVPS0832", "experimental-feature", Warning waivable true,
        help "use a feature that Xen supports, or waive this and say who tests and maintains it instead",
        why "The Xen Project states how far it supports each feature (SUPPORT.md). An experimental feature may not \
             work and may change, and gets no security support.",
        source "Xen: SUPPORT.md";
}
