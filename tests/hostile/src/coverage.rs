//! Every refusal in the source of the data path, which an attack must have reached.

use std::collections::BTreeMap;

/// Refusals that some driver can bring about, as they are named in the source.
pub const EXPECTED: &[&str] = &[
    "chain: a buffer of no bytes",
    "chain: a buffer wraps around",
    "chain: a head that is in flight",
    "chain: a loop in an indirect table",
    "chain: a loop in the ring's table",
    "chain: an indirect table wraps around",
    "chain: an indirect table's length",
    "chain: index beyond the ring's table",
    "chain: indirect with a next",
    "chain: indirect without negotiation",
    "chain: more bytes than allowed",
    "chain: more segments than allowed",
    "chain: nested indirect table",
    "chain: next beyond an indirect table",
    "chain: readable after writable",
    "engine: a request of another kind",
    "engine: an access that is none",
    "engine: an access to no device",
    "memory: a grant address that wraps around",
    "memory: a grant reference of more than 32 bits",
    "memory: a grant refused in a copy",
    "memory: a grant refused in a mapping",
    "memory: a kernel that maps no batches",
    "memory: a page is missing",
    "memory: a ring's grant refused",
    "memory: a ring's page is missing",
    "memory: a ring's pages refused",
    "memory: a window's pages refused",
    "memory: a write to a ring mapped for reading",
    "memory: an address that is no grant",
    "memory: outside of the guest's banks",
    "memory: too many grants in a mapping",
    "queue: an indirect table out of reach",
    "queue: indices or memory of the ring",
    "register: DRIVER_OK without features",
    "register: QueueReady of a running device or ready queue",
    "register: QueueReady of an unknown value",
    "register: QueueReady of no queue",
    "register: a mandatory feature is missing",
    "register: a notification of no running queue",
    "register: a queue register of a running device",
    "register: a queue size that is none",
    "register: a read of a wrong width",
    "register: a read of nothing",
    "register: a ring that is not aligned",
    "register: a write during a reset",
    "register: a write of a wrong width",
    "register: a write to nothing",
    "register: an address of a ready queue or of none",
    "register: features after they were agreed on",
    "register: features beyond bit 63",
    "register: features that were not offered",
    "register: the size of a ready queue or of none",
    "request: a list of ranges of a wrong length",
    "request: a part of a sector",
    "request: a range too large",
    "request: a status that cannot be written",
    "request: an end that overflows",
    "request: beyond the disk",
    "request: no room for a status",
    "request: no whole header",
    "request: unknown flags of a range",
    "request: unknown kind",
];

/// Refusals that no driver can bring about, and why.
pub const OUT_OF_REACH: &[(&str, &str)] = &[
    (
        "chain: a ring's table unreadable",
        "all of it is mapped before a queue starts",
    ),
    (
        "chain: an indirect table cut short",
        "as much is fetched as its checked length says",
    ),
    (
        "memory: a copy failed",
        "only a failing kernel of the backend does that",
    ),
    (
        "memory: fewer bytes than the transfer needs",
        "the disk asks for no more than the chain has",
    ),
    (
        "memory: too many pages in a mapping",
        "the disk moves what is that large in pieces; the memory model's own tests reach it",
    ),
];

/// How often each refusal was reached so far, those never reached included.
pub fn reached() -> BTreeMap<&'static str, u64> {
    let out_of_reach = OUT_OF_REACH.iter().map(|&(name, _)| name);
    let names = EXPECTED.iter().copied().chain(out_of_reach);
    let mut reached: BTreeMap<_, _> = names.map(|name| (name, 0)).collect();
    reached.extend(devices::refusal::snapshot());
    reached
}

/// The expected ones that were never reached.
pub fn missed() -> Vec<&'static str> {
    let reached = reached();
    let never = |name: &&&str| reached.get(**name) == Some(&0);
    EXPECTED.iter().filter(never).copied().collect()
}
