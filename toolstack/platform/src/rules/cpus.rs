//! CPUs, their pools, schedulers and caches; and what the chosen release of Xen knows of them.

use super::rules;

rules! {
    /// A release this program knows nothing about.
    XEN_VERSION = "AVPS0501", "xen-version", Warning,
        help "use a release from 4.17 to 4.22",
        why "What a release understands was read from its source; of others it is not known what they would ignore.",
        source "this project's design: several Xen releases, one source";
    /// A property that this release of Xen ignores.
    XEN_TOO_OLD = "AVPS0502", "xen-too-old", Error,
        help "use a newer release of Xen, or remove the property",
        why "Xen ignores properties of the device tree that it does not know: the domain starts, without what was asked for.",
        source "Xen: docs/misc/arm/device-tree/booting.txt of each release";
    /// A command line that Xen cannot keep.
    XEN_COMMAND_LINE = "AVPS0503", "xen-command-line", Error,
        help "use at most 900 bytes on one line",
        why "Xen keeps 1024 bytes of its command line, some of which are written for other keys of the document, and cuts \
             the rest off without a word.",
        source "Xen: xen/common/kernel.c, saved_cmdline; tried on Xen 4.20";
    /// A word of Xen's command line that another key of the document decides.
    XEN_COMMAND_LINE_WORD = "AVPS0504", "xen-command-line-word", Error,
        help "remove the word, and use the key that is named",
        why "Xen takes the last of two words that say the same, and ignores one that it cannot read: what was checked is \
             then not what runs.",
        source "Xen: docs/misc/xen-command-line.pandoc; tried on Xen 4.20 (sched=fair boots with another scheduler)";
    /// A CPU that the machine does not have.
    CPU_BEYOND_MACHINE = "AVPS0510", "cpu-beyond-machine", Error,
        help "use CPUs from 0 to one less than [machine].cpus",
        why "Xen stops the machine for a pool with a CPU that is not there; a domain bound to such a CPU does not start.",
        source "Xen: xen/common/sched/boot-cpupool.c, btcpupools_dtb_parse";
    /// A list of CPUs that is empty, or has a CPU twice.
    CPU_LIST = "AVPS0511", "cpu-list", Error,
        help "name each CPU once",
        why "Xen stops the machine for a pool without CPUs and for a CPU that is listed twice.",
        source "Xen: xen/common/sched/boot-cpupool.c, btcpupools_dtb_parse";
    /// A pool without a name of its own.
    CPUPOOL_NAME = "AVPS0512", "cpupool-name", Error,
        help "give each pool a name of its own",
        why "Domains name their pool; with two of one name it would be chance which one they get.",
        source "platform document, schema avps/1";
    /// A CPU is in two pools.
    CPU_IN_TWO_POOLS = "AVPS0513", "cpu-in-two-pools", Error,
        help "remove it from one of the pools",
        why "A CPU has one scheduler. Xen stops the machine: \"Logical cpu already added to a cpupool\".",
        source "Xen: xen/common/sched/boot-cpupool.c, btcpupools_dtb_parse";
    /// A domain names a pool that is not there.
    UNKNOWN_CPUPOOL = "AVPS0514", "unknown-cpupool", Error,
        help "add a [[cpupool]] of that name, or correct the name",
        why "A reference to nothing is no error to Xen: the domain starts in the first pool, on CPUs it should not touch.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (dt_parse_phandle); tried on Xen 4.20";
    /// The control domain in a pool without CPU 0.
    CONTROL_CPUPOOL = "AVPS0515", "control-cpupool", Error,
        help "leave cpupool out, or name the pool that has CPU 0",
        why "Xen makes the pool with the boot CPU its Pool-0, and the control domain starts there, whatever else is asked for.",
        source "Xen: xen/common/sched/boot-cpupool.c, btcpupools_allocate_pools; xen/arch/arm/domain_build.c, create_dom0";
    /// A domain is bound to CPUs that are not in its pool.
    PIN_OUTSIDE_POOL = "AVPS0516", "pin-outside-pool", Error,
        help "name CPUs of the pool, or another pool",
        why "The scheduler of a pool only has the pool's CPUs; an affinity to others is cut down to what is left, or to everything.",
        source "Xen: xen/common/sched/core.c, sched_select_initial_cpu, vcpu_set_hard_affinity";
    /// CPUs that no domain can use.
    CPUS_UNUSED = "AVPS0517", "cpus-unused", Warning,
        help "add a [[cpupool]] with these CPUs, or add them to another one",
        why "CPU 0 is in a pool of the document, so that is Xen's Pool-0; the CPUs that are in no pool become one without a \
             name, in which nothing is started.",
        source "Xen: xen/common/sched/boot-cpupool.c, btcpupools_allocate_pools";
    /// The null scheduler has more vCPUs than CPUs.
    NULL_OVERCOMMIT = "AVPS0518", "null-overcommit", Error,
        help "use fewer vCPUs, more CPUs, or another scheduler",
        why "The null scheduler gives each vCPU a CPU for good. The vCPU that finds none never runs, and Xen only says so in \
             a line of its log.",
        source "Xen: xen/common/sched/null.c, null_unit_insert; tried on Xen 4.20";
    /// A domain of Xen's own boot is bound to CPUs, which this release cannot do.
    PIN_IGNORED = "AVPS0519", "pin-ignored", Error,
        help "put the CPUs into a [[cpupool]] and name that, or use Xen 4.21",
        why "Xen learned the nodes that bind vCPUs (xen,vcpu) in 4.21. Older ones ignore them: the domain runs on every CPU \
             of its pool.",
        source "Xen: docs/misc/arm/device-tree/booting.txt, hard-affinity; tried on Xen 4.20";
    /// A share of RTDS that Xen refuses.
    RTDS_SHARE = "AVPS0520", "rtds-share", Error,
        help "use a budget from 10us up to the period",
        why "Xen takes neither less than 10 us, nor a budget that is longer than its period.",
        source "Xen: xen/common/sched/rt.c, rt_dom_cntl (RTDS_MIN_PERIOD, RTDS_MIN_BUDGET)";
    /// More time is promised than the pool's CPUs have.
    RTDS_OVERLOAD = "AVPS0521", "rtds-overload", Error,
        help "use smaller budgets, longer periods, or more CPUs",
        why "RTDS does not check what it can keep: with more than all of the time promised, deadlines are missed, \
             and whose it is nobody knows. A vCPU without a share of its own has 4 ms in each 10 ms.",
        source "Xen: xen/common/sched/rt.c, RTDS_DEFAULT_BUDGET; no admission test there";
    /// A share of a scheduler that the domain does not have.
    SHARE_WITHOUT_SCHEDULER = "AVPS0522", "share-without-scheduler", Error,
        help "choose that scheduler for the domain's pool, or remove the share",
        why "Each scheduler understands only its own parameters.",
        source "Xen: xen/common/sched/core.c, sched_adjust (sched_id)";
    /// A domain under ARINC653 without a time slot.
    ARINC653_SLOT = "AVPS0523", "arinc653-slot", Error,
        help "add arinc653 = { runtime = \"5ms\" } to the domain",
        why "The scheduler runs what is in its table and nothing else: a domain without a slot never runs.",
        source "Xen: xen/common/sched/arinc653.c, a653sched_do_schedule, arinc653_sched_set";
    /// ARINC653 with more than one CPU or vCPU.
    ARINC653_SINGLE = "AVPS0524", "arinc653-single", Error,
        help "use a pool of one CPU, and domains of one vCPU",
        why "The scheduler keeps one position in one table for all CPUs of its pool, so that a second CPU skips slots; it is \
             made, and supported, for single cores.",
        source "Xen: xen/common/sched/arinc653.c (sched_index); xen/common/sched/Kconfig, SCHED_ARINC653; SUPPORT.md";
    /// More time slots than ARINC653 has.
    ARINC653_SLOTS = "AVPS0525", "arinc653-slots", Error,
        help "use at most 64 domains in the pool",
        why "The scheduler's table has 64 entries; Xen refuses a longer one as a whole.",
        source "Xen: xen/include/public/sysctl.h, ARINC653_MAX_DOMAINS_PER_SCHEDULE";
    /// Shares of time, and nobody to set them.
    SHARE_WITHOUT_CONTROL = "AVPS0526", "share-without-control", Error,
        help "add a control domain, or use the null scheduler in a pool of the domain's own",
        why "The device tree has no word for budgets and time slots: they are set by a hypercall of the control domain.",
        source "Xen: xen/include/public/domctl.h, XEN_DOMCTL_scheduler_op; xen/arch/arm/dom0less-build.c";
    /// More vCPUs than GICv2 can tell apart.
    GICV2_VCPUS = "AVPS0527", "gicv2-vcpus", Error,
        help "use at most 8",
        why "GICv2 addresses CPUs by a mask of 8 bits, for guests too. Xen refuses the domain; for one of its own boot, it \
             stops the machine.",
        source "Xen: xen/arch/arm/vgic.c, vgic_max_vcpus";
    /// A number of interrupts that Xen refuses, or too few for what the domain has.
    INTERRUPT_COUNT = "AVPS0528", "interrupt-count", Error,
        help "leave interrupts out: Xen then gives as many as the machine has; otherwise use at most 960",
        why "Xen rounds the number up to a multiple of 32 and stops the machine when that is more than 988. An interrupt \
             behind the last one cannot be given to the guest.",
        source "Xen: xen/arch/arm/vgic.c, domain_vgic_init, vgic_reserve_virq";
    /// A colour the cache does not have.
    COLOR_RANGE = "AVPS0530", "color-range", Error,
        help "use colours from 0 to one less than the cache has",
        why "Xen refuses the domain; for one of its own boot, it stops the machine.",
        source "Xen: xen/common/llc-coloring.c, check_colors; CONFIG_LLC_COLORS_ORDER (128 colours)";
    /// A list of colours that is not ascending, or has one twice.
    COLOR_LIST = "AVPS0531", "color-list", Error,
        help "name each colour once, in ascending order",
        why "The format wants it so. Xen does not check it: a colour that is listed twice gets twice the pages, and the \
             isolation that was planned is not what runs.",
        source "Xen: docs/misc/cache-coloring.rst; xen/common/llc-coloring.c, parse_color_config; tried on Xen 4.20";
    /// Colours of a cache nobody knows.
    LLC_UNKNOWN = "AVPS0532", "cache-unknown", Warning,
        help "describe the cache: llc = { size = \"1MiB\", ways = 16 } in [machine]",
        why "How many colours there are depends on size and ways. Xen asks the processor, which knows nothing of a cache \
             outside its cluster; then the colours divide the wrong cache.",
        source "Xen: docs/misc/cache-coloring.rst, llc-size and llc-nr-ways";
    /// A cache that cannot be divided into colours.
    LLC_GEOMETRY = "AVPS0533", "cache-geometry", Error,
        help "use the size and ways of the processor's manual: their quotient is a power of two, at least 8KiB",
        why "The colour of a page is some bits of its address, so there have to be 2, 4, 8 … of them. Xen stops the machine \
             otherwise.",
        source "Xen: xen/common/llc-coloring.c, llc_coloring_init";
    /// A domain without colours on a machine with colours.
    COLORS_MISSING = "AVPS0534", "colors-missing", Warning waivable true,
        help "give it colours, all of them if that is meant",
        why "A domain that does not say gets every colour, those of the others too, and can push their data out of the \
             cache. avpsctl writes them out for Xen 4.20, which would otherwise give it the colours of the domain before it.",
        source "Xen: docs/misc/cache-coloring.rst; xen/arch/arm/dom0less-build.c, create_domUs (llc_colors_str); tried on \
                Xen 4.20";
}
