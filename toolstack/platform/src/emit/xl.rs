//! xl configurations (xl.cfg(5)), one per domain.
//!
//! xl has no place for what a backend needs to know (the image behind a disk): the text says in a
//! comment how `avps-backend` is told instead.

use std::fmt::Write;

use crate::plan::{BlockPlan, DevicePlan, DomainPlan, MemoryModel, Plan, VirtioPlan};
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

/// The configurations of all domains, in the plan's order.
///
/// # Errors
/// [`XlError::Control`] when a value cannot be written in xl's language.
pub fn emit(plan: &Plan) -> Result<Vec<XlConfig>, XlError> {
    plan.domains
        .iter()
        .map(|domain| {
            Ok(XlConfig {
                file_name: format!("{}.cfg", domain.name),
                text: config(&plan.platform, domain)?,
            })
        })
        .collect()
}

fn config(platform: &str, domain: &DomainPlan) -> Result<String, XlError> {
    let quote = |what: &'static str, text: &str| {
        quoted(text).ok_or_else(|| XlError::Control {
            domain: domain.name.clone(),
            what,
        })
    };
    let mut out = format!(
        "# Domain \"{}\" of platform \"{platform}\", written by avpsctl emit xl.\n",
        domain.name
    );
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
    line("memory", (domain.memory_bytes / MIB).to_string());
    line("maxmem", (domain.memory_bytes / MIB).to_string());
    line("vcpus", domain.vcpus.to_string());
    line("on_poweroff", format!("\"{}\"", domain.on_poweroff.word()));
    line("on_reboot", format!("\"{}\"", domain.on_reboot.word()));
    line("on_crash", format!("\"{}\"", domain.on_crash.word()));
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

fn virtio(device: &VirtioPlan) -> String {
    format!(
        "backend={},type=virtio,device{:x},transport=mmio,grant_usage={}",
        device.backend_domid,
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
