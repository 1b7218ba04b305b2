//! Facts about a machine are those of its device tree, and whatever is wrong with the tree is told, never followed.

use std::io::{self, ErrorKind};

use crate::common::{analyse_on, machine, plan_on};
use platform::device_tree::{DeviceTreeError, MAX_DEVICE_TREE_BYTES, facts};
use platform::plan::{Gic, Iommu, Llc, MachineDevice, MachinePlan, NamedRange, Range};
use platform::{Files, HostFiles};
use proptest::prelude::*;

const MINIMAL: &str = "\
schema = \"avps/1\"
[platform]
name = \"d\"
[machine]
device_tree = \"machine.dtb\"
[[domain]]
name = \"a\"
kernel = \"k\"
memory = \"64MiB\"
";

fn range(at: u64, size_bytes: u64) -> Range {
    Range { at, size_bytes }
}

fn device<'a>(machine: &'a MachinePlan, path: &str) -> &'a MachineDevice {
    let mut devices = machine.devices.iter();
    devices.find(|device| device.path == path).expect(path)
}

#[test]
fn memory_cpus_and_controllers_are_those_of_the_tree() {
    let board = facts(&machine("board.dts")).expect("reads");
    assert_eq!(
        board.banks,
        [
            range(0x8000_0000, 0x4000_0000),
            range(0x8_8000_0000, 0x8000_0000)
        ]
    );
    let reserved = |name: &str, at, size| NamedRange {
        name: name.to_owned(),
        range: range(at, size),
    };
    assert_eq!(
        board.reserved,
        [
            reserved("memreserve0", 0x8000_0000, 0x10_0000),
            reserved("secure@be000000", 0xbe00_0000, 0x200_0000)
        ]
    );
    assert_eq!(board.cpus, Some(3));
    let clusters: Vec<_> = board
        .clusters
        .iter()
        .map(|cluster| (cluster.core.as_deref(), cluster.cpus.as_slice()))
        .collect();
    assert_eq!(
        clusters,
        [
            (Some("arm,cortex-a76"), [0, 1].as_slice()),
            (Some("arm,cortex-a55"), [2].as_slice())
        ]
    );
    assert_eq!(board.gic, Some(Gic::V2));
    assert_eq!(board.iommu, Some(Iommu::SmmuV2));
    assert_eq!(board.timer_hz, Some(24_000_000));
    let cache = Llc {
        size_bytes: 0x10_0000,
        ways: 16,
    };
    assert_eq!(board.llc, Some(cache));

    let virt = facts(&machine("virt.dts")).expect("reads");
    assert_eq!((virt.cpus, virt.gic), (Some(4), Some(Gic::V3)));
    assert_eq!(virt.clusters[0].cpus, [0, 1, 2, 3], "by cpu-map");
    assert_eq!(virt.iommu, Some(Iommu::None), "the tree says there is none");
    assert_eq!(virt.banks, [range(0x4000_0000, 0x4000_0000)]);
}

#[test]
fn a_device_is_where_the_cpu_sees_it_and_depends_on_what_supplies_it() {
    let board = facts(&machine("board.dts")).expect("reads");
    let can = device(&board, "/soc/can@80001000");
    assert_eq!(can.regions, [range(0x4_0000_1000, 0x1000)], "second range");
    assert_eq!(
        can.interrupts,
        [92, 93],
        "not the one of the GPIO controller"
    );
    assert!(!can.behind_iommu && !can.bus_master && !can.disabled);
    assert_eq!(
        can.suppliers,
        ["/soc/clock-controller@3000000", "/oscillator"]
    );
    let mmc = device(&board, "/soc/mmc@5000000");
    assert!(mmc.behind_iommu && mmc.bus_master);
    assert_eq!(mmc.suppliers, ["/oscillator", "/regulator"]);
    let uart = device(&board, "/soc/serial@4000000");
    assert_eq!(uart.compatible, ["arm,pl011", "arm,primecell"]);
    assert_eq!(uart.suppliers[2], "/soc/pinctrl@3100000/uart0-pins");
    assert!(device(&board, "/soc/gpio@6000000").disabled);
    let sensor = device(&board, "/soc/i2c@7000000/sensor@48");
    assert!(sensor.disabled, "its bus is");
    assert_eq!((sensor.regions.len(), sensor.interrupts[0]), (0, 124));
    let timer = device(&board, "/timer");
    assert_eq!(timer.interrupts, [29, 30, 27, 26]);
}

#[test]
fn what_the_document_says_replaces_what_the_tree_says() {
    let text = MINIMAL.replace("[[domain]]", "gic = \"v3\"\n[[domain]]");
    let plan = plan_on(&machine("board.dts"), &text);
    assert_eq!(plan.machine.gic, Some(Gic::V3));
    assert_eq!(plan.machine.cpus, Some(3));
    assert_eq!(
        plan.machine.device_tree.as_deref(),
        Some("/base/machine.dtb")
    );
}

#[test]
fn a_document_with_fewer_cpus_than_the_tree_has_clusters_of_those() {
    let text = MINIMAL.replace("[[domain]]", "cpus = 1\n[[domain]]");
    let plan = plan_on(&machine("board.dts"), &text);
    let clusters = plan.machine.clusters.iter();
    let cpus: Vec<_> = clusters.map(|cluster| cluster.cpus.as_slice()).collect();
    assert_eq!(cpus, [[0].as_slice()]);
}

