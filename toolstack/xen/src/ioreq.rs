//! The shared page in which Xen puts a vCPU's trapped accesses and a backend its answers
//! (`xen/include/public/hvm/ioreq.h`).
//!
//! One slot for each vCPU, and one request in it at most: the vCPU waits for the answer. The state
//! goes NONE → READY (Xen) → INPROCESS → RESP_READY (backend) → NONE (Xen), never backwards: Xen
//! crashes the guest when it sees it go back. State and flags share one byte, which is only ever
//! changed here by compare-and-exchange of that whole byte, and only from READY or INPROCESS, when
//! Xen does not touch it.
//!
//! Every request must be answered, whatever it asks: the vCPU waits for ever otherwise. The first
//! request a new server sees is of kind [`IoreqKind::Invalidate`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use xen_sys::ioreq as abi;
use xen_sys::memory::RESOURCE_IOREQ_SERVER_FRAME_IOREQ;

use crate::error::{Error, Result};
use crate::foreign::{Resource, ResourceMapping};
use crate::ids::{DomId, EventPort, IoservId};
use crate::privcmd::PrivCmd;

/// A slot as Xen and the backend share it: `abi::Ioreq` in atomics.
#[repr(C)]
#[derive(Debug, Default)]
struct Slot {
    addr: AtomicU64,
    data: AtomicU64,
    count: AtomicU32,
    size: AtomicU32,
    vp_eport: AtomicU32,
    pad0: AtomicU16,
    bits: AtomicU8,
    kind: AtomicU8,
}

const _: () = {
    assert!(size_of::<Slot>() == size_of::<abi::Ioreq>());
    assert!(align_of::<Slot>() == align_of::<abi::Ioreq>());
    assert!(std::mem::offset_of!(Slot, bits) == std::mem::offset_of!(abi::Ioreq, bits));
    assert!(std::mem::offset_of!(Slot, vp_eport) == std::mem::offset_of!(abi::Ioreq, vp_eport));
};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoreqKind {
    /// A memory-mapped register.
    Mmio,
    /// An I/O port (x86).
    Pio,
    /// PCI configuration space.
    PciConfig,
    /// The guest has moved its clock (x86).
    TimeOffset,
    /// Cached mappings of guest memory may be stale.
    Invalidate,
    /// Anything else.
    Other(u8),
}

impl IoreqKind {
    fn from_raw(kind: u8) -> Self {
        match kind {
            abi::TYPE_COPY => Self::Mmio,
            abi::TYPE_PIO => Self::Pio,
            abi::TYPE_PCI_CONFIG => Self::PciConfig,
            abi::TYPE_TIMEOFFSET => Self::TimeOffset,
            abi::TYPE_INVALIDATE => Self::Invalidate,
            other => Self::Other(other),
        }
    }
}

/// A private copy of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ioreq {
    /// Guest physical address of the access.
    pub addr: u64,
    /// The value written, if it is a write.
    pub data: u64,
    /// Repetitions, 1 on Arm.
    pub count: u32,
    /// Width in bytes.
    pub size: u32,
    /// What it is about.
    pub kind: IoreqKind,
    /// The guest writes (else it reads).
    pub write: bool,
    /// `data` is the guest physical address of the data (x86 string instructions).
    pub data_is_ptr: bool,
}

impl Slot {
    /// Copies the request out, whose state the caller has seen in `bits` with acquire ordering.
    fn request(&self, bits: u8) -> Ioreq {
        Ioreq {
            addr: self.addr.load(Ordering::Relaxed),
            data: self.data.load(Ordering::Relaxed),
            count: self.count.load(Ordering::Relaxed),
            size: self.size.load(Ordering::Relaxed),
            kind: IoreqKind::from_raw(self.kind.load(Ordering::Relaxed)),
            write: bits & abi::FLAG_READ == 0,
            data_is_ptr: bits & abi::FLAG_DATA_IS_PTR != 0,
        }
    }

    /// Moves the state on if it is `from`; gives the byte as it was, or as it is instead.
    fn advance(&self, from: u8, to: u8, success: Ordering) -> std::result::Result<u8, u8> {
        let seen = self.bits.load(Ordering::Acquire);
        if seen & abi::STATE_MASK != from {
            return Err(seen);
        }
        self.bits.compare_exchange(
            seen,
            (seen & !abi::STATE_MASK) | to,
            success,
            Ordering::Acquire,
        )
    }

    fn take(&self) -> Option<Ioreq> {
        let bits = self
            .advance(abi::STATE_READY, abi::STATE_INPROCESS, Ordering::AcqRel)
            .ok()?;
        Some(self.request(bits))
    }

