//! xl configurations (xl.cfg(5)), one per domain.
//!
//! xl does not support what a backend needs to know (the image behind a disk): the text says in a
//! comment how `avps-backend` is told instead.

use std::fmt::Write;

use super::cmdline::ranges;
use super::partial::pages;
use super::pools;
use crate::plan::{
    BlockPlan, Console, DeviceDma, DevicePlan, DomainKind, DomainPlan, MemoryModel, Plan,
    VirtioPlan,
};
use crate::units::MIB;

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XlConfig {
    /// Proposed file name: the domain's name and `.cfg`.
    pub file_name: String,
    /// Content.
    pub text: String,
}

/// Why a domain cannot be told to xl.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XlError {
    /// xl's strings have escapes for a few control characters only.
    #[error(
        "{what} of domain \"{domain}\" has a control character, and xl.cfg has no way to write that"
    )]
    Control {
        /// The domain.
        domain: String,
        /// The value.
        what: &'static str,
    },
}

/// The configurations of all domains that the toolstack starts, in the plan's order.
///
/// # Errors
/// [`XlError::Control`] when a value cannot be written in xl's language.
pub fn emit(plan: &Plan) -> Result<Vec<XlConfig>, XlError> {
    plan.toolstack()
        .map(|domain| {
            Ok(XlConfig {
                file_name: format!("{}.cfg", domain.name),
                text: config(plan, domain)?,
            })
        })
        .collect()
}

fn config(plan: &Plan, domain: &DomainPlan) -> Result<String, XlError> {
    let quote = |what: &'static str, text: &str| {
        quoted(text).ok_or_else(|| XlError::Control {
            domain: domain.name.clone(),
            what,
        })
    };
    let mut out = format!(
        "# Domain \"{}\" of platform \"{}\", written by avpsctl emit xl.\n",
        domain.name, plan.platform
    );
    if domain.ramdisk_generated {
        out.push_str("# Its ramdisk is what avpsctl emit ramdisk writes.\n");
    }
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "{key} = {value}");
    };
    line("name", quote("the name", &domain.name)?);
    line("uuid", quote("the UUID", &domain.uuid)?);
    line("kernel", quote("the kernel", &domain.kernel)?);
    if let Some(ramdisk) = &domain.ramdisk {
        line("ramdisk", quote("the ramdisk", ramdisk)?);
    }
    line("cmdline", quote("the command line", &domain.cmdline)?);
    if let Some(label) = &domain.label {
        line("seclabel", quote("the security label", label)?);
    }
    line("memory", (domain.memory_bytes / MIB).to_string());
    line("maxmem", (domain.memory_bytes / MIB).to_string());
    line("vcpus", domain.vcpus.to_string());
    if !domain.cpus.is_empty() {
        line("cpus", quote("the CPUs", &ranges(&domain.cpus))?);
    }
    if let Some(pool) = pools::of(plan, domain) {
        line("pool", quote("the CPU pool", &pool)?);
    }
    if !domain.colors.is_empty() {
        line("llc_colors", list(ranges(&domain.colors).split(',')));
    }
    if let Some(tee) = domain.tee_of_xen() {
        line("tee", format!("\"{tee}\""));
    }
    if domain.kind == DomainKind::Driver {
        line("driver_domain", "1".to_owned());
    }
    if domain.console == Console::Vpl011 {
        line("vuart", "\"sbsa_uart\"".to_owned());
    }
    for (key, value) in devices(domain, &quote)? {
        line(key, value);
    }
    line("on_poweroff", format!("\"{}\"", domain.on_poweroff.word()));
    line("on_reboot", format!("\"{}\"", domain.on_reboot.word()));
    // A guest that its watchdog ends did not end by itself.
    line("on_watchdog", format!("\"{}\"", domain.on_crash.word()));
    line("on_crash", format!("\"{}\"", domain.on_crash.word()));
    if let Some(share) = domain.rtds {
        let _ = writeln!(
            out,
            "# xl has no key for a budget; when it runs:\n\
             #   xl sched-rtds -d {} -v all -p {} -b {}",
            domain.name, share.period_us, share.budget_us
        );
    }
    if !domain.virtio.is_empty() {
        out.push_str("virtio = [\n");
        for device in &domain.virtio {
            let _ = writeln!(out, "    \"{}\",", virtio(device));
        }
        out.push_str("]\n");
        out.push_str(
            "# xl starts the guest without waiting for its backends: use xl create -p, and xl unpause\n\
             # when they are ready. It cannot name what is behind a device either; start the backend with\n",
        );
        for device in &domain.virtio {
            let DevicePlan::Block(block) = &device.device;
            let _ = writeln!(
                out,
                "#   avps-backend serve {}",
                adopt(domain, device, block)
            );
        }
    }
    Ok(out)
}

