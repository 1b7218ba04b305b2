//! The document as it was written, schema `avps/1`.
//!
//! Everything is optional here: what has to be there is reported by [`read`], what is left out
//! gets its value in [`crate::resolve`]. No check of meaning happens in this module.

use toml::de::DeTable;

use crate::MAX_DOCUMENT_BYTES;
use crate::finding::{Finding, SpanMap};
use crate::plan::{Action, CacheMode, MemoryModel};
use crate::reader::{Reading, Table, similar};
use crate::rules;
use crate::units::ByteSize;

/// The schema this module reads.
pub const SCHEMA: &str = "avps/1";

/// Syntax errors reported for one document: behind the first few the parser only guesses.
const MAX_SYNTAX_FINDINGS: usize = 8;

/// A whole document.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// `[platform]`.
    pub platform: PlatformTable,
    /// `[machine]`.
    pub machine: MachineTable,
    /// Each `[[domain]]`.
    pub domains: Vec<DomainTable>,
    /// Where each value is written.
    pub spans: SpanMap,
}

/// `[platform]`: the whole.
#[derive(Debug, Clone, Default)]
pub struct PlatformTable {
    /// Name of the platform.
    pub name: Option<String>,
}

/// `[machine]`: what the document's author knows of the hardware. All of it is optional.
#[derive(Debug, Clone, Default)]
pub struct MachineTable {
    /// RAM that domains can have, dom0's and Xen's own share not counted.
    pub memory: Option<ByteSize>,
}

/// `[[domain]]`.
#[derive(Debug, Clone, Default)]
pub struct DomainTable {
    /// Name, unique on the machine.
    pub name: Option<String>,
    /// Path of the kernel image.
    pub kernel: Option<String>,
    /// Path of the initial ramdisk.
    pub ramdisk: Option<String>,
    /// Kernel command line.
    pub cmdline: Option<String>,
    /// RAM.
    pub memory: Option<ByteSize>,
    /// Number of virtual CPUs.
    pub vcpus: Option<u64>,
    /// What follows when the guest powers off.
    pub on_poweroff: Option<Action>,
    /// What follows when the guest reboots.
    pub on_reboot: Option<Action>,
    /// What follows when the guest crashes.
    pub on_crash: Option<Action>,
    /// Each `[[domain.block]]`.
    pub block: Vec<BlockTable>,
}

/// `[[domain.block]]`: a virtio disk.
#[derive(Debug, Clone, Default)]
pub struct BlockTable {
    /// Path of the image or block device.
    pub image: Option<String>,
    /// What the backend may reach of the guest's memory.
    pub memory: Option<MemoryModel>,
    /// Whether the guest may only read.
    pub readonly: Option<bool>,
    /// Logical block size in bytes.
    pub block_size: Option<u64>,
    /// How writes are cached.
    pub cache: Option<CacheMode>,
    /// Serial number the guest can read.
    pub serial: Option<String>,
}

const ACTIONS: [(&str, Action); 3] = [
    ("destroy", Action::Destroy),
    ("restart", Action::Restart),
    ("preserve", Action::Preserve),
];

const MEMORY_MODELS: [(&str, MemoryModel); 3] = [
    ("grant", MemoryModel::Grant),
    ("foreign", MemoryModel::Foreign),
    ("pool", MemoryModel::Pool),
];

const CACHE_MODES: [(&str, CacheMode); 3] = [
    ("writeback", CacheMode::Writeback),
    ("writethrough", CacheMode::Writethrough),
    ("direct", CacheMode::Direct),
];