    fn in_state(&self, state: u8) -> Option<Ioreq> {
        let bits = self.bits.load(Ordering::Acquire);
        (bits & abi::STATE_MASK == state).then(|| self.request(bits))
    }

    fn respond(&self, vcpu: u32, data: u64) -> Result<()> {
        let state = self.bits.load(Ordering::Acquire) & abi::STATE_MASK;
        if state == abi::STATE_INPROCESS {
            self.data.store(data, Ordering::Relaxed);
        }
        self.advance(
            abi::STATE_INPROCESS,
            abi::STATE_RESP_READY,
            Ordering::AcqRel,
        )
        .map(drop)
        .map_err(|bits| Error::NoRequest {
            vcpu,
            state: bits & abi::STATE_MASK,
        })
    }
}

/// The mapped slots of one ioreq server.
///
/// Cheap to clone; the page is unmapped with the last clone, and with the last
/// [`crate::IoEventFd`] made of it.
#[derive(Clone, Debug)]
pub struct IoreqPage {
    mapping: Arc<ResourceMapping>,
    domid: DomId,
    server: IoservId,
    vcpus: u32,
}

impl IoreqPage {
    /// Maps the slots of `server`, which serves a guest of `vcpus` vCPUs
    /// ([`crate::device_model::vcpu_count`]).
    ///
    /// # Errors
    /// [`Error::Argument`] unless 1 to 128 vCPUs (Xen has one page of slots for each server);
    /// [`Error::ResourceMap`].
    pub fn map(privcmd: &PrivCmd, domid: DomId, server: IoservId, vcpus: u32) -> Result<Self> {
        let fits = usize::try_from(vcpus).is_ok_and(|vcpus| vcpus <= abi::SLOTS_PER_PAGE);
        if vcpus == 0 || !fits {
            return Err(Error::Argument(
                "an ioreq page serves a guest of 1 to 128 vCPUs",
            ));
        }
        let mapping = privcmd.map_resource(
            domid,
            Resource::IoreqServer(server),
            u64::from(RESOURCE_IOREQ_SERVER_FRAME_IOREQ),
            1,
        )?;
        Ok(Self {
            mapping: Arc::new(mapping),
            domid,
            server,
            vcpus,
        })
    }

    /// The guest.
    pub fn domid(&self) -> DomId {
        self.domid
    }

    /// The server.
    pub fn server(&self) -> IoservId {
        self.server
    }

    /// Number of slots.
    pub fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// The port to bind ([`crate::EventChannels::bind_interdomain`], with this guest's number) to
    /// hear of requests of a vCPU and to answer them. `None` until the server is enabled, which must
    /// come after the page was mapped for the first time ([`crate::device_model::set_enabled`]).
    pub fn port(&self, vcpu: u32) -> Option<EventPort> {
        EventPort::new(self.slot(vcpu)?.vp_eport.load(Ordering::Relaxed))
    }

    /// Takes a vCPU's request, if there is one: returns a private copy and marks the slot as being
    /// in process, so that nobody takes it twice. Must be followed by [`IoreqPage::respond`].
    pub fn take(&self, vcpu: u32) -> Option<Ioreq> {
        self.slot(vcpu)?.take()
    }

    /// A copy of a vCPU's request, if there is one, without taking it.
    pub fn peek(&self, vcpu: u32) -> Option<Ioreq> {
        self.slot(vcpu)?.in_state(abi::STATE_READY)
    }

    /// A copy of a request that was taken and not answered.
    ///
    /// For a restarted backend only: whoever took it has died. Call it for each vCPU once, after the
    /// event channels are bound again and before anyone calls [`IoreqPage::take`], do the request
    /// again and respond.
    pub fn stranded(&self, vcpu: u32) -> Option<Ioreq> {
        self.slot(vcpu)?.in_state(abi::STATE_INPROCESS)
    }

    /// Answers the request that was taken: `data` is what a read returns, and ignored for a write.
    /// Then notify the vCPU's event channel, or it waits on.
    ///
    /// # Errors
    /// [`Error::NoRequest`] if none is in process: nothing was changed, no notification is needed.
    /// [`Error::Argument`] if there is no such vCPU.
    pub fn respond(&self, vcpu: u32, data: u64) -> Result<()> {
        self.slot(vcpu)
            .ok_or(Error::Argument("there is no such vCPU"))?
            .respond(vcpu, data)
    }

    /// The mapping, for the kernel calls that want its address.
    pub(crate) fn mapping(&self) -> &Arc<ResourceMapping> {
        &self.mapping
    }

