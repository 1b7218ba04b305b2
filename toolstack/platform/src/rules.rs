//! The rules a document is held to, as data: id, severity, what to do, why, and where it comes from.
//!
//! Ids are stable: scripts, waivers and bug reports name them. An id is never given to another
//! rule; a rule that goes away leaves a gap. Hundreds: 00 the text itself, 01 domains,
//! 02 devices, 03 this machine. `avpsctl explain ID` prints what stands here.

use crate::finding::Severity;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Stable id, `AVPS` and four digits.
    pub id: &'static str,
    /// Stable name in words.
    pub name: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// General advice; a finding may have a better one.
    pub help: &'static str,
    /// Why the rule exists.
    pub rationale: &'static str,
    /// Where it comes from: a specification, a file of Xen or Linux, or this project's design.
    pub source: &'static str,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $ident:ident = $id:literal, $name:literal, $severity:ident,
        help $help:literal, why $why:literal, source $source:literal;)*) => {
        $($(#[$doc])* pub static $ident: Rule = Rule {
            id: $id, name: $name, severity: Severity::$severity,
            help: $help, rationale: $why, source: $source,
        };)*
        /// Every rule, ordered by id.
        pub static ALL: &[&Rule] = &[$(&$ident),*];
    };
}

rules! {
    /// The text is not TOML.
    SYNTAX = "AVPS0001", "syntax", Error,
        help "correct the TOML at this place; https://toml.io describes the format",
        why "Nothing can be said about a document that cannot be read.",
        source "TOML 1.0";
    /// A key no version of the schema knows.
    UNKNOWN_KEY = "AVPS0002", "unknown-key", Error,
        help "remove the key or correct its name",
        why "A misspelt key that is ignored leaves the default in force, and nobody notices: \
             a read-only disk would be writable.",
        source "platform document, schema avps/1";
    /// A value of another type than the key wants.
    WRONG_TYPE = "AVPS0003", "wrong-type", Error,
        help "give a value of the type that is named",
        why "Values are not converted silently: \"1\" and 1 may mean different things.",
        source "platform document, schema avps/1";
    /// A key that has to be there is not.
    MISSING_KEY = "AVPS0004", "missing-key", Error,
        help "add the key",
        why "There is no default that would be right for everybody.",
        source "platform document, schema avps/1";
    /// The document says it follows a schema this program does not know.
    SCHEMA = "AVPS0005", "unknown-schema", Error,
        help "this program reads schema = \"avps/1\"",
        why "A document of another version may mean something else by the same words.",
        source "platform document, schema avps/1";
    /// A word that is none of the possible ones.
    UNKNOWN_WORD = "AVPS0006", "unknown-word", Error,
        help "use one of the words that are named",
        why "Words with a meaning form a closed list, so that a typing mistake is found.",
        source "platform document, schema avps/1";
    /// A text that is not a size.
    SIZE = "AVPS0007", "size", Error,
        help "write a whole number and a binary unit: \"128MiB\"",
        why "A number without a unit, or with a decimal one, is read differently by different people.",
        source "platform document, schema avps/1";
    /// Larger than any document written by people.
    TOO_LONG = "AVPS0008", "document-too-long", Error,
        help "name the *.avps.toml file; was a disk image given instead?",
        why "Memory stays bounded whatever file is named.",
        source "this project's design: memory is bounded";
    /// A name Xen's tools cannot use.
    DOMAIN_NAME = "AVPS0101", "domain-name", Error,
        help "use 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit, \
              with at least one letter",
        why "The name becomes part of XenStore paths, xl configurations and unit names; \
             a name of digits alone would be taken for a domain number, and Domain-0 is dom0's.",
        source "Xen: xen/include/public/io/xs_wire.h (path characters), tools/libs/light/libxl_utils.c";
    /// Two domains have the same name.
    DUPLICATE_DOMAIN = "AVPS0102", "duplicate-domain", Error,
        help "give each domain a name of its own",
        why "Domains are found by name; libxl refuses the second one only after the first is running.",
        source "Xen: tools/libs/light/libxl_create.c";
    /// The document has no domain.
    NO_DOMAIN = "AVPS0103", "no-domain", Warning,
        help "add a [[domain]] table",
        why "A platform without domains starts nothing, which is rarely meant.",
        source "platform document, schema avps/1";
    /// A domain without memory.
    NO_MEMORY = "AVPS0110", "no-memory", Error,
        help "give the domain memory, for example memory = \"128MiB\"",
        why "A domain of zero bytes cannot hold its kernel.",
        source "Xen: tools/libs/guest/xg_dom_arm.c";
    /// Memory that is no multiple of 1 MiB.
    MEMORY_GRANULARITY = "AVPS0111", "memory-granularity", Error,
        help "use a multiple of 1MiB",
        why "xl counts memory in MiB; a remainder would be lost without a word when the document \
             is emitted as an xl configuration.",
        source "xl.cfg(5), memory=";
    /// More memory than a guest's physical address space has.
    MEMORY_BEYOND_GUEST = "AVPS0112", "memory-beyond-guest", Error,
        help "use at most 1019GiB",
        why "Xen's Arm guests have RAM at 1 GiB (3 GiB long) and at 8 GiB (1016 GiB long).",
        source "Xen: xen/include/public/arch-arm.h, GUEST_RAM0_SIZE, GUEST_RAM1_SIZE";
    /// No vCPU, or more than Xen's Arm guests can have.
    VCPUS = "AVPS0113", "vcpus", Error,
        help "use 1 to 128",
        why "Xen refuses to create a domain outside this range.",
        source "Xen: xen/include/public/arch-arm.h, GUEST_MAX_VCPUS";
    /// The domains want more than the machine is said to have.
    MEMORY_BEYOND_MACHINE = "AVPS0114", "memory-beyond-machine", Error,
        help "give the domains less memory, or correct [machine].memory",
        why "The last domain of the document would not start, and which one that is depends on the order.",
        source "platform document, schema avps/1";
    /// A path that is empty.
    EMPTY_PATH = "AVPS0120", "empty-path", Error,
        help "name a file; relative paths are relative to the document",
        why "An empty path would mean the document's folder.",
        source "platform document, schema avps/1";
    /// A path XenStore or xl could not carry.
    BAD_PATH = "AVPS0121", "bad-path", Error,
        help "use a path of at most 1024 bytes without control characters",
        why "Paths travel through XenStore values and xl configurations, where line ends and NUL \
             end a value.",
        source "Xen: docs/misc/xenstore.txt";
    /// A kernel command line that cannot be handed over.
    COMMAND_LINE = "AVPS0122", "command-line", Error,
        help "use at most 2047 bytes on one line",
        why "Linux on arm64 keeps 2048 bytes and cuts the rest off without a word.",
        source "Linux: arch/arm64/include/uapi/asm/setup.h, COMMAND_LINE_SIZE";
    /// More virtio devices than Xen has interrupts for.
    TOO_MANY_VIRTIO = "AVPS0201", "too-many-virtio-devices", Error,
        help "use at most 11 virtio devices per domain",
        why "Xen's Arm guests have interrupts 33 to 43 for virtio-mmio, one per device.",
        source "Xen: xen/include/public/arch-arm.h, GUEST_VIRTIO_MMIO_SPI_FIRST and _LAST";
    /// A memory model that is not built yet.
    POOL_MEMORY = "AVPS0202", "pool-memory", Error,
        help "use memory = \"grant\"; in dom0 also \"foreign\"",
        why "The pool model needs a region that guest and backend agreed on before boot. No backend \
             serves it yet, and falling back to another model would break the isolation it promises.",
        source "this project's design: memory models";
    /// A block size no virtio driver expects.
    BLOCK_SIZE = "AVPS0204", "block-size", Error,
        help "use 512 or 4096",
        why "Guests expect the sector sizes of real disks; a file system made for one size cannot \
             be mounted with another.",
        source "Virtio 1.3, 5.2.4 (blk_size)";
    /// Two devices write to one image.
    IMAGE_SHARED = "AVPS0205", "image-written-twice", Error,
        help "give each domain an image of its own, or make all but one readonly = true",
        why "Two kernels that write to one disk destroy its file system within minutes.",
        source "platform document, schema avps/1";
    /// One device writes what another reads.
    IMAGE_READ_WHILE_WRITTEN = "AVPS0206", "image-read-while-written", Warning,
        help "make every user of the image readonly = true, or use a copy",
        why "The reader keeps old blocks in its page cache and sees a file system that does not fit together.",
        source "platform document, schema avps/1";
    /// A serial number the device cannot report.
    SERIAL = "AVPS0207", "serial", Error,
        help "use 1 to 20 printable ASCII characters",
        why "VIRTIO_BLK_T_GET_ID answers with 20 bytes.",
        source "Virtio 1.3, 5.2.6 (VIRTIO_BLK_T_GET_ID)";
    /// A kernel that is not on this machine.
    KERNEL_FILE = "AVPS0301", "kernel-file", Error,
        help "put the kernel there or correct the path",
        why "libxl reads the kernel when the domain is created.",
        source "Xen: tools/libs/guest/xg_dom_core.c";
    /// A ramdisk that is not on this machine.
    RAMDISK_FILE = "AVPS0302", "ramdisk-file", Error,
        help "put the ramdisk there or correct the path",
        why "libxl reads the ramdisk when the domain is created.",
        source "Xen: tools/libs/guest/xg_dom_core.c";
    /// An image that is not on this machine, or cannot be opened.
    IMAGE_FILE = "AVPS0303", "image-file", Error,
        help "create it, for example with truncate -s 64M FILE, or correct the path",
        why "The backend opens the image before the guest starts; without it the device stays empty.",
        source "this project's design: the backend reports ready before the guest starts";
    /// An image that does not end on a block.
    IMAGE_SIZE = "AVPS0304", "image-size", Error,
        help "make the image a multiple of its block size with truncate -s",
        why "A virtio disk has whole sectors; the last bytes of the image would be unreachable.",
        source "Virtio 1.3, 5.2.4 (capacity)";
    /// The domains want more memory than this machine has.
    MEMORY_BEYOND_HOST = "AVPS0305", "memory-beyond-host", Error,
        help "give the domains less memory",
        why "Xen has no overcommitment on Arm: each domain's memory is taken when it is created.",
        source "Xen: tools/libs/guest/xg_dom_arm.c";
}

/// The rule with this id, in any case, or with this name.
pub fn find(id_or_name: &str) -> Option<&'static Rule> {
    ALL.iter()
        .copied()
        .find(|rule| rule.id.eq_ignore_ascii_case(id_or_name) || rule.name == id_or_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_ordered_and_well_formed() {
        for pair in ALL.windows(2) {
            assert!(pair[0].id < pair[1].id, "{} {}", pair[0].id, pair[1].id);
        }
        for rule in ALL {
            assert!(
                rule.id.len() == 8 && rule.id.starts_with("AVPS"),
                "{}",
                rule.id
            );
            assert!(!rule.help.is_empty() && !rule.rationale.is_empty() && !rule.source.is_empty());
            assert!(
                !rule.help.contains("  ") && !rule.rationale.contains("  "),
                "{}",
                rule.id
            );
            assert!(
                std::ptr::eq(*rule, find(rule.name).unwrap()),
                "{}",
                rule.name
            );
        }
    }

    #[test]
    fn a_rule_is_found_by_its_id_in_any_case() {
        assert_eq!(find("avps0102").unwrap().name, "duplicate-domain");
        assert!(find("AVPS9999").is_none());
    }
}
