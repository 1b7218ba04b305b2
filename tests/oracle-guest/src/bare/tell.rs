//! Tells what the device tree says.

use super::console::report;
use oracle_guest::fdt::{Property, Tree};

/// The boot arguments that Xen put into the tree.
pub(super) fn arguments<'a>(tree: &Tree<'a>) -> &'a str {
    tree.properties()
        .find(|property| {
            property.depth() == 1 && property.top() == "chosen" && property.name == "bootargs"
        })
        .map_or("", |property| property.text())
}

/// Reports memory, the number of vCPUs, and every other node that has addresses, with what it is compatible with.
pub(super) fn tree(tree: &Tree<'_>) {
    let mut cpus = 0;
    for property in tree.properties() {
        let memory = property.depth() == 1 && property.node().starts_with("memory");
        match property.name {
            "reg" if memory => {
                for (start, size) in property.ranges() {
                    report!("memory {start:#x}+{size:#x}");
                }
            }
            "reg" if property.top() == "cpus" => cpus += 1,
            "reg" => node(&property),
            "compatible" if property.depth() > 0 && property.top() != "cpus" => {
                report!("compatible {} {}", property.node(), property.text());
            }
            "xen,id" => report!("shm-id {} {}", property.node(), property.text()),
            _ => {}
        }
    }
    report!("cpus {cpus}");
    report!("bootargs {}", arguments(tree));
}

fn node(property: &Property<'_>) {
    for (start, size) in property.ranges().take(4) {
        report!("node {} {start:#x}+{size:#x}", property.node());
    }
}
