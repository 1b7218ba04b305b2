//! The record of what a domain was started with, and how a document differs from it.
//!
//! The whole plan of a domain is kept beside it in XenStore. What counts as a difference is what the guest or its backend can
//! notice ([`fields`]): where a table stands in the document, who waits for whom, and what the supervisor does when a guest ends are
//! no part of it. Both plans are read by the same program, so a field that a newer release adds has its default in an old record.

use std::collections::{BTreeMap, BTreeSet};

use platform::plan::{DomainKind, DomainPlan, TeeMode};
use platform::units::{Address, ByteSize, ranges};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::keys;
use crate::machine::{Store, Write};

/// Version of [`digest`]: the next one when an unchanged domain would get another text.
const DIGEST_VERSION: u32 = 2;
/// Longest part of a plan in one node, in bytes. XenStore takes 4096 in one message, the path among them
/// (`XENSTORE_PAYLOAD_MAX` in xen/include/public/io/xs_wire.h).
const PART_BYTES: usize = 2048;
/// Shown for a field that one side does not have.
const NOTHING: &str = "nothing";

/// What was written about a domain when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// [`digest`] of its plan, as the release computed it that started the domain.
    pub digest: String,
    /// The plan; none when it is in a form that this release does not know.
    pub plan: Option<DomainPlan>,
}

impl Record {
    /// How a plan differs from what was applied; none when the record cannot be read.
    pub fn differences(&self, wanted: &DomainPlan) -> Option<Vec<String>> {
        if self.digest == digest(wanted) {
            return Some(Vec::new());
        }
        self.plan.as_ref().map(|plan| differences(plan, wanted))
    }
}

/// The nodes of a record, below a folder.
pub fn write(folder: &str, domain: &DomainPlan) -> Vec<Write> {
    let mut writes = vec![Write::value(format!("{folder}/digest"), digest(domain))];
    let json = serde_json::to_string(domain).unwrap_or_default();
    for (number, part) in parts(&json).into_iter().enumerate() {
        writes.push(Write::value(format!("{folder}/plan/{number}"), part));
    }
    writes
}

/// Reads what [`write`] wrote, if anything.
///
/// # Errors
/// XenStore's.
pub fn read(store: &dyn Store, folder: &str) -> Result<Option<Record>> {
    let Some(digest) = store.read(&format!("{folder}/digest"))? else {
        return Ok(None);
    };
    let mut json = String::new();
    for number in 0..store.children(&format!("{folder}/plan"))?.len() {
        let part = store.read(&format!("{folder}/plan/{number}"))?;
        json.push_str(&part.unwrap_or_default());
    }
    let plan = serde_json::from_str(&json).ok();
    Ok(Some(Record { digest, plan }))
}

/// A text in parts that XenStore takes.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(PART_BYTES);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, behind) = rest.split_at(end);
        parts.push(part);
        rest = behind;
    }
    parts
}

/// A short text that is equal for domains between which neither guest nor backend sees a difference.
pub fn digest(domain: &DomainPlan) -> String {
    let mut hash = Sha256::new();
    for (name, value) in fields(domain) {
        // Neither contains a NUL: libxl and XenStore take none.
        hash.update(format!("{name}\0{value}\0"));
    }
    let bytes = hash.finalize();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{DIGEST_VERSION}:{hex}")
}

/// The fields in which two plans of a domain differ: `memory: 128MiB → 256MiB`.
pub fn differences(applied: &DomainPlan, wanted: &DomainPlan) -> Vec<String> {
    let (before, after) = (fields(applied), fields(wanted));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |fields: &'_ BTreeMap<String, String>, name: &String| {
        let value = fields.get(name).map_or(NOTHING, String::as_str);
        (if value.is_empty() { "\"\"" } else { value }).to_owned()
    };
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("{name}: {} → {}", value(&before, name), value(&after, name)))
        .collect()
}

