//! libxl's calls for one release: compiled once against each binding of `libxl-sys`, which the
//! enclosing module names `sys`.
//!
//! Every pointer libxl hands out is copied from and freed here; nothing of it leaves this file.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::sys;
use crate::api::{Code, Context, DeathWatch, RawEvent, RawEventKind};
use crate::cpus::{CpuPool, Scheduler, Vcpu};
use crate::foreign::{bit_map, bits, borrowed, now, owned};
use crate::info::{Domain, PhysInfo, ShutdownReason, Version};
use crate::logger::{Log, RawLogger};

/// libxl must not own SIGCHLD: see `children.rs`. It keeps the address.
static CHILDREN: sys::libxl_childproc_hooks = sys::libxl_childproc_hooks {
    chldowner: sys::libxl_sigchld_owner_mainloop,
    fork_replacement: None,
    reaped_callback: None,
};

/// Without a disaster hook libxl ends the whole process. It keeps the address.
static EVENTS: sys::libxl_event_hooks = sys::libxl_event_hooks {
    event_occurs_mask: 0,
    event_occurs: None,
    disaster: Some(disaster),
};

/// Every event type (`LIBXL_EVENTMASK_ALL`).
const ALL_EVENTS: u64 = !0;

/// Lets Xen choose a pool's number (`LIBXL_CPUPOOL_POOLID_ANY`).
const ANY_POOL: u32 = u32::MAX;

/// One `libxl_ctx` and what must outlive it.
struct Opened {
    library: &'static sys::Libxenlight,
    ctx: NonNull<sys::libxl_ctx>,
    broken: Box<AtomicBool>,
    _logger: RawLogger,
}

// SAFETY: a libxl_ctx may be used from any thread and locks itself; the logger's callback is
// `Send + Sync`, and `broken` is atomic.
unsafe impl Send for Opened {}
// SAFETY: as above.
unsafe impl Sync for Opened {}

/// Loads this release's library. It is never unloaded: libxl installs fork handlers, and its
/// XenStore client a thread.
///
/// # Errors
///
/// The loader's words when the library, or a function of it, is not there.
pub(crate) fn load(soname: &str) -> Result<&'static sys::Libxenlight, libloading::Error> {
    // SAFETY: libxenlight's and its dependencies' initialisers have no preconditions, and the
    // soname is that of the release `sys` was generated from, so the functions have the types
    // given there.
    let library = unsafe { sys::Libxenlight::new(soname) }?;
    Ok(Box::leak(Box::new(library)))
}

/// Opens a context that logs to `log`.
///
/// # Errors
///
/// libxl's code when it cannot reach the hypervisor or XenStore.
pub(crate) fn open(
    library: &'static sys::Libxenlight,
    log: &Log,
) -> Result<Arc<dyn Context>, Code> {
    let logger = RawLogger::new(log.clone());
    let mut ctx = ptr::null_mut();
    // SAFETY: `ctx` is written before it is read; the logger lives as long as the context. Version
    // and flags are 0 in every release (LIBXL_VERSION, and no flags are defined).
    let status = unsafe { library.libxl_ctx_alloc(&raw mut ctx, 0, 0, logger.as_ptr()) };
    let opened = Opened {
        library,
        ctx: NonNull::new(ctx).ok_or_else(|| code(library, status))?,
        broken: Box::new(AtomicBool::new(false)),
        _logger: logger,
    };
    let broken: *const AtomicBool = &raw const *opened.broken;
    // SAFETY: nothing else uses the new context yet, as both calls require; the hooks are static
    // and `broken` lives, at one address, as long as the context.
    unsafe {
        library.libxl_childproc_setmode(ctx, &raw const CHILDREN, ptr::null_mut());
        library.libxl_event_register_callbacks(ctx, &raw const EVENTS, broken.cast_mut().cast());
    }
    Ok(Arc::new(opened))
}