    fn slot(&self, vcpu: u32) -> Option<&Slot> {
        if vcpu >= self.vcpus {
            return None;
        }
        let position = usize::try_from(vcpu).ok()?;
        // SAFETY: the page is mapped as long as `self` lives, aligned, and has 128 slots, of which
        // `map` allowed no more than that; atomics may be shared with writers elsewhere.
        Some(unsafe { &*self.mapping.as_ptr().cast::<Slot>().add(position) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Xen does to hand over a request.
    fn send(slot: &Slot, flags: u8, kind: u8) {
        slot.addr.store(0x0200_0050, Ordering::Relaxed);
        slot.data.store(0xdead_beef, Ordering::Relaxed);
        slot.count.store(1, Ordering::Relaxed);
        slot.size.store(4, Ordering::Relaxed);
        slot.kind.store(kind, Ordering::Relaxed);
        slot.bits.store(flags | abi::STATE_READY, Ordering::Release);
    }

    #[test]
    fn a_slot_is_bit_for_bit_what_xen_writes() {
        let raw = abi::Ioreq {
            addr: 1,
            data: 2,
            count: 3,
            size: 4,
            vp_eport: 5,
            pad0: 0,
            bits: abi::STATE_READY | abi::FLAG_READ,
            kind: abi::TYPE_COPY,
        };
        // SAFETY: same size and alignment (asserted above), and all fields are plain integers.
        let slot: Slot = unsafe { std::mem::transmute(raw) };
        let request = slot.take().unwrap();
        assert_eq!(
            request,
            Ioreq {
                addr: 1,
                data: 2,
                count: 3,
                size: 4,
                kind: IoreqKind::Mmio,
                write: false,
                data_is_ptr: false,
            }
        );
        assert_eq!(slot.vp_eport.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn a_request_is_taken_once_and_answered_once() {
        let slot = Slot::default();
        assert_eq!(slot.take(), None);
        send(&slot, 0, abi::TYPE_COPY);
        assert!(slot.in_state(abi::STATE_READY).is_some());
        let request = slot.take().unwrap();
        assert!(request.write);
        assert_eq!(slot.take(), None);
        slot.respond(0, 7).unwrap();
        assert!(matches!(
            slot.respond(0, 8),
            Err(Error::NoRequest {
                vcpu: 0,
                state: abi::STATE_RESP_READY
            })
        ));
        assert_eq!(slot.data.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn an_answer_to_nothing_changes_nothing() {
        let slot = Slot::default();
        assert!(slot.respond(3, 1).is_err());
        send(&slot, 0, abi::TYPE_COPY);
        assert!(slot.respond(3, 1).is_err());
        assert_eq!(slot.data.load(Ordering::Relaxed), 0xdead_beef);
        assert_eq!(slot.bits.load(Ordering::Relaxed), abi::STATE_READY);
    }

    #[test]
    fn the_flags_beside_the_state_survive() {
        let flags = abi::FLAG_READ | abi::FLAG_DATA_IS_PTR | abi::FLAG_DF | 0x80;
        let slot = Slot::default();
        send(&slot, flags, abi::TYPE_PIO);
        let request = slot.take().unwrap();
        assert!(!request.write);
        assert!(request.data_is_ptr);
        assert_eq!(
            slot.bits.load(Ordering::Relaxed),
            flags | abi::STATE_INPROCESS
        );
        slot.respond(0, 0).unwrap();
        assert_eq!(
            slot.bits.load(Ordering::Relaxed),
            flags | abi::STATE_RESP_READY
        );
    }

    #[test]
    fn a_request_left_by_a_dead_backend_is_found_and_never_set_back() {
        let slot = Slot::default();
        send(&slot, 0, abi::TYPE_COPY);
        let taken = slot.take();
        assert_eq!(slot.in_state(abi::STATE_INPROCESS), taken);
        assert_eq!(slot.bits.load(Ordering::Relaxed), abi::STATE_INPROCESS);
        slot.respond(0, 0).unwrap();
        assert_eq!(slot.in_state(abi::STATE_INPROCESS), None);
    }

    #[test]
    fn kinds_are_told_apart_and_unknown_ones_kept() {
        for (raw, kind) in [
            (0, IoreqKind::Pio),
            (1, IoreqKind::Mmio),
            (2, IoreqKind::PciConfig),
            (7, IoreqKind::TimeOffset),
            (8, IoreqKind::Invalidate),
            (9, IoreqKind::Other(9)),
            (255, IoreqKind::Other(255)),
        ] {
            assert_eq!(IoreqKind::from_raw(raw), kind);
        }
    }

    #[test]
    fn of_many_threads_one_gets_the_request() {
        let slot = Slot::default();
        for _ in 0..200 {
            send(&slot, 0, abi::TYPE_COPY);
            let winners: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| usize::from(slot.take().is_some())))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum()
            });
            assert_eq!(winners, 1);
            slot.respond(0, 0).unwrap();
        }
    }
}
