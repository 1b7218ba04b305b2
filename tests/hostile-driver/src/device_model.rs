//! Attempts to be device model for a guest that is not this domain's, or in place of another driver domain
//! (`xen/include/public/hvm/dm_op.h`).

use xen::device_model as model;
use xen_sys::dm_op::{DESTROY_IOREQ_SERVER, DestroyIoreqServer, DmOp, Parameters, UNMAP_IO_RANGE};
use xen_sys::dm_op::{IO_RANGE_MEMORY, IoRange, MAP_IO_RANGE};

use crate::attacker::{Attacker, domid};
use crate::attempt::{ALL_BUT_OWN, Attempt, Expected, STRANGERS, Target, Verdict};

const GET_IOREQ_SERVER_INFO: u32 = 2;
const NO_FRAMES: u16 = 1;
/// Most servers a domain can have (`MAX_NR_IOREQ_SERVERS`).
pub(crate) const SERVERS: u16 = 8;
/// A line of a guest's interrupt controller that libxl gives to no device.
const UNUSED_LINE: u32 = 90;
/// Where libxl puts the first virtio device.
const WINDOW: u64 = 0x200_0000;

/// The catalogue's part.
pub(crate) const TABLE: &[Attempt] = &[
    Attempt {
        name: "dm-create-server",
        aim: "become an ioreq server of a domain",
        on: ALL_BUT_OWN,
        harm: false,
        how: create,
    },
    Attempt {
        name: "dm-vcpus",
        aim: "ask for a domain's vCPUs",
        on: ALL_BUT_OWN,
        harm: false,
        how: |a, d| {
            Verdict::from_xen(model::vcpu_count(&a.privcmd, domid(d)), |vcpus| {
                format!("{vcpus} vCPUs")
            })
        },
    },
    Attempt {
        name: "dm-interrupt",
        aim: "raise an interrupt in a domain",
        on: STRANGERS,
        harm: false,
        how: |a, d| {
            let result = model::set_irq_level(&a.privcmd, domid(d), UNUSED_LINE, false);
            Verdict::from_xen(result, |()| format!("line {UNUSED_LINE} was set low"))
        },
    },
    Attempt {
        name: "dm-claim-window",
        aim: "add an address range to another's ioreq server",
        on: STRANGERS,
        harm: false,
        how: |a, d| range(a, d, 0, MAP_IO_RANGE),
    },
    Attempt {
        name: "dm-server-info",
        aim: "ask about another's ioreq server",
        on: STRANGERS,
        harm: false,
        how: |a, d| info_verdict(a, d, 0),
    },
    Attempt {
        name: "dm-destroy-server",
        aim: "destroy another's ioreq server",
        on: STRANGERS,
        harm: false,
        how: |a, d| destroy(a, d, 0),
    },
    Attempt {
        name: "dm-others-server",
        aim: "ask about, add to, take from and destroy what another domain serves in a guest of both",
        on: &[(Target::Own, Expected::Any)],
        harm: false,
        how: others,
    },
];

fn operation(op: u32, u: Parameters) -> DmOp {
    DmOp { op, pad: 0, u }
}

fn create(attacker: &Attacker, domain: u16) -> Verdict {
    let made = model::create_ioreq_server(&attacker.privcmd, domid(domain)).and_then(|server| {
        model::destroy_ioreq_server(&attacker.privcmd, domid(domain), server)?;
        Ok(server)
    });
    Verdict::from_xen(made, |server| {
        format!("server {} was made, and destroyed", server.0)
    })
}

fn range(attacker: &Attacker, domain: u16, server: u16, op: u32) -> Verdict {
    let io_range = IoRange {
        id: server,
        pad: 0,
        kind: IO_RANGE_MEMORY,
        start: WINDOW,
        end: WINDOW + 0x1ff,
    };
    let mut operation = operation(op, Parameters { io_range });
    Verdict::from_io(attacker.raw.dm_op(domain, &mut operation), &[], |()| {
        "done".to_owned()
    })
}

/// Asks for a server without its pages. `EPERM`: it is another domain's; `ENOENT`: there is none.
pub(crate) fn info(attacker: &Attacker, domain: u16, server: u16) -> std::io::Result<()> {
    let mut bytes = [0_u8; 24];
    let fields = server
        .to_ne_bytes()
        .into_iter()
        .chain(NO_FRAMES.to_ne_bytes());
    for (byte, value) in bytes.iter_mut().zip(fields) {
        *byte = value;
    }
    let mut operation = operation(GET_IOREQ_SERVER_INFO, Parameters { bytes });
    attacker.raw.dm_op(domain, &mut operation)
}

fn info_verdict(attacker: &Attacker, domain: u16, server: u16) -> Verdict {
    Verdict::from_io(info(attacker, domain, server), &[], |()| {
        "answered".to_owned()
    })
}

fn destroy(attacker: &Attacker, domain: u16, server: u16) -> Verdict {
    let destroy_ioreq_server = DestroyIoreqServer { id: server, pad: 0 };
    let mut operation = operation(
        DESTROY_IOREQ_SERVER,
        Parameters {
            destroy_ioreq_server,
        },
    );
    Verdict::from_io(attacker.raw.dm_op(domain, &mut operation), &[], |()| {
        "destroyed".to_owned()
    })
}

/// Attacks the servers in a guest that Xen says are another domain's; never this domain's own, which its backend needs.
fn others(attacker: &Attacker, domain: u16) -> Verdict {
    let mut seen = Vec::new();
    let mut through = 0_u32;
    for server in 0..SERVERS {
        match info(attacker, domain, server) {
            Ok(()) => seen.push(format!("{server}: this domain's")),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                for (what, verdict) in [
                    ("map", range(attacker, domain, server, MAP_IO_RANGE)),
                    ("unmap", range(attacker, domain, server, UNMAP_IO_RANGE)),
                    ("destroy", destroy(attacker, domain, server)),
                ] {
                    through += u32::from(verdict.outcome != crate::attempt::Outcome::Refused);
                    seen.push(format!(
                        "{server}: {what} {:?} {}",
                        verdict.outcome, verdict.detail
                    ));
                }
            }
            Err(_) => {}
        }
    }
    if through > 0 {
        Verdict::allowed(seen.join("; "))
    } else if seen.iter().any(|line| line.contains("Refused")) {
        Verdict::refused(seen.join("; "))
    } else {
        Verdict::failed(format!(
            "no other domain serves this guest: {}",
            seen.join("; ")
        ))
    }
}