/// Called by libxl when it cannot go on handling events; it has logged why.
unsafe extern "C" fn disaster(
    user: *mut c_void,
    _kind: sys::libxl_event_type,
    _message: *const c_char,
    _errno: c_int,
) {
    // SAFETY: `user` is the flag registered in `open`, which outlives the context.
    let broken = unsafe { &*user.cast::<AtomicBool>() };
    broken.store(true, Ordering::Relaxed);
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, so no call is under way.
        unsafe { self.library.libxl_ctx_free(self.ctx.as_ptr()) };
    }
}

fn code(library: &sys::Libxenlight, status: c_int) -> Code {
    // SAFETY: the function takes any number and returns null or a static string.
    let name = unsafe { library.libxl_error_to_string(status) };
    let name = (!name.is_null()).then(|| {
        // SAFETY: it is a NUL-terminated string constant of a library that is never unloaded.
        let name: &'static CStr = unsafe { CStr::from_ptr(name) };
        name.to_str().unwrap_or("unnamed")
    });
    Code {
        number: status,
        name,
    }
}

/// A `libxl_domain_config`, initialised and disposed of.
struct Config {
    library: &'static sys::Libxenlight,
    config: Box<sys::libxl_domain_config>,
}

impl Config {
    fn new(library: &'static sys::Libxenlight) -> Self {
        let mut config = Box::new(MaybeUninit::<sys::libxl_domain_config>::uninit());
        // SAFETY: init writes the whole structure, whose size and alignment the binding knows.
        unsafe { library.libxl_domain_config_init(config.as_mut_ptr()) };
        // SAFETY: just initialised.
        let config = unsafe { config.assume_init() };
        Self { library, config }
    }

    fn as_ptr(&mut self) -> *mut sys::libxl_domain_config {
        &raw mut *self.config
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: it was initialised, and is not used afterwards.
        unsafe { self.library.libxl_domain_config_dispose(self.as_ptr()) };
    }
}

/// libxl's calls that do one thing to one domain.
type Act = unsafe extern "C" fn(
    ctx: *mut sys::libxl_ctx,
    domid: u32,
    how: *const sys::libxl_asyncop_how,
) -> c_int;

impl Opened {
    /// Does it, and returns when it is done.
    fn act(&self, act: Act, domid: u32) -> Result<(), Code> {
        // SAFETY: the context is open; null asks for no asynchronous operation.
        self.check(unsafe { act(self.ctx.as_ptr(), domid, ptr::null()) })
    }

    fn check(&self, status: c_int) -> Result<(), Code> {
        if status < 0 {
            return Err(code(self.library, status));
        }
        Ok(())
    }

    /// Reads one entry of the hypervisor's list, and the domain's name from XenStore.
    fn domain(&self, info: &sys::libxl_dominfo) -> Domain {
        // SAFETY: the context is open; the result is ours.
        let name = unsafe {
            owned(
                self.library
                    .libxl_domid_to_name(self.ctx.as_ptr(), info.domid),
            )
        };
        Domain {
            domid: info.domid,
            uuid: Uuid::from_bytes(info.uuid.uuid),
            name: name.map(|name| String::from_utf8_lossy(&name).into_owned()),
            running: info.running,
            blocked: info.blocked,
            paused: info.paused,
            shutdown: info.shutdown,
            dying: info.dying,
            shutdown_reason: info
                .shutdown
                .then(|| ShutdownReason::from_code(info.shutdown_reason)),
            memory_kib: info.current_memkb,
            max_memory_kib: info.max_memkb,
            outstanding_memory_kib: info.outstanding_memkb,
            vcpus_online: info.vcpu_online,
            vcpus_max: info.vcpu_max_id.saturating_add(1),
            cpu_time_ns: info.cpu_time,
            cpupool: info.cpupool,
        }
    }

    fn parse(&self, json: &CStr) -> Result<Config, Code> {
        let mut config = Config::new(self.library);
        // SAFETY: the context is open, the configuration initialised, the text NUL-terminated.
        let status = unsafe {
            self.library.libxl_domain_config_from_json(
                self.ctx.as_ptr(),
                config.as_ptr(),
                json.as_ptr(),
            )
        };
        self.check(status)?;
        Ok(config)
    }

