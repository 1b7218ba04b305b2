//! Domains, their boot files and their virtio devices, each for itself and by name.

use std::collections::HashMap;

use super::places::PAGE;
use crate::finding::Finding;
use crate::plan::{self, Boot, DevicePlan, DomainKind, DomainPlan, MemoryModel, Plan, VirtioPlan};
use crate::rules;
use crate::units::{ByteSize, MIB};

/// Longest name of a domain in bytes.
const MAX_NAME: usize = 63;
/// Longest path in bytes; XenStore's whole payload is 4096 (Xen: `XENSTORE_PAYLOAD_MAX`).
const MAX_PATH: usize = 1024;
/// Longest command line in bytes that Linux on arm64 keeps, without the terminating NUL.
pub(super) const MAX_CMDLINE: usize = 2047;
/// Longest serial number in bytes (Virtio 1.3, 5.2.6).
const MAX_SERIAL: usize = 20;

pub(super) fn check(plan: &Plan, findings: &mut Vec<Finding>) {
    platform_name(plan, findings);
    if plan.domains.is_empty() {
        findings.push(Finding::new(
            &rules::NO_DOMAIN,
            "platform",
            "the document describes no domain",
        ));
    }
    for (index, domain) in plan.domains.iter().enumerate() {
        let at = format!("domain[{index}]");
        name(&at, domain, findings);
        memory(&at, domain, findings);
        vcpus(&at, domain, findings);
        boot_files(&at, domain, findings);
        command_line(&at, domain, findings);
        virtio_count(domain, findings);
        for device in &domain.virtio {
            virtio_device(device, findings);
        }
    }
    unique_names(plan, findings);
    total_memory(plan, findings);
    shared_images(plan, findings);
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.contains(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !name.eq_ignore_ascii_case("domain-0")
}

fn platform_name(plan: &Plan, findings: &mut Vec<Finding>) {
    if !is_name(&plan.platform) {
        findings.push(
            Finding::new(
                &rules::DOMAIN_NAME,
                "platform.name",
                format!("\"{}\" cannot be the name of a platform", plan.platform),
            )
            .label("not a usable name"),
        );
    }
}

fn name(at: &str, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    if !is_name(&domain.name) {
        findings.push(
            Finding::new(
                &rules::DOMAIN_NAME,
                format!("{at}.name"),
                format!("\"{}\" cannot be the name of a domain", domain.name),
            )
            .label("not a usable name"),
        );
    }
}

fn unique_names(plan: &Plan, findings: &mut Vec<Finding>) {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, domain) in plan.domains.iter().enumerate() {
        if domain.name.is_empty() {
            continue;
        }
        if let Some(earlier) = first.get(domain.name.as_str()) {
            findings.push(
                Finding::new(
                    &rules::DUPLICATE_DOMAIN,
                    format!("domain[{index}].name"),
                    format!("two domains are named \"{}\"", domain.name),
                )
                .label("the same name again")
                .related(format!("domain[{earlier}].name"), "first used here"),
            );
        } else {
            first.insert(&domain.name, index);
        }
    }
}

