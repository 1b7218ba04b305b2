//! Xen's classes of objects and their permissions: their numbers, as the running Xen counts them, and what they permit.

/// Release of Xen whose numbers these are. Other releases may declare more permissions in between.
pub const RELEASE: (u16, u16) = (4, 20);

/// A class of objects that rules of a plan are about.
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: &'static str,
    /// Its number, from 1 in the order of declaration (xen/xsm/flask/policy/security_classes).
    pub number: u32,
    /// Permissions in the order of declaration, which is that of their bits (xen/xsm/flask/policy/access_vectors).
    pub permissions: &'static [&'static str],
}

/// The classes that concern one domain and another.
pub const CLASSES: [Class; 7] = [
    Class {
        name: "domain",
        number: 3,
        permissions: &[
            "setvcpucontext",
            "pause",
            "unpause",
            "resume",
            "create",
            "transition",
            "max_vcpus",
            "destroy",
            "setaffinity",
            "getaffinity",
            "getscheduler",
            "getdomaininfo",
            "getvcpuinfo",
            "getvcpucontext",
            "setdomainmaxmem",
            "setdomainhandle",
            "setdebugging",
            "hypercall",
            "settime",
            "set_target",
            "shutdown",
            "setaddrsize",
            "getaddrsize",
            "trigger",
            "getpodtarget",
            "setpodtarget",
            "set_misc_info",
            "set_virq_handler",
            "getpagingmempool",
            "setpagingmempool",
        ],
    },
    Class {
        name: "domain2",
        number: 4,
        permissions: &[
            "relabelfrom",
            "relabelto",
            "relabelself",
            "make_priv_for",
            "set_as_target",
            "set_cpu_policy",
            "gettsc",
            "settsc",
            "setscheduler",
            "setclaim",
            "cacheflush",
            "create_hardware_domain",
            "set_vnumainfo",
            "get_vnumainfo",
            "psr_cmt_op",
            "vm_event",
            "soft_reset",
            "mem_access",
            "mem_paging",
            "mem_sharing",
            "psr_alloc",
            "resource_map",
            "get_cpu_policy",
            "vuart_op",
            "dt_overlay",
            "set_llc_colors",
        ],
    },
    Class {
        name: "hvm",
        number: 5,
        permissions: &[
            "sethvmc",
            "gethvmc",
            "setparam",
            "getparam",
            "bind_irq",
            "hvmctl",
            "mem_sharing",
            "audit_p2m",
            "share_mem",
            "altp2mhvm",
            "altp2mhvm_op",
            "dm",
        ],
    },
    Class {
        name: "mmu",
        number: 6,
        permissions: &[
            "map_read",
            "map_write",
            "pageinfo",
            "adjust",
            "stat",
            "updatemp",
            "physmap",
            "pinpage",
            "memorymap",
            "remote_remap",
            "mmuext_op",
            "exchange",
            "target_hack",
        ],
    },
    Class {
        name: "resource",
        number: 7,
        permissions: &[
            "add",
            "remove",
            "use",
            "use_iommu",
            "use_iommu_nointremap",
            "use_noiommu",
            "add_irq",
            "remove_irq",
            "add_ioport",
            "remove_ioport",
            "add_iomem",
            "remove_iomem",
            "stat_device",
            "add_device",
            "remove_device",
            "plug",
            "unplug",
            "setup",
        ],
    },
    Class {
        name: "event",
        number: 9,
        permissions: &["bind", "send", "status", "create", "reset"],
    },
    Class {
        name: "grant",
        number: 10,
        permissions: &[
            "map_read",
            "map_write",
            "unmap",
            "transfer",
            "setup",
            "copy",
            "query",
        ],
    },
];

/// The class of this name.
pub fn class(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}

impl Class {
    /// Permissions as bits; none when one of them is not the class's.
    pub fn bits(&self, permissions: &[&str]) -> Option<u32> {
        let mut bits = 0;
        for wanted in permissions {
            let position = self.permissions.iter().position(|known| known == wanted)?;
            bits |= 1_u32.checked_shl(u32::try_from(position).ok()?)?;
        }
        Some(bits)
    }

