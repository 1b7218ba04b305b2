//! Places in memory: the machine's RAM and what is put there before any domain runs.

use super::rules;

rules! {
    /// RAM, or reserved memory, that is no range of whole pages.
    MEMORY_RANGE = "AVPS0401", "memory-range", Error,
        help "use a beginning and a size that are multiples of 4KiB, and a size that is not zero",
        why "Xen counts memory in pages of 4 KiB and cuts what is left over off, at whichever end it is: the \
             map that the layout was checked against would not be the one that Xen works with.",
        source "Xen: xen/common/device-tree/bootfdt.c, device_tree_get_meminfo; xen/arch/arm/setup.c";
    /// Two banks of RAM have a byte in common.
    BANK_OVERLAP = "AVPS0402", "bank-overlap", Error,
        help "correct the beginning or the size of one of the banks",
        why "Xen sorts the banks and takes for granted that they do not overlap; pages that are in two of them are \
             given away twice.",
        source "Xen: xen/common/device-tree/bootfdt.c, cmp_memory_node (\"assumes that memory regions are not overlapped\")";
    /// Reserved memory where no RAM is.
    RESERVED_OUTSIDE = "AVPS0403", "reserved-outside-ram", Warning,
        help "correct the address, or remove the entry: what is no RAM need not be reserved",
        why "It reserves nothing. Most often a digit of the address is wrong, and the firmware's memory is open to everybody.",
        source "platform document, schema avps/1";
    /// Addresses are given, and nobody knows where RAM is.
    RAM_UNKNOWN = "AVPS0404", "ram-unknown", Warning,
        help "describe the RAM with [[machine.bank]], or name the machine's device tree",
        why "Xen reads its static memory before its console works: an address without RAM behind it stops the machine \
             without a single character. Without the banks nobody can say so beforehand.",
        source "Xen: xen/arch/arm/static-memory.c, init_staticmem_pages; tried on Xen 4.20";
    /// A place for static memory, for Xen's heap or for shared memory that is no range of whole pages.
    PLACE_RANGE = "AVPS0410", "place-range", Error,
        help "use multiples of 4KiB (64KiB for Xen's heap), and a size that is not zero",
        why "Xen maps whole pages. It stops the machine for an address that is not on one, and for a size it counts what is \
             left over as memory that the guest does not have. Its heap it takes in units of 64 KiB, without a word about \
             the rest.",
        source "Xen: xen/arch/arm/static-memory.c, acquire_static_memory_bank; docs/misc/arm/device-tree/booting.txt, xen,static-heap; tried on Xen 4.20";
    /// A place where no RAM is.
    PLACE_OUTSIDE_RAM = "AVPS0411", "place-outside-ram", Error,
        help "choose a place inside one bank of the machine's RAM",
        why "Xen initialises its records of these pages before its console works. Where the machine has no RAM it has no \
             records, and stops without a single character.",
        source "Xen: xen/arch/arm/static-memory.c, init_staticmem_pages; xen/arch/arm/static-shmem.c, process_shm (mfn_valid)";
    /// Two things are put in one place.
    PLACE_OVERLAP = "AVPS0412", "place-overlap", Error,
        help "move one of them",
        why "Xen gives up reading the device tree at the first range that overlaps another, before its console works: \
             the machine stops without a single character. A module that overlaps something is left out instead, and \
             its domain has no kernel.",
        source "Xen: xen/common/device-tree/bootinfo.c, check_reserved_regions_overlap and add_boot_module";
    /// The memory of a domain is not the sum of its static memory.
    STATIC_SUM = "AVPS0413", "static-memory-sum", Error,
        help "leave memory out: it is the sum of static_memory",
        why "Xen does not mix memory at fixed places with memory of its own choice, and stops the machine when the sum differs.",
        source "Xen: xen/arch/arm/static-memory.c, allocate_static_memory";
    /// Addresses of the machine without places in it.
    DIRECT_MAP_WITHOUT_PLACE = "AVPS0414", "direct-map-without-place", Error,
        help "give the domain static_memory, or remove direct_map",
        why "A domain whose addresses are the machine's has to know them beforehand. Xen stops the machine otherwise.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (\"direct-map is not valid for domain\")";
    /// Static memory on a machine whose cache is coloured.
    STATIC_COLORS = "AVPS0415", "static-memory-colors", Error,
        help "use static_memory or colors, not both on one machine",
        why "Colours decide page by page where memory lies; so does static memory. As soon as one domain has colours, \
             Xen stops the machine at the first domain with static memory, even one without colours.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (\"LLC coloring and static memory are incompatible\")";
    /// Fixed places for a domain that Xen does not place.
    STATIC_NOT_POSSIBLE = "AVPS0416", "static-memory-not-possible", Error,
        help "use boot = \"dom0less\", or give the domain memory without a place",
        why "Only domains of Xen's own boot can have memory at fixed places: libxl has no word for it, and Xen chooses \
             the control domain's memory itself. The places would stay unused and the domain would lie anywhere.",
        source "Xen: xen/common/device-tree/bootfdt.c, process_domain_node; xl.cfg(5)";
    /// More ranges than Xen has room for.
    TOO_MANY_RANGES = "AVPS0417", "too-many-ranges", Error,
        help "use fewer and larger ranges, one behind the other",
        why "Reserved memory, static memory and static heap share one table of 256 entries, and the pieces of free RAM \
             between them another one. Xen stops when one of them is full.",
        source "Xen: xen/include/xen/bootfdt.h, NR_MEM_BANKS; xen/common/page_alloc.c, bootmem_region_list; tried on Xen 4.20";
    /// A range of static memory lies across the hole in the guest's addresses.
    STATIC_ACROSS_HOLE = "AVPS0418", "static-memory-across-hole", Error,
        help "split the range so that the ranges before it sum up to exactly 3GiB",
        why "Guests have 3 GiB of RAM at 1 GiB and the rest at 8 GiB. Xen splits a range that crosses the border, but \
             counts only its second part: it finds that the sum is not the domain's memory, and stops the machine.",
        source "Xen: xen/arch/arm/static-memory.c, allocate_static_memory (tot_size)";
    /// The domains of Xen's own boot want more than there is.
    MEMORY_BEYOND_RAM = "AVPS0420", "memory-beyond-ram", Error,
        help "give the domains less memory, or correct the machine's banks",
        why "Xen allocates each domain's memory and page tables while it boots, from its heap where that has a place, and \
             stops the machine when it runs out. Its own records take 48 bytes or more for each page, and a domain with \
             cache colours has only the pages of these.",
        source "Xen: xen/arch/arm/domain_build.c, allocate_memory; xen/arch/arm/dom0less-build.c, domain_p2m_pages; tried on Xen 4.20";
    /// The window for modules is no usable range.
    MODULE_WINDOW = "AVPS0421", "module-window", Error,
        help "use multiples of 4KiB, and a slot that is not zero",
        why "Modules are mapped and given back in whole pages; two that share a page destroy each other.",
        source "Xen: xen/arch/arm/setup.c, discard_initial_modules";
    /// The window for modules has too little room.
    MODULE_ROOM = "AVPS0422", "module-room", Error,
        help "make the window larger or the slots smaller",
        why "Each domain has three slots: kernel, ramdisk, device tree. Modules behind the window would be loaded over \
             something else.",
        source "platform document, schema avps/1";
    /// More files than Xen can take.
    TOO_MANY_MODULES = "AVPS0423", "too-many-modules", Error,
        help "start fewer domains from Xen, or put ramdisks into kernels",
        why "Xen's table of modules has 32 entries, its own image and the device tree among them. The one that does not fit \
             is ignored, and its domain stops the machine for want of a kernel.",
        source "Xen: xen/include/xen/bootfdt.h, MAX_MODULES; xen/common/device-tree/bootinfo.c, add_boot_module";
    /// A command line that is too long for a module.
    MODULE_COMMAND_LINE = "AVPS0424", "module-command-line", Error,
        help "use at most 1023 bytes",
        why "Xen copies the command line of each kernel into a buffer of 1024 bytes and stops the machine when it does not fit.",
        source "Xen: xen/common/device-tree/bootinfo.c, add_boot_cmdline (BOOTMOD_MAX_CMDLINE)";
    /// A guest's device tree is larger than Xen's room for it.
    GUEST_DEVICE_TREE = "AVPS0426", "guest-device-tree", Error,
        help "use fewer vCPUs, less shared memory or a shorter command line; or Xen 4.22",
        why "Up to 4.21 Xen writes the device tree of a domain that it starts into 4 KiB: about 30 vCPUs, or 18 regions of \
             shared memory. It stops the machine when that is not enough.",
        source "Xen: xen/arch/arm/dom0less-build.c, DOMU_DTB_SIZE, prepare_dtb_domU";
    /// The RAM that a guest's kernel is loaded to is too small for anything.
    FIRST_MEMORY_SMALL = "AVPS0427", "first-memory-small", Error,
        help "use more than 4MiB, or more than 6MiB with a ramdisk; with direct_map, in the first range",
        why "Xen puts kernel, device tree and ramdisk into the first range of a guest's RAM, each on a border of 2 MiB of \
             its own. It stops the machine when they do not fit.",
        source "Xen: xen/arch/arm/kernel.c, place_modules; tried on Xen 4.20";
}
