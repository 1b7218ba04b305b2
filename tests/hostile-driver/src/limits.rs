//! What the right to be a guest's device model (`hvm dm`) does not confine, shown on a guest that other backends serve, too.
//!
//! Xen gives the right for the whole guest: it knows no address ranges and no interrupts. Of several ioreq servers that
//! claimed an address, the one with the highest number is asked (`xen/common/ioreq.c`, `ioreq_server_select`). All that is
//! done here is undone, but for two event channel ports that stay in the guest until its end.

use std::time::{Duration, Instant};

use xen::device_model as model;
use xen::{EventChannels, IoreqKind, IoreqPage, IoservId};

use crate::attacker::{Attacker, domid};
use crate::attempt::{Expected, Verdict};
use crate::catalogue::Report;
use crate::device_model::SERVERS;
use crate::events;

/// What is claimed, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// First address of another's register window in the guest.
    pub(crate) window: u64,
    /// Its interrupt line.
    pub(crate) line: u32,
    /// How long the window is answered for.
    pub(crate) seize: Duration,
    /// How long each access then waits for its answer.
    pub(crate) hold: Duration,
}

/// Bytes of a virtio-mmio register window.
const WINDOW_BYTES: u64 = 0x200;

/// Tries all of them on the guest.
pub(crate) fn show(attacker: &Attacker, guest: u16, claim: Claim) -> Vec<Report> {
    let report = |name: &str, aim, verdict| Report {
        name: name.to_owned(),
        aim,
        expected: Expected::Limit,
        verdict,
    };
    vec![
        report(
            "limit-interrupt",
            "raise the interrupt of another's device",
            interrupt(attacker, guest, claim.line),
        ),
        report(
            "limit-all-servers",
            "take all ioreq servers that a guest can have",
            all_servers(attacker, guest),
        ),
        report(
            "limit-pause",
            "stop the guest again and again by making servers",
            pauses(attacker, guest),
        ),
        report(
            "limit-event-port-for-dom0",
            "open a port in the guest for the control domain (one is taken)",
            Verdict::from_io(events::alloc(attacker, guest, 0), &[], |port| {
                format!("port {port} of the guest is taken until its end")
            }),
        ),
        report(
            "limit-event-port",
            "use up the guest's event channel ports (one is taken)",
            Verdict::from_io(
                events::alloc(attacker, guest, attacker.domains.me),
                &[],
                |port| format!("port {port} of the guest is taken until its end"),
            ),
        ),
        report(
            "limit-window",
            "answer for another's device, each access late: its vCPU waits",
            Verdict::from_xen(seize(attacker, guest, claim), |seen| seen),
        ),
    ]
}

fn interrupt(attacker: &Attacker, guest: u16, line: u32) -> Verdict {
    let level = |high| model::set_irq_level(&attacker.privcmd, domid(guest), line, high);
    Verdict::from_xen(level(true).and_then(|()| level(false)), |()| {
        format!("line {line} was raised and lowered")
    })
}

fn all_servers(attacker: &Attacker, guest: u16) -> Verdict {
    let mut made = Vec::new();
    let mut refusal = None;
    for _ in 0..=SERVERS {
        match model::create_ioreq_server(&attacker.privcmd, domid(guest)) {
            Ok(server) => made.push(server),
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    let mut kept = 0;
    for server in &made {
        kept += u32::from(destroy(attacker, guest, *server).is_err());
    }
    match refusal {
        Some(error) if made.is_empty() => Verdict::from_errno(error.errno(), error.to_string()),
        Some(error) => Verdict::allowed(format!(
            "{} made, then errno {:?}; {kept} could not be destroyed",
            made.len(),
            error.errno()
        )),
        None => Verdict::failed("Xen sets no limit"),
    }
}

fn destroy(attacker: &Attacker, guest: u16, server: IoservId) -> xen::Result<()> {
    model::destroy_ioreq_server(&attacker.privcmd, domid(guest), server)
}

/// Xen pauses the guest while a server is made.
fn pauses(attacker: &Attacker, guest: u16) -> Verdict {
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < Duration::from_millis(100) {
        let made = model::create_ioreq_server(&attacker.privcmd, domid(guest))
            .and_then(|server| destroy(attacker, guest, server));
        if let Err(error) = made {
            return Verdict::from_errno(error.errno(), error.to_string());
        }
        count += 1;
    }
    Verdict::allowed(format!("{count} times in 100 ms"))
}

/// Claims another's window, and tells what was asked of it.
pub(crate) fn seize(attacker: &Attacker, guest: u16, claim: Claim) -> xen::Result<String> {
    let server = model::create_ioreq_server(&attacker.privcmd, domid(guest))?;
    let seen = answer_late(attacker, guest, server, claim);
    destroy(attacker, guest, server)?;
    seen
}

fn answer_late(
    attacker: &Attacker,
    guest: u16,
    server: IoservId,
    claim: Claim,
) -> xen::Result<String> {
    let (privcmd, domain) = (&attacker.privcmd, domid(guest));
    let last = claim.window.saturating_add(WINDOW_BYTES - 1);
    let vcpus = model::vcpu_count(privcmd, domain)?;
    let page = IoreqPage::map(privcmd, domain, server, vcpus)?;
    model::map_mmio_range(privcmd, domain, server, claim.window, last)?;
    model::set_enabled(privcmd, domain, server, true)?;
    // Only now the page names the ports.
    let channels = EventChannels::open()?;
    let mut ports = Vec::new();
    for vcpu in 0..vcpus {
        if let Some(port) = page.port(vcpu) {
            ports.push((vcpu, channels.bind_interdomain(domain, port)?));
        }
    }
    let mut seen = Seen::default();
    let begin = Instant::now();
    while begin.elapsed() < claim.seize {
        for (vcpu, port) in &ports {
            let Some(request) = page.take(*vcpu) else {
                continue;
            };
            seen.note(request.kind, request.addr);
            if request.kind == IoreqKind::Mmio {
                std::thread::sleep(claim.hold);
            }
            page.respond(*vcpu, 0)?;
            channels.notify(*port)?;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    model::set_enabled(privcmd, domain, server, false)?;
    model::unmap_mmio_range(privcmd, domain, server, claim.window, last)?;
    Ok(seen.words(server, claim))
}

#[derive(Default)]
struct Seen {
    accesses: u32,
    others: u32,
    first: Option<u64>,
}

impl Seen {
    fn note(&mut self, kind: IoreqKind, address: u64) {
        if kind == IoreqKind::Mmio {
            self.accesses += 1;
            self.first.get_or_insert(address);
        } else {
            self.others += 1;
        }
    }

    fn words(&self, server: IoservId, claim: Claim) -> String {
        let first = self.first.map_or_else(String::new, |address| {
            format!(", the first at {address:#x}")
        });
        format!(
            "server {} got {} accesses of {:#x} in {} ms{first}, each held {} ms; {} other requests",
            server.0,
            self.accesses,
            claim.window,
            claim.seize.as_millis(),
            claim.hold.as_millis(),
            self.others,
        )
    }
}