/// What a domain needs for the machine's devices that are its own.
fn devices(
    domain: &DomainPlan,
    quote: &dyn Fn(&'static str, &str) -> Result<String, XlError>,
) -> Result<Vec<(&'static str, String)>, XlError> {
    let mut lines = Vec::new();
    if let Some(tree) = &domain.device_tree {
        lines.push(("device_tree", quote("the device tree", tree)?));
    }
    let behind_iommu = domain
        .devices
        .iter()
        .filter(|device| device.dma == DeviceDma::Iommu);
    let paths: Vec<_> = behind_iommu
        .map(|device| quote("the path of a device", &device.path))
        .collect::<Result<_, _>>()?;
    if !paths.is_empty() {
        lines.push(("dtdev", format!("[ {} ]", paths.join(", "))));
    }
    let windows = domain.devices.iter().flat_map(|device| &device.regions);
    let iomem: Vec<_> = windows
        .map(|window| {
            let pages = pages(window);
            let [first, count, guest] =
                [pages.at, pages.size_bytes, pages.guest_at].map(|n| n / 4096);
            format!("{first:#x},{count:x}@{guest:#x}")
        })
        .collect();
    if !iomem.is_empty() {
        lines.push(("iomem", list(iomem.iter().map(String::as_str))));
    }
    let interrupts = domain.devices.iter().flat_map(|device| &device.interrupts);
    let interrupts: Vec<_> = interrupts.map(u32::to_string).collect();
    if !interrupts.is_empty() {
        lines.push(("irqs", format!("[ {} ]", interrupts.join(", "))));
    }
    Ok(lines)
}

/// A list of strings that have no quotes in them.
fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.map(|item| format!("\"{item}\"")).collect();
    format!("[ {} ]", items.join(", "))
}

fn virtio(device: &VirtioPlan) -> String {
    // xl finds a driver domain by its name; its number is not known here.
    let by_number = device.backend_domid.to_string();
    format!(
        "backend={},type=virtio,device{:x},transport=mmio,grant_usage={}",
        device.backend.as_ref().unwrap_or(&by_number),
        device.device_id,
        u8::from(device.memory == MemoryModel::Grant)
    )
}

fn adopt(domain: &DomainPlan, device: &VirtioPlan, block: &BlockPlan) -> String {
    let mut rule = format!("{}/{}={}", domain.name, device.index, block.image);
    if block.readonly {
        rule.push_str(",ro");
    }
    if device.memory == MemoryModel::Foreign {
        rule.push_str(",memory=foreign");
    }
    format!("--adopt '{}'", rule.replace('\'', "'\\''"))
}

/// A string of xl.cfg, in quotes that its text leaves free where there are some (Xen: tools/libs/util/libxlu_cfg.c,
/// `xlu__cfgl_dequote`: a backslash escapes itself and both quotes).
fn quoted(text: &str) -> Option<String> {
    let free = ['"', '\''].into_iter().find(|quote| !text.contains(*quote));
    let quote = free.unwrap_or('"');
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => return None,
            c if c == quote => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xl_strings_use_the_quotes_their_text_leaves_free() {
        assert_eq!(quoted("a b").as_deref(), Some("\"a b\""));
        assert_eq!(quoted("a\"b").as_deref(), Some("'a\"b'"));
        assert_eq!(quoted("a\"b'\\").as_deref(), Some("\"a\\\"b'\\\\\""));
        assert_eq!(quoted("\u{1b}"), None);
    }

    #[test]
    fn every_text_reads_back_as_it_was() {
        use crate::import::xl::{Value, parse};
        for text in [
            "",
            "a b",
            "a\"b",
            "a'b",
            "a\"b'c",
            "C:\\x\\",
            "\\\"",
            "tab\tline\n",
            "# ; =",
        ] {
            let line = format!("extra = {}\n", quoted(text).expect("writable"));
            let read = parse(&line).expect("valid");
            assert_eq!(read[0].value, Value::Text(text.into()), "{line}");
        }
    }
}
