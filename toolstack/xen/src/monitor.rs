//! SMCs of a domain, seen and answered from here: Xen's VM events of the kind "privileged call". Arm only.
//!
//! A vCPU that executes an SMC stops, and [`Monitor::take`] gives its number; with [`crate::vcpu`] its registers are read, the
//! answer is written and the program counter moved behind the instruction (which Xen does not do), and [`Monitor::answer`] lets
//! it go on. Without that it executes the same SMC again.
//!
//! The ring's page is the guest's until the monitor attaches: it is taken out of the guest's address space, so that no guest
//! can put answers there that Xen would read.
//!
//! A monitor that dies leaves its vCPUs waiting. The next one that attaches lets them go on with the SMC at which they stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xen_sys::domctl as control;
use xen_sys::hvm;
use xen_sys::hypercall::{HVM_OP, MEMORY_OP};
use xen_sys::memory;
use xen_sys::vm_event as abi;

use crate::domctl::DomCtl;
use crate::error::{Error, Result};
use crate::evtchn::EventChannels;
use crate::foreign::ForeignMapping;
use crate::grants::Access;
use crate::hypercall_buffer::HypercallBuffer;
use crate::ids::{DomId, EventPort, Pfn};
use crate::privcmd::PrivCmd;

/// What a vCPU stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The vCPU.
    pub vcpu: u32,
    /// At an SMC; false for kinds of events that were not asked for.
    pub privileged_call: bool,
}

/// The monitor of one domain. Dropped, it detaches.
#[derive(Debug)]
pub struct Monitor {
    domctl: DomCtl,
    domid: DomId,
    evtchn: Arc<EventChannels>,
    ring: ForeignMapping,
    port: EventPort,
    /// Events taken and answers given, as the ring counts.
    taken: u32,
    answered: u32,
}

// SAFETY: the mapping is plain memory, used through `&mut self` alone and by Xen.
unsafe impl Send for Monitor {}

impl Monitor {
    /// Attaches to a domain of so many vCPUs. It does not run meanwhile; SMCs are events from then on. What an earlier monitor left
    /// unanswered is executed again.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::ForeignMap`], [`Error::EventChannel`]; the domain goes on as before.
    pub fn attach(
        privcmd: &PrivCmd,
        evtchn: &Arc<EventChannels>,
        domid: DomId,
        vcpus: u32,
    ) -> Result<Self> {
        let mut domctl = DomCtl::new(privcmd)?;
        domctl
            .plain(domid, control::PAUSE_DOMAIN)
            .map_err(failed("pause a domain"))?;
        let attached = Self::attach_paused(privcmd, evtchn, domid, vcpus);
        let resumed = domctl.plain(domid, control::UNPAUSE_DOMAIN);
        let attached = attached?;
        resumed.map_err(failed("let a domain go on"))?;
        Ok(attached)
    }