#[test]
fn registers_and_interrupts_that_are_left_out_come_from_the_tree() {
    let text = format!(
        "{MINIMAL}device = [{{ path = \"/soc/can@80001000\", dma = \"none\" }}, \
         {{ path = \"/soc/mmc@5000000\", interrupts = [200], region = [{{ at = 0x1500_0000, size = \"4KiB\" }}] }}]\n"
    );
    let plan = plan_on(&machine("board.dts"), &text);
    let [can, mmc] = plan.domains[0].devices.as_slice() else {
        panic!("two devices");
    };
    assert_eq!(can.regions[0].at, 0x4_0000_1000);
    assert_eq!(can.regions[0].guest_at, 0x4_0000_1000);
    assert_eq!(can.interrupts, [92, 93]);
    assert_eq!(mmc.interrupts, [200]);
    assert_eq!(mmc.regions[0].at, 0x1500_0000);
}

#[test]
fn a_tree_that_cannot_be_read_or_is_none_is_shown_at_its_key() {
    struct Failing(ErrorKind);
    impl Files for Failing {
        fn read(&self, _path: &str) -> io::Result<Vec<u8>> {
            Err(self.0.into())
        }
    }
    let unreadable = platform::analyse_in(MINIMAL, "/base", &Failing(ErrorKind::NotFound));
    let broken = analyse_on(b"/dts-v1/; / {}; and so on until it is long", MINIMAL);
    for (analysis, id) in [(unreadable, "AVPS0010"), (broken, "AVPS0011")] {
        let [finding] = analysis.findings.as_slice() else {
            panic!("{:#?}", analysis.findings);
        };
        assert_eq!((finding.rule.id, &*finding.at), (id, "machine.device_tree"));
        let span = finding.span.clone().expect("located");
        assert_eq!(&MINIMAL[span], "\"machine.dtb\"");
        assert!(analysis.plan.is_none());
    }
    let unknown = platform::analyse(MINIMAL, "/base");
    assert!(
        unknown.findings.is_empty(),
        "without files nobody is to blame"
    );
}

#[test]
fn files_of_the_host_are_files_and_not_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("small"), [1, 2, 3]).expect("writes");
    assert_eq!(HostFiles.read(&path("small")).expect("reads"), [1, 2, 3]);
    std::fs::write(path("large"), vec![0; MAX_DEVICE_TREE_BYTES + 1]).expect("writes");
    assert!(HostFiles.read(&path("large")).is_err());
    assert!(HostFiles.read("/dev/zero").is_err());
    assert!(HostFiles.read(&path("none")).is_err());
}

#[test]
fn nesting_without_end_is_refused() {
    let depth = 100_000;
    let mut dtb = header(40, 56, 0);
    dtb.extend([0; 16]);
    for level in 0..depth {
        dtb.extend(1_u32.to_be_bytes());
        dtb.extend(if level == 0 { [0; 4] } else { *b"a\0\0\0" });
    }
    dtb.extend([2_u32.to_be_bytes(); 100_000].concat());
    dtb.extend(9_u32.to_be_bytes());
    let length = u32::try_from(dtb.len()).expect("short");
    dtb[4..8].copy_from_slice(&length.to_be_bytes());
    dtb[12..16].copy_from_slice(&length.to_be_bytes());
    assert!(matches!(facts(&dtb), Err(DeviceTreeError::TooDeep { .. })));
}

#[test]
fn names_longer_than_the_specification_allows_are_read() {
    let name = "nvidia,pad-autocal-pull-up-offset-3v3-timeout";
    let source =
        format!("/dts-v1/; / {{ mmc-with-a-name-of-more-than-31-letters {{ {name} = <7>; }}; }};");
    assert!(facts(&crate::common::dtc(&source, true)).is_ok());
}

/// A header with these offsets of the reservations, the nodes and the names.
fn header(reservations: u32, nodes: u32, names: u32) -> Vec<u8> {
    let words = [0xd00d_feed, 0, nodes, names, reservations, 17, 16, 0, 0, 0];
    words
        .iter()
        .flat_map(|word: &u32| word.to_be_bytes())
        .collect()
}

#[test]
fn whatever_is_wrong_is_told() {
    let dtb = machine("board.dts");
    assert_eq!(facts(&[]), Err(DeviceTreeError::Magic));
    let cut = facts(&dtb[..dtb.len() - 1]);
    assert!(matches!(cut, Err(DeviceTreeError::CutOff { .. })));
    let mut old = dtb.clone();
    old[23] = 16;
    assert_eq!(facts(&old), Err(DeviceTreeError::Version { version: 16 }));
    let mut longer = dtb.clone();
    longer.extend([0; 4096]);
    assert_eq!(facts(&longer), facts(&dtb), "padding is no mistake");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = facts(&bytes);
    }

    #[test]
    fn no_mutant_of_a_tree_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..12), 0..6),
    ) {
        use std::sync::OnceLock;
        static BOARD: OnceLock<Vec<u8>> = OnceLock::new();
        let mut dtb = BOARD.get_or_init(|| machine("board.dts")).clone();
        for (at, byte) in changes {
            // Behind the header, so that most mutants are looked at.
            let at = 40 + at.index(dtb.len() - 40);
            dtb[at] = byte;
        }
        for (at, word) in swaps {
            let at = at.index(dtb.len() / 4 - 10) * 4 + 40;
            dtb[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        if facts(&dtb).is_ok() {
            let plan = analyse_on(&dtb, MINIMAL);
            prop_assert!(!plan.findings.iter().any(|f| f.rule.id == "AVPS0011"));
        }
    }
}
