//! A U-Boot script that loads what a plan boots with and starts Xen.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::plan::{Module, Plan};

/// Where Xen is loaded where the document does not say: U-Boot's own variable for a kernel.
const XEN_AT: &str = "${kernel_addr_r}";
/// The same for the device tree.
const TREE_AT: &str = "${fdt_addr_r}";
/// Name of Xen's image where the document does not say.
const XEN: &str = "xen";

/// Why a plan cannot be told to U-Boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UbootError {
    /// Nobody said where modules are.
    #[error(
        "{path} has no address; say where modules are loaded: [boot] window = {{ at = …, size = … }}"
    )]
    NoPlace {
        /// The file.
        path: String,
    },
    /// Two files have one name where U-Boot loads from.
    #[error(
        "{first} and {second} would be the same file \"{name}\" on the boot device; rename one"
    )]
    SameName {
        /// The name.
        name: String,
        /// One path.
        first: String,
        /// Another path.
        second: String,
    },
    /// U-Boot's shell has no way to write it.
    #[error(
        "the file name \"{name}\" has characters that U-Boot's shell takes for its own; rename the file"
    )]
    Name {
        /// The name.
        name: String,
    },
}

/// Proposed name of the device tree with everything in it, as the script loads it.
pub fn tree_name(plan: &Plan) -> String {
    format!("{}.dtb", plan.platform)
}

/// The script, in the form of `boot.cmd`. All files are expected by their names at the top of the boot device.
///
/// # Errors
/// [`UbootError`] when a file cannot be named or placed.
pub fn emit(plan: &Plan) -> Result<String, UbootError> {
    let boot = &plan.boot;
    let mut names = Names::default();
    let mut out = format!(
        "# Starts platform \"{}\", written by avpsctl emit uboot. Make it a script with\n\
         #   mkimage -A arm64 -T script -C none -d boot.cmd boot.scr\n",
        plan.platform
    );
    for module in &boot.modules {
        out.push_str(&load_module(
            boot.slot_bytes,
            &boot.device,
            module,
            &mut names,
        )?);
    }
    let address =
        |at: Option<u64>, variable: &str| at.map_or(variable.to_owned(), |at| format!("{at:#x}"));
    let tree_at = address(boot.device_tree_at, TREE_AT);
    let xen_at = address(boot.xen_at, XEN_AT);
    let tree = names.give(&tree_name(plan))?;
    let xen = names.give(boot.xen.as_deref().unwrap_or(XEN))?;
    let _ = write!(
        out,
        "load {device} {tree_at} {tree}\n\
         load {device} {xen_at} {xen}\n\
         booti {xen_at} - {tree_at}\n",
        device = boot.device
    );
    Ok(out)
}

/// Loads a module and stops when it reaches into the next one's slot.
fn load_module(
    slot: u64,
    device: &str,
    module: &Module,
    names: &mut Names,
) -> Result<String, UbootError> {
    let name = names.give(&module.path)?;
    let at = module.at.ok_or_else(|| UbootError::NoPlace {
        path: module.path.clone(),
    })?;
    Ok(format!(
        "load {device} {at:#x} {name}\n\
         if itest 0x${{filesize}} -gt {slot:#x}; then echo \"{name} is larger than its slot\"; exit; fi\n"
    ))
}

/// Names on the boot device, each with the path it stands for.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn give(&mut self, path: &str) -> Result<String, UbootError> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-@,".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(UbootError::Name { name });
        }
        match self.0.insert(name.clone(), path.to_owned()) {
            Some(first) if first != path => Err(UbootError::SameName {
                name,
                first,
                second: path.to_owned(),
            }),
            _ => Ok(name),
        }
    }
}