    /// Names of the permissions in `bits`; those beyond the known ones by their place.
    pub fn names(&self, bits: u32) -> Vec<String> {
        let set =
            (0..u32::BITS).filter(|bit| bits.checked_shr(*bit).is_some_and(|rest| rest & 1 == 1));
        set.map(|bit| {
            let known = usize::try_from(bit)
                .ok()
                .and_then(|bit| self.permissions.get(bit));
            known.map_or_else(|| format!("permission {bit}"), |name| (*name).to_owned())
        })
        .collect()
    }
}

/// What a permission of a rule lets its holder do, to be read behind "may".
pub fn meaning(class: &str, permission: &str) -> &'static str {
    match (class, permission) {
        ("domain", "create") => "create it",
        ("domain", "max_vcpus") => "give it vCPUs",
        ("domain", "setdomainmaxmem") => "limit its memory",
        ("domain", "setaddrsize") => "choose 32 or 64 bits for it",
        ("domain", "setpagingmempool") => "give it memory for page tables",
        ("domain", "setvcpucontext") => "set its vCPUs' registers",
        ("domain", "getvcpucontext") => "read its vCPUs' registers",
        ("domain", "getscheduler") => "read how it is scheduled",
        ("domain", "setaffinity") => "pin its vCPUs",
        ("domain", "getdomaininfo") => "see that it exists and what it does",
        ("domain", "getvcpuinfo") => "see where its vCPUs run",
        ("domain", "getaffinity") => "see where its vCPUs may run",
        ("domain", "pause") => "stop its vCPUs",
        ("domain", "unpause") => "let its vCPUs run",
        ("domain", "destroy") => "end it",
        ("domain2", "get_domain_state") => "be told that it has ended",
        ("domain2", "setscheduler") => "set how it is scheduled",
        ("domain2", "set_llc_colors") => "give it cache colours",
        ("domain2", "resource_map") => "map its ioreq pages (or its grant table, when it is built)",
        ("domain2", "cacheflush") => "flush caches for its memory",
        ("domain2", "vm_event") => "stop its vCPUs at SMCs and other events, and be told of them",
        ("domain2", "vuart_op") => "give it an emulated UART",
        ("hvm", "setparam") => "tell it where XenStore and console are",
        ("hvm", "getparam") => "read where its XenStore, console and monitor have their pages",
        ("hvm", "dm") => {
            "be its device model: ioreq servers, register windows, interrupts, with no limit of addresses or lines"
        }
        ("hvm", "bind_irq") => "hand it this interrupt",
        ("mmu", "adjust") => "give or take memory of it",
        ("mmu", "map_read") => "read its memory",
        ("mmu", "map_write") => "write its memory",
        ("mmu", "physmap") => "place pages in its address space",
        ("grant", "map_read") => "map what it granted for reading",
        ("grant", "map_write") => "map what it granted for writing",
        ("grant", "unmap") => "give such mappings back",
        ("grant", "copy") => {
            "be the side that a copy by Xen comes from, where the other is granted"
        }
        ("grant", "query") => "ask for the size of its own grant table",
        ("event", "create") => "make an end of an event channel of it",
        ("event", "bind") => "be at the other end of an event channel",
        ("event", "send") => "notify through an event channel",
        ("resource", "add") => "give it parts of the machine",
        ("resource", "remove") => "take parts of the machine from it",
        ("resource", "add_iomem") => "have these registers given to it",
        ("resource", "remove_iomem") => "have these registers taken from it",
        ("resource", "add_device") => "have these devices given to it, behind the IOMMU",
        ("resource", "remove_device") => "have these devices taken from it",
        ("resource", "use_iommu" | "use_iommu_nointremap") => "use these devices behind the IOMMU",
        ("resource", "use_noiommu") => "use these devices without an IOMMU",
        _ => "",
    }
}
