//! The keys that are tried, as a table.

use crate::attempt::Expected;

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Read,
    List,
    Write,
    Remove,
    /// Makes this domain the owner, with all rights for all.
    Take,
    /// Gives the key to the control domain: its quota would pay for it.
    Give,
}

/// An attempt on one key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) aim: &'static str,
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    pub(crate) expected: Expected,
}

const fn refused(name: &'static str, aim: &'static str, verb: Verb, path: &'static str) -> Key {
    Key {
        name,
        aim,
        verb,
        path,
        expected: Expected::Refused,
    }
}

const fn control(name: &'static str, aim: &'static str, verb: Verb, path: &'static str) -> Key {
    Key {
        name,
        aim,
        verb,
        path,
        expected: Expected::Control,
    }
}

/// The keys. What is written is written back or removed where it worked.
pub(crate) const KEYS: &[Key] = &[
    control(
        "store-read-domid",
        "read its own number",
        Verb::Read,
        "domid",
    ),
    control(
        "store-read-name",
        "read its own name",
        Verb::Read,
        "/local/domain/{me}/name",
    ),
    control(
        "store-write-data",
        "write below its own data",
        Verb::Write,
        "/local/domain/{me}/data/hostile",
    ),
    refused("store-list-root", "look around", Verb::List, "/"),
    refused(
        "store-list-domains",
        "list the domains",
        Verb::List,
        "/local/domain",
    ),
    refused(
        "store-list-vm",
        "list the domains' identities",
        Verb::List,
        "/vm",
    ),
    refused(
        "store-list-libxl",
        "read the toolstack's notes",
        Verb::List,
        "/libxl",
    ),
    refused(
        "store-list-tool",
        "read the tools' notes",
        Verb::List,
        "/tool",
    ),
    refused(
        "store-read-libxl",
        "read the toolstack's notes on a domain",
        Verb::List,
        "/libxl/{foreign}",
    ),
    refused(
        "store-list-foreign",
        "list a foreign domain's keys",
        Verb::List,
        "/local/domain/{foreign}",
    ),
    refused(
        "store-read-foreign-name",
        "read a foreign domain's name",
        Verb::Read,
        "/local/domain/{foreign}/name",
    ),
    refused(
        "store-read-foreign-vm",
        "read a foreign domain's identity",
        Verb::Read,
        "/local/domain/{foreign}/vm",
    ),
    refused(
        "store-read-foreign-memory",
        "read a foreign domain's size",
        Verb::Read,
        "/local/domain/{foreign}/memory/target",
    ),
    refused(
        "store-list-foreign-devices",
        "list a foreign domain's devices",
        Verb::List,
        "/local/domain/{foreign}/device",
    ),
    refused(
        "store-read-foreign-console",
        "find a foreign domain's console",
        Verb::Read,
        "/local/domain/{foreign}/console/ring-ref",
    ),
    refused(
        "store-list-own",
        "list a served guest's keys",
        Verb::List,
        "/local/domain/{own}",
    ),
    // avpsctl gives a backend this one of its guests.
    control(
        "store-read-own-name",
        "read a served guest's name",
        Verb::Read,
        "/local/domain/{own}/name",
    ),
    // avpsctl gives a backend this one of its guests.
    control(
        "store-read-own-vm",
        "read a served guest's identity",
        Verb::Read,
        "/local/domain/{own}/vm",
    ),
    refused(
        "store-read-own-console",
        "find a served guest's console",
        Verb::Read,
        "/local/domain/{own}/console/ring-ref",
    ),
    refused(
        "store-read-own-memory",
        "read a served guest's size",
        Verb::Read,
        "/local/domain/{own}/memory/target",
    ),
    refused(
        "store-list-dom0",
        "list the control domain's keys",
        Verb::List,
        "/local/domain/0",
    ),
    refused(
        "store-list-backends",
        "list what the control domain serves",
        Verb::List,
        "/local/domain/0/backend",
    ),
    refused(
        "store-list-foreign-backend",
        "list what the control domain serves to a foreign guest",
        Verb::List,
        "/local/domain/0/backend/console/{foreign}",
    ),
    refused(
        "store-write-root",
        "write a new key at the root",
        Verb::Write,
        "/hostile",
    ),
    refused(
        "store-write-foreign",
        "write into a foreign domain's folder",
        Verb::Write,
        "/local/domain/{foreign}/hostile",
    ),
    refused(
        "store-write-foreign-data",
        "write into a foreign domain's data",
        Verb::Write,
        "/local/domain/{foreign}/data/hostile",
    ),
    refused(
        "store-write-foreign-shutdown",
        "shut a foreign domain down",
        Verb::Write,
        "/local/domain/{foreign}/control/shutdown",
    ),
    refused(
        "store-write-own",
        "write into a served guest's folder",
        Verb::Write,
        "/local/domain/{own}/hostile",
    ),
    refused(
        "store-write-own-device",
        "give a served guest another device",
        Verb::Write,
        "/local/domain/{own}/device/hostile",
    ),
    refused(
        "store-write-own-shutdown",
        "shut a served guest down",
        Verb::Write,
        "/local/domain/{own}/control/shutdown",
    ),
    refused(
        "store-write-own-memory",
        "shrink a served guest",
        Verb::Write,
        "/local/domain/{own}/memory/target",
    ),
    refused(
        "store-write-dom0",
        "write into the control domain's folder",
        Verb::Write,
        "/local/domain/0/hostile",
    ),
    refused(
        "store-write-backend",
        "stand in for a backend of the control domain",
        Verb::Write,
        "/local/domain/0/backend/virtio/{own}/hostile",
    ),
    refused(
        "store-write-libxl",
        "change the toolstack's notes",
        Verb::Write,
        "/libxl/{own}/hostile",
    ),
    refused(
        "store-write-target",
        "name a domain that Linux's privcmd may be used on",
        Verb::Write,
        "/local/domain/{me}/target",
    ),
    refused(
        "store-rename",
        "change its own name",
        Verb::Write,
        "/local/domain/{me}/name",
    ),
    refused(
        "store-grow",
        "change its own memory target",
        Verb::Write,
        "/local/domain/{me}/memory/target",
    ),
    refused(
        "store-remove-foreign",
        "remove a foreign domain's keys",
        Verb::Remove,
        "/local/domain/{foreign}/data",
    ),
    refused(
        "store-remove-own",
        "remove a served guest's devices",
        Verb::Remove,
        "/local/domain/{own}/device",
    ),
    refused(
        "store-remove-me",
        "remove its own folder",
        Verb::Remove,
        "/local/domain/{me}",
    ),
    refused(
        "store-take-foreign",
        "take a foreign domain's folder",
        Verb::Take,
        "/local/domain/{foreign}",
    ),
    refused(
        "store-take-own",
        "take a served guest's devices",
        Verb::Take,
        "/local/domain/{own}/device",
    ),
    refused(
        "store-take-me",
        "take its own folder",
        Verb::Take,
        "/local/domain/{me}",
    ),
    refused(
        "store-give",
        "let the control domain's quota pay for a key",
        Verb::Give,
        "/local/domain/{me}/data/hostile-gift",
    ),
    refused(
        "store-read-other",
        "read another driver domain's keys",
        Verb::List,
        "/local/domain/{other}/backend",
    ),
    refused(
        "store-write-other",
        "write into another driver domain's folder",
        Verb::Write,
        "/local/domain/{other}/backend/hostile",
    ),
];
