//! What of libxl's interface is bound: only what the `libxl` crate calls.
//!
//! The fewer structures are known, the less there is to go wrong between releases: the domain
//! configuration (over a hundred fields, different in every release) is an opaque block of known
//! size here, and is filled through libxl's own JSON.

/// Functions, every one present in each supported release.
pub(crate) const FUNCTIONS: &[&str] = &[
    // Context.
    "libxl_ctx_alloc",
    "libxl_ctx_free",
    "libxl_error_to_string",
    // Host.
    "libxl_get_version_info",
    "libxl_get_physinfo",
    "libxl_physinfo_init",
    "libxl_physinfo_dispose",
    "libxl_get_memory_target",
    "libxl_set_memory_target",
    "libxl_wait_for_memory_target",
    // What there is.
    "libxl_list_domain",
    "libxl_dominfo_list_free",
    "libxl_domain_info",
    "libxl_dominfo_init",
    "libxl_dominfo_dispose",
    "libxl_domid_to_name",
    "libxl_primary_console_get_tty",
    "libxl_list_vcpu",
    "libxl_vcpuinfo_list_free",
    // CPU pools.
    "libxl_list_cpupool",
    "libxl_cpupoolinfo_list_free",
    "libxl_cpupool_create",
    "libxl_cpupool_destroy",
    "libxl_cpupool_cpuadd",
    "libxl_cpupool_cpuremove",
    // Configuration.
    "libxl_domain_config_init",
    "libxl_domain_config_dispose",
    "libxl_domain_config_from_json",
    "libxl_domain_config_to_json",
    "libxl_retrieve_domain_configuration",
    "libxl_domain_need_memory",
    // Life.
    "libxl_domain_create_new",
    "libxl_domain_destroy",
    "libxl_domain_shutdown",
    "libxl_domain_reboot",
    "libxl_domain_pause",
    "libxl_domain_unpause",
    // Events and children.
    "libxl_evenable_domain_death",
    "libxl_evdisable_domain_death",
    "libxl_event_register_callbacks",
    "libxl_event_check",
    "libxl_event_free",
    "libxl_osevent_beforepoll",
    "libxl_osevent_afterpoll",
    "libxl_childproc_setmode",
    "libxl_childproc_sigchld_occurred",
];

/// Enumerations whose values are needed although no bound function names them.
pub(crate) const TYPES: &[&str] = &[
    "libxl_error",
    "libxl_shutdown_reason",
    "libxl_event_type",
    "libxl_scheduler",
];

/// Structures of which only size and alignment are bound.
pub(crate) const OPAQUE: &[&str] = &["libxl_domain_config", "libxl_device_disk"];

/// Types that come from elsewhere: ours (it differs by architecture), or the libc crate's.
pub(crate) const FOREIGN: &[(&str, &str)] = &[
    ("xentoollog_logger", "crate::xentoollog::xentoollog_logger"),
    ("pollfd", "libc::pollfd"),
    ("timeval", "libc::timeval"),
];

/// Types that nothing bound needs, and that differ by architecture.
pub(crate) const UNBOUND: &[&str] = &["va_list", "__builtin_va_list", "__va_list_tag"];
