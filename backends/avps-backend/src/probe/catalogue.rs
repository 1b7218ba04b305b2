//! The attacks: those any intruder tries, and those only a worker can, with its handles.

use confinement::attacks;

use super::Attempt;
use super::attempt::Kind;

/// Xen's devices, which a worker was handed and may not open.
const DEVICES: [&str; 5] = ["privcmd", "evtchn", "gntdev", "gntalloc", "xenbus"];
/// Where xenstored listens.
const XENSTORED: &str = "/run/xenstored/socket";

/// Not an attack: shows that the handles are real, and the list not too strict.
pub(crate) fn own_guest() -> Attempt {
    Attempt::new("serve its own guest", Kind::OwnGuest)
}

/// All attacks. Paths and the process are the caller's to prepare; `file` is one of the holder's.
pub(crate) fn attempts(file: &str) -> Vec<Attempt> {
    let mut all: Vec<Attempt> = attacks::ALL
        .iter()
        .map(|attack| Attempt::new(attack.name, Kind::Process))
        .collect();
    for device in DEVICES {
        all.push(Attempt::new(
            &format!("open /dev/xen/{device}"),
            Kind::Open(format!("/dev/xen/{device}")),
        ));
    }
    all.push(Attempt::new(
        "write the holder's file",
        Kind::Open(file.to_owned()),
    ));
    all.push(Attempt::new(
        "connect to xenstored",
        Kind::Connect(XENSTORED.to_owned()),
    ));
    for (name, kind) in [
        ("call a hypercall", Kind::Hypercall),
        ("restrict privcmd to the victim", Kind::Restrict),
        ("ask Xen about the victim", Kind::DeviceModel),
        ("raise an interrupt in the victim", Kind::Interrupt),
        ("map the victim's memory", Kind::ForeignMap),
        ("map the victim's ioreq page", Kind::ResourceMap),
        ("bind an event channel to the victim", Kind::Bind),
        ("take an event channel it was not given", Kind::Unbind),
        ("map a page the victim granted", Kind::GrantMap),
        ("copy a page the victim granted", Kind::GrantCopy),
    ] {
        all.push(Attempt::new(name, kind));
    }
    all
}
