//! Attempts on memory: another domain's pages, the pages Xen keeps for it, its address space and its reservation
//! (`xen/include/public/memory.h`).

use std::io;

use xen::{Access, Pfn};
use xen_sys::domain::{DOMID_IO, DOMID_SELF, DOMID_XEN};
use xen_sys::hypercall::MEMORY_OP;
use xen_sys::memory as resource;

use crate::attacker::{Attacker, SCRATCH_FRAME, domid};
use crate::attempt::{
    Attempt, Expected, HERE, Outcome, STRANGERS, Target, Verdict, harmful, on_everybody,
};
use crate::raw::Page;

const DECREASE_RESERVATION: u64 = 1;
const CURRENT_RESERVATION: u64 = 3;
const POPULATE_PHYSMAP: u64 = 6;
const ADD_TO_PHYSMAP: u64 = 7;
const EXCHANGE: u64 = 11;
const MAXIMUM_GPFN: u64 = 14;
const REMOVE_FROM_PHYSMAP: u64 = 15;
const ACCESS_OP: u64 = 21;
const ADD_TO_PHYSMAP_BATCH: u64 = 23;
const CLAIM_PAGES: u64 = 24;
const ACQUIRE_RESOURCE: u64 = 28;

const SPACE_SHARED_INFO: u32 = 0;
const SPACE_GRANT_TABLE: u32 = 1;
const SPACE_FOREIGN: u16 = 4;
const SPACE_DEVICE: u16 = 5;

/// Frames that a guest's kernel or the control domain's memory lies in: a guest's RAM starts at 1 GiB, as does that of QEMU's
/// machine.
const FRAMES: [u64; 6] = [0x40000, 0x40010, 0x40200, 0x41000, 0x44000, 0x48000];
/// Machine frame of the first UART of QEMU's `virt` machine.
const UART_FRAME: u64 = 0x0900_0000 >> 12;
/// Where lists lie in a page of arguments.
const LIST: usize = 2048;
const LIST_ADDRESS: u64 = 2048;

/// The catalogue's part.
pub(crate) const TABLE: &[Attempt] = &[
    on_everybody(
        "map-frame",
        "map a page that was not granted, through the kernel",
        map_frames,
    ),
    on_everybody(
        "map-frame-raw",
        "map a page that was not granted, by a hypercall",
        |a, d| map_foreign(a, d, 0x41000),
    ),
    Attempt {
        name: "map-xen-frame",
        aim: "map a page that belongs to Xen",
        on: HERE,
        harm: false,
        how: |a, _| map_foreign(a, DOMID_XEN, 0x40200),
    },
    Attempt {
        name: "map-io-frame",
        aim: "map a device as if it were a page of the I/O domain",
        on: HERE,
        harm: false,
        how: map_io_frame,
    },
    Attempt {
        name: "map-device-frame",
        aim: "map a device of the machine into itself",
        on: HERE,
        harm: false,
        how: |a, d| batch(a, d, SPACE_DEVICE, 0, UART_FRAME),
    },
    Attempt {
        name: "resource-ioreq",
        aim: "map an ioreq page in which the guest's accesses stand",
        on: STRANGERS,
        harm: false,
        how: |a, d| acquire(a, d, resource::RESOURCE_IOREQ_SERVER, 0, 1),
    },
    on_everybody(
        "resource-grant-table",
        "map a grant table: to write grants into it",
        |a, d| acquire(a, d, resource::RESOURCE_GRANT_TABLE, 0, 0),
    ),
    Attempt {
        name: "resource-trace",
        aim: "map a vCPU's trace buffer",
        on: STRANGERS,
        harm: false,
        how: |a, d| acquire(a, d, resource::RESOURCE_VMTRACE_BUF, 0, 0),
    },
    on_everybody(
        "physmap-shared-info",
        "map a domain's shared page a second time",
        |a, d| add_to_physmap(a, d, SPACE_SHARED_INFO),
    ),
    on_everybody(
        "physmap-grant-table",
        "place a domain's grant table where the guest would see it",
        |a, d| add_to_physmap(a, d, SPACE_GRANT_TABLE),
    ),
    on_everybody(
        "physmap-insert",
        "put a page of this domain into another's address space",
        insert,
    ),
    harmful(
        "physmap-remove",
        "take a page out of a domain's address space",
        |a, d| {
            let result = call(a, REMOVE_FROM_PHYSMAP, |page| {
                page.put16(0, d);
                page.put64(8, 0x41000);
            });
            Verdict::from_io(result, &[], |_| "removed".to_owned())
        },
    ),
    Attempt {
        name: "reservation-populate",
        aim: "get a page of memory for itself, and give it back",
        on: &[(Target::Here, Expected::Any)],
        harm: false,
        how: |a, _| populate(a, DOMID_SELF),
    },
    on_everybody("reservation-populate", "add memory to a domain", populate),
    harmful(
        "reservation-decrease",
        "take memory from a domain",
        |a, d| reservation(a, d, DECREASE_RESERVATION, 0x41000),
    ),
    harmful(
        "reservation-exchange",
        "exchange a domain's memory",
        |a, d| {
            let result = call(a, EXCHANGE, |page| {
                put_reservation(page, 0, d, 0x41000);
                put_reservation(page, 32, d, SCRATCH_FRAME);
            });
            // What there is not on Arm cannot be done, whoever asks.
            Verdict::from_io(result, &[libc::ENOSYS], |_| "exchanged".to_owned())
        },
    ),
    on_everybody("reservation-size", "learn a domain's memory", |a, d| {
        let result = call(a, CURRENT_RESERVATION, |page| page.put16(0, d));
        Verdict::from_io(result, &[], |pages| format!("{pages} pages"))
    }),
    on_everybody("highest-frame", "learn a domain's address space", |a, d| {
        let result = call(a, MAXIMUM_GPFN, |page| page.put16(0, d));
        Verdict::from_io(result, &[], |frame| format!("frame {frame:#x}"))
    }),
    on_everybody(
        "claim-pages",
        "reserve all free memory for a domain",
        |a, d| {
            let result = call(a, CLAIM_PAGES, |page| {
                page.put64(8, 1);
                page.put16(24, d);
            });
            Verdict::from_io(result, &[], |_| "claimed".to_owned())
        },
    ),
    on_everybody(
        "access-get",
        "ask how a domain's page is monitored",
        |a, d| {
            let result = call(a, ACCESS_OP, |page| {
                page.put(0, &[1]);
                page.put16(2, d);
                page.put64(8, 0x41000);
            });
            Verdict::from_io(result, &[], |_| "answered".to_owned())
        },
    ),
    Attempt {
        name: "reservation-size",
        aim: "learn this domain's own memory",
        on: &[(Target::Here, Expected::Any)],
        harm: false,
        how: |a, _| {
            let result = call(a, CURRENT_RESERVATION, |page| page.put16(0, DOMID_SELF));
            Verdict::from_io(result, &[], |pages| format!("{pages} pages"))
        },
    },
];