/// Reads a document. `None` comes back only when the text is not TOML or does not say that it
/// follows this schema: then nothing else can be said about it.
pub fn read(text: &str) -> (Option<Document>, Vec<Finding>) {
    if text.len() > MAX_DOCUMENT_BYTES {
        let finding = Finding::new(
            &rules::TOO_LONG,
            "",
            format!(
                "the document has {} bytes; at most {MAX_DOCUMENT_BYTES} are read",
                text.len()
            ),
        );
        return (None, vec![finding]);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let findings = errors.iter().take(MAX_SYNTAX_FINDINGS).map(|error| {
            Finding::new(
                &rules::SYNTAX,
                "",
                format!("not valid TOML: {}", error.message()),
            )
            .span(error.span().unwrap_or(0..0))
        });
        return (None, findings.collect());
    }
    let mut reading = Reading::default();
    let mut root = Table::root(&root);
    if !schema_is_known(&mut reading, &mut root) {
        return (None, reading.findings);
    }
    let mut document = Document::default();
    root.require(&mut reading, "platform", "[platform]");
    if let Some(table) = root.table(&mut reading, "platform") {
        document.platform = platform(&mut reading, table);
    }
    if let Some(table) = root.table(&mut reading, "machine") {
        document.machine = machine(&mut reading, table);
    }
    for table in root.tables(&mut reading, "domain") {
        document.domains.push(domain(&mut reading, table));
    }
    root.finish(&mut reading);
    document.spans = reading.spans;
    (Some(document), reading.findings)
}

fn schema_is_known(reading: &mut Reading, root: &mut Table<'_>) -> bool {
    root.require(reading, "schema", "schema = \"avps/1\"");
    match root.string(reading, "schema") {
        Some(schema) if schema == SCHEMA => true,
        Some(schema) => {
            let mut finding = Finding::new(
                &rules::SCHEMA,
                "schema",
                format!("schema \"{schema}\" is not known"),
            )
            .label("not known to this program");
            if similar(&schema, std::iter::once(SCHEMA)).is_some() {
                finding = finding.help(format!("did you mean \"{SCHEMA}\"?"));
            }
            finding.locate(&reading.spans);
            reading.findings.push(finding);
            false
        }
        None => false,
    }
}

fn platform(reading: &mut Reading, mut table: Table<'_>) -> PlatformTable {
    table.require(reading, "name", "name = \"demo\"");
    let platform = PlatformTable {
        name: table.string(reading, "name"),
    };
    table.finish(reading);
    platform
}

fn machine(reading: &mut Reading, mut table: Table<'_>) -> MachineTable {
    let machine = MachineTable {
        memory: table.size(reading, "memory"),
    };
    table.finish(reading);
    machine
}

fn domain(reading: &mut Reading, mut table: Table<'_>) -> DomainTable {
    table.require(reading, "name", "name = \"cockpit\"");
    table.require(reading, "kernel", "kernel = \"Image\"");
    table.require(reading, "memory", "memory = \"128MiB\"");
    let mut domain = DomainTable {
        name: table.string(reading, "name"),
        kernel: table.string(reading, "kernel"),
        ramdisk: table.string(reading, "ramdisk"),
        cmdline: table.string(reading, "cmdline"),
        memory: table.size(reading, "memory"),
        vcpus: table.number(reading, "vcpus"),
        on_poweroff: table.word(reading, "on_poweroff", &ACTIONS),
        on_reboot: table.word(reading, "on_reboot", &ACTIONS),
        on_crash: table.word(reading, "on_crash", &ACTIONS),
        block: Vec::new(),
    };
    for table in table.tables(reading, "block") {
        domain.block.push(block(reading, table));
    }
    table.finish(reading);
    domain
}

fn block(reading: &mut Reading, mut table: Table<'_>) -> BlockTable {
    table.require(reading, "image", "image = \"data.img\"");
    let block = BlockTable {
        image: table.string(reading, "image"),
        memory: table.word(reading, "memory", &MEMORY_MODELS),
        readonly: table.boolean(reading, "readonly"),
        block_size: table.number(reading, "block_size"),
        cache: table.word(reading, "cache", &CACHE_MODES),
        serial: table.string(reading, "serial"),
    };
    table.finish(reading);
    block
}