/// What the guest or its backend can notice, by names as in the document. A field that has no value is left out, so that one
/// that is added later changes nothing for domains that do not use it.
fn fields(domain: &DomainPlan) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::from([
        ("kernel".to_owned(), domain.kernel.clone()),
        ("cmdline".to_owned(), domain.cmdline.clone()),
        ("memory".to_owned(), size(domain.memory_bytes)),
        ("vcpus".to_owned(), domain.vcpus.to_string()),
    ]);
    let mut set = |name: &str, value: Option<String>| {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    };
    // Where a generated file would be written says nothing about the domain.
    let file = |path: &Option<String>, generated: bool, by: &str| match generated {
        true => Some(format!("made by {by}")),
        false => path.clone(),
    };
    let ramdisk = file(&domain.ramdisk, domain.ramdisk_generated, "avpsctl");
    set("ramdisk", ramdisk);
    let tree = file(&domain.device_tree, domain.device_tree_generated, "avpsctl");
    set("device_tree", tree);
    set(
        "kind",
        (domain.kind == DomainKind::Driver).then(|| domain.kind.word().to_owned()),
    );
    set("console", Some(domain.console.word().to_owned()));
    set("label", domain.label.clone());
    set("colors", list(&domain.colors));
    set("cpus", list(&domain.cpus));
    set("cpupool", domain.cpupool.clone());
    set(
        "rtds",
        domain
            .rtds
            .map(|share| format!("{} us of {} us", share.budget_us, share.period_us)),
    );
    // Its rights are changed while it runs.
    let tee = domain.tee.as_ref().map(|tee| tee.mode);
    set(
        "tee.mode",
        tee.filter(|mode| *mode != TeeMode::None)
            .map(|mode| mode.word().to_owned()),
    );
    for device in &domain.virtio {
        let name = format!("{} {}", device.device.kind(), device.index);
        let backend = device.backend.as_deref().unwrap_or("the control domain");
        set(&format!("{name} backend"), Some(backend.to_owned()));
        for (path, value) in keys::parameters(0, device) {
            let key = path.rsplit('/').next().unwrap_or_default();
            // The kind is in the name, and the version is between this program and the backend.
            if !["kind", "version"].contains(&key) {
                set(&format!("{name} {key}"), Some(value));
            }
        }
    }
    for device in &domain.devices {
        let name = format!("device {}", device.path);
        set(&format!("{name} dma"), Some(device.dma.word().to_owned()));
        let regions = device.regions.iter().map(|window| {
            let (at, guest_at) = (Address(window.at), Address(window.guest_at));
            format!("{} at {at}, seen at {guest_at}", size(window.size_bytes))
        });
        let regions: Vec<_> = regions.collect();
        set(&format!("{name} regions"), Some(regions.join("; ")));
        set(&format!("{name} interrupts"), list(&device.interrupts));
    }
    fields
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