fn call(attacker: &Attacker, command: u64, fill: impl FnOnce(&Page)) -> io::Result<i32> {
    let page = Attacker::page(fill)?;
    attacker
        .raw
        .hypercall(MEMORY_OP, &[command, page.address(0)])
}

/// As a backend with foreign mappings would, one frame after the other until one maps.
fn map_frames(attacker: &Attacker, domain: u16) -> Verdict {
    let mut last = Verdict::failed("no frame was tried");
    for frame in FRAMES {
        let mapped = attacker
            .privcmd
            .map_foreign(domid(domain), &[Pfn(frame)], Access::ReadOnly)
            .and_then(xen::ForeignMapping::complete);
        let verdict = Verdict::from_xen(mapped, |mapping| {
            // SAFETY: the page is mapped whole, and 8 bytes at its start are aligned.
            let word = unsafe { mapping.as_ptr().cast::<u64>().read_volatile() };
            format!("frame {frame:#x} holds {word:#018x}")
        });
        match verdict.outcome {
            Outcome::Failed => last = verdict,
            _ => return verdict,
        }
    }
    last
}

fn map_foreign(attacker: &Attacker, domain: u16, frame: u64) -> Verdict {
    batch(attacker, DOMID_SELF, SPACE_FOREIGN, domain, frame)
}

/// Xen takes the I/O domain for none here: `ESRCH`, whoever asks.
fn map_io_frame(attacker: &Attacker, _: u16) -> Verdict {
    let mut verdict = map_foreign(attacker, DOMID_IO, UART_FRAME);
    if verdict.errno == Some(libc::ESRCH) {
        verdict.outcome = Outcome::Refused;
    }
    verdict
}