fn memory(at: &str, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    let bytes = domain.memory_bytes;
    let at = format!("{at}.memory");
    let size = ByteSize(bytes);
    // xl counts in MiB; what Xen starts itself has whole pages.
    let unit = match (domain.kind, domain.boot) {
        (DomainKind::Control, _) | (_, Boot::Toolstack) => MIB,
        (_, Boot::Dom0less) => PAGE,
    };
    // Ranges without a size have been reported.
    if bytes == 0 && !domain.static_memory.is_empty() {
        return;
    }
    if bytes == 0 {
        findings.push(
            Finding::new(
                &rules::NO_MEMORY,
                at,
                format!("domain \"{}\" has no memory", domain.name),
            )
            .label("zero"),
        );
    } else if !bytes.is_multiple_of(unit) {
        let down = ByteSize(bytes / unit * unit);
        let up = ByteSize((bytes / unit).saturating_add(1).saturating_mul(unit));
        let near = if down.0 == 0 {
            format!("\"{up}\"")
        } else {
            format!("\"{down}\" or \"{up}\"")
        };
        findings.push(
            Finding::new(
                &rules::MEMORY_GRANULARITY,
                at,
                format!(
                    "memory of domain \"{}\" is not a multiple of {}",
                    domain.name,
                    ByteSize(unit)
                ),
            )
            .label(format!("{size} leaves a remainder"))
            .help(format!("use {near}")),
        );
    } else if bytes > plan::MAX_MEMORY_BYTES {
        findings.push(
            Finding::new(
                &rules::MEMORY_BEYOND_GUEST,
                at,
                format!(
                    "domain \"{}\" wants {size}, more than a guest can address",
                    domain.name
                ),
            )
            .label(format!("at most {}", ByteSize(plan::MAX_MEMORY_BYTES))),
        );
    }
}

fn total_memory(plan: &Plan, findings: &mut Vec<Finding>) {
    let Some(machine) = plan.machine_memory_bytes else {
        return;
    };
    let total = plan.memory_bytes();
    if total > machine {
        let (total, machine) = (ByteSize(total), ByteSize(machine));
        findings.push(
            Finding::new(
                &rules::MEMORY_BEYOND_MACHINE,
                "machine.memory",
                format!("the domains want {total} of memory, and the machine has {machine}"),
            )
            .label("all that domains can have"),
        );
    }
}

fn vcpus(at: &str, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    if domain.vcpus == 0 || domain.vcpus > plan::MAX_VCPUS {
        let message = if domain.vcpus == 0 {
            format!("domain \"{}\" has no vCPU", domain.name)
        } else {
            format!(
                "domain \"{}\" wants {} vCPUs; Xen allows {}",
                domain.name,
                domain.vcpus,
                plan::MAX_VCPUS
            )
        };
        findings.push(
            Finding::new(&rules::VCPUS, format!("{at}.vcpus"), message).label("out of range"),
        );
    }
}

fn boot_files(at: &str, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    file_path(format!("{at}.kernel"), "kernel", &domain.kernel, findings);
    if let Some(ramdisk) = &domain.ramdisk {
        file_path(format!("{at}.ramdisk"), "ramdisk", ramdisk, findings);
    }
}

fn file_path(at: String, what: &str, path: &str, findings: &mut Vec<Finding>) {
    if path.is_empty() {
        findings.push(
            Finding::new(
                &rules::EMPTY_PATH,
                at,
                format!("the path of the {what} is empty"),
            )
            .label("empty"),
        );
    } else if path.len() > MAX_PATH || path.chars().any(char::is_control) {
        findings.push(
            Finding::new(
                &rules::BAD_PATH,
                at,
                format!("the path of the {what} cannot be used"),
            )
            .label("too long, or with control characters"),
        );
    }
}

fn command_line(at: &str, domain: &DomainPlan, findings: &mut Vec<Finding>) {
    let cmdline = &domain.cmdline;
    if cmdline.len() > MAX_CMDLINE || cmdline.chars().any(char::is_control) {
        findings.push(
            Finding::new(
                &rules::COMMAND_LINE,
                format!("{at}.cmdline"),
                format!(
                    "the command line of domain \"{}\" cannot be used",
                    domain.name
                ),
            )
            .label(if cmdline.len() > MAX_CMDLINE {
                format!("{} bytes", cmdline.len())
            } else {
                "has control characters".to_owned()
            }),
        );
    }
}

fn virtio_count(domain: &DomainPlan, findings: &mut Vec<Finding>) {
    if let Some(device) = domain.virtio.get(plan::MAX_VIRTIO_DEVICES) {
        findings.push(
            Finding::new(
                &rules::TOO_MANY_VIRTIO,
                device.from.clone(),
                format!(
                    "domain \"{}\" has {} virtio devices; Xen has room for {}",
                    domain.name,
                    domain.virtio.len(),
                    plan::MAX_VIRTIO_DEVICES
                ),
            )
            .label("the first one without an interrupt"),
        );
    }
}

