//! What the machine's device tree adds to a document.

use std::io::ErrorKind;

use crate::device_tree;
use crate::document::Document;
use crate::files::Files;
use crate::finding::Finding;
use crate::plan::MachinePlan;
use crate::resolve::absolute;
use crate::rules;

/// Document path of the key that names the tree.
const AT: &str = "machine.device_tree";

/// The facts, or none where the document names no tree or there are no files.
pub(crate) fn of(
    document: &Document,
    base: &str,
    files: &dyn Files,
) -> Result<MachinePlan, Box<Finding>> {
    let machine = document.content.machine.as_ref();
    let Some(path) = machine.and_then(|machine| machine.device_tree.as_deref()) else {
        return Ok(MachinePlan::default());
    };
    let path = absolute(base, path);
    let bytes = match files.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(MachinePlan::default()),
        Err(error) => {
            let message = format!("the machine's device tree {path} cannot be read: {error}");
            let finding = Finding::new(&rules::DEVICE_TREE_UNREADABLE, AT, message);
            return Err(Box::new(finding.label("cannot be read")));
        }
    };
    device_tree::facts(&bytes).map_err(|error| {
        let message = format!("{path} is not a device tree: {error}");
        let finding = Finding::new(&rules::DEVICE_TREE_BROKEN, AT, message);
        Box::new(finding.label("no usable device tree"))
    })
}
