//! Attempts on event channels (`xen/include/public/event_channel.h`): ports of other domains, and what only a privileged
//! domain may be told.

use std::io;

use xen_sys::domain::DOMID_SELF;
use xen_sys::hypercall::EVENT_CHANNEL_OP;

use crate::attacker::Attacker;
use crate::attempt::{
    Attempt, EVERYBODY, Expected, HERE, HERE_CONTROL, STRANGERS, Target, Verdict,
};
use crate::raw::Page;

const BIND_INTERDOMAIN: u64 = 0;
const CLOSE: u64 = 3;
const SEND: u64 = 4;
const STATUS: u64 = 5;
const ALLOC_UNBOUND: u64 = 6;
const RESET: u64 = 10;

/// Ports looked at in other domains; the first ones are the busy ones.
const PORTS: u32 = 64;

/// The catalogue's part.
pub(crate) const TABLE: &[Attempt] = &[
    Attempt {
        name: "event-alloc",
        aim: "open a port for itself, and close it",
        on: HERE_CONTROL,
        harm: false,
        how: |a, _| {
            let result = alloc(a, DOMID_SELF, 0).and_then(|port| close(a, port));
            Verdict::from_io(result, &[], |()| "opened, and closed".to_owned())
        },
    },
    Attempt {
        name: "event-alloc",
        aim: "open a port in another domain for itself",
        on: STRANGERS,
        harm: false,
        how: |a, d| {
            Verdict::from_io(alloc(a, d, a.domains.me), &[], |port| {
                format!("port {port}")
            })
        },
    },
    Attempt {
        name: "event-alloc-between",
        aim: "open a port in a domain for the control domain",
        on: STRANGERS,
        harm: false,
        how: |a, d| Verdict::from_io(alloc(a, d, 0), &[], |port| format!("port {port}")),
    },
    Attempt {
        name: "event-bind",
        aim: "bind to a port that is not meant for this domain",
        on: STRANGERS,
        harm: false,
        how: scan_binds,
    },
    Attempt {
        name: "event-status",
        aim: "learn whom a domain's ports lead to",
        // FLASK asks whether the port's own domain may (`flask_evtchn_status`): the control domain may, hence anybody.
        on: &[
            (Target::Own, Expected::Refused),
            (Target::Foreign, Expected::Refused),
            (Target::Dom0, Expected::Limit),
            (Target::Other, Expected::Refused),
        ],
        harm: false,
        how: |a, d| {
            let result = call(a, STATUS, |page| {
                page.put16(0, d);
                page.put32(4, 1);
            });
            Verdict::from_io(result, &[], |page| format!("state {}", page.get32(8)))
        },
    },
    Attempt {
        name: "event-reset",
        aim: "close all of a domain's ports",
        on: EVERYBODY,
        harm: true,
        how: |a, d| {
            let result = call(a, RESET, |page| page.put16(0, d));
            Verdict::from_io(result, &[], |_| "closed".to_owned())
        },
    },
    Attempt {
        name: "event-send",
        aim: "send on ports that this domain has not got",
        on: HERE,
        harm: false,
        how: send_to_unowned,
    },
];

fn call(attacker: &Attacker, command: u64, fill: impl FnOnce(&Page)) -> io::Result<Page> {
    let page = Attacker::page(fill)?;
    attacker
        .raw
        .hypercall(EVENT_CHANNEL_OP, &[command, page.address(0)])?;
    Ok(page)
}

/// Opens a port in `domain` that `remote` may bind.
pub(crate) fn alloc(attacker: &Attacker, domain: u16, remote: u16) -> io::Result<u32> {
    call(attacker, ALLOC_UNBOUND, |page| {
        page.put16(0, domain);
        page.put16(2, remote);
    })
    .map(|page| page.get32(4))
}

fn close(attacker: &Attacker, port: u32) -> io::Result<()> {
    call(attacker, CLOSE, |page| page.put32(0, port)).map(drop)
}

/// Binds to each of the first ports. One that waits for another domain, or for nobody, is `EINVAL`.
fn scan_binds(attacker: &Attacker, domain: u16) -> Verdict {
    let mut bound = Vec::new();
    let mut denied = 0_u32;
    let mut not_ours = 0_u32;
    for port in 1..PORTS {
        let result = call(attacker, BIND_INTERDOMAIN, |page| {
            page.put16(0, domain);
            page.put32(4, port);
        });
        match result {
            Ok(page) => {
                bound.push(port);
                let _ = close(attacker, page.get32(8));
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EINVAL) => not_ours += 1,
                Some(libc::EPERM | libc::EACCES) => denied += 1,
                other => return Verdict::from_errno(other, format!("port {port}: {error}")),
            },
        }
    }
    let detail = format!("{bound:?} bound, {denied} denied, {not_ours} not open to this domain");
    if bound.is_empty() {
        Verdict::refused(detail)
    } else {
        Verdict::allowed(detail)
    }
}

/// Sends on the last ports of the smallest table, none of which Linux has opened. Ports are numbers in the own table only.
fn send_to_unowned(attacker: &Attacker, _: u16) -> Verdict {
    for port in 900..PORTS + 900 {
        match call(attacker, SEND, |page| page.put32(0, port)) {
            Ok(_) => return Verdict::allowed(format!("port {port} was sent to")),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => {
                return Verdict::from_errno(error.raw_os_error(), format!("port {port}: {error}"));
            }
        }
    }
    Verdict::refused(format!("{PORTS} ports, each EINVAL"))
}
