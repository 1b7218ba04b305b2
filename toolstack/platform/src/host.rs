//! Rules that depend on the machine the plan is to run on: files and memory.
//!
//! Looks only; opens no file for longer than it takes to learn its size, and never waits on a
//! pipe or a device that is no disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::finding::Finding;
use crate::plan::{BlockPlan, DevicePlan, Plan};
use crate::rules::{self, Rule};
use crate::units::ByteSize;

/// What is known of this machine without looking at files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// RAM of the machine in bytes, if the hypervisor could be asked.
    pub memory_bytes: Option<u64>,
}

/// Checks a plan against this machine. Findings are not yet located in the text.
pub fn check_host(plan: &Plan, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut images: Vec<(ImageId, bool, String, &str)> = Vec::new();
    for (index, domain) in plan.domains.iter().enumerate() {
        let at = format!("domain[{index}]");
        boot_file(
            &rules::KERNEL_FILE,
            "kernel",
            format!("{at}.kernel"),
            &domain.kernel,
            &mut findings,
        );
        // What is made of avps-backend is not there before.
        let ramdisk = domain.ramdisk.as_ref();
        if let Some(ramdisk) = ramdisk.filter(|_| !domain.ramdisk_generated) {
            boot_file(
                &rules::RAMDISK_FILE,
                "ramdisk",
                format!("{at}.ramdisk"),
                ramdisk,
                &mut findings,
            );
        }
        if let Some(tree) = &domain.device_tree {
            // One that is written for the domain's devices has no line of its own.
            let key = match domain.device_tree_generated {
                true => "device[0]",
                false => "device_tree",
            };
            boot_file(
                &rules::DEVICE_TREE_FILE,
                "partial device tree",
                format!("{at}.{key}"),
                tree,
                &mut findings,
            );
        }
        // Images that another domain serves are files in that domain.
        let served_here = domain.virtio.iter();
        for device in served_here.filter(|device| device.backend.is_none()) {
            let DevicePlan::Block(block) = &device.device;
            let at = format!("{}.image", device.from);
            match image(block, &at) {
                Ok(id) => {
                    // The same file under two names: the document alone does not show that.
                    let writes = !block.readonly;
                    let other = images.iter().find(|(other, other_writes, _, path)| {
                        *other == id && *path != block.image && writes && *other_writes
                    });
                    if let Some((_, _, other_at, path)) = other {
                        findings.push(
                            Finding::new(
                                &rules::IMAGE_SHARED,
                                at.clone(),
                                format!(
                                    "{} and {path} are the same file, and both are written",
                                    block.image
                                ),
                            )
                            .label("the same file")
                            .related(other_at.clone(), "first used here"),
                        );
                    }
                    images.push((id, writes, at, &block.image));
                }
                Err(finding) => findings.push(*finding),
            }
        }
    }
    total_memory(plan, host, &mut findings);
    findings
}

fn total_memory(plan: &Plan, host: &Host, findings: &mut Vec<Finding>) {
    let Some(machine) = host.memory_bytes else {
        return;
    };
    let total = plan.memory_bytes();
    if total <= machine {
        return;
    }
    let largest = plan
        .domains
        .iter()
        .enumerate()
        .max_by_key(|(_, domain)| domain.memory_bytes);
    let at = largest.map_or_else(String::new, |(index, _)| format!("domain[{index}].memory"));
    findings.push(
        Finding::new(
            &rules::MEMORY_BEYOND_HOST,
            at,
            format!(
                "the domains want {} of memory, and this machine has {}",
                ByteSize(total),
                ByteSize(machine)
            ),
        )
        .label("the largest share"),
    );
}

/// Device and inode of a file.
type ImageId = (u64, u64);

fn refused(rule: &'static Rule, at: &str, what: &str, path: &str, why: &str) -> Finding {
    Finding::new(rule, at, format!("the {what} {path} {why}")).label("this file")
}

fn because(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "does not exist (No such file or directory)".to_owned(),
        ErrorKind::PermissionDenied => {
            "may not be opened by this user (Permission denied)".to_owned()
        }
        _ => format!("cannot be opened: {error}"),
    }
}

fn boot_file(rule: &'static Rule, what: &str, at: String, path: &str, findings: &mut Vec<Finding>) {
    let why = match fs::metadata(path) {
        Err(error) => because(&error),
        Ok(metadata) if !metadata.is_file() => "is not a file".to_owned(),
        Ok(metadata) if metadata.len() == 0 => "is empty".to_owned(),
        Ok(_) => match File::open(path) {
            Ok(_) => return,
            Err(error) => because(&error),
        },
    };
    findings.push(refused(rule, &at, what, path, &why));
}

fn image(block: &BlockPlan, at: &str) -> Result<ImageId, Box<Finding>> {
    let path = Path::new(&block.image);
    let refuse = |why: &str| Box::new(refused(&rules::IMAGE_FILE, at, "image", &block.image, why));
    let metadata = fs::metadata(path).map_err(|error| refuse(&because(&error)))?;
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(refuse("is neither a file nor a block device"));
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(!block.readonly)
        .open(path)
        .map_err(|error| refuse(&because(&error)))?;
    // A block device's metadata has no size.
    let size = file
        .seek(SeekFrom::End(0))
        .map_err(|error| refuse(&because(&error)))?;
    let block_size = u64::from(block.block_size.max(1));
    if size == 0 {
        return Err(refuse("is empty"));
    }
    if !size.is_multiple_of(block_size) {
        let finding = refused(
            &rules::IMAGE_SIZE,
            at,
            "image",
            &block.image,
            &format!("has {size} bytes, which is not a multiple of {block_size}"),
        );
        let wanted = size.div_ceil(block_size).saturating_mul(block_size);
        return Err(Box::new(finding.help(format!(
            "make it larger: truncate -s {wanted} {}",
            block.image
        ))));
    }
    Ok(if kind.is_file() {
        (metadata.dev(), metadata.ino())
    } else {
        (u64::MAX, metadata.rdev())
    })
}