fn virtio_device(device: &VirtioPlan, findings: &mut Vec<Finding>) {
    let at = &device.from;
    if device.memory == MemoryModel::Pool {
        findings.push(
            Finding::new(
                &rules::POOL_MEMORY,
                format!("{at}.memory"),
                "the memory model \"pool\" is not available yet",
            )
            .label("no backend serves it")
            .help(
                "use \"grant\" (the backend reaches the pages of each request) or, with the backend \
                 in dom0, \"foreign\" (it reaches the whole guest); \"pool\" needs a region that \
                 guest and backend agreed on before boot, and no other model can stand in for it",
            ),
        );
    }
    match &device.device {
        DevicePlan::Block(block) => {
            file_path(format!("{at}.image"), "image", &block.image, findings);
            if !matches!(block.block_size, 512 | 4096) {
                findings.push(
                    Finding::new(
                        &rules::BLOCK_SIZE,
                        format!("{at}.block_size"),
                        format!("a block size of {} bytes is not possible", block.block_size),
                    )
                    .label("neither 512 nor 4096"),
                );
            }
            if let Some(serial) = &block.serial {
                let printable = serial.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
                if serial.is_empty() || serial.len() > MAX_SERIAL || !printable {
                    findings.push(
                        Finding::new(
                            &rules::SERIAL,
                            format!("{at}.serial"),
                            "the serial number cannot be reported to the guest",
                        )
                        .label(format!("{} bytes", serial.len())),
                    );
                }
            }
        }
    }
}

/// Where an image is used, and whether that user writes.
struct ImageUse<'a> {
    device: &'a VirtioPlan,
    domain: &'a str,
    writes: bool,
}

fn shared_images(plan: &Plan, findings: &mut Vec<Finding>) {
    // The same path in another backend's domain is another file.
    let mut uses: HashMap<(Option<&str>, &str), ImageUse<'_>> = HashMap::new();
    for domain in &plan.domains {
        for device in &domain.virtio {
            let DevicePlan::Block(block) = &device.device;
            if block.image.is_empty() {
                continue;
            }
            let this = ImageUse {
                device,
                domain: &domain.name,
                writes: !block.readonly,
            };
            let file = (device.backend.as_deref(), block.image.as_str());
            let Some(earlier) = uses.get(&file) else {
                uses.insert(file, this);
                continue;
            };
            if let Some(finding) = image_conflict(&block.image, earlier, &this) {
                findings.push(finding);
            }
            // A writer is what later users have to be compared with.
            if this.writes && !earlier.writes {
                uses.insert(file, this);
            }
        }
    }
}

fn image_conflict(image: &str, earlier: &ImageUse<'_>, this: &ImageUse<'_>) -> Option<Finding> {
    let (rule, message, label) = match (earlier.writes, this.writes) {
        (false, false) => return None,
        (true, true) => (
            &rules::IMAGE_SHARED,
            format!(
                "domains \"{}\" and \"{}\" both write to {image}",
                earlier.domain, this.domain
            ),
            "written here too",
        ),
        (true, false) => (
            &rules::IMAGE_READ_WHILE_WRITTEN,
            format!(
                "domain \"{}\" reads {image} while \"{}\" writes to it",
                this.domain, earlier.domain
            ),
            "read here",
        ),
        (false, true) => (
            &rules::IMAGE_READ_WHILE_WRITTEN,
            format!(
                "domain \"{}\" writes to {image} while \"{}\" reads it",
                this.domain, earlier.domain
            ),
            "written here",
        ),
    };
    Some(
        Finding::new(rule, format!("{}.image", this.device.from), message)
            .label(label)
            .related(format!("{}.image", earlier.device.from), "first used here"),
    )
}
