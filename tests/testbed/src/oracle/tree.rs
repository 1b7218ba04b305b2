//! Device trees: the machine's own, with a layout's nodes put in.

use super::{Error, Result};
use oracle_guest::fdt::Tree;
use std::path::Path;

/// Source, compiled into `<name>.dtb` in the folder.
pub(super) fn compile_text(name: &str, source: &str, folder: &Path) -> Result<Vec<u8>> {
    let (from, to) = (
        folder.join(format!("{name}.dts")),
        folder.join(format!("{name}.dtb")),
    );
    std::fs::write(&from, source).map_err(Error::io("write", &from))?;
    crate::dtc::compile(&from, &to).map_err(|error| match error {
        crate::process::Error::Interrupted => Error::Interrupted,
        error => Error::Tree {
            name: name.to_owned(),
            said: error.to_string(),
        },
    })?;
    std::fs::read(&to).map_err(Error::io("read", &to))
}

/// The domains that a tree describes, in the order in which Xen numbers them from 1.
pub(super) fn domains(dtb: &[u8]) -> Vec<String> {
    let Some(tree) = Tree::new(dtb) else {
        return Vec::new();
    };
    tree.properties()
        .filter(|property| {
            property.depth() == 2
                && property.top() == "chosen"
                && property.name == "compatible"
                && property.lists("xen,domain")
        })
        .map(|property| property.node().to_owned())
        .collect()
}
