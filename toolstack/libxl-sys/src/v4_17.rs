// Made by libxl-sys-bindgen from the headers of Xen 4.17; do not edit.
// headers sha256 f7aad3e3c45f0be4006131b48d71464b6f0cbab405767026b3e8b546c9f5ca8b
// body sha256 cfef6d67f0d381c825dbd791e7b4fe4c759edf955d326bbd42b6da37f1f9e33f

use crate::xentoollog::xentoollog_logger;
use libc::pollfd;
use libc::timeval;

pub type __pid_t = ::core::ffi::c_int;
pub type __time_t = ::core::ffi::c_long;
pub type __suseconds_t = ::core::ffi::c_long;
pub type pid_t = __pid_t;
pub const XTL_NONE: xentoollog_level = 0;
pub const XTL_DEBUG: xentoollog_level = 1;
pub const XTL_VERBOSE: xentoollog_level = 2;
pub const XTL_DETAIL: xentoollog_level = 3;
pub const XTL_PROGRESS: xentoollog_level = 4;
pub const XTL_INFO: xentoollog_level = 5;
pub const XTL_NOTICE: xentoollog_level = 6;
pub const XTL_WARN: xentoollog_level = 7;
pub const XTL_ERROR: xentoollog_level = 8;
pub const XTL_CRITICAL: xentoollog_level = 9;
pub const XTL_NUM_LEVELS: xentoollog_level = 10;
pub type xentoollog_level = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl__ctx {
    _unused: [u8; 0],
}
pub type libxl_ctx = libxl__ctx;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_uuid {
    pub uuid: [::core::ffi::c_uchar; 16usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_uuid"][::core::mem::size_of::<libxl_uuid>() - 16usize];
    ["Alignment of libxl_uuid"][::core::mem::align_of::<libxl_uuid>() - 1usize];
    [
        "Offset of field: libxl_uuid::uuid",
    ][::core::mem::offset_of!(libxl_uuid, uuid) - 0usize];
};
pub type libxl_hwcap = [u32; 8usize];
pub type libxl_ev_user = u64;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_bitmap {
    pub size: u32,
    pub map: *mut u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_bitmap"][::core::mem::size_of::<libxl_bitmap>() - 16usize];
    ["Alignment of libxl_bitmap"][::core::mem::align_of::<libxl_bitmap>() - 8usize];
    [
        "Offset of field: libxl_bitmap::size",
    ][::core::mem::offset_of!(libxl_bitmap, size) - 0usize];
    [
        "Offset of field: libxl_bitmap::map",
    ][::core::mem::offset_of!(libxl_bitmap, map) - 8usize];
};
pub type libxl_domid = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_ev_link {
    pub tqe_next: *mut libxl_event,
    pub tqe_prev: *mut *mut libxl_event,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_ev_link"][::core::mem::size_of::<libxl_ev_link>() - 16usize];
    ["Alignment of libxl_ev_link"][::core::mem::align_of::<libxl_ev_link>() - 8usize];
    [
        "Offset of field: libxl_ev_link::tqe_next",
    ][::core::mem::offset_of!(libxl_ev_link, tqe_next) - 0usize];
    [
        "Offset of field: libxl_ev_link::tqe_prev",
    ][::core::mem::offset_of!(libxl_ev_link, tqe_prev) - 8usize];
};
pub const ERROR_NONSPECIFIC: libxl_error = -1;
pub const ERROR_VERSION: libxl_error = -2;
pub const ERROR_FAIL: libxl_error = -3;
pub const ERROR_NI: libxl_error = -4;
pub const ERROR_NOMEM: libxl_error = -5;
pub const ERROR_INVAL: libxl_error = -6;
pub const ERROR_BADFAIL: libxl_error = -7;
pub const ERROR_GUEST_TIMEDOUT: libxl_error = -8;
pub const ERROR_TIMEDOUT: libxl_error = -9;
pub const ERROR_NOPARAVIRT: libxl_error = -10;
pub const ERROR_NOT_READY: libxl_error = -11;
pub const ERROR_OSEVENT_REG_FAIL: libxl_error = -12;
pub const ERROR_BUFFERFULL: libxl_error = -13;
pub const ERROR_UNKNOWN_CHILD: libxl_error = -14;
pub const ERROR_LOCK_FAIL: libxl_error = -15;
pub const ERROR_JSON_CONFIG_EMPTY: libxl_error = -16;
pub const ERROR_DEVICE_EXISTS: libxl_error = -17;
pub const ERROR_CHECKPOINT_DEVOPS_DOES_NOT_MATCH: libxl_error = -18;
pub const ERROR_CHECKPOINT_DEVICE_NOT_SUPPORTED: libxl_error = -19;
pub const ERROR_VNUMA_CONFIG_INVALID: libxl_error = -20;
pub const ERROR_DOMAIN_NOTFOUND: libxl_error = -21;
pub const ERROR_ABORTED: libxl_error = -22;
pub const ERROR_NOTFOUND: libxl_error = -23;
pub const ERROR_DOMAIN_DESTROYED: libxl_error = -24;
pub const ERROR_FEATURE_REMOVED: libxl_error = -25;
pub const ERROR_PROTOCOL_ERROR_QMP: libxl_error = -26;
pub const ERROR_UNKNOWN_QMP_ERROR: libxl_error = -27;
pub const ERROR_QMP_GENERIC_ERROR: libxl_error = -28;
pub const ERROR_QMP_COMMAND_NOT_FOUND: libxl_error = -29;
pub const ERROR_QMP_DEVICE_NOT_ACTIVE: libxl_error = -30;
pub const ERROR_QMP_DEVICE_NOT_FOUND: libxl_error = -31;
pub const ERROR_QEMU_API: libxl_error = -32;
pub type libxl_error = ::core::ffi::c_int;
pub const LIBXL_DOMAIN_TYPE_INVALID: libxl_domain_type = -1;
pub const LIBXL_DOMAIN_TYPE_HVM: libxl_domain_type = 1;
pub const LIBXL_DOMAIN_TYPE_PV: libxl_domain_type = 2;
pub const LIBXL_DOMAIN_TYPE_PVH: libxl_domain_type = 3;
pub type libxl_domain_type = ::core::ffi::c_int;
pub const LIBXL_SCHEDULER_UNKNOWN: libxl_scheduler = 0;
pub const LIBXL_SCHEDULER_SEDF: libxl_scheduler = 4;
pub const LIBXL_SCHEDULER_CREDIT: libxl_scheduler = 5;
pub const LIBXL_SCHEDULER_CREDIT2: libxl_scheduler = 6;
pub const LIBXL_SCHEDULER_ARINC653: libxl_scheduler = 7;
pub const LIBXL_SCHEDULER_RTDS: libxl_scheduler = 8;
pub const LIBXL_SCHEDULER_NULL: libxl_scheduler = 9;
pub type libxl_scheduler = ::core::ffi::c_uint;
pub const LIBXL_SHUTDOWN_REASON_UNKNOWN: libxl_shutdown_reason = -1;
pub const LIBXL_SHUTDOWN_REASON_POWEROFF: libxl_shutdown_reason = 0;
pub const LIBXL_SHUTDOWN_REASON_REBOOT: libxl_shutdown_reason = 1;
pub const LIBXL_SHUTDOWN_REASON_SUSPEND: libxl_shutdown_reason = 2;
pub const LIBXL_SHUTDOWN_REASON_CRASH: libxl_shutdown_reason = 3;
pub const LIBXL_SHUTDOWN_REASON_WATCHDOG: libxl_shutdown_reason = 4;
pub const LIBXL_SHUTDOWN_REASON_SOFT_RESET: libxl_shutdown_reason = 5;
pub type libxl_shutdown_reason = ::core::ffi::c_int;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_dominfo {
    pub uuid: libxl_uuid,
    pub domid: libxl_domid,
    pub ssidref: u32,
    pub ssid_label: *mut ::core::ffi::c_char,
    pub running: bool,
    pub blocked: bool,
    pub paused: bool,
    pub shutdown: bool,
    pub dying: bool,
    pub never_stop: bool,
    pub shutdown_reason: libxl_shutdown_reason,
    pub outstanding_memkb: u64,
    pub current_memkb: u64,
    pub shared_memkb: u64,
    pub paged_memkb: u64,
    pub max_memkb: u64,
    pub cpu_time: u64,
    pub vcpu_max_id: u32,
    pub vcpu_online: u32,
    pub cpupool: u32,
    pub gpaddr_bits: u8,
    pub domain_type: libxl_domain_type,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_dominfo"][::core::mem::size_of::<libxl_dominfo>() - 120usize];
    ["Alignment of libxl_dominfo"][::core::mem::align_of::<libxl_dominfo>() - 8usize];
    [
        "Offset of field: libxl_dominfo::uuid",
    ][::core::mem::offset_of!(libxl_dominfo, uuid) - 0usize];
    [
        "Offset of field: libxl_dominfo::domid",
    ][::core::mem::offset_of!(libxl_dominfo, domid) - 16usize];
    [
        "Offset of field: libxl_dominfo::ssidref",
    ][::core::mem::offset_of!(libxl_dominfo, ssidref) - 20usize];
    [
        "Offset of field: libxl_dominfo::ssid_label",
    ][::core::mem::offset_of!(libxl_dominfo, ssid_label) - 24usize];
    [
        "Offset of field: libxl_dominfo::running",
    ][::core::mem::offset_of!(libxl_dominfo, running) - 32usize];
    [
        "Offset of field: libxl_dominfo::blocked",
    ][::core::mem::offset_of!(libxl_dominfo, blocked) - 33usize];
    [
        "Offset of field: libxl_dominfo::paused",
    ][::core::mem::offset_of!(libxl_dominfo, paused) - 34usize];
    [
        "Offset of field: libxl_dominfo::shutdown",
    ][::core::mem::offset_of!(libxl_dominfo, shutdown) - 35usize];
    [
        "Offset of field: libxl_dominfo::dying",
    ][::core::mem::offset_of!(libxl_dominfo, dying) - 36usize];
    [
        "Offset of field: libxl_dominfo::never_stop",
    ][::core::mem::offset_of!(libxl_dominfo, never_stop) - 37usize];
    [
        "Offset of field: libxl_dominfo::shutdown_reason",
    ][::core::mem::offset_of!(libxl_dominfo, shutdown_reason) - 40usize];
    [
        "Offset of field: libxl_dominfo::outstanding_memkb",
    ][::core::mem::offset_of!(libxl_dominfo, outstanding_memkb) - 48usize];
    [
        "Offset of field: libxl_dominfo::current_memkb",
    ][::core::mem::offset_of!(libxl_dominfo, current_memkb) - 56usize];
    [
        "Offset of field: libxl_dominfo::shared_memkb",
    ][::core::mem::offset_of!(libxl_dominfo, shared_memkb) - 64usize];
    [
        "Offset of field: libxl_dominfo::paged_memkb",
    ][::core::mem::offset_of!(libxl_dominfo, paged_memkb) - 72usize];
    [
        "Offset of field: libxl_dominfo::max_memkb",
    ][::core::mem::offset_of!(libxl_dominfo, max_memkb) - 80usize];
    [
        "Offset of field: libxl_dominfo::cpu_time",
    ][::core::mem::offset_of!(libxl_dominfo, cpu_time) - 88usize];
    [
        "Offset of field: libxl_dominfo::vcpu_max_id",
    ][::core::mem::offset_of!(libxl_dominfo, vcpu_max_id) - 96usize];
    [
        "Offset of field: libxl_dominfo::vcpu_online",
    ][::core::mem::offset_of!(libxl_dominfo, vcpu_online) - 100usize];
    [
        "Offset of field: libxl_dominfo::cpupool",
    ][::core::mem::offset_of!(libxl_dominfo, cpupool) - 104usize];
    [
        "Offset of field: libxl_dominfo::gpaddr_bits",
    ][::core::mem::offset_of!(libxl_dominfo, gpaddr_bits) - 108usize];
    [
        "Offset of field: libxl_dominfo::domain_type",
    ][::core::mem::offset_of!(libxl_dominfo, domain_type) - 112usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_cpupoolinfo {
    pub poolid: u32,
    pub pool_name: *mut ::core::ffi::c_char,
    pub sched: libxl_scheduler,
    pub n_dom: u32,
    pub cpumap: libxl_bitmap,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_cpupoolinfo"][::core::mem::size_of::<libxl_cpupoolinfo>() - 40usize];
    [
        "Alignment of libxl_cpupoolinfo",
    ][::core::mem::align_of::<libxl_cpupoolinfo>() - 8usize];
    [
        "Offset of field: libxl_cpupoolinfo::poolid",
    ][::core::mem::offset_of!(libxl_cpupoolinfo, poolid) - 0usize];
    [
        "Offset of field: libxl_cpupoolinfo::pool_name",
    ][::core::mem::offset_of!(libxl_cpupoolinfo, pool_name) - 8usize];
    [
        "Offset of field: libxl_cpupoolinfo::sched",
    ][::core::mem::offset_of!(libxl_cpupoolinfo, sched) - 16usize];
    [
        "Offset of field: libxl_cpupoolinfo::n_dom",
    ][::core::mem::offset_of!(libxl_cpupoolinfo, n_dom) - 20usize];
    [
        "Offset of field: libxl_cpupoolinfo::cpumap",
    ][::core::mem::offset_of!(libxl_cpupoolinfo, cpumap) - 24usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_version_info {
    pub xen_version_major: ::core::ffi::c_int,
    pub xen_version_minor: ::core::ffi::c_int,
    pub xen_version_extra: *mut ::core::ffi::c_char,
    pub compiler: *mut ::core::ffi::c_char,
    pub compile_by: *mut ::core::ffi::c_char,
    pub compile_domain: *mut ::core::ffi::c_char,
    pub compile_date: *mut ::core::ffi::c_char,
    pub capabilities: *mut ::core::ffi::c_char,
    pub changeset: *mut ::core::ffi::c_char,
    pub virt_start: u64,
    pub pagesize: ::core::ffi::c_int,
    pub commandline: *mut ::core::ffi::c_char,
    pub build_id: *mut ::core::ffi::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_version_info",
    ][::core::mem::size_of::<libxl_version_info>() - 96usize];
    [
        "Alignment of libxl_version_info",
    ][::core::mem::align_of::<libxl_version_info>() - 8usize];
    [
        "Offset of field: libxl_version_info::xen_version_major",
    ][::core::mem::offset_of!(libxl_version_info, xen_version_major) - 0usize];
    [
        "Offset of field: libxl_version_info::xen_version_minor",
    ][::core::mem::offset_of!(libxl_version_info, xen_version_minor) - 4usize];
    [
        "Offset of field: libxl_version_info::xen_version_extra",
    ][::core::mem::offset_of!(libxl_version_info, xen_version_extra) - 8usize];
    [
        "Offset of field: libxl_version_info::compiler",
    ][::core::mem::offset_of!(libxl_version_info, compiler) - 16usize];
    [
        "Offset of field: libxl_version_info::compile_by",
    ][::core::mem::offset_of!(libxl_version_info, compile_by) - 24usize];
    [
        "Offset of field: libxl_version_info::compile_domain",
    ][::core::mem::offset_of!(libxl_version_info, compile_domain) - 32usize];
    [
        "Offset of field: libxl_version_info::compile_date",
    ][::core::mem::offset_of!(libxl_version_info, compile_date) - 40usize];
    [
        "Offset of field: libxl_version_info::capabilities",
    ][::core::mem::offset_of!(libxl_version_info, capabilities) - 48usize];
    [
        "Offset of field: libxl_version_info::changeset",
    ][::core::mem::offset_of!(libxl_version_info, changeset) - 56usize];
    [
        "Offset of field: libxl_version_info::virt_start",
    ][::core::mem::offset_of!(libxl_version_info, virt_start) - 64usize];
    [
        "Offset of field: libxl_version_info::pagesize",
    ][::core::mem::offset_of!(libxl_version_info, pagesize) - 72usize];
    [
        "Offset of field: libxl_version_info::commandline",
    ][::core::mem::offset_of!(libxl_version_info, commandline) - 80usize];
    [
        "Offset of field: libxl_version_info::build_id",
    ][::core::mem::offset_of!(libxl_version_info, build_id) - 88usize];
};
#[repr(C)]
#[repr(align(8))]
#[derive(Debug, Copy, Clone)]
pub struct libxl_device_disk {
    pub _bindgen_opaque_blob: [u64; 18usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_device_disk",
    ][::core::mem::size_of::<libxl_device_disk>() - 144usize];
    [
        "Alignment of libxl_device_disk",
    ][::core::mem::align_of::<libxl_device_disk>() - 8usize];
};
#[repr(C)]
#[repr(align(8))]
pub struct libxl_domain_config {
    pub _bindgen_opaque_blob: [u64; 161usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_domain_config",
    ][::core::mem::size_of::<libxl_domain_config>() - 1288usize];
    [
        "Alignment of libxl_domain_config",
    ][::core::mem::align_of::<libxl_domain_config>() - 8usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_vcpuinfo {
    pub vcpuid: u32,
    pub cpu: u32,
    pub online: bool,
    pub blocked: bool,
    pub running: bool,
    pub vcpu_time: u64,
    pub cpumap: libxl_bitmap,
    pub cpumap_soft: libxl_bitmap,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_vcpuinfo"][::core::mem::size_of::<libxl_vcpuinfo>() - 56usize];
    ["Alignment of libxl_vcpuinfo"][::core::mem::align_of::<libxl_vcpuinfo>() - 8usize];
    [
        "Offset of field: libxl_vcpuinfo::vcpuid",
    ][::core::mem::offset_of!(libxl_vcpuinfo, vcpuid) - 0usize];
    [
        "Offset of field: libxl_vcpuinfo::cpu",
    ][::core::mem::offset_of!(libxl_vcpuinfo, cpu) - 4usize];
    [
        "Offset of field: libxl_vcpuinfo::online",
    ][::core::mem::offset_of!(libxl_vcpuinfo, online) - 8usize];
    [
        "Offset of field: libxl_vcpuinfo::blocked",
    ][::core::mem::offset_of!(libxl_vcpuinfo, blocked) - 9usize];
    [
        "Offset of field: libxl_vcpuinfo::running",
    ][::core::mem::offset_of!(libxl_vcpuinfo, running) - 10usize];
    [
        "Offset of field: libxl_vcpuinfo::vcpu_time",
    ][::core::mem::offset_of!(libxl_vcpuinfo, vcpu_time) - 16usize];
    [
        "Offset of field: libxl_vcpuinfo::cpumap",
    ][::core::mem::offset_of!(libxl_vcpuinfo, cpumap) - 24usize];
    [
        "Offset of field: libxl_vcpuinfo::cpumap_soft",
    ][::core::mem::offset_of!(libxl_vcpuinfo, cpumap_soft) - 40usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_physinfo {
    pub threads_per_core: u32,
    pub cores_per_socket: u32,
    pub max_cpu_id: u32,
    pub nr_cpus: u32,
    pub cpu_khz: u32,
    pub total_pages: u64,
    pub free_pages: u64,
    pub scrub_pages: u64,
    pub outstanding_pages: u64,
    pub sharing_freed_pages: u64,
    pub sharing_used_frames: u64,
    pub max_possible_mfn: u64,
    pub nr_nodes: u32,
    pub hw_cap: libxl_hwcap,
    pub cap_hvm: bool,
    pub cap_pv: bool,
    pub cap_hvm_directio: bool,
    pub cap_hap: bool,
    pub cap_shadow: bool,
    pub cap_iommu_hap_pt_share: bool,
    pub cap_vmtrace: bool,
    pub cap_vpmu: bool,
    pub cap_gnttab_v1: bool,
    pub cap_gnttab_v2: bool,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_physinfo"][::core::mem::size_of::<libxl_physinfo>() - 128usize];
    ["Alignment of libxl_physinfo"][::core::mem::align_of::<libxl_physinfo>() - 8usize];
    [
        "Offset of field: libxl_physinfo::threads_per_core",
    ][::core::mem::offset_of!(libxl_physinfo, threads_per_core) - 0usize];
    [
        "Offset of field: libxl_physinfo::cores_per_socket",
    ][::core::mem::offset_of!(libxl_physinfo, cores_per_socket) - 4usize];
    [
        "Offset of field: libxl_physinfo::max_cpu_id",
    ][::core::mem::offset_of!(libxl_physinfo, max_cpu_id) - 8usize];
    [
        "Offset of field: libxl_physinfo::nr_cpus",
    ][::core::mem::offset_of!(libxl_physinfo, nr_cpus) - 12usize];
    [
        "Offset of field: libxl_physinfo::cpu_khz",
    ][::core::mem::offset_of!(libxl_physinfo, cpu_khz) - 16usize];
    [
        "Offset of field: libxl_physinfo::total_pages",
    ][::core::mem::offset_of!(libxl_physinfo, total_pages) - 24usize];
    [
        "Offset of field: libxl_physinfo::free_pages",
    ][::core::mem::offset_of!(libxl_physinfo, free_pages) - 32usize];
    [
        "Offset of field: libxl_physinfo::scrub_pages",
    ][::core::mem::offset_of!(libxl_physinfo, scrub_pages) - 40usize];
    [
        "Offset of field: libxl_physinfo::outstanding_pages",
    ][::core::mem::offset_of!(libxl_physinfo, outstanding_pages) - 48usize];
    [
        "Offset of field: libxl_physinfo::sharing_freed_pages",
    ][::core::mem::offset_of!(libxl_physinfo, sharing_freed_pages) - 56usize];
    [
        "Offset of field: libxl_physinfo::sharing_used_frames",
    ][::core::mem::offset_of!(libxl_physinfo, sharing_used_frames) - 64usize];
    [
        "Offset of field: libxl_physinfo::max_possible_mfn",
    ][::core::mem::offset_of!(libxl_physinfo, max_possible_mfn) - 72usize];
    [
        "Offset of field: libxl_physinfo::nr_nodes",
    ][::core::mem::offset_of!(libxl_physinfo, nr_nodes) - 80usize];
    [
        "Offset of field: libxl_physinfo::hw_cap",
    ][::core::mem::offset_of!(libxl_physinfo, hw_cap) - 84usize];
    [
        "Offset of field: libxl_physinfo::cap_hvm",
    ][::core::mem::offset_of!(libxl_physinfo, cap_hvm) - 116usize];
    [
        "Offset of field: libxl_physinfo::cap_pv",
    ][::core::mem::offset_of!(libxl_physinfo, cap_pv) - 117usize];
    [
        "Offset of field: libxl_physinfo::cap_hvm_directio",
    ][::core::mem::offset_of!(libxl_physinfo, cap_hvm_directio) - 118usize];
    [
        "Offset of field: libxl_physinfo::cap_hap",
    ][::core::mem::offset_of!(libxl_physinfo, cap_hap) - 119usize];
    [
        "Offset of field: libxl_physinfo::cap_shadow",
    ][::core::mem::offset_of!(libxl_physinfo, cap_shadow) - 120usize];
    [
        "Offset of field: libxl_physinfo::cap_iommu_hap_pt_share",
    ][::core::mem::offset_of!(libxl_physinfo, cap_iommu_hap_pt_share) - 121usize];
    [
        "Offset of field: libxl_physinfo::cap_vmtrace",
    ][::core::mem::offset_of!(libxl_physinfo, cap_vmtrace) - 122usize];
    [
        "Offset of field: libxl_physinfo::cap_vpmu",
    ][::core::mem::offset_of!(libxl_physinfo, cap_vpmu) - 123usize];
    [
        "Offset of field: libxl_physinfo::cap_gnttab_v1",
    ][::core::mem::offset_of!(libxl_physinfo, cap_gnttab_v1) - 124usize];
    [
        "Offset of field: libxl_physinfo::cap_gnttab_v2",
    ][::core::mem::offset_of!(libxl_physinfo, cap_gnttab_v2) - 125usize];
};
pub const LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN: libxl_event_type = 1;
pub const LIBXL_EVENT_TYPE_DOMAIN_DEATH: libxl_event_type = 2;
pub const LIBXL_EVENT_TYPE_DISK_EJECT: libxl_event_type = 3;
pub const LIBXL_EVENT_TYPE_OPERATION_COMPLETE: libxl_event_type = 4;
pub const LIBXL_EVENT_TYPE_DOMAIN_CREATE_CONSOLE_AVAILABLE: libxl_event_type = 5;
pub type libxl_event_type = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Copy, Clone)]
pub struct libxl_event {
    pub link: libxl_ev_link,
    pub domid: libxl_domid,
    pub domuuid: libxl_uuid,
    pub for_user: u64,
    pub type_: libxl_event_type,
    pub u: libxl_event__bindgen_ty_1,
}
#[repr(C)]
#[derive(Copy, Clone)]
pub union libxl_event__bindgen_ty_1 {
    pub domain_shutdown: libxl_event__bindgen_ty_1__bindgen_ty_1,
    pub disk_eject: libxl_event__bindgen_ty_1__bindgen_ty_2,
    pub operation_complete: libxl_event__bindgen_ty_1__bindgen_ty_3,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_event__bindgen_ty_1__bindgen_ty_1 {
    pub shutdown_reason: u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_event__bindgen_ty_1__bindgen_ty_1",
    ][::core::mem::size_of::<libxl_event__bindgen_ty_1__bindgen_ty_1>() - 1usize];
    [
        "Alignment of libxl_event__bindgen_ty_1__bindgen_ty_1",
    ][::core::mem::align_of::<libxl_event__bindgen_ty_1__bindgen_ty_1>() - 1usize];
    [
        "Offset of field: libxl_event__bindgen_ty_1__bindgen_ty_1::shutdown_reason",
    ][::core::mem::offset_of!(libxl_event__bindgen_ty_1__bindgen_ty_1, shutdown_reason)
        - 0usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_event__bindgen_ty_1__bindgen_ty_2 {
    pub vdev: *mut ::core::ffi::c_char,
    pub disk: libxl_device_disk,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_event__bindgen_ty_1__bindgen_ty_2",
    ][::core::mem::size_of::<libxl_event__bindgen_ty_1__bindgen_ty_2>() - 152usize];
    [
        "Alignment of libxl_event__bindgen_ty_1__bindgen_ty_2",
    ][::core::mem::align_of::<libxl_event__bindgen_ty_1__bindgen_ty_2>() - 8usize];
    [
        "Offset of field: libxl_event__bindgen_ty_1__bindgen_ty_2::vdev",
    ][::core::mem::offset_of!(libxl_event__bindgen_ty_1__bindgen_ty_2, vdev) - 0usize];
    [
        "Offset of field: libxl_event__bindgen_ty_1__bindgen_ty_2::disk",
    ][::core::mem::offset_of!(libxl_event__bindgen_ty_1__bindgen_ty_2, disk) - 8usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_event__bindgen_ty_1__bindgen_ty_3 {
    pub rc: ::core::ffi::c_int,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_event__bindgen_ty_1__bindgen_ty_3",
    ][::core::mem::size_of::<libxl_event__bindgen_ty_1__bindgen_ty_3>() - 4usize];
    [
        "Alignment of libxl_event__bindgen_ty_1__bindgen_ty_3",
    ][::core::mem::align_of::<libxl_event__bindgen_ty_1__bindgen_ty_3>() - 4usize];
    [
        "Offset of field: libxl_event__bindgen_ty_1__bindgen_ty_3::rc",
    ][::core::mem::offset_of!(libxl_event__bindgen_ty_1__bindgen_ty_3, rc) - 0usize];
};
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_event__bindgen_ty_1",
    ][::core::mem::size_of::<libxl_event__bindgen_ty_1>() - 152usize];
    [
        "Alignment of libxl_event__bindgen_ty_1",
    ][::core::mem::align_of::<libxl_event__bindgen_ty_1>() - 8usize];
    [
        "Offset of field: libxl_event__bindgen_ty_1::domain_shutdown",
    ][::core::mem::offset_of!(libxl_event__bindgen_ty_1, domain_shutdown) - 0usize];
    [
        "Offset of field: libxl_event__bindgen_ty_1::disk_eject",
    ][::core::mem::offset_of!(libxl_event__bindgen_ty_1, disk_eject) - 0usize];
    [
        "Offset of field: libxl_event__bindgen_ty_1::operation_complete",
    ][::core::mem::offset_of!(libxl_event__bindgen_ty_1, operation_complete) - 0usize];
};
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_event"][::core::mem::size_of::<libxl_event>() - 208usize];
    ["Alignment of libxl_event"][::core::mem::align_of::<libxl_event>() - 8usize];
    [
        "Offset of field: libxl_event::link",
    ][::core::mem::offset_of!(libxl_event, link) - 0usize];
    [
        "Offset of field: libxl_event::domid",
    ][::core::mem::offset_of!(libxl_event, domid) - 16usize];
    [
        "Offset of field: libxl_event::domuuid",
    ][::core::mem::offset_of!(libxl_event, domuuid) - 20usize];
    [
        "Offset of field: libxl_event::for_user",
    ][::core::mem::offset_of!(libxl_event, for_user) - 40usize];
    [
        "Offset of field: libxl_event::type_",
    ][::core::mem::offset_of!(libxl_event, type_) - 48usize];
    [
        "Offset of field: libxl_event::u",
    ][::core::mem::offset_of!(libxl_event, u) - 56usize];
};
#[repr(C)]
#[derive(Copy, Clone)]
pub struct libxl_asyncop_how {
    pub callback: ::core::option::Option<
        unsafe extern "C" fn(
            ctx: *mut libxl_ctx,
            rc: ::core::ffi::c_int,
            for_callback: *mut ::core::ffi::c_void,
        ),
    >,
    pub u: libxl_asyncop_how__bindgen_ty_1,
}
#[repr(C)]
#[derive(Copy, Clone)]
pub union libxl_asyncop_how__bindgen_ty_1 {
    pub for_event: libxl_ev_user,
    pub for_callback: *mut ::core::ffi::c_void,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_asyncop_how__bindgen_ty_1",
    ][::core::mem::size_of::<libxl_asyncop_how__bindgen_ty_1>() - 8usize];
    [
        "Alignment of libxl_asyncop_how__bindgen_ty_1",
    ][::core::mem::align_of::<libxl_asyncop_how__bindgen_ty_1>() - 8usize];
    [
        "Offset of field: libxl_asyncop_how__bindgen_ty_1::for_event",
    ][::core::mem::offset_of!(libxl_asyncop_how__bindgen_ty_1, for_event) - 0usize];
    [
        "Offset of field: libxl_asyncop_how__bindgen_ty_1::for_callback",
    ][::core::mem::offset_of!(libxl_asyncop_how__bindgen_ty_1, for_callback) - 0usize];
};
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_asyncop_how"][::core::mem::size_of::<libxl_asyncop_how>() - 16usize];
    [
        "Alignment of libxl_asyncop_how",
    ][::core::mem::align_of::<libxl_asyncop_how>() - 8usize];
    [
        "Offset of field: libxl_asyncop_how::callback",
    ][::core::mem::offset_of!(libxl_asyncop_how, callback) - 0usize];
    [
        "Offset of field: libxl_asyncop_how::u",
    ][::core::mem::offset_of!(libxl_asyncop_how, u) - 8usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_asyncprogress_how {
    pub callback: ::core::option::Option<
        unsafe extern "C" fn(
            ctx: *mut libxl_ctx,
            arg1: *mut libxl_event,
            for_callback: *mut ::core::ffi::c_void,
        ),
    >,
    pub for_event: libxl_ev_user,
    pub for_callback: *mut ::core::ffi::c_void,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_asyncprogress_how",
    ][::core::mem::size_of::<libxl_asyncprogress_how>() - 24usize];
    [
        "Alignment of libxl_asyncprogress_how",
    ][::core::mem::align_of::<libxl_asyncprogress_how>() - 8usize];
    [
        "Offset of field: libxl_asyncprogress_how::callback",
    ][::core::mem::offset_of!(libxl_asyncprogress_how, callback) - 0usize];
    [
        "Offset of field: libxl_asyncprogress_how::for_event",
    ][::core::mem::offset_of!(libxl_asyncprogress_how, for_event) - 8usize];
    [
        "Offset of field: libxl_asyncprogress_how::for_callback",
    ][::core::mem::offset_of!(libxl_asyncprogress_how, for_callback) - 16usize];
};
pub type libxl_event_predicate = ::core::option::Option<
    unsafe extern "C" fn(
        arg1: *const libxl_event,
        user: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int,
>;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_event_hooks {
    pub event_occurs_mask: u64,
    pub event_occurs: ::core::option::Option<
        unsafe extern "C" fn(user: *mut ::core::ffi::c_void, event: *mut libxl_event),
    >,
    pub disaster: ::core::option::Option<
        unsafe extern "C" fn(
            user: *mut ::core::ffi::c_void,
            type_: libxl_event_type,
            msg: *const ::core::ffi::c_char,
            errnoval: ::core::ffi::c_int,
        ),
    >,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of libxl_event_hooks"][::core::mem::size_of::<libxl_event_hooks>() - 24usize];
    [
        "Alignment of libxl_event_hooks",
    ][::core::mem::align_of::<libxl_event_hooks>() - 8usize];
    [
        "Offset of field: libxl_event_hooks::event_occurs_mask",
    ][::core::mem::offset_of!(libxl_event_hooks, event_occurs_mask) - 0usize];
    [
        "Offset of field: libxl_event_hooks::event_occurs",
    ][::core::mem::offset_of!(libxl_event_hooks, event_occurs) - 8usize];
    [
        "Offset of field: libxl_event_hooks::disaster",
    ][::core::mem::offset_of!(libxl_event_hooks, disaster) - 16usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl__evgen_domain_death {
    _unused: [u8; 0],
}
pub type libxl_evgen_domain_death = libxl__evgen_domain_death;
pub const libxl_sigchld_owner_libxl: libxl_sigchld_owner = 0;
pub const libxl_sigchld_owner_mainloop: libxl_sigchld_owner = 1;
pub const libxl_sigchld_owner_libxl_always: libxl_sigchld_owner = 2;
pub const libxl_sigchld_owner_libxl_always_selective_reap: libxl_sigchld_owner = 3;
pub type libxl_sigchld_owner = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct libxl_childproc_hooks {
    pub chldowner: libxl_sigchld_owner,
    pub fork_replacement: ::core::option::Option<
        unsafe extern "C" fn(user: *mut ::core::ffi::c_void) -> pid_t,
    >,
    pub reaped_callback: ::core::option::Option<
        unsafe extern "C" fn(
            arg1: pid_t,
            status: ::core::ffi::c_int,
            user: *mut ::core::ffi::c_void,
        ) -> ::core::ffi::c_int,
    >,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of libxl_childproc_hooks",
    ][::core::mem::size_of::<libxl_childproc_hooks>() - 24usize];
    [
        "Alignment of libxl_childproc_hooks",
    ][::core::mem::align_of::<libxl_childproc_hooks>() - 8usize];
    [
        "Offset of field: libxl_childproc_hooks::chldowner",
    ][::core::mem::offset_of!(libxl_childproc_hooks, chldowner) - 0usize];
    [
        "Offset of field: libxl_childproc_hooks::fork_replacement",
    ][::core::mem::offset_of!(libxl_childproc_hooks, fork_replacement) - 8usize];
    [
        "Offset of field: libxl_childproc_hooks::reaped_callback",
    ][::core::mem::offset_of!(libxl_childproc_hooks, reaped_callback) - 16usize];
};
pub struct Libxenlight {
    __library: ::libloading::Library,
    pub libxl_error_to_string: unsafe extern "C" fn(
        p: libxl_error,
    ) -> *const ::core::ffi::c_char,
    pub libxl_dominfo_dispose: unsafe extern "C" fn(p: *mut libxl_dominfo),
    pub libxl_dominfo_init: unsafe extern "C" fn(p: *mut libxl_dominfo),
    pub libxl_domain_config_dispose: unsafe extern "C" fn(p: *mut libxl_domain_config),
    pub libxl_domain_config_init: unsafe extern "C" fn(p: *mut libxl_domain_config),
    pub libxl_domain_config_to_json: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        p: *mut libxl_domain_config,
    ) -> *mut ::core::ffi::c_char,
    pub libxl_domain_config_from_json: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        p: *mut libxl_domain_config,
        s: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int,
    pub libxl_physinfo_dispose: unsafe extern "C" fn(p: *mut libxl_physinfo),
    pub libxl_physinfo_init: unsafe extern "C" fn(p: *mut libxl_physinfo),
    pub libxl_get_version_info: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
    ) -> *const libxl_version_info,
    pub libxl_ctx_alloc: unsafe extern "C" fn(
        pctx: *mut *mut libxl_ctx,
        version: ::core::ffi::c_int,
        flags: ::core::ffi::c_uint,
        lg: *mut xentoollog_logger,
    ) -> ::core::ffi::c_int,
    pub libxl_ctx_free: unsafe extern "C" fn(ctx: *mut libxl_ctx) -> ::core::ffi::c_int,
    pub libxl_domain_create_new: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        d_config: *mut libxl_domain_config,
        domid: *mut u32,
        ao_how: *const libxl_asyncop_how,
        aop_console_how: *const libxl_asyncprogress_how,
    ) -> ::core::ffi::c_int,
    pub libxl_retrieve_domain_configuration: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        d_config: *mut libxl_domain_config,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int,
    pub libxl_domain_shutdown: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int,
    pub libxl_domain_reboot: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int,
    pub libxl_domain_destroy: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int,
    pub libxl_domain_pause: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int,
    pub libxl_domain_unpause: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int,
    pub libxl_set_memory_target: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        target_memkb: i64,
        relative: ::core::ffi::c_int,
        enforce: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int,
    pub libxl_get_memory_target: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        out_target: *mut u64,
    ) -> ::core::ffi::c_int,
    pub libxl_domain_need_memory: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        config: *mut libxl_domain_config,
        domid_for_logging: u32,
        need_memkb: *mut u64,
    ) -> ::core::ffi::c_int,
    pub libxl_wait_for_memory_target: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        wait_secs: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int,
    pub libxl_primary_console_get_tty: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid_vm: u32,
        path: *mut *mut ::core::ffi::c_char,
    ) -> ::core::ffi::c_int,
    pub libxl_domain_info: unsafe extern "C" fn(
        arg1: *mut libxl_ctx,
        info_r: *mut libxl_dominfo,
        domid: u32,
    ) -> ::core::ffi::c_int,
    pub libxl_list_domain: unsafe extern "C" fn(
        arg1: *mut libxl_ctx,
        nb_domain_out: *mut ::core::ffi::c_int,
    ) -> *mut libxl_dominfo,
    pub libxl_dominfo_list_free: unsafe extern "C" fn(
        list: *mut libxl_dominfo,
        nb_domain: ::core::ffi::c_int,
    ),
    pub libxl_list_cpupool: unsafe extern "C" fn(
        arg1: *mut libxl_ctx,
        nb_pool_out: *mut ::core::ffi::c_int,
    ) -> *mut libxl_cpupoolinfo,
    pub libxl_cpupoolinfo_list_free: unsafe extern "C" fn(
        list: *mut libxl_cpupoolinfo,
        nb_pool: ::core::ffi::c_int,
    ),
    pub libxl_list_vcpu: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        nb_vcpu: *mut ::core::ffi::c_int,
        nr_cpus_out: *mut ::core::ffi::c_int,
    ) -> *mut libxl_vcpuinfo,
    pub libxl_vcpuinfo_list_free: unsafe extern "C" fn(
        arg1: *mut libxl_vcpuinfo,
        nr_vcpus: ::core::ffi::c_int,
    ),
    pub libxl_get_physinfo: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        physinfo: *mut libxl_physinfo,
    ) -> ::core::ffi::c_int,
    pub libxl_cpupool_create: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        name: *const ::core::ffi::c_char,
        sched: libxl_scheduler,
        cpumap: libxl_bitmap,
        uuid: *mut libxl_uuid,
        poolid: *mut u32,
    ) -> ::core::ffi::c_int,
    pub libxl_cpupool_destroy: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        poolid: u32,
    ) -> ::core::ffi::c_int,
    pub libxl_cpupool_cpuadd: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        poolid: u32,
        cpu: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int,
    pub libxl_cpupool_cpuremove: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        poolid: u32,
        cpu: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int,
    pub libxl_event_check: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        event_r: *mut *mut libxl_event,
        typemask: u64,
        predicate: libxl_event_predicate,
        predicate_user: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int,
    pub libxl_event_free: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        event: *mut libxl_event,
    ),
    pub libxl_event_register_callbacks: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        hooks: *const libxl_event_hooks,
        user: *mut ::core::ffi::c_void,
    ),
    pub libxl_evenable_domain_death: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
        arg1: libxl_ev_user,
        evgen_out: *mut *mut libxl_evgen_domain_death,
    ) -> ::core::ffi::c_int,
    pub libxl_evdisable_domain_death: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        arg1: *mut libxl_evgen_domain_death,
    ),
    pub libxl_osevent_beforepoll: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        nfds_io: *mut ::core::ffi::c_int,
        fds: *mut pollfd,
        timeout_upd: *mut ::core::ffi::c_int,
        now: timeval,
    ) -> ::core::ffi::c_int,
    pub libxl_osevent_afterpoll: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        nfds: ::core::ffi::c_int,
        fds: *const pollfd,
        now: timeval,
    ),
    pub libxl_childproc_setmode: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        hooks: *const libxl_childproc_hooks,
        user: *mut ::core::ffi::c_void,
    ),
    pub libxl_childproc_sigchld_occurred: unsafe extern "C" fn(ctx: *mut libxl_ctx),
    pub libxl_domid_to_name: unsafe extern "C" fn(
        ctx: *mut libxl_ctx,
        domid: u32,
    ) -> *mut ::core::ffi::c_char,
}
impl Libxenlight {
    pub unsafe fn new<P>(path: P) -> Result<Self, ::libloading::Error>
    where
        P: AsRef<::std::ffi::OsStr>,
    {
        let library = unsafe { ::libloading::Library::new(path) }?;
        unsafe { Self::from_library(library) }
    }
    pub unsafe fn from_library<L>(library: L) -> Result<Self, ::libloading::Error>
    where
        L: Into<::libloading::Library>,
    {
        let __library = library.into();
        let libxl_error_to_string = unsafe { __library.get(b"libxl_error_to_string\0") }
            .map(|sym| *sym)?;
        let libxl_dominfo_dispose = unsafe { __library.get(b"libxl_dominfo_dispose\0") }
            .map(|sym| *sym)?;
        let libxl_dominfo_init = unsafe { __library.get(b"libxl_dominfo_init\0") }
            .map(|sym| *sym)?;
        let libxl_domain_config_dispose = unsafe {
            __library.get(b"libxl_domain_config_dispose\0")
        }
            .map(|sym| *sym)?;
        let libxl_domain_config_init = unsafe {
            __library.get(b"libxl_domain_config_init\0")
        }
            .map(|sym| *sym)?;
        let libxl_domain_config_to_json = unsafe {
            __library.get(b"libxl_domain_config_to_json\0")
        }
            .map(|sym| *sym)?;
        let libxl_domain_config_from_json = unsafe {
            __library.get(b"libxl_domain_config_from_json\0")
        }
            .map(|sym| *sym)?;
        let libxl_physinfo_dispose = unsafe {
            __library.get(b"libxl_physinfo_dispose\0")
        }
            .map(|sym| *sym)?;
        let libxl_physinfo_init = unsafe { __library.get(b"libxl_physinfo_init\0") }
            .map(|sym| *sym)?;
        let libxl_get_version_info = unsafe {
            __library.get(b"libxl_get_version_info\0")
        }
            .map(|sym| *sym)?;
        let libxl_ctx_alloc = unsafe { __library.get(b"libxl_ctx_alloc\0") }
            .map(|sym| *sym)?;
        let libxl_ctx_free = unsafe { __library.get(b"libxl_ctx_free\0") }
            .map(|sym| *sym)?;
        let libxl_domain_create_new = unsafe {
            __library.get(b"libxl_domain_create_new\0")
        }
            .map(|sym| *sym)?;
        let libxl_retrieve_domain_configuration = unsafe {
            __library.get(b"libxl_retrieve_domain_configuration\0")
        }
            .map(|sym| *sym)?;
        let libxl_domain_shutdown = unsafe { __library.get(b"libxl_domain_shutdown\0") }
            .map(|sym| *sym)?;
        let libxl_domain_reboot = unsafe { __library.get(b"libxl_domain_reboot\0") }
            .map(|sym| *sym)?;
        let libxl_domain_destroy = unsafe { __library.get(b"libxl_domain_destroy\0") }
            .map(|sym| *sym)?;
        let libxl_domain_pause = unsafe { __library.get(b"libxl_domain_pause\0") }
            .map(|sym| *sym)?;
        let libxl_domain_unpause = unsafe { __library.get(b"libxl_domain_unpause\0") }
            .map(|sym| *sym)?;
        let libxl_set_memory_target = unsafe {
            __library.get(b"libxl_set_memory_target\0")
        }
            .map(|sym| *sym)?;
        let libxl_get_memory_target = unsafe {
            __library.get(b"libxl_get_memory_target\0")
        }
            .map(|sym| *sym)?;
        let libxl_domain_need_memory = unsafe {
            __library.get(b"libxl_domain_need_memory\0")
        }
            .map(|sym| *sym)?;
        let libxl_wait_for_memory_target = unsafe {
            __library.get(b"libxl_wait_for_memory_target\0")
        }
            .map(|sym| *sym)?;
        let libxl_primary_console_get_tty = unsafe {
            __library.get(b"libxl_primary_console_get_tty\0")
        }
            .map(|sym| *sym)?;
        let libxl_domain_info = unsafe { __library.get(b"libxl_domain_info\0") }
            .map(|sym| *sym)?;
        let libxl_list_domain = unsafe { __library.get(b"libxl_list_domain\0") }
            .map(|sym| *sym)?;
        let libxl_dominfo_list_free = unsafe {
            __library.get(b"libxl_dominfo_list_free\0")
        }
            .map(|sym| *sym)?;
        let libxl_list_cpupool = unsafe { __library.get(b"libxl_list_cpupool\0") }
            .map(|sym| *sym)?;
        let libxl_cpupoolinfo_list_free = unsafe {
            __library.get(b"libxl_cpupoolinfo_list_free\0")
        }
            .map(|sym| *sym)?;
        let libxl_list_vcpu = unsafe { __library.get(b"libxl_list_vcpu\0") }
            .map(|sym| *sym)?;
        let libxl_vcpuinfo_list_free = unsafe {
            __library.get(b"libxl_vcpuinfo_list_free\0")
        }
            .map(|sym| *sym)?;
        let libxl_get_physinfo = unsafe { __library.get(b"libxl_get_physinfo\0") }
            .map(|sym| *sym)?;
        let libxl_cpupool_create = unsafe { __library.get(b"libxl_cpupool_create\0") }
            .map(|sym| *sym)?;
        let libxl_cpupool_destroy = unsafe { __library.get(b"libxl_cpupool_destroy\0") }
            .map(|sym| *sym)?;
        let libxl_cpupool_cpuadd = unsafe { __library.get(b"libxl_cpupool_cpuadd\0") }
            .map(|sym| *sym)?;
        let libxl_cpupool_cpuremove = unsafe {
            __library.get(b"libxl_cpupool_cpuremove\0")
        }
            .map(|sym| *sym)?;
        let libxl_event_check = unsafe { __library.get(b"libxl_event_check\0") }
            .map(|sym| *sym)?;
        let libxl_event_free = unsafe { __library.get(b"libxl_event_free\0") }
            .map(|sym| *sym)?;
        let libxl_event_register_callbacks = unsafe {
            __library.get(b"libxl_event_register_callbacks\0")
        }
            .map(|sym| *sym)?;
        let libxl_evenable_domain_death = unsafe {
            __library.get(b"libxl_evenable_domain_death\0")
        }
            .map(|sym| *sym)?;
        let libxl_evdisable_domain_death = unsafe {
            __library.get(b"libxl_evdisable_domain_death\0")
        }
            .map(|sym| *sym)?;
        let libxl_osevent_beforepoll = unsafe {
            __library.get(b"libxl_osevent_beforepoll\0")
        }
            .map(|sym| *sym)?;
        let libxl_osevent_afterpoll = unsafe {
            __library.get(b"libxl_osevent_afterpoll\0")
        }
            .map(|sym| *sym)?;
        let libxl_childproc_setmode = unsafe {
            __library.get(b"libxl_childproc_setmode\0")
        }
            .map(|sym| *sym)?;
        let libxl_childproc_sigchld_occurred = unsafe {
            __library.get(b"libxl_childproc_sigchld_occurred\0")
        }
            .map(|sym| *sym)?;
        let libxl_domid_to_name = unsafe { __library.get(b"libxl_domid_to_name\0") }
            .map(|sym| *sym)?;
        Ok(Libxenlight {
            __library,
            libxl_error_to_string,
            libxl_dominfo_dispose,
            libxl_dominfo_init,
            libxl_domain_config_dispose,
            libxl_domain_config_init,
            libxl_domain_config_to_json,
            libxl_domain_config_from_json,
            libxl_physinfo_dispose,
            libxl_physinfo_init,
            libxl_get_version_info,
            libxl_ctx_alloc,
            libxl_ctx_free,
            libxl_domain_create_new,
            libxl_retrieve_domain_configuration,
            libxl_domain_shutdown,
            libxl_domain_reboot,
            libxl_domain_destroy,
            libxl_domain_pause,
            libxl_domain_unpause,
            libxl_set_memory_target,
            libxl_get_memory_target,
            libxl_domain_need_memory,
            libxl_wait_for_memory_target,
            libxl_primary_console_get_tty,
            libxl_domain_info,
            libxl_list_domain,
            libxl_dominfo_list_free,
            libxl_list_cpupool,
            libxl_cpupoolinfo_list_free,
            libxl_list_vcpu,
            libxl_vcpuinfo_list_free,
            libxl_get_physinfo,
            libxl_cpupool_create,
            libxl_cpupool_destroy,
            libxl_cpupool_cpuadd,
            libxl_cpupool_cpuremove,
            libxl_event_check,
            libxl_event_free,
            libxl_event_register_callbacks,
            libxl_evenable_domain_death,
            libxl_evdisable_domain_death,
            libxl_osevent_beforepoll,
            libxl_osevent_afterpoll,
            libxl_childproc_setmode,
            libxl_childproc_sigchld_occurred,
            libxl_domid_to_name,
        })
    }
    pub unsafe fn libxl_error_to_string(
        &self,
        p: libxl_error,
    ) -> *const ::core::ffi::c_char {
        unsafe { (self.libxl_error_to_string)(p) }
    }
    pub unsafe fn libxl_dominfo_dispose(&self, p: *mut libxl_dominfo) {
        unsafe { (self.libxl_dominfo_dispose)(p) }
    }
    pub unsafe fn libxl_dominfo_init(&self, p: *mut libxl_dominfo) {
        unsafe { (self.libxl_dominfo_init)(p) }
    }
    pub unsafe fn libxl_domain_config_dispose(&self, p: *mut libxl_domain_config) {
        unsafe { (self.libxl_domain_config_dispose)(p) }
    }
    pub unsafe fn libxl_domain_config_init(&self, p: *mut libxl_domain_config) {
        unsafe { (self.libxl_domain_config_init)(p) }
    }
    pub unsafe fn libxl_domain_config_to_json(
        &self,
        ctx: *mut libxl_ctx,
        p: *mut libxl_domain_config,
    ) -> *mut ::core::ffi::c_char {
        unsafe { (self.libxl_domain_config_to_json)(ctx, p) }
    }
    pub unsafe fn libxl_domain_config_from_json(
        &self,
        ctx: *mut libxl_ctx,
        p: *mut libxl_domain_config,
        s: *const ::core::ffi::c_char,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_domain_config_from_json)(ctx, p, s) }
    }
    pub unsafe fn libxl_physinfo_dispose(&self, p: *mut libxl_physinfo) {
        unsafe { (self.libxl_physinfo_dispose)(p) }
    }
    pub unsafe fn libxl_physinfo_init(&self, p: *mut libxl_physinfo) {
        unsafe { (self.libxl_physinfo_init)(p) }
    }
    pub unsafe fn libxl_get_version_info(
        &self,
        ctx: *mut libxl_ctx,
    ) -> *const libxl_version_info {
        unsafe { (self.libxl_get_version_info)(ctx) }
    }
    pub unsafe fn libxl_ctx_alloc(
        &self,
        pctx: *mut *mut libxl_ctx,
        version: ::core::ffi::c_int,
        flags: ::core::ffi::c_uint,
        lg: *mut xentoollog_logger,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_ctx_alloc)(pctx, version, flags, lg) }
    }
    pub unsafe fn libxl_ctx_free(&self, ctx: *mut libxl_ctx) -> ::core::ffi::c_int {
        unsafe { (self.libxl_ctx_free)(ctx) }
    }
    pub unsafe fn libxl_domain_create_new(
        &self,
        ctx: *mut libxl_ctx,
        d_config: *mut libxl_domain_config,
        domid: *mut u32,
        ao_how: *const libxl_asyncop_how,
        aop_console_how: *const libxl_asyncprogress_how,
    ) -> ::core::ffi::c_int {
        unsafe {
            (self.libxl_domain_create_new)(ctx, d_config, domid, ao_how, aop_console_how)
        }
    }
    pub unsafe fn libxl_retrieve_domain_configuration(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        d_config: *mut libxl_domain_config,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int {
        unsafe {
            (self.libxl_retrieve_domain_configuration)(ctx, domid, d_config, ao_how)
        }
    }
    pub unsafe fn libxl_domain_shutdown(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_domain_shutdown)(ctx, domid, ao_how) }
    }
    pub unsafe fn libxl_domain_reboot(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_domain_reboot)(ctx, domid, ao_how) }
    }
    pub unsafe fn libxl_domain_destroy(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_domain_destroy)(ctx, domid, ao_how) }
    }
    pub unsafe fn libxl_domain_pause(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_domain_pause)(ctx, domid, ao_how) }
    }
    pub unsafe fn libxl_domain_unpause(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        ao_how: *const libxl_asyncop_how,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_domain_unpause)(ctx, domid, ao_how) }
    }
    pub unsafe fn libxl_set_memory_target(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        target_memkb: i64,
        relative: ::core::ffi::c_int,
        enforce: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int {
        unsafe {
            (self.libxl_set_memory_target)(ctx, domid, target_memkb, relative, enforce)
        }
    }
    pub unsafe fn libxl_get_memory_target(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        out_target: *mut u64,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_get_memory_target)(ctx, domid, out_target) }
    }
    pub unsafe fn libxl_domain_need_memory(
        &self,
        ctx: *mut libxl_ctx,
        config: *mut libxl_domain_config,
        domid_for_logging: u32,
        need_memkb: *mut u64,
    ) -> ::core::ffi::c_int {
        unsafe {
            (self.libxl_domain_need_memory)(ctx, config, domid_for_logging, need_memkb)
        }
    }
    pub unsafe fn libxl_wait_for_memory_target(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        wait_secs: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_wait_for_memory_target)(ctx, domid, wait_secs) }
    }
    pub unsafe fn libxl_primary_console_get_tty(
        &self,
        ctx: *mut libxl_ctx,
        domid_vm: u32,
        path: *mut *mut ::core::ffi::c_char,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_primary_console_get_tty)(ctx, domid_vm, path) }
    }
    pub unsafe fn libxl_domain_info(
        &self,
        arg1: *mut libxl_ctx,
        info_r: *mut libxl_dominfo,
        domid: u32,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_domain_info)(arg1, info_r, domid) }
    }
    pub unsafe fn libxl_list_domain(
        &self,
        arg1: *mut libxl_ctx,
        nb_domain_out: *mut ::core::ffi::c_int,
    ) -> *mut libxl_dominfo {
        unsafe { (self.libxl_list_domain)(arg1, nb_domain_out) }
    }
    pub unsafe fn libxl_dominfo_list_free(
        &self,
        list: *mut libxl_dominfo,
        nb_domain: ::core::ffi::c_int,
    ) {
        unsafe { (self.libxl_dominfo_list_free)(list, nb_domain) }
    }
    pub unsafe fn libxl_list_cpupool(
        &self,
        arg1: *mut libxl_ctx,
        nb_pool_out: *mut ::core::ffi::c_int,
    ) -> *mut libxl_cpupoolinfo {
        unsafe { (self.libxl_list_cpupool)(arg1, nb_pool_out) }
    }
    pub unsafe fn libxl_cpupoolinfo_list_free(
        &self,
        list: *mut libxl_cpupoolinfo,
        nb_pool: ::core::ffi::c_int,
    ) {
        unsafe { (self.libxl_cpupoolinfo_list_free)(list, nb_pool) }
    }
    pub unsafe fn libxl_list_vcpu(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        nb_vcpu: *mut ::core::ffi::c_int,
        nr_cpus_out: *mut ::core::ffi::c_int,
    ) -> *mut libxl_vcpuinfo {
        unsafe { (self.libxl_list_vcpu)(ctx, domid, nb_vcpu, nr_cpus_out) }
    }
    pub unsafe fn libxl_vcpuinfo_list_free(
        &self,
        arg1: *mut libxl_vcpuinfo,
        nr_vcpus: ::core::ffi::c_int,
    ) {
        unsafe { (self.libxl_vcpuinfo_list_free)(arg1, nr_vcpus) }
    }
    pub unsafe fn libxl_get_physinfo(
        &self,
        ctx: *mut libxl_ctx,
        physinfo: *mut libxl_physinfo,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_get_physinfo)(ctx, physinfo) }
    }
    pub unsafe fn libxl_cpupool_create(
        &self,
        ctx: *mut libxl_ctx,
        name: *const ::core::ffi::c_char,
        sched: libxl_scheduler,
        cpumap: libxl_bitmap,
        uuid: *mut libxl_uuid,
        poolid: *mut u32,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_cpupool_create)(ctx, name, sched, cpumap, uuid, poolid) }
    }
    pub unsafe fn libxl_cpupool_destroy(
        &self,
        ctx: *mut libxl_ctx,
        poolid: u32,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_cpupool_destroy)(ctx, poolid) }
    }
    pub unsafe fn libxl_cpupool_cpuadd(
        &self,
        ctx: *mut libxl_ctx,
        poolid: u32,
        cpu: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_cpupool_cpuadd)(ctx, poolid, cpu) }
    }
    pub unsafe fn libxl_cpupool_cpuremove(
        &self,
        ctx: *mut libxl_ctx,
        poolid: u32,
        cpu: ::core::ffi::c_int,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_cpupool_cpuremove)(ctx, poolid, cpu) }
    }
    pub unsafe fn libxl_event_check(
        &self,
        ctx: *mut libxl_ctx,
        event_r: *mut *mut libxl_event,
        typemask: u64,
        predicate: libxl_event_predicate,
        predicate_user: *mut ::core::ffi::c_void,
    ) -> ::core::ffi::c_int {
        unsafe {
            (self.libxl_event_check)(ctx, event_r, typemask, predicate, predicate_user)
        }
    }
    pub unsafe fn libxl_event_free(&self, ctx: *mut libxl_ctx, event: *mut libxl_event) {
        unsafe { (self.libxl_event_free)(ctx, event) }
    }
    pub unsafe fn libxl_event_register_callbacks(
        &self,
        ctx: *mut libxl_ctx,
        hooks: *const libxl_event_hooks,
        user: *mut ::core::ffi::c_void,
    ) {
        unsafe { (self.libxl_event_register_callbacks)(ctx, hooks, user) }
    }
    pub unsafe fn libxl_evenable_domain_death(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
        arg1: libxl_ev_user,
        evgen_out: *mut *mut libxl_evgen_domain_death,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_evenable_domain_death)(ctx, domid, arg1, evgen_out) }
    }
    pub unsafe fn libxl_evdisable_domain_death(
        &self,
        ctx: *mut libxl_ctx,
        arg1: *mut libxl_evgen_domain_death,
    ) {
        unsafe { (self.libxl_evdisable_domain_death)(ctx, arg1) }
    }
    pub unsafe fn libxl_osevent_beforepoll(
        &self,
        ctx: *mut libxl_ctx,
        nfds_io: *mut ::core::ffi::c_int,
        fds: *mut pollfd,
        timeout_upd: *mut ::core::ffi::c_int,
        now: timeval,
    ) -> ::core::ffi::c_int {
        unsafe { (self.libxl_osevent_beforepoll)(ctx, nfds_io, fds, timeout_upd, now) }
    }
    pub unsafe fn libxl_osevent_afterpoll(
        &self,
        ctx: *mut libxl_ctx,
        nfds: ::core::ffi::c_int,
        fds: *const pollfd,
        now: timeval,
    ) {
        unsafe { (self.libxl_osevent_afterpoll)(ctx, nfds, fds, now) }
    }
    pub unsafe fn libxl_childproc_setmode(
        &self,
        ctx: *mut libxl_ctx,
        hooks: *const libxl_childproc_hooks,
        user: *mut ::core::ffi::c_void,
    ) {
        unsafe { (self.libxl_childproc_setmode)(ctx, hooks, user) }
    }
    pub unsafe fn libxl_childproc_sigchld_occurred(&self, ctx: *mut libxl_ctx) {
        unsafe { (self.libxl_childproc_sigchld_occurred)(ctx) }
    }
    pub unsafe fn libxl_domid_to_name(
        &self,
        ctx: *mut libxl_ctx,
        domid: u32,
    ) -> *mut ::core::ffi::c_char {
        unsafe { (self.libxl_domid_to_name)(ctx, domid) }
    }
}
