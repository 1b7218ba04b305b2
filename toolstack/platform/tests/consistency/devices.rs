//! What the machine's device tree says.

use platform::MachinePlan;
use platform::plan::{MachineDevice, NamedRange, Range};

use crate::{RAM, guest, ids, with_facts};

#[test]
fn what_the_device_tree_reserves_is_not_held_against_the_document() {
    let reserved = |at, size_bytes| NamedRange {
        name: "firmware".to_owned(),
        range: Range { at, size_bytes },
    };
    let reserved = vec![
        reserved(0x1000, 0x123),
        reserved(0x5000_0000, 0x2000),
        reserved(0x5000_1000, 0x1000),
    ];
    let facts = MachinePlan {
        reserved,
        ..MachinePlan::default()
    };
    let place = |at| {
        guest(
            "a",
            &format!("static_memory = [{{ at = {at}, size = \"64MiB\" }}]\n"),
        )
    };
    let found = |at| {
        let text = format!("[machine]\ndevice_tree = \"board.dtb\"\n{RAM}{}", place(at));
        ids(&with_facts(&text, facts.clone()))
    };
    assert!(found("0x6000_0000").is_empty());
    assert_eq!(found("0x5000_0000"), ["AVPS0412"]);
}

fn can(address: u64) -> MachineDevice {
    MachineDevice {
        path: format!("/soc/can@{address:x}"),
        compatible: vec!["example,can".to_owned()],
        regions: vec![Range {
            at: address,
            size_bytes: 0x400,
        }],
        interrupts: vec![40],
        ..MachineDevice::default()
    }
}

fn facts(devices: Vec<MachineDevice>) -> MachinePlan {
    MachinePlan {
        devices,
        ..MachinePlan::default()
    }
}

fn with_device(rest: &str) -> String {
    let guest = guest("a", "memory = \"64MiB\"\n");
    format!("{guest}[[domain.device]]\npath = \"/soc/can@9041000\"\n{rest}")
}

const WINDOW: &str = "[[domain.device.region]]\nat = 0x904_1000\nsize = \"4KiB\"\n";

#[test]
fn a_device_is_looked_up_in_the_device_tree() {
    let text = with_device(&format!("dma = \"none\"\n{WINDOW}"));
    let found = |devices| ids(&with_facts(&text, facts(devices)));
    assert!(found(vec![can(0x904_1000)]).is_empty());
    assert_eq!(found(vec![can(0x904_2000)]), ["AVPS0701"]);
    let disabled = MachineDevice {
        disabled: true,
        ..can(0x904_1000)
    };
    assert_eq!(found(vec![disabled]), ["AVPS0702"]);
    let console = MachineDevice {
        compatible: vec!["arm,gic-v3".to_owned()],
        ..can(0x904_1000)
    };
    assert_eq!(found(vec![console]), ["AVPS0712"]);
}

#[test]
fn a_device_that_stays_with_the_control_domain_can_share_a_page_too() {
    let text = with_device(&format!("dma = \"none\"\n{WINDOW}"));
    let neighbour = can(0x904_1400);
    let findings = with_facts(&text, facts(vec![can(0x904_1000), neighbour]));
    assert_eq!(ids(&findings), ["AVPS0706"]);
    assert!(findings[0].message.contains("/soc/can@9041400"));
    assert_eq!(findings[0].at, "domain[0].device[0].region[0].at");
}

#[test]
fn registers_of_the_device_tree_stand_in_for_those_the_document_does_not_give() {
    let findings = with_facts(
        &with_device("dma = \"none\"\n"),
        facts(vec![can(0x904_1000)]),
    );
    assert_eq!(ids(&findings), ["AVPS0705"], "0x400 bytes are no page");
}

#[test]
fn a_region_of_no_bytes_gives_no_registers() {
    let none = WINDOW.replace("4KiB", "0B");
    assert_ne!(none, WINDOW);
    let text = with_device(&format!("dma = \"none\"\n{none}"));
    let findings = with_facts(&text, facts(vec![can(0x904_1000)]));
    assert_eq!(ids(&findings), ["AVPS0705"]);
    assert_eq!(
        findings[0].message,
        "a region of /soc/can@9041000 has no bytes"
    );
    assert_eq!(findings[0].at, "domain[0].device[0].region[0].size");
}

#[test]
fn an_iommu_helps_only_devices_behind_it() {
    let text = format!("[machine]\niommu = \"smmu-v3\"\n{}", with_device(WINDOW));
    let behind = MachineDevice {
        behind_iommu: true,
        ..can(0x904_1000)
    };
    assert!(with_facts(&text, facts(vec![behind])).is_empty());
    let findings = with_facts(&text, facts(vec![can(0x904_1000)]));
    assert_eq!(ids(&findings), ["AVPS0704"]);
}

#[test]
fn a_device_tree_that_was_not_read_is_no_reason_for_findings() {
    let text = format!(
        "[machine]\ndevice_tree = \"board.dtb\"\n{}[[domain.device]]\npath = \"/can\"\n",
        guest(
            "a",
            "static_memory = [{ at = 0x6000_0000, size = \"64MiB\" }]\n"
        )
    );
    let findings = with_facts(&text, MachinePlan::default());
    assert!(findings.is_empty(), "{findings:#?}");
}