/// `XENMEM_add_to_physmap_batch` of one frame to the scratch address, and its removal.
fn batch(attacker: &Attacker, into: u16, space: u16, from: u16, frame: u64) -> Verdict {
    let result = Attacker::page(|page| {
        page.put16(0, into);
        page.put16(2, space);
        page.put16(4, 1);
        page.put16(6, from);
        page.put64(8, page.address(LIST_ADDRESS));
        page.put64(16, page.address(LIST_ADDRESS + 8));
        page.put64(24, page.address(LIST_ADDRESS + 16));
        page.put64(LIST, frame);
        page.put64(LIST + 8, SCRATCH_FRAME);
    })
    .and_then(|page| {
        attacker
            .raw
            .hypercall(MEMORY_OP, &[ADD_TO_PHYSMAP_BATCH, page.address(0)])?;
        match i32::from_ne_bytes(page.get(LIST + 16)) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        }
    });
    if result.is_ok() {
        forget_scratch(attacker);
    }
    Verdict::from_io(result, &[], |()| format!("frame {frame:#x} was mapped"))
}

/// `XENMEM_acquire_resource` of one frame to the scratch address, and its removal.
fn acquire(attacker: &Attacker, domain: u16, kind: u32, id: u32, frame: u64) -> Verdict {
    let result = call(attacker, ACQUIRE_RESOURCE, |page| {
        page.put16(0, domain);
        page.put16(2, u16::try_from(kind).unwrap_or(u16::MAX));
        page.put32(4, id);
        page.put32(8, 1);
        page.put64(16, frame);
        page.put64(24, page.address(LIST_ADDRESS));
        page.put64(LIST, SCRATCH_FRAME);
    });
    if result.is_ok() {
        forget_scratch(attacker);
    }
    Verdict::from_io(result, &[], |_| {
        format!("frame {frame} of the resource was mapped")
    })
}

/// Takes out again what was mapped at the scratch address of this domain.
pub(crate) fn forget_scratch(attacker: &Attacker) {
    // Nothing can be done about a failure: the address is used by nobody else.
    let _ = call(attacker, REMOVE_FROM_PHYSMAP, |page| {
        page.put16(0, DOMID_SELF);
        page.put64(8, SCRATCH_FRAME);
    });
}

/// Places a page that Xen keeps for `domain` at the scratch address in it, and takes it out where that worked.
fn add_to_physmap(attacker: &Attacker, domain: u16, space: u32) -> Verdict {
    if space == SPACE_SHARED_INFO && crate::control::may_control(attacker, domain).is_ok() {
        return Verdict::failed("not tried: nothing is refused here, and the page would be gone");
    }
    let result = call(attacker, ADD_TO_PHYSMAP, |page| {
        page.put16(0, domain);
        page.put32(4, space);
        // A grant table's last frame, which a guest that is not under load has not got.
        page.put64(8, if space == SPACE_GRANT_TABLE { 31 } else { 0 });
        page.put64(16, SCRATCH_FRAME);
    });
    if result.is_ok() {
        let _ = call(attacker, REMOVE_FROM_PHYSMAP, |page| {
            page.put16(0, domain);
            page.put64(8, SCRATCH_FRAME);
        });
    }
    Verdict::from_io(result, &[], |_| "placed, and removed".to_owned())
}

/// Maps a page of another domain (here: this one's) into `domain`.
fn insert(attacker: &Attacker, domain: u16) -> Verdict {
    batch(
        attacker,
        domain,
        SPACE_FOREIGN,
        attacker.domains.me,
        0x41000,
    )
}

/// `struct xen_memory_reservation` at `at`, for one page; its list is the page's at `LIST` + `at`.
fn put_reservation(page: &Page, at: u32, domain: u16, frame: u64) {
    let offset = usize::try_from(at).unwrap_or(0);
    page.put64(offset, page.address(LIST_ADDRESS + u64::from(at)));
    page.put64(offset + 8, 1);
    page.put16(offset + 24, domain);
    page.put64(LIST + offset, frame);
}

/// Changes a reservation by one page. Xen answers with the number of pages done and has no word for a refusal.
fn reservation(attacker: &Attacker, domain: u16, command: u64, frame: u64) -> Verdict {
    match call(attacker, command, |page| {
        put_reservation(page, 0, domain, frame)
    }) {
        Ok(0) => Verdict::refused("no page was changed"),
        other => Verdict::from_io(other, &[], |pages| format!("{pages} page was changed")),
    }
}

fn populate(attacker: &Attacker, domain: u16) -> Verdict {
    let verdict = reservation(attacker, domain, POPULATE_PHYSMAP, SCRATCH_FRAME);
    if verdict.outcome == Outcome::Allowed {
        let back = reservation(attacker, domain, DECREASE_RESERVATION, SCRATCH_FRAME);
        return Verdict::allowed(format!(
            "a page was added; to give it back: {}",
            back.detail
        ));
    }
    verdict
}