    fn print(&self, config: &mut Config) -> Result<String, Code> {
        // SAFETY: the context is open, the configuration initialised; the result is ours.
        let text = unsafe {
            owned(
                self.library
                    .libxl_domain_config_to_json(self.ctx.as_ptr(), config.as_ptr()),
            )
        };
        let text = text.ok_or(Code::FAIL)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Context for Opened {
    fn version(&self) -> Result<Version, Code> {
        // SAFETY: the context is open.
        let info = unsafe { self.library.libxl_get_version_info(self.ctx.as_ptr()) };
        // SAFETY: libxl returns null or a structure it keeps, unchanged, with the context.
        let info = unsafe { info.as_ref() }.ok_or(Code::FAIL)?;
        // SAFETY: its strings are null or NUL-terminated and live as long.
        unsafe {
            Ok(Version {
                major: info.xen_version_major,
                minor: info.xen_version_minor,
                extra: borrowed(info.xen_version_extra),
                changeset: borrowed(info.changeset),
                capabilities: borrowed(info.capabilities),
                command_line: borrowed(info.commandline),
                page_size: u64::try_from(info.pagesize).unwrap_or_default(),
            })
        }
    }

    fn physinfo(&self) -> Result<PhysInfo, Code> {
        let mut info = MaybeUninit::<sys::libxl_physinfo>::uninit();
        // SAFETY: init writes the whole structure.
        unsafe { self.library.libxl_physinfo_init(info.as_mut_ptr()) };
        // SAFETY: just initialised.
        let mut info = unsafe { info.assume_init() };
        // SAFETY: the context is open and the structure initialised.
        let status = unsafe {
            self.library
                .libxl_get_physinfo(self.ctx.as_ptr(), &raw mut info)
        };
        let result = self.check(status).map(|()| PhysInfo {
            cpus: info.nr_cpus,
            max_cpu_id: info.max_cpu_id,
            threads_per_core: info.threads_per_core,
            cores_per_socket: info.cores_per_socket,
            cpu_khz: info.cpu_khz,
            nodes: info.nr_nodes,
            total_pages: info.total_pages,
            free_pages: info.free_pages,
            scrub_pages: info.scrub_pages,
            outstanding_pages: info.outstanding_pages,
            hvm: info.cap_hvm,
            hap: info.cap_hap,
            directio: info.cap_hvm_directio,
        });
        // SAFETY: initialised, and not used afterwards.
        unsafe { self.library.libxl_physinfo_dispose(&raw mut info) };
        result
    }

    fn list(&self) -> Result<Vec<Domain>, Code> {
        let mut count: c_int = 0;
        // SAFETY: the context is open; `count` is written with the length of the result.
        let list = unsafe {
            self.library
                .libxl_list_domain(self.ctx.as_ptr(), &raw mut count)
        };
        if list.is_null() {
            return Err(Code::FAIL);
        }
        // SAFETY: libxl returns `count` elements in one allocation.
        let infos =
            unsafe { std::slice::from_raw_parts(list, usize::try_from(count).unwrap_or_default()) };
        let domains = infos.iter().map(|info| self.domain(info)).collect();
        // SAFETY: from libxl_list_domain, with its length, and not used afterwards.
        unsafe { self.library.libxl_dominfo_list_free(list, count) };
        Ok(domains)
    }

    fn info(&self, domid: u32) -> Result<Domain, Code> {
        let mut info = MaybeUninit::<sys::libxl_dominfo>::uninit();
        // SAFETY: init writes the whole structure.
        unsafe { self.library.libxl_dominfo_init(info.as_mut_ptr()) };
        // SAFETY: just initialised.
        let mut info = unsafe { info.assume_init() };
        // SAFETY: the context is open and the structure initialised.
        let status = unsafe {
            self.library
                .libxl_domain_info(self.ctx.as_ptr(), &raw mut info, domid)
        };
        let result = self.check(status).map(|()| self.domain(&info));
        // SAFETY: initialised, and not used afterwards.
        unsafe { self.library.libxl_dominfo_dispose(&raw mut info) };
        result
    }

    fn console_tty(&self, domid: u32) -> Result<PathBuf, Code> {
        let mut path = ptr::null_mut();
        // SAFETY: the context is open; `path` is written on success.
        let status = unsafe {
            self.library
                .libxl_primary_console_get_tty(self.ctx.as_ptr(), domid, &raw mut path)
        };
        self.check(status)?;
        // SAFETY: on success it is a string from malloc, ours.
        let path = unsafe { owned(path) }.ok_or(Code::FAIL)?;
        Ok(PathBuf::from(OsStr::from_bytes(&path)))
    }

    fn vcpus(&self, domid: u32) -> Result<Vec<Vcpu>, Code> {
        let (mut count, mut cpus): (c_int, c_int) = (0, 0);
        // SAFETY: the context is open; both numbers are writable, `count` is the length of the result.
        let list = unsafe {
            self.library
                .libxl_list_vcpu(self.ctx.as_ptr(), domid, &raw mut count, &raw mut cpus)
        };
        if list.is_null() {
            return Err(Code::FAIL);
        }
        // SAFETY: libxl returns `count` elements in one allocation.
        let infos =
            unsafe { std::slice::from_raw_parts(list, usize::try_from(count).unwrap_or_default()) };
        let vcpus = infos.iter().map(|info| Vcpu {
            id: info.vcpuid,
            online: info.online,
            // As xl does: it is told for an online one only.
            cpu: info.online.then_some(info.cpu),
            // SAFETY: the bit map has `size` bytes and lives as long as the list.
            affinity: unsafe { bits(info.cpumap.map, info.cpumap.size) },
        });
        let vcpus = vcpus.collect();
        // SAFETY: from libxl_list_vcpu, with its length, and not used afterwards.
        unsafe { self.library.libxl_vcpuinfo_list_free(list, count) };
        Ok(vcpus)
    }

    fn pools(&self) -> Result<Vec<CpuPool>, Code> {
        let mut count: c_int = 0;
        // SAFETY: the context is open; `count` is written with the length of the result.
        let list = unsafe {
            self.library
                .libxl_list_cpupool(self.ctx.as_ptr(), &raw mut count)
        };
        if list.is_null() {
            return Err(Code::FAIL);
        }
        // SAFETY: libxl returns `count` elements in one allocation.
        let infos =
            unsafe { std::slice::from_raw_parts(list, usize::try_from(count).unwrap_or_default()) };
        let pools = infos.iter().map(|info| CpuPool {
            id: info.poolid,
            // SAFETY: null or NUL-terminated, and lives as long as the list.
            name: unsafe { borrowed(info.pool_name) },
            scheduler: Scheduler::from_number(info.sched),
            // SAFETY: the bit map has `size` bytes and lives as long as the list.
            cpus: unsafe { bits(info.cpumap.map, info.cpumap.size) },
            domains: info.n_dom,
        });
        let pools = pools.collect();
        // SAFETY: from libxl_list_cpupool, with its length, and not used afterwards.
        unsafe { self.library.libxl_cpupoolinfo_list_free(list, count) };
        Ok(pools)
    }

    fn create_pool(
        &self,
        name: &CStr,
        scheduler: u32,
        cpus: &[u32],
        uuid: Uuid,
    ) -> Result<u32, Code> {
        let mut map = bit_map(cpus).ok_or(Code::FAIL)?;
        let cpus = sys::libxl_bitmap {
            size: u32::try_from(map.len()).map_err(|_| Code::FAIL)?,
            map: map.as_mut_ptr(),
        };
        let mut uuid = sys::libxl_uuid {
            uuid: uuid.into_bytes(),
        };
        let mut pool = ANY_POOL;
        // SAFETY: the context is open; the name is NUL-terminated, the bit map has the length it says and is only read,
        // `uuid` and `pool` are writable.
        let status = unsafe {
            self.library.libxl_cpupool_create(
                self.ctx.as_ptr(),
                name.as_ptr(),
                scheduler,
                cpus,
                &raw mut uuid,
                &raw mut pool,
            )
        };
        self.check(status)?;
        Ok(pool)
    }

    fn destroy_pool(&self, pool: u32) -> Result<(), Code> {
        // SAFETY: the context is open.
        self.check(unsafe { self.library.libxl_cpupool_destroy(self.ctx.as_ptr(), pool) })
    }

    fn add_cpu(&self, pool: u32, cpu: i32) -> Result<(), Code> {
        // SAFETY: the context is open.
        self.check(unsafe {
            self.library
                .libxl_cpupool_cpuadd(self.ctx.as_ptr(), pool, cpu)
        })
    }

    fn remove_cpu(&self, pool: u32, cpu: i32) -> Result<(), Code> {
        // SAFETY: the context is open.
        self.check(unsafe {
            self.library
                .libxl_cpupool_cpuremove(self.ctx.as_ptr(), pool, cpu)
        })
    }

    fn round_trip(&self, json: &CStr) -> Result<String, Code> {
        self.print(&mut self.parse(json)?)
    }

    fn retrieve_config(&self, domid: u32) -> Result<String, Code> {
        let mut config = Config::new(self.library);
        // SAFETY: the context is open, the configuration initialised; no asynchronous operation.
        let status = unsafe {
            self.library.libxl_retrieve_domain_configuration(
                self.ctx.as_ptr(),
                domid,
                config.as_ptr(),
                ptr::null(),
            )
        };
        self.check(status)?;
        self.print(&mut config)
    }

    fn need_memory(&self, json: &CStr) -> Result<u64, Code> {
        let mut config = self.parse(json)?;
        let mut need = 0;
        // SAFETY: the context is open, the configuration initialised, `need` writable. The number
        // is only for libxl's log.
        let status = unsafe {
            self.library.libxl_domain_need_memory(
                self.ctx.as_ptr(),
                config.as_ptr(),
                u32::MAX,
                &raw mut need,
            )
        };
        self.check(status)?;
        Ok(need)
    }

    fn create(&self, json: &CStr) -> Result<u32, Code> {
        let mut config = self.parse(json)?;
        let mut domid = u32::MAX;
        // SAFETY: the context is open, the configuration initialised, `domid` writable; no
        // asynchronous operation, so all of it is done when the call returns.
        let status = unsafe {
            self.library.libxl_domain_create_new(
                self.ctx.as_ptr(),
                config.as_ptr(),
                &raw mut domid,
                ptr::null(),
                ptr::null(),
            )
        };
        self.check(status)?;
        Ok(domid)
    }

    fn destroy(&self, domid: u32) -> Result<(), Code> {
        self.act(self.library.libxl_domain_destroy, domid)
    }

    fn shutdown(&self, domid: u32) -> Result<(), Code> {
        self.act(self.library.libxl_domain_shutdown, domid)
    }

    fn reboot(&self, domid: u32) -> Result<(), Code> {
        self.act(self.library.libxl_domain_reboot, domid)
    }

    fn pause(&self, domid: u32) -> Result<(), Code> {
        self.act(self.library.libxl_domain_pause, domid)
    }

    fn unpause(&self, domid: u32) -> Result<(), Code> {
        self.act(self.library.libxl_domain_unpause, domid)
    }

    fn memory_target(&self, domid: u32) -> Result<u64, Code> {
        let mut target = 0;
        // SAFETY: the context is open; `target` is writable.
        let status = unsafe {
            self.library
                .libxl_get_memory_target(self.ctx.as_ptr(), domid, &raw mut target)
        };
        self.check(status)?;
        Ok(target)
    }

    fn set_memory_target(&self, domid: u32, kib: i64, enforce: bool) -> Result<(), Code> {
        // SAFETY: the context is open.
        self.check(unsafe {
            self.library.libxl_set_memory_target(
                self.ctx.as_ptr(),
                domid,
                kib,
                0,
                c_int::from(enforce),
            )
        })
    }

    fn wait_for_memory_target(&self, domid: u32, seconds: i32) -> Result<(), Code> {
        // SAFETY: the context is open.
        self.check(unsafe {
            self.library
                .libxl_wait_for_memory_target(self.ctx.as_ptr(), domid, seconds)
        })
    }

    fn watch_death(&self, domid: u32) -> Result<DeathWatch, Code> {
        let mut watch = ptr::null_mut();
        // SAFETY: the context is open; `watch` is written on success.
        let status = unsafe {
            self.library
                .libxl_evenable_domain_death(self.ctx.as_ptr(), domid, 0, &raw mut watch)
        };
        self.check(status)?;
        Ok(DeathWatch(watch.expose_provenance()))
    }

    fn unwatch_death(&self, watch: DeathWatch) {
        // SAFETY: the value comes from `watch_death` of this context and is consumed here.
        unsafe {
            self.library.libxl_evdisable_domain_death(
                self.ctx.as_ptr(),
                ptr::with_exposed_provenance_mut(watch.0),
            );
        }
    }

    fn before_poll(&self, fds: &mut Vec<libc::pollfd>, timeout_ms: &mut i32) -> Result<(), Code> {
        let ours = fds.len();
        let mut room = 4_usize;
        loop {
            let empty = libc::pollfd {
                fd: -1,
                events: 0,
                revents: 0,
            };
            fds.resize(ours + room, empty);
            let mut wanted = c_int::try_from(room).unwrap_or(c_int::MAX);
            // SAFETY: the context is open; `room` entries follow `ours`, and both numbers are
            // writable.
            let status = unsafe {
                self.library.libxl_osevent_beforepoll(
                    self.ctx.as_ptr(),
                    &raw mut wanted,
                    fds.as_mut_ptr().add(ours),
                    timeout_ms,
                    now(),
                )
            };
            let wanted = usize::try_from(wanted).unwrap_or_default();
            if status == sys::ERROR_BUFFERFULL && wanted > room {
                room = wanted;
                continue;
            }
            self.check(status)?;
            fds.truncate(ours + wanted);
            return Ok(());
        }
    }

    fn after_poll(&self, fds: &[libc::pollfd]) {
        let count = c_int::try_from(fds.len()).unwrap_or(c_int::MAX);
        // SAFETY: the context is open; the entries are those of the last `before_poll`.
        unsafe {
            self.library
                .libxl_osevent_afterpoll(self.ctx.as_ptr(), count, fds.as_ptr(), now());
        }
    }

    fn next_event(&self) -> Option<RawEvent> {
        let mut event = ptr::null_mut();
        // SAFETY: the context is open; `event` is written on success; no predicate.
        let status = unsafe {
            self.library.libxl_event_check(
                self.ctx.as_ptr(),
                &raw mut event,
                ALL_EVENTS,
                None,
                ptr::null_mut(),
            )
        };
        if status != 0 {
            return None;
        }
        // SAFETY: on success libxl hands over one event.
        let seen = unsafe { event.as_ref() }.map(|event| RawEvent {
            domid: event.domid,
            kind: match event.type_ {
                sys::LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN => {
                    // SAFETY: this is the member that belongs to this type.
                    RawEventKind::Shutdown(unsafe { event.u.domain_shutdown.shutdown_reason })
                }
                sys::LIBXL_EVENT_TYPE_DOMAIN_DEATH => RawEventKind::Death,
                _ => RawEventKind::Other,
            },
        });
        // SAFETY: the event is ours, and not used afterwards.
        unsafe { self.library.libxl_event_free(self.ctx.as_ptr(), event) };
        seen
    }

    fn child_signal(&self) {
        // SAFETY: the context is open and in the mode that this call needs (`CHILDREN`); we are in
        // an ordinary thread, not a signal handler.
        unsafe {
            self.library
                .libxl_childproc_sigchld_occurred(self.ctx.as_ptr());
        }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}