    fn attach_paused(
        privcmd: &PrivCmd,
        evtchn: &Arc<EventChannels>,
        domid: DomId,
        vcpus: u32,
    ) -> Result<Self> {
        let mut domctl = DomCtl::new(privcmd)?;
        let ended = domctl.event_operation(domid.get(), control::VM_EVENT_DISABLE);
        // There was none.
        ended
            .map(drop)
            .or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL | libc::ENODEV) => Ok(()),
                _ => Err(error),
            })
            .map_err(failed("end what an earlier monitor left"))?;
        let frame = ring_frame(privcmd, domid)?;
        // Answers without a question put the ring's two sides out of step: they get a ring of their own.
        let mut first = Self::enable(privcmd, evtchn, domid, frame)?;
        for vcpu in 0..vcpus {
            first.answer(vcpu)?;
        }
        drop(first);
        let mut monitor = Self::enable(privcmd, evtchn, domid, frame)?;
        monitor
            .domctl
            .privileged_calls(domid, control::MONITOR_ENABLE)
            .map_err(failed("make a domain's SMCs events"))?;
        Ok(monitor)
    }

    fn enable(
        privcmd: &PrivCmd,
        evtchn: &Arc<EventChannels>,
        domid: DomId,
        frame: Pfn,
    ) -> Result<Self> {
        let mut domctl = DomCtl::new(privcmd)?;
        let map = || privcmd.map_foreign(domid, &[frame], Access::ReadWrite);
        let ring = match map() {
            Ok(ring) => ring,
            // An earlier monitor took the page away.
            Err(_) => {
                change_memory(privcmd, memory::POPULATE_PHYSMAP, domid, frame)
                    .map_err(failed("give a domain its ring's page back"))?;
                map()?
            }
        };
        // SAFETY: the page is mapped, and this domain is its only user: the guest is paused and Xen does not know of it yet.
        unsafe { ring.as_ptr().write_bytes(0, ring.len()) };
        let port = domctl
            .event_operation(domid.get(), control::VM_EVENT_ENABLE)
            .map_err(failed("become a domain's monitor"))?;
        let port = EventPort::new(port).ok_or(Error::Argument("Xen gave port 0"));
        let bound = port.and_then(|port| {
            change_memory(privcmd, memory::DECREASE_RESERVATION, domid, frame)
                .map_err(failed("take a ring's page out of a domain"))?;
            evtchn.bind_interdomain(domid, port)
        });
        let port = match bound {
            Ok(port) => port,
            Err(error) => {
                // The first error is the one to tell.
                let _ = domctl.event_operation(domid.get(), control::VM_EVENT_DISABLE);
                return Err(error);
            }
        };
        let this = Self {
            domctl,
            domid,
            evtchn: Arc::clone(evtchn),
            ring,
            port,
            taken: 0,
            answered: 0,
        };
        this.index(std::mem::offset_of!(abi::Ring, req_event))
            .store(1, Ordering::Release);
        Ok(this)
    }

    /// Raised when there may be something for [`Monitor::take`].
    pub fn port(&self) -> EventPort {
        self.port
    }

    /// The next vCPU that has stopped, if there is one; when there is none, the port will be raised for the next.
    pub fn take(&mut self) -> Option<Stop> {
        let produced = self.index(std::mem::offset_of!(abi::Ring, req_prod));
        if produced.load(Ordering::Acquire) == self.taken {
            let wanted = self.index(std::mem::offset_of!(abi::Ring, req_event));
            wanted.store(self.taken.wrapping_add(1), Ordering::SeqCst);
            if produced.load(Ordering::SeqCst) == self.taken {
                return None;
            }
        }
        // SAFETY: a place of the ring, written by Xen before it counted; numbers, valid with any content.
        let event = unsafe { self.place(self.taken).read_volatile() };
        self.taken = self.taken.wrapping_add(1);
        Some(Stop {
            vcpu: event.vcpu_id,
            privileged_call: event.reason == abi::REASON_PRIVILEGED_CALL,
        })
    }

    /// Whether [`Monitor::take`] would give another one.
    pub fn is_more(&self) -> bool {
        let produced = self.index(std::mem::offset_of!(abi::Ring, req_prod));
        produced.load(Ordering::Acquire) != self.taken
    }

    /// Lets a vCPU go on.
    ///
    /// # Errors
    /// [`Error::EventChannel`].
    pub fn answer(&mut self, vcpu: u32) -> Result<()> {
        let answer = abi::Event {
            version: abi::INTERFACE_VERSION,
            flags: abi::FLAG_VCPU_PAUSED,
            reason: abi::REASON_PRIVILEGED_CALL,
            vcpu_id: vcpu,
            altp2m_idx: 0,
            pad: [0; 3],
            u: [0; 4],
            data: [0; 43],
        };
        // SAFETY: a place of the ring whose event was taken; Xen reads it after the count.
        unsafe { self.place(self.answered).write_volatile(answer) };
        self.answered = self.answered.wrapping_add(1);
        self.index(std::mem::offset_of!(abi::Ring, rsp_prod))
            .store(self.answered, Ordering::Release);
        self.evtchn.notify(self.port)
    }

    /// A count at this offset of the ring's page.
    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: within the page and aligned; both sides use it atomically.
        unsafe { AtomicU32::from_ptr(self.ring.as_ptr().add(offset).cast()) }
    }

    fn place(&self, count: u32) -> *mut abi::Event {
        let place = usize::try_from(count % abi::RING_SIZE).unwrap_or(0);
        // SAFETY: RING_SIZE places are within the page.
        unsafe {
            self.ring
                .as_ptr()
                .add(std::mem::offset_of!(abi::Ring, ring))
                .cast::<abi::Event>()
                .add(place)
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // What fails here fails for a domain that is gone.
        let _ = self.evtchn.unbind(self.port);
        let _ = self
            .domctl
            .privileged_calls(self.domid, control::MONITOR_DISABLE);
        let _ = self
            .domctl
            .event_operation(self.domid.get(), control::VM_EVENT_DISABLE);
    }
}

/// The frame that libxl set apart for the ring.
fn ring_frame(privcmd: &PrivCmd, domid: DomId) -> Result<Pfn> {
    let what = "find the frame of a domain's monitor ring";
    let mut buffer = HypercallBuffer::new().map_err(failed(what))?;
    let question = hvm::Param {
        domid: domid.get(),
        pad: 0,
        index: abi::PARAM_MONITOR_RING_PFN,
        value: 0,
    };
    buffer.put(question).map_err(failed(what))?;
    // SAFETY: the operation reads and writes one `Param`.
    unsafe { privcmd.hypercall(HVM_OP, [hvm::GET_PARAM, buffer.address(), 0, 0, 0]) }
        .map_err(failed(what))?;
    // SAFETY: a `Param` consists of numbers, valid with any content.
    let answer: hvm::Param = unsafe { buffer.get() }.map_err(failed(what))?;
    match answer.value {
        0 => Err(Error::Argument(
            "the domain was made without a frame for a monitor's ring",
        )),
        frame => Ok(Pfn(frame)),
    }
}

/// Gives a domain a page at a frame, or takes it away.
fn change_memory(
    privcmd: &PrivCmd,
    operation: u64,
    domid: DomId,
    frame: Pfn,
) -> std::io::Result<()> {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Call {
        reservation: memory::Reservation,
        frame: u64,
    }
    let mut buffer = HypercallBuffer::new()?;
    let behind = u64::try_from(std::mem::offset_of!(Call, frame)).unwrap_or(0);
    buffer.put(Call {
        reservation: memory::Reservation {
            extent_start: buffer.address().saturating_add(behind),
            nr_extents: 1,
            extent_order: 0,
            mem_flags: 0,
            domid: domid.get(),
            pad: [0; 3],
        },
        frame: frame.0,
    })?;
    // SAFETY: the operation reads a `Reservation` and the one frame number behind it.
    let done = unsafe { privcmd.hypercall(MEMORY_OP, [operation, buffer.address(), 0, 0, 0]) }?;
    if done == 1 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(libc::ENOMEM))
    }
}

fn failed(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Hypercall { what, source }
}
