//! Places in memory: the machine's RAM and what is put there before any domain runs.

use super::rules;

rules! {
    /// RAM, or reserved memory, that is no range of whole pages.
    MEMORY_RANGE = "AVPS0401", "memory-range", Error,
        help "use a beginning and a size that are multiples of 4KiB, and a size that is not zero",
        why "Xen counts memory in pages of 4 KiB and drops partial pages at both ends. The layout would be checked \
             against another memory map than the one that Xen uses.",
        source "Xen: xen/common/device-tree/bootfdt.c, device_tree_get_meminfo; xen/arch/arm/setup.c";
    /// Two banks of RAM have a byte in common.
    BANK_OVERLAP = "AVPS0402", "bank-overlap", Error,
        help "correct the beginning or the size of one of the banks",
        why "Xen sorts the banks and assumes that they do not overlap. Pages in two banks are allocated twice.",
        source "Xen: xen/common/device-tree/bootfdt.c, cmp_memory_node (\"assumes that memory regions are not overlapped\")";
    /// Reserved memory where no RAM is.
    RESERVED_OUTSIDE = "AVPS0403", "reserved-outside-ram", Warning,
        help "correct the address, or remove the entry: only RAM needs to be reserved",
        why "It reserves nothing. Most often a digit of the address is wrong, and the firmware's memory is open to everybody.",
        source "platform document, schema avps/1";
    /// Addresses are given, and nobody knows where RAM is.
    RAM_UNKNOWN = "AVPS0404", "ram-unknown", Warning,
        help "describe the RAM with [[machine.bank]], or name the machine's device tree",
        why "Xen reads its static memory before its console works. If there is no RAM at one of its addresses, the \
             machine stops without any output. avpsctl can check this only if it knows the banks of RAM.",
        source "Xen: xen/arch/arm/static-memory.c, init_staticmem_pages; tried on Xen 4.20";
    /// A place for static memory, for Xen's heap or for shared memory that is no range of whole pages.
    PLACE_RANGE = "AVPS0410", "place-range", Error,
        help "use multiples of 4KiB (64KiB for Xen's heap), and a size that is not zero",
        why "Xen maps whole pages. It stops the machine if an address is not page-aligned. If a size is not a \
             multiple of a page, it counts the remainder as memory, although the guest does not get it. It takes its \
             heap in units of 64 KiB and silently drops the rest.",
        source "Xen: xen/arch/arm/static-memory.c, acquire_static_memory_bank; docs/misc/arm/device-tree/booting.txt, xen,static-heap; tried on Xen 4.20";
    /// A place where no RAM is.
    PLACE_OUTSIDE_RAM = "AVPS0411", "place-outside-ram", Error,
        help "choose a place inside one bank of the machine's RAM",
        why "Xen initialises its frame table entries for these pages before its console works. Where there is no RAM \
             there are no entries, and Xen stops without any output.",
        source "Xen: xen/arch/arm/static-memory.c, init_staticmem_pages; xen/arch/arm/static-shmem.c, process_shm (mfn_valid)";
    /// Two things are put in one place.
    PLACE_OVERLAP = "AVPS0412", "place-overlap", Error,
        help "move one of them",
        why "Xen gives up reading the device tree at the first range that overlaps another, before its console works: \
             the machine stops without any output. A module that overlaps something is left out instead, and its \
             domain has no kernel.",
        source "Xen: xen/common/device-tree/bootinfo.c, check_reserved_regions_overlap and add_boot_module";
    /// The memory of a domain is not the sum of its static memory.
    STATIC_SUM = "AVPS0413", "static-memory-sum", Error,
        help "leave memory out: it is the sum of static_memory",
        why "Xen does not mix memory at fixed places with memory of its own choice, and stops the machine when the sum differs.",
        source "Xen: xen/arch/arm/static-memory.c, allocate_static_memory";
    /// Addresses of the machine without places in it.
    DIRECT_MAP_WITHOUT_PLACE = "AVPS0414", "direct-map-without-place", Error,
        help "give the domain static_memory, or remove direct_map",
        why "With direct_map the domain's RAM must lie at addresses that are fixed in the document. Otherwise Xen \
             stops the machine.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (\"direct-map is not valid for domain\")";
    /// Static memory on a machine whose cache is coloured.
    STATIC_COLORS = "AVPS0415", "static-memory-colors", Error,
        help "use static_memory or colors, not both on one machine",
        why "Cache colours and static memory both determine which pages a domain gets, so they exclude each other. As \
             soon as one domain has colours, Xen stops the machine at the first domain with static memory, even one \
             without colours.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (\"LLC coloring and static memory are incompatible\")";
    /// Fixed places for a domain that Xen does not place.
    STATIC_NOT_POSSIBLE = "AVPS0416", "static-memory-not-possible", Error,
        help "use boot = \"dom0less\", or give the domain memory without a place",
        why "Only dom0less domains can have memory at fixed addresses: libxl has no setting for it, and Xen chooses \
             dom0's memory itself. The addresses would be ignored.",
        source "Xen: xen/common/device-tree/bootfdt.c, process_domain_node; xl.cfg(5)";
    /// More ranges than Xen has room for.
    TOO_MANY_RANGES = "AVPS0417", "too-many-ranges", Error,
        help "use fewer, larger, contiguous ranges",
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
        why "Xen allocates each domain's memory and page tables while it boots, and stops the machine when memory \
             runs out. If static_heap is given, it allocates only from there. Its own records take 48 bytes or more \
             for each page, and a domain with cache colours can use only pages of its colours.",
        source "Xen: xen/arch/arm/domain_build.c, allocate_memory; xen/arch/arm/dom0less-build.c, domain_p2m_pages; tried on Xen 4.20";
    /// The window for modules is no usable range.
    MODULE_WINDOW = "AVPS0421", "module-window", Error,
        help "use multiples of 4KiB, and a slot that is not zero",
        why "Xen maps and frees modules in whole pages. If two modules share a page, one corrupts the other.",
        source "Xen: xen/arch/arm/setup.c, discard_initial_modules";
    /// The window for modules has too little room.
    MODULE_ROOM = "AVPS0422", "module-room", Error,
        help "make the window larger or the slots smaller",
        why "Each domain has three slots: kernel, ramdisk, device tree. Modules past the end of the window would \
             overwrite something else.",
        source "platform document, schema avps/1";
    /// More files than Xen can take.
    TOO_MANY_MODULES = "AVPS0423", "too-many-modules", Error,
        help "start fewer domains from Xen, or put ramdisks into kernels",
        why "Xen's table of modules has 32 entries, including its own image and the device tree. A module that does \
             not fit is ignored. If it was a kernel, Xen stops the machine.",
        source "Xen: xen/include/xen/bootfdt.h, MAX_MODULES; xen/common/device-tree/bootinfo.c, add_boot_module";
    /// A command line that is too long for a module.
    MODULE_COMMAND_LINE = "AVPS0424", "module-command-line", Error,
        help "use at most 1023 bytes",
        why "Xen copies the command line of each kernel into a buffer of 1024 bytes and stops the machine when it does not fit.",
        source "Xen: xen/common/device-tree/bootinfo.c, add_boot_cmdline (BOOTMOD_MAX_CMDLINE)";
    /// A guest's device tree is larger than Xen's room for it.
    GUEST_DEVICE_TREE = "AVPS0426", "guest-device-tree", Error,
        help "use fewer vCPUs, less shared memory or a shorter command line; or Xen 4.22",
        why "Up to 4.21, Xen has 4 KiB for the device tree of a dom0less domain. That is enough for about 30 vCPUs, \
             or 18 regions of shared memory. If it is not enough, Xen stops the machine.",
        source "Xen: xen/arch/arm/dom0less-build.c, DOMU_DTB_SIZE, prepare_dtb_domU";
    /// The RAM that a guest's kernel is loaded to is too small for anything.
    FIRST_MEMORY_SMALL = "AVPS0427", "first-memory-small", Error,
        help "use more than 4MiB, or more than 6MiB with a ramdisk; with direct_map, in the first range",
        why "Xen puts kernel, device tree and ramdisk into the first range of a guest's RAM, each at its own 2 MiB \
             boundary. It stops the machine when they do not fit.",
        source "Xen: xen/arch/arm/kernel.c, place_modules; tried on Xen 4.20";
}
