//! What domains share: memory, event channels, virtio, networks.

use super::rules;

rules! {
    /// A name of a domain that is not there.
    UNKNOWN_DOMAIN = "AVPS0601", "unknown-domain", Error,
        help "correct the name, or add the domain",
        why "A reference to a domain that does not exist would be ignored silently.",
        source "platform document, schema avps/1";
    /// A name for shared memory that Xen cannot take.
    SHARED_MEMORY_ID = "AVPS0602", "shared-memory-id", Error,
        help "use 1 to 15 letters, digits, '-', '_' or '.'",
        why "Xen keeps the name in 16 bytes, including the final NUL. With a longer name it stops before its console \
             works, without any output.",
        source "Xen: xen/include/xen/bootfdt.h, MAX_SHM_ID_LENGTH; tried on Xen 4.20";
    /// Two regions of shared memory have the same name.
    SHARED_MEMORY_TWICE = "AVPS0603", "shared-memory-twice", Error,
        help "give each region a name of its own",
        why "Xen identifies a region by its name. If two regions of the same name differ in size, Xen stops without \
             any output. If not, the domains share more than was planned.",
        source "Xen: xen/arch/arm/static-shmem.c, process_shm_node; tried on Xen 4.20";
    /// Shared memory in the guest that is not on a page.
    SHARED_MEMORY_GUEST_PAGE = "AVPS0604", "shared-memory-guest-page", Error,
        help "use a multiple of 4KiB",
        why "Memory is mapped in pages. Xen stops before its console works, without any output.",
        source "Xen: xen/arch/arm/static-shmem.c, process_shm_node; tried on Xen 4.20";
    /// Shared memory in the guest's RAM.
    SHARED_MEMORY_IN_RAM = "AVPS0605", "shared-memory-in-ram", Error,
        help "choose a guest address outside of its RAM, for example from 0x3300_0000 to 0x3800_0000",
        why "It would replace a part of the RAM that the guest was told it has. Xen stops the machine with a message about \
             something else, or the guest fails later.",
        source "Xen: xen/arch/arm/static-shmem.c, handle_shared_mem_bank; tried on Xen 4.20";
    /// Shared memory over something Xen shows the guest.
    SHARED_MEMORY_ON_MAP = "AVPS0606", "shared-memory-on-map", Error,
        help "choose a guest address that nothing else has, for example from 0x3300_0000 to 0x3800_0000",
        why "Xen does not notice. The guest finds memory where its interrupt controller or its console should be.",
        source "Xen: xen/include/public/arch-arm.h; tried on Xen 4.20 (memory over the GIC was accepted)";
    /// Two regions of shared memory in one place of a guest.
    SHARED_MEMORY_GUEST_OVERLAP = "AVPS0607", "shared-memory-guest-overlap", Error,
        help "give one of them another guest address",
        why "The later mapping replaces the earlier one, and the guest reads from one region what it takes for the other.",
        source "Xen: xen/arch/arm/static-shmem.c, handle_shared_mem_bank";
    /// Shared memory with two owners.
    SHARED_MEMORY_OWNERS = "AVPS0608", "shared-memory-owners", Error,
        help "make all but one a borrower",
        why "A page belongs to one domain; Xen stops the machine at the second owner.",
        source "Xen: xen/arch/arm/static-shmem.c, assign_shared_memory; tried on Xen 4.20";
    /// Shared memory nobody sees.
    SHARED_MEMORY_UNUSED = "AVPS0609", "shared-memory-unused", Error,
        help "add [[shared_memory.user]] tables, or remove the region",
        why "Xen learns of a region from the domains that see it.",
        source "Xen: docs/misc/arm/device-tree/booting.txt, Static Shared Memory";
    /// A domain is listed twice.
    SHARED_MEMORY_USER_TWICE = "AVPS0610", "shared-memory-user-twice", Error,
        help "remove one of the entries",
        why "Xen maps the region twice and counts one more user than there is; the guest sees two regions of one name.",
        source "Xen: xen/arch/arm/static-shmem.c, process_shm_node (nr_shm_borrowers)";
    /// Shared memory or an event channel for a domain that Xen does not start.
    LINK_OF_TOOLSTACK = "AVPS0611", "link-of-toolstack", Error,
        help "use boot = \"dom0less\" for the domain, or a virtio device instead of the link",
        why "Only Xen can set up these links, for dom0less domains. libxl has no setting for them, and the domain \
             would start without them.",
        source "Xen: docs/misc/arm/device-tree/booting.txt, Static Shared Memory, Static Event Channel; xl.cfg(5)";
    /// Shared memory of a domain whose addresses are the machine's.
    SHARED_MEMORY_DIRECT = "AVPS0612", "shared-memory-direct", Error,
        help "give the region a place in the machine (at), and leave the user's own address out",
        why "A domain with direct_map, or dom0, sees each page at its host-physical address. Xen stops the machine if \
             the guest address of the region differs from its host address, or if it has no host address.",
        source "Xen: xen/arch/arm/static-shmem.c, process_shm (\"are not direct-mapped\")";
    /// More regions of shared memory than Xen has room for.
    TOO_MANY_SHARED_MEMORIES = "AVPS0613", "too-many-shared-memories", Error,
        help "use at most 32 regions, IPC links included; one without a place counts once for each power of two in its size",
        why "Xen's table of shared memory has 32 entries; at the 33rd it stops without any output. A region without \
             an address (at) is taken from Xen's heap in pieces whose sizes are powers of two, and each piece takes \
             an entry.",
        source "Xen: xen/include/xen/bootfdt.h, NR_SHMEM_BANKS; xen/arch/arm/static-shmem.c; tried on Xen 4.20";
    /// Shared memory with more than one writer.
    SHARED_MEMORY_WRITERS = "AVPS0614", "shared-memory-writers", Warning waivable true,
        help "leave one writer, and use a second region for the other direction",
        why "What two domains write can only be trusted after both were examined: an error of one destroys the data of \
             the other, and neither can prove it was not its own.",
        source "ISO 26262-6, annex D (exchange of information); this project's design";
    /// Shared memory behind the last address a guest can have.
    SHARED_MEMORY_BEYOND_GUEST = "AVPS0615", "shared-memory-beyond-guest", Error,
        help "choose a guest address below 0x100_0000_0000",
        why "A guest's addresses have 40 bits. Xen does not notice, and the guest cannot reach the memory.",
        source "Xen: xen/include/public/arch-arm.h, GUEST_RAM1_BASE and _SIZE; tried on Xen 4.20";
    /// Shared memory at a place, on a machine with cache colours.
    SHARED_MEMORY_COLORS = "AVPS0616", "shared-memory-colors", Warning waivable true,
        help "leave as little as possible in shared memory, and state why that is acceptable",
        why "The pages of shared memory have all colours, whatever colours its users have: through them each user can \
             evict the cache lines of the others.",
        source "Xen: xen/arch/arm/static-shmem.c, acquire_shared_memory_bank; tried on Xen 4.20";
    /// A port that an event channel cannot have.
    EVENT_PORT = "AVPS0620", "event-port", Error,
        help "use ports from 2 to 1023, or leave ports out",
        why "Xen stops the machine for a port above 1023 (4095 in dom0). Port 0 means any port. With enhanced = \
             \"enabled\", port 1 belongs to XenStore.",
        source "Xen: xen/arch/arm/dom0less-build.c, create_domUs (max_evtchn_port), alloc_xenstore_evtchn; tried on Xen 4.20";
    /// A port that two event channels of a domain have.
    EVENT_PORT_TWICE = "AVPS0621", "event-port-twice", Error,
        help "use another port, or leave ports out",
        why "A port has one other end; Xen stops the machine at the second channel.",
        source "Xen: xen/common/event_channel.c, evtchn_allocate_port (EBUSY); tried on Xen 4.20";
    /// An event channel or IPC link that does not have two ends.
    LINK_ENDS = "AVPS0622", "link-ends", Error,
        help "name two different domains, and two ports or none",
        why "An event channel connects exactly two domains.",
        source "Xen: docs/misc/arm/device-tree/booting.txt, Static Event Channel";
    /// A domain with an event channel sees none of Xen's interfaces.
    EVENT_WITHOUT_INTERFACE = "AVPS0623", "event-without-interface", Error,
        help "remove enhanced, or use \"no-xenstore\"",
        why "Xen makes the channel, but gives the guest no hypervisor node: it does not know that it runs on Xen and \
             never looks for events.",
        source "Xen: xen/arch/arm/dom0less-build.c, prepare_dtb_domU (make_hypervisor_node)";
    /// XenStore without anybody who serves it.
    XENSTORE_WITHOUT_CONTROL = "AVPS0624", "xenstore-without-control", Error,
        help "use enhanced = \"no-xenstore\" and console = \"vpl011\", or add a control domain",
        why "The paravirtual console and full enhancement need XenStore, which runs in the control domain. Xen stops the \
             machine without one.",
        source "Xen: xen/arch/arm/dom0less-build.c, construct_domU (\"Xenstore support requires dom0 to be present\")";
    /// Virtio in a domain of Xen's own boot.
    DOM0LESS_VIRTIO = "AVPS0625", "dom0less-virtio", Error,
        help "use boot = \"toolstack\" for the domain, or give it what the finding names",
        why "Virtio devices of a dom0less domain have these limits. The control domain must serve them: under Xen's \
             default policy a driver domain may not emulate registers, and its domain ID is not known when Xen writes \
             the guest's device tree. The domain needs enhanced = \"enabled\": the guest binds the driver when \
             device/virtio/N appears in XenStore, and avpsctl up writes that once the device is served. (A driver \
             that accesses the registers earlier crashes its kernel.) It may have one vCPU only: up to Xen 4.22, \
             init-dom0less fails for more. And it depends on the control domain: each register access waits for it.",
        source "Xen: xen/arch/arm/dom0less-build.c, domain_handle_dtb_bootmodule; xen/arch/arm/ioreq.c, try_fwd_ioserv; \
                xen/arch/arm/dm.c, XEN_DMOP_set_irq_level; tools/helpers/init-dom0less.c; tried on Xen 4.20";
    /// The same event channel is stated twice.
    EVENT_CHANNEL_TWICE = "AVPS0626", "event-channel-twice", Error,
        help "remove one of the two, or use other ports",
        why "The second one would be a channel that is there already.",
        source "platform document, schema avps/1";
    /// Two networks have the same name.
    NETWORK_NAME = "AVPS0640", "network-name", Error,
        help "give each network a name of its own",
        why "Ports are found by the name of their network.",
        source "platform document, schema avps/1";
    /// A domain is on a network twice.
    NETWORK_PORT_TWICE = "AVPS0641", "network-port-twice", Error,
        help "remove one of the ports, or put it on another VLAN",
        why "Two ports of one domain on one network are a loop, and have the same address when none is given.",
        source "IEEE 802.1Q, 8.6 (a loop forwards each broadcast for ever)";
    /// No usable MAC address.
    MAC_ADDRESS = "AVPS0642", "mac-address", Error,
        help "write six bytes in base 16 with colons, the first one even; or leave mac out",
        why "An odd first byte marks a multicast address. Switches flood frames to it, and drop frames from it.",
        source "IEEE 802, 8.2 (I/G bit)";
    /// Two ports have the same MAC address.
    MAC_TWICE = "AVPS0643", "mac-twice", Error,
        help "use another address, or leave mac out",
        why "The network learns where an address is from what it sends: with two senders, each gets what is meant for the other.",
        source "IEEE 802.1Q, 8.7 (learning)";
    /// A VLAN or a priority that does not exist.
    VLAN_TAG = "AVPS0644", "vlan-tag", Error,
        help "use VLANs from 1 to 4094 and priorities from 0 to 7",
        why "The tag has 12 bits for the VLAN, of which 0 and 4095 have another meaning, and 3 for the priority.",
        source "IEEE 802.1Q, 9.6";
    /// Reserved frames without an interval, or the other way round.
    RESERVED_FRAMES = "AVPS0645", "reserved-frames", Error,
        help "give both frame and interval, neither of them zero",
        why "A reservation is an amount of data per time.",
        source "IEEE 802.1Q, 35.2.2.8.4 (TSpec)";
    /// More is reserved than a network should carry.
    RESERVED_BANDWIDTH = "AVPS0646", "reserved-bandwidth", Error,
        help "use smaller frames, longer intervals, or a faster network",
        why "Reserved traffic gets at most three quarters of the rate, so that everything else still gets through and the \
             promised latency can be kept.",
        source "IEEE 802.1Q, 34.3.1 (deltaBandwidth 75 %)";
    /// Frames are reserved on a network whose rate nobody knows.
    RATE_UNKNOWN = "AVPS0647", "rate-unknown", Warning,
        help "add rate = 1_000_000_000 to the network",
        why "Without the rate nobody can say whether the reservations fit.",
        source "IEEE 802.1Q, 34.3";
}
