//! CPUs, their pools, schedulers and caches; and what the chosen release of Xen knows of them.

use super::rules;

rules! {
    /// A release this program knows nothing about.
    XEN_VERSION = "AVPS0501", "xen-version", Warning,
        help "use a release from 4.17 to 4.22",
        why "The rules were derived from the sources of these releases. What other releases ignore is not known.",
        source "this project's design: several Xen releases, one source";
    /// A property that this release of Xen ignores.
    XEN_TOO_OLD = "AVPS0502", "xen-too-old", Error,
        help "use a newer release of Xen, or remove the property",
        why "Xen ignores properties of the device tree that it does not know: the domain starts, without what was asked for.",
        source "Xen: docs/misc/arm/device-tree/booting.txt of each release";
    /// A command line that Xen cannot keep.
    XEN_COMMAND_LINE = "AVPS0503", "xen-command-line", Error,
        help "use at most 900 bytes on one line",
        why "Xen keeps 1024 bytes of its command line and silently drops the rest. Some of these bytes are needed for \
             options from other keys of the document.",
        source "Xen: xen/common/kernel.c, saved_cmdline; tried on Xen 4.20";
    /// A word of Xen's command line that another key of the document decides.
    XEN_COMMAND_LINE_WORD = "AVPS0504", "xen-command-line-word", Error,
        help "remove the option, and use the key that the message names",
        why "This option is set by another key of the document. If it is given twice, Xen takes the last one, and it \
             ignores a value that it cannot read. So Xen may run with another value than the one that was checked.",
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
        why "Domains refer to their pool by name. With two pools of the same name it is not defined which one they \
             get.",
        source "platform document, schema avps/1";
    /// A CPU is in two pools.
    CPU_IN_TWO_POOLS = "AVPS0513", "cpu-in-two-pools", Error,
        help "remove it from one of the pools",
        why "A CPU has one scheduler. Xen stops the machine: \"Logical cpu already added to a cpupool\".",
        source "Xen: xen/common/sched/boot-cpupool.c, btcpupools_dtb_parse";
    /// A domain names a pool that is not there.
    UNKNOWN_CPUPOOL = "AVPS0514", "unknown-cpupool", Error,
        help "add a [[cpupool]] of that name, or correct the name",
        why "Xen does not report an unknown pool. The domain would start in Pool-0, on CPUs that it should not use.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (dt_parse_phandle); tried on Xen 4.20";
    /// The control domain in a pool without CPU 0.
    CONTROL_CPUPOOL = "AVPS0515", "control-cpupool", Error,
        help "leave cpupool out, or name the pool that has CPU 0",
        why "Xen makes the pool with the boot CPU its Pool-0, and the control domain starts there, whatever else is asked for.",
        source "Xen: xen/common/sched/boot-cpupool.c, btcpupools_allocate_pools; xen/arch/arm/domain_build.c, create_dom0";
    /// A domain is bound to CPUs that are not in its pool.
    PIN_OUTSIDE_POOL = "AVPS0516", "pin-outside-pool", Error,
        help "name CPUs of the pool, or another pool",
        why "A pool's scheduler has only the pool's CPUs. Other CPUs are dropped from the affinity. If none is left, \
             the domain may run on all CPUs of the pool.",
        source "Xen: xen/common/sched/core.c, sched_select_initial_cpu, vcpu_set_hard_affinity";
    /// CPUs that no domain can use.
    CPUS_UNUSED = "AVPS0517", "cpus-unused", Warning,
        help "add a [[cpupool]] with these CPUs, or add them to another one",
        why "The pool with CPU 0 becomes Xen's Pool-0. Xen puts the CPUs that are in no pool of the document into an \
             extra pool, in which no domain is started.",
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
        why "Xen supports vCPU affinity in the device tree (xen,vcpu nodes) since 4.21. Older releases ignore it: the \
             domain runs on every CPU of its pool.",
        source "Xen: docs/misc/arm/device-tree/booting.txt, hard-affinity; tried on Xen 4.20";
    /// A share of RTDS that Xen refuses.
    RTDS_SHARE = "AVPS0520", "rtds-share", Error,
        help "use a budget from 10us up to the period",
        why "Xen takes neither less than 10 us, nor a budget that is longer than its period.",
        source "Xen: xen/common/sched/rt.c, rt_dom_cntl (RTDS_MIN_PERIOD, RTDS_MIN_BUDGET)";
    /// More time is promised than the pool's CPUs have.
    RTDS_OVERLOAD = "AVPS0521", "rtds-overload", Error,
        help "use smaller budgets, longer periods, or more CPUs",
        why "RTDS has no admission control. If the budgets exceed the CPU time of the pool, deadlines are missed, and \
             it is not defined whose. A vCPU without its own budget has 4 ms in each 10 ms.",
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
        why "Xen's device tree has no property for budgets and time slots. The control domain sets them by a \
             hypercall.",
        source "Xen: xen/include/public/domctl.h, XEN_DOMCTL_scheduler_op; xen/arch/arm/dom0less-build.c";
    /// More vCPUs than GICv2 can tell apart.
    GICV2_VCPUS = "AVPS0527", "gicv2-vcpus", Error,
        help "use at most 8",
        why "GICv2 addresses CPUs by a mask of 8 bits, for guests too. Xen refuses the domain; for a dom0less domain, \
             it stops the machine.",
        source "Xen: xen/arch/arm/vgic.c, vgic_max_vcpus";
    /// A number of interrupts that Xen refuses, or too few for what the domain has.
    INTERRUPT_COUNT = "AVPS0528", "interrupt-count", Error,
        help "leave interrupts out: Xen then gives as many as the machine has; otherwise use at most 960",
        why "Xen rounds the number up to a multiple of 32 and stops the machine when that is more than 988. \
             Interrupts above this number cannot be assigned to the guest.",
        source "Xen: xen/arch/arm/vgic.c, domain_vgic_init, vgic_reserve_virq";
    /// A colour the cache does not have.
    COLOR_RANGE = "AVPS0530", "color-range", Error,
        help "use colours from 0 to one less than the cache has",
        why "Xen refuses the domain; for a dom0less domain, it stops the machine.",
        source "Xen: xen/common/llc-coloring.c, check_colors; CONFIG_LLC_COLORS_ORDER (128 colours)";
    /// A list of colours that is not ascending, or has one twice.
    COLOR_LIST = "AVPS0531", "color-list", Error,
        help "name each colour once, in ascending order",
        why "Xen's format requires it, but Xen does not check it. If a colour is listed twice, the domain gets twice \
             as many pages of that colour. The partition of the cache is then not the planned one.",
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
        why "The colour of a page is given by bits of its address, so the number of colours must be a power of two, \
             at least 2. Xen stops the machine otherwise.",
        source "Xen: xen/common/llc-coloring.c, llc_coloring_init";
    /// A domain without colours on a machine with colours.
    COLORS_MISSING = "AVPS0534", "colors-missing", Warning waivable true,
        help "give it colours, all of them if that is meant",
        why "A domain without colors gets all colours, also those of the other domains, and can evict their cache \
             lines. For Xen 4.20, avpsctl therefore lists all colours explicitly: that release would otherwise use \
             those of the preceding domain.",
        source "Xen: docs/misc/cache-coloring.rst; xen/arch/arm/dom0less-build.c, create_domUs (llc_colors_str); tried on \
                Xen 4.20";
}