fn list(numbers: &[u32]) -> Option<String> {
    (!numbers.is_empty()).then(|| ranges(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::model::Model;
    use crate::tests::{plan, plan_of};

    const HEAD: &str = "schema = \"avps/1\"\n[platform]\nname = \"test\"\n";
    const A: &str = "[[domain]]\nname = \"a\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n[[domain.block]]\nimage = \"/a.img\"\n";
    const B: &str = "[[domain]]\nname = \"b\"\nkernel = \"/Image\"\nmemory = \"32MiB\"\n[[domain.block]]\nimage = \"/b.img\"\n";

    fn domain(text: &str, name: &str) -> DomainPlan {
        let plan = plan_of(&format!("{HEAD}{text}"));
        plan.domain(name).expect("it is there").clone()
    }

    #[test]
    fn a_table_above_changes_nothing_for_the_domains_below() {
        let (before, after) = (domain(B, "b"), domain(&format!("{A}{B}"), "b"));
        assert_ne!(before, after, "the plan says where the disk's table is");
        assert_eq!(digest(&before), digest(&after));
        assert_eq!(differences(&before, &after), [""; 0]);
    }

    #[test]
    fn what_neither_guest_nor_backend_notices_is_no_difference() {
        let before = domain(A, "a");
        for keys in [
            "on_crash = \"restart\"",
            "on_poweroff = \"restart\"",
            "on_reboot = \"destroy\"",
            "asil = \"QM\"",
        ] {
            let text = A.replace("[[domain.block]]", &format!("{keys}\n[[domain.block]]"));
            let after = domain(&text, "a");
            assert_eq!(digest(&before), digest(&after), "{keys}");
        }
        let text = format!(
            "{B}{}",
            A.replace("[[domain.block]]", "after = [\"b\"]\n[[domain.block]]")
        );
        assert_eq!(digest(&before), digest(&domain(&text, "a")));
    }

    #[test]
    fn each_field_that_is_noticed_is_named_with_both_values() {
        let before = domain(A, "a");
        for (from, to, said) in [
            ("64MiB", "256MiB", "memory: 64MiB → 256MiB"),
            ("/Image", "/Other", "kernel: /Image → /Other"),
            (
                "\n[[domain.block]]",
                "\nvcpus = 2\n[[domain.block]]",
                "vcpus: 1 → 2",
            ),
            (
                "\n[[domain.block]]",
                "\ncpus = [0, 1, 3]\n[[domain.block]]",
                "cpus: nothing → 0-1,3",
            ),
            (
                "\n[[domain.block]]",
                "\ncmdline = \"quiet\"\n[[domain.block]]",
                "cmdline: console=hvc0 → quiet",
            ),
            (
                "\n[[domain.block]]",
                "\nramdisk = \"/r\"\n[[domain.block]]",
                "ramdisk: nothing → /r",
            ),
            (
                "\n[[domain.block]]",
                "\ncmdline = \"console=hvc0\"\nconsole = \"vpl011\"\n[[domain.block]]",
                "console: pv → vpl011",
            ),
            ("/a.img", "/c.img", "block 0 image: /a.img → /c.img"),
            (
                "/a.img\"",
                "/a.img\"\nreadonly = true",
                "block 0 readonly: 0 → 1",
            ),
            (
                "/a.img\"",
                "/a.img\"\nserial = \"S\"",
                "block 0 serial: nothing → S",
            ),
            (
                "/a.img\"",
                "/a.img\"\nmemory = \"foreign\"",
                "block 0 memory: grant → foreign",
            ),
        ] {
            let after = domain(&A.replace(from, to), "a");
            assert_eq!(differences(&before, &after), [said]);
            assert_ne!(digest(&before), digest(&after), "{said}");
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_however_long_it_is() {
        let model = Model::new();
        let machine = model.machine();
        let mut domain = plan().domains[0].clone();
        domain.cmdline = "ä".repeat(5 * PART_BYTES);
        machine
            .store
            .write_all(&write("/libxl/1/avps", &domain))
            .expect("a model");
        let longest = model.nodes().into_values().map(|value| value.len()).max();
        assert!(longest <= Some(PART_BYTES), "{longest:?}");
        let record = read(machine.store.as_ref(), "/libxl/1/avps").expect("a model");
        let digest = digest(&domain);
        assert_eq!(
            record,
            Some(Record {
                digest,
                plan: Some(domain)
            })
        );
        assert_eq!(
            read(machine.store.as_ref(), "/libxl/2/avps").expect("a model"),
            None
        );
    }

    #[test]
    fn a_record_of_another_version_of_the_digest_is_compared_by_its_plan() {
        let wanted = plan().domains[0].clone();
        let mut record = Record {
            digest: "1:old".into(),
            plan: Some(wanted.clone()),
        };
        assert_eq!(record.differences(&wanted), Some(Vec::new()));
        // Fields that the older release did not know have their defaults.
        let mut json = serde_json::to_value(&wanted).expect("JSON");
        json.as_object_mut().expect("an object").remove("after");
        record.plan = serde_json::from_value(json).ok();
        assert_eq!(record.differences(&wanted), Some(Vec::new()));
        record.plan = None;
        assert_eq!(record.differences(&wanted), None);
    }
}
