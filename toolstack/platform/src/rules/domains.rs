//! Domains, each for itself and by name.

use super::rules;

rules! {
    /// A name Xen's tools cannot use.
    DOMAIN_NAME = "AVPS0101", "domain-name", Error,
        help "use 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit, \
              with at least one letter",
        why "The name becomes part of XenStore paths, xl configurations and unit names; \
             a name of digits alone would be taken for a domain number, and Domain-0 is dom0's.",
        source "Xen: xen/include/public/io/xs_wire.h (path characters), tools/libs/light/libxl_utils.c";
    /// Two domains have the same name.
    DUPLICATE_DOMAIN = "AVPS0102", "duplicate-domain", Error,
        help "give each domain a name of its own",
        why "Domains are found by name; libxl refuses the second one only after the first is running.",
        source "Xen: tools/libs/light/libxl_create.c";
    /// The document has no domain.
    NO_DOMAIN = "AVPS0103", "no-domain", Warning,
        help "add a [[domain]] table",
        why "A platform without domains starts nothing, which is rarely meant.",
        source "platform document, schema avps/1";
    /// Two domains control the machine.
    SEVERAL_CONTROLS = "AVPS0104", "several-controls", Error,
        help "make all but one of them another kind",
        why "Xen has one first domain, number 0, and gives it everything.",
        source "Xen: xen/arch/arm/domain_build.c, create_dom0";
    /// The control domain stands behind others.
    CONTROL_NOT_FIRST = "AVPS0105", "control-not-first", Error,
        help "move its [[domain]] table before the others",
        why "Domains are started in the order of the document, and Xen builds the control domain before all others.",
        source "Xen: xen/arch/arm/setup.c, start_xen (create_dom0 before create_domUs)";
    /// The control domain is said to be started by itself.
    CONTROL_BOOT = "AVPS0106", "control-boot", Error,
        help "remove boot: Xen starts the control domain",
        why "The toolstack runs in the control domain, and cannot start what it runs in.",
        source "Xen: xen/arch/arm/setup.c, start_xen";
    /// A domain waits for itself.
    START_CYCLE = "AVPS0107", "start-cycle", Error,
        help "remove one of the names from after",
        why "Each of these domains waits for another one to be ready, and none is ever started.",
        source "platform document, schema avps/1";
    /// A domain without memory.
    NO_MEMORY = "AVPS0110", "no-memory", Error,
        help "give the domain memory, for example memory = \"128MiB\"",
        why "A domain of zero bytes cannot hold its kernel.",
        source "Xen: tools/libs/guest/xg_dom_arm.c";
    /// Memory that is no multiple of 1 MiB, or of 4 KiB for a domain that Xen starts.
    MEMORY_GRANULARITY = "AVPS0111", "memory-granularity", Error,
        help "use a multiple of 1MiB; of 4KiB for a domain that Xen starts",
        why "xl counts memory in MiB; a remainder would be lost without a word when the document \
             is emitted as an xl configuration. Xen itself counts pages of 4 KiB.",
        source "xl.cfg(5), memory=";
    /// More memory than a guest's physical address space has.
    MEMORY_BEYOND_GUEST = "AVPS0112", "memory-beyond-guest", Error,
        help "use at most 1019GiB",
        why "Xen's Arm guests have RAM at 1 GiB (3 GiB long) and at 8 GiB (1016 GiB long).",
        source "Xen: xen/include/public/arch-arm.h, GUEST_RAM0_SIZE, GUEST_RAM1_SIZE";
    /// No vCPU, or more than Xen's Arm guests can have.
    VCPUS = "AVPS0113", "vcpus", Error,
        help "use 1 to 128",
        why "Xen refuses to create a domain outside this range.",
        source "Xen: xen/include/public/arch-arm.h, GUEST_MAX_VCPUS";
    /// The domains want more than the machine is said to have.
    MEMORY_BEYOND_MACHINE = "AVPS0114", "memory-beyond-machine", Error,
        help "give the domains less memory, or correct [machine].memory",
        why "The last domain of the document would not start, and which one that is depends on the order.",
        source "platform document, schema avps/1";
    /// A path that is empty.
    EMPTY_PATH = "AVPS0120", "empty-path", Error,
        help "name a file; relative paths are relative to the document",
        why "An empty path would mean the document's folder.",
        source "platform document, schema avps/1";
    /// A path XenStore or xl could not carry.
    BAD_PATH = "AVPS0121", "bad-path", Error,
        help "use a path of at most 1024 bytes without control characters",
        why "Paths travel through XenStore values and xl configurations, where line ends and NUL \
             end a value.",
        source "Xen: docs/misc/xenstore.txt";
    /// A kernel command line that cannot be handed over.
    COMMAND_LINE = "AVPS0122", "command-line", Error,
        help "use at most 2047 bytes on one line",
        why "Linux on arm64 keeps 2048 bytes and cuts the rest off without a word.",
        source "Linux: arch/arm64/include/uapi/asm/setup.h, COMMAND_LINE_SIZE";
}
