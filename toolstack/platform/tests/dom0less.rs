//! What Xen is told by device tree is what the plan says: read back by another reader, accepted by dtc without a word, and
//! the same however it is written.

use std::collections::BTreeMap;

use crate::common::{dtc, machine, plan_on};
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::model::DeviceTree;
use dtoolkit::model::overlay::OverlayApplier;
use dtoolkit::{Node, Property};
use platform::Plan;
use platform::emit::dom0less::{Dom0lessError, Sizes, dtb, dtbo, dts};
use platform::plan::{Llc, Module};
use platform::units::XenVersion;
use proptest::prelude::*;

const SAMPLE: &str = include_str!("../../../configs/dom0less.avps.toml");

/// Everything there is, on the board.
const FULL: &str = include_str!("data/full.avps.toml");

fn sizes(module: &Module) -> Option<u64> {
    module.path.ends_with("guest.bin").then_some(4096)
}

fn words(node: &FdtNode<'_>, name: &str) -> Vec<u32> {
    let property = node.property(name).unwrap_or_else(|| panic!("{name}"));
    property.value_as::<Vec<u32>>().expect("words")
}

fn text(node: &FdtNode<'_>, name: &str) -> String {
    let property = node.property(name).unwrap_or_else(|| panic!("{name}"));
    property.value_as::<String>().expect("a text")
}

fn has(node: &FdtNode<'_>, name: &str) -> bool {
    node.property(name).is_some()
}

/// A tree as text, its phandles replaced by the paths of their nodes where a property is known to have some.
fn canonical(tree: &DeviceTree) -> BTreeMap<String, Vec<String>> {
    let blob = tree.to_dtb();
    let fdt = Fdt::new(&blob).expect("reads");
    let mut nodes = Vec::new();
    fn collect<'a>(node: FdtNode<'a>, path: &str, nodes: &mut Vec<(String, FdtNode<'a>)>) {
        nodes.push((path.to_owned(), node));
        for child in node.children() {
            collect(child, &format!("{path}/{}", child.name()), nodes);
        }
    }
    collect(fdt.root(), "", &mut nodes);
    let path_of: BTreeMap<u32, &str> = nodes
        .iter()
        .filter(|(_, node)| has(node, "phandle"))
        .map(|(path, node)| (words(node, "phandle")[0], &**path))
        .collect();
    let shown = |property: &dtoolkit::fdt::FdtProperty<'_>| -> String {
        let references = ["cpupool-cpus", "domain-cpupool", "xen,evtchn"];
        if !references.contains(&property.name()) {
            return format!("{} {:x?}", property.name(), property.value());
        }
        let words = property.value_as::<Vec<u32>>().expect("words");
        // The first word of an event channel is its port.
        let ports = usize::from(property.name() == "xen,evtchn");
        let words: Vec<_> = words
            .iter()
            .skip(ports)
            .map(|word| {
                path_of
                    .get(word)
                    .map_or(word.to_string(), |p| (*p).to_owned())
            })
            .collect();
        format!("{} {words:?}", property.name())
    };
    let mut canonical = BTreeMap::new();
    for (path, node) in &nodes {
        let properties = node.properties().filter(|p| p.name() != "phandle");
        let mut properties: Vec<_> = properties.map(|property| shown(&property)).collect();
        properties.sort();
        canonical.insert(path.clone(), properties);
    }
    canonical
}

fn applied(base: &[u8], overlay: &[u8]) -> DeviceTree {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(base).expect("reads"));
    let overlay = Fdt::new(overlay).expect("reads");
    let mut applier = OverlayApplier::new(&mut tree);
    applier.apply_overlay(&overlay).expect("fits");
    tree
}

#[test]
fn the_source_of_the_sample_is_what_people_were_shown() {
    let base = machine("virt.dts");
    let plan = plan_on(&base, SAMPLE);
    let source = dts(&plan, Some(&base), &sizes).expect("emits");
    insta::assert_snapshot!("dom0less-dts", source);
    dtc(&source, false);
}

#[test]
fn the_source_of_everything_is_what_people_were_shown() {
    let base = machine("board.dts");
    let plan = plan_on(&base, FULL);
    let source = dts(&plan, Some(&base), &sizes).expect("emits");
    insta::assert_snapshot!("dom0less-full-dts", source);
    dtc(&source, false);
}

#[test]
fn the_blob_the_overlay_and_the_source_say_the_same() {
    for (name, text) in [("virt.dts", SAMPLE), ("board.dts", FULL)] {
        let base = machine(name);
        let plan = plan_on(&base, text);
        let blob = dtb(&plan, &base, &sizes).expect("emits");
        let merged = DeviceTree::from_fdt(&Fdt::new(&blob).expect("reads"));
        let overlay = dtbo(&plan, Some(&base), &sizes).expect("emits");
        let source = dts(&plan, Some(&base), &sizes).expect("emits");
        let ours = applied(&base, &overlay);
        let of_dtc = applied(&base, &dtc(&source, false));
        assert_eq!(canonical(&merged), canonical(&ours), "{name}: overlay");
        assert_eq!(canonical(&merged), canonical(&of_dtc), "{name}: source");
    }
}

#[test]
fn fdtoverlay_of_dtc_applies_the_overlay() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = machine("board.dts");
    let plan = plan_on(&base, FULL);
    let overlay = dtbo(&plan, Some(&base), &sizes).expect("emits");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("base"), &base).expect("writes");
    std::fs::write(path("overlay"), overlay).expect("writes");
    let status = std::process::Command::new("fdtoverlay")
        .arg("-i")
        .arg(path("base"))
        .arg("-o")
        .arg(path("out"))
        .arg(path("overlay"))
        .status()
        .expect("fdtoverlay runs; Debian has it in the package device-tree-compiler");
    assert!(status.success());
    let out = std::fs::read(path("out")).expect("written");
    let out = DeviceTree::from_fdt(&Fdt::new(&out).expect("reads"));
    let merged = dtb(&plan, &base, &sizes).expect("emits");
    let merged = DeviceTree::from_fdt(&Fdt::new(&merged).expect("reads"));
    assert_eq!(canonical(&out), canonical(&merged));
}

#[test]
fn a_domain_of_fixed_memory_in_a_pool_of_its_own_is_told_so() {
    let base = machine("virt.dts");
    let plan = plan_on(&base, SAMPLE);
    let blob = dtb(&plan, &base, &sizes).expect("emits");
    let fdt = Fdt::new(&blob).expect("reads");
    let domain = fdt.find_node("/chosen/cluster").expect("there");
    assert_eq!(text(&domain, "compatible"), "xen,domain");
    assert_eq!(words(&domain, "cpus"), [1]);
    assert_eq!(words(&domain, "memory"), [0, 64 * 1024], "KiB");
    assert_eq!(
        words(&domain, "xen,static-mem"),
        [0, 0x6000_0000, 0, 64 << 20]
    );
    assert!(has(&domain, "vpl011") && !has(&domain, "direct-map"));
    let pool = fdt.find_node("/chosen/cpupool-safety").expect("there");
    assert_eq!(words(&pool, "phandle"), words(&domain, "domain-cpupool"));
    assert_eq!(text(&pool, "cpupool-sched"), "null");
    let cpu = fdt.find_node("/cpus/cpu@3").expect("there");
    assert_eq!(words(&pool, "cpupool-cpus"), words(&cpu, "phandle"));
    let module = domain.child("module@50000000").expect("there");
    assert_eq!(words(&module, "reg"), [0, 0x5000_0000, 0, 4096]);
    assert_eq!(text(&module, "bootargs"), "cluster");
    let chosen = fdt.find_node("/chosen").expect("there");
    assert!(text(&chosen, "xen,xen-bootargs").contains("bootscrub=idle"));
    assert!(has(&chosen, "stdout-path"), "what was there stays");
    let names: Vec<_> = chosen
        .children()
        .map(|child| child.name().to_owned())
        .collect();
    assert_eq!(
        names,
        ["cpupool-safety", "cluster", "infotainment", "telematics"],
        "Xen numbers domains in this order"
    );
}

#[test]
fn links_devices_and_the_control_domain_are_told() {
    let base = machine("board.dts");
    let plan = plan_on(&base, FULL);
    let blob = dtb(&plan, &base, &sizes).expect("emits");
    let fdt = Fdt::new(&blob).expect("reads");
    let chosen = fdt.find_node("/chosen").expect("there");
    assert_eq!(words(&chosen, "#address-cells"), [2]);
    assert_eq!(
        words(&chosen, "xen,static-heap"),
        [8, 0x9000_0000, 0, 1 << 30]
    );
    assert!(text(&chosen, "xen,dom0-bootargs").contains("root=\"/dev/vda\""));
    let bootargs = text(&chosen, "xen,xen-bootargs");
    for word in ["dtuart=serial0", "dom0_mem=512M", "dom0_max_vcpus=2"] {
        assert!(bootargs.contains(word), "{bootargs}");
    }
    assert!(bootargs.ends_with("loglvl=all"));
    let cluster = fdt.find_node("/chosen/cluster").expect("there");
    let long = chosen.children().last().expect("the last domain");
    assert!(long.name().len() <= 31 && long.name().starts_with("a-name-of-more"));
    assert!(!has(&long, "vpl011"));

    let near = cluster.child("evtchn-10").expect("there");
    let far = long.child("evtchn-11").expect("there");
    assert_eq!(text(&near, "compatible"), "xen,evtchn-v1");
    assert_eq!(words(&near, "xen,evtchn"), [10, words(&far, "phandle")[0]]);
    assert_eq!(words(&far, "xen,evtchn"), [11, words(&near, "phandle")[0]]);
    assert_eq!(text(&cluster, "xen,enhanced"), "no-xenstore");

    let memory = cluster.child("shm-speed").expect("there");
    let shared = words(&memory, "xen,shared-mem");
    assert_eq!(&shared[..2], [0, 0xb800_0000]);
    assert_eq!(&shared[4..], [0, 64 << 10]);
    assert!(!has(&memory, "role"), "nobody owns it");
    assert!(chosen.child("shm-speed").is_some(), "dom0's");

    assert_eq!(text(&cluster, "passthrough"), "enabled");
    let module = cluster.children().find(|child| {
        let compatible = child.property("compatible").expect("there");
        compatible.value().starts_with(b"multiboot,device-tree\0")
    });
    let partial = platform::emit::partial::emit(&plan, &base).expect("emits");
    let module = module.expect("there");
    let length = u32::try_from(partial[0].dtb.len()).expect("short");
    assert_eq!(words(&module, "reg")[3], length);
    for path in ["/soc/can@80001000", "/soc/mmc@5000000"] {
        assert!(has(&fdt.find_node(path).expect("there"), "xen,passthrough"));
    }
}

#[test]
fn a_mediated_guest_finds_its_op_tee_and_an_interrupt_where_it_can_have_one() {
    let tee =
        "tee = { mode = \"mediated\", applications = [\"8aaaf200-2450-11e4-abe2-0002a5d5c51b\"] }";
    let text = |more: &str| {
        format!(
            "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[[domain]]\nname = \"a\"\nkernel = \"k\"\n\
             memory = \"64MiB\"\n{tee}\n{more}"
        )
    };
    let domain = |more: &str| {
        let plan = platform::analyse(&text(more), "/").plan.expect("no errors");
        plan.domains[0].clone()
    };
    let plain = domain("");
    let interrupt = plain.tee_interrupt();
    assert_eq!(interrupt, Some(44));
    let dtb = platform::emit::partial::of_mediated(&plain, interrupt).expect("needs one");
    let fdt = Fdt::new(&dtb).expect("reads");
    let optee = fdt.find_node("/passthrough/optee").expect("there");
    assert_eq!(words(&optee, "interrupts"), [0, 12, 0xf01]);
    assert_eq!(words(&optee, "interrupt-parent"), [65000]);
    let dtb = platform::emit::partial::of_mediated(&plain, None).expect("needs one");
    let fdt = Fdt::new(&dtb).expect("reads");
    let optee = fdt.find_node("/passthrough/optee").expect("there");
    assert!(!has(&optee, "interrupts"));
    // Whether somebody else's tree names one is not known.
    let with_tree = domain("device_tree = \"a.dtb\"");
    assert_eq!(with_tree.tee_interrupt(), None);
}

#[test]
fn registers_that_are_no_whole_pages_are_not_rounded_up_to_some() {
    let base = machine("board.dts");
    let mut plan = plan_on(&base, FULL);
    let cluster = plan
        .domains
        .iter_mut()
        .find(|domain| domain.name == "cluster");
    cluster.expect("there").devices[0].regions[0].size_bytes = 1;
    let partial = platform::emit::partial::emit(&plan, &base).expect("emits");
    let fdt = Fdt::new(&partial[0].dtb).expect("reads");
    let can = fdt.find_node("/passthrough/can@400001000").expect("there");
    assert_eq!(words(&can, "xen,reg"), [4, 0x1000, 0, 1, 4, 0x1000]);
}

#[test]
fn a_guest_is_told_of_its_devices_and_of_nothing_it_cannot_reach() {
    let base = machine("board.dts");
    let plan = plan_on(&base, FULL);
    let partial = platform::emit::partial::emit(&plan, &base).expect("emits");
    assert_eq!(partial[0].file_name, "cluster.passthrough.dtb");
    let fdt = Fdt::new(&partial[0].dtb).expect("reads");
    let gic = fdt.find_node("/gic").expect("there");
    assert_eq!(words(&gic, "phandle"), [65000]);
    let can = fdt.find_node("/passthrough/can@400001000").expect("there");
    assert_eq!(words(&can, "reg"), [4, 0x1000, 0, 0x1000]);
    assert_eq!(words(&can, "xen,reg"), [4, 0x1000, 0, 0x1000, 4, 0x1000]);
    assert_eq!(text(&can, "xen,path"), "/soc/can@80001000");
    assert!(has(&can, "xen,force-assign-without-iommu"));
    assert_eq!(words(&can, "interrupts"), [0, 60, 1, 0, 61, 4]);
    assert_eq!(words(&can, "interrupt-parent"), [65000]);
    let clocks = words(&can, "clocks");
    let rates: Vec<_> = clocks
        .iter()
        .map(|handle| {
            let passthrough = fdt.find_node("/passthrough").expect("there");
            let mut children = passthrough.children();
            let clock = children
                .find(|child| has(child, "phandle") && words(child, "phandle") == [*handle]);
            words(&clock.expect("a clock"), "clock-frequency")[0]
        })
        .collect();
    assert_eq!(rates, [80_000_000, 24_000_000]);
    for gone in ["resets", "assigned-clocks", "interrupts-extended"] {
        assert!(!has(&can, gone), "{gone}");
    }
    assert!(has(&can, "avps,bit-rate"));
    let mmc = fdt.find_node("/passthrough/mmc@15000000").expect("there");
    assert!(has(&mmc, "dma-coherent") && !has(&mmc, "iommus") && !has(&mmc, "vmmc-supply"));
    assert!(
        !has(&mmc, "xen,force-assign-without-iommu"),
        "the IOMMU keeps it in"
    );
}

#[test]
fn what_is_not_known_is_told_instead_of_guessed() {
    let base = machine("virt.dts");
    let refused = |text: &str, base: Option<&[u8]>| {
        let plan = plan_on(&machine("virt.dts"), text);
        dts(&plan, base, &sizes).expect_err("refused")
    };
    let without_window = SAMPLE.replace("window = ", "# window = ");
    let error = refused(&without_window, Some(&base));
    assert!(matches!(error, Dom0lessError::NoPlace { ref domain, .. } if domain == "cluster"));
    let error = refused(SAMPLE, None);
    assert!(matches!(error, Dom0lessError::NoTree { .. }));
    let mut plan = plan_on(&base, SAMPLE);
    plan.xen.cpupools[0].cpus = vec![4];
    let error = dts(&plan, Some(&base), &sizes).expect_err("refused");
    assert!(matches!(
        error,
        Dom0lessError::NoCpu {
            cpu: 4,
            cpus: 4,
            ..
        }
    ));
    let error = refused(SAMPLE, Some(b"no tree"));
    assert!(matches!(error, Dom0lessError::Base(_)));
    let plan = plan_on(&base, SAMPLE);
    let twice = dtb(&plan, &base, &sizes).expect("emits");
    let error = dtb(&plan, &twice, &sizes).expect_err("refused");
    assert!(matches!(error, Dom0lessError::NotEmpty { .. }));
}

#[test]
fn xen_from_4_21_on_is_told_where_each_vcpu_runs() {
    let base = machine("virt.dts");
    let pinned = SAMPLE.replace("vcpus = 2", "vcpus = 2\ncpus = \"0-1\"");
    let mut plan = plan_on(&base, &pinned.replace("4.20", "4.21"));
    let mut source = |minor: u16| {
        plan.xen.version = XenVersion::new(4, minor);
        dts(&plan, Some(&base), &sizes).expect("emits")
    };
    assert!(!source(20).contains("xen,vcpu"), "4.20 would ignore it");
    let newer = source(21);
    assert_eq!(newer.matches("hard-affinity = \"0-1\";").count(), 2);
    dtc(&newer, false);
}

#[test]
fn where_one_domain_has_colours_all_say_theirs() {
    let base = machine("virt.dts");
    let mut plan = plan_on(&base, SAMPLE);
    plan.machine.llc = Some(Llc {
        size_bytes: 1 << 20,
        ways: 16,
    });
    plan.domains[0].static_memory.clear();
    plan.domains[0].colors = vec![0, 1, 2, 3, 6];
    let source = dts(&plan, Some(&base), &sizes).expect("emits");
    assert!(source.contains("llc-coloring=on llc-size=1048576B llc-nr-ways=16"));
    assert_eq!(source.matches("llc-colors = \"0-3,6\"").count(), 1);
    assert_eq!(source.matches("llc-colors = \"0-15\"").count(), 2);
}

#[test]
fn who_adds_a_domain_at_the_end_changes_nothing_in_front_of_it() {
    let base = machine("virt.dts");
    let more = format!(
        "{SAMPLE}\n[[domain]]\nname = \"late\"\nboot = \"dom0less\"\nkernel = \"guest.bin\"\nmemory = \"32MiB\"\n"
    );
    let tree = |text: &str| {
        let blob = dtb(&plan_on(&base, text), &base, &sizes).expect("emits");
        let mut tree = DeviceTree::from_fdt(&Fdt::new(&blob).expect("reads"));
        let chosen = tree.root.child_mut("chosen").expect("there");
        chosen.remove_child("late");
        tree
    };
    assert_eq!(tree(SAMPLE), tree(&more), "not one phandle");
}

/// A document of domains in a row, each with what the numbers say.
fn document(domains: &[(u64, u32, bool, bool)]) -> String {
    let mut text = SAMPLE
        .split("[[cpupool]]")
        .next()
        .expect("a head")
        .to_owned();
    for (index, (mib, vcpus, fixed, console)) in domains.iter().enumerate() {
        let at = 0x6000_0000_u64 + 0x400_0000 * u64::try_from(index).expect("few");
        let memory = match fixed {
            true => format!("static_memory = [{{ at = {at:#x}, size = \"{mib}MiB\" }}]"),
            false => format!("memory = \"{mib}MiB\""),
        };
        let console = if *console { "vpl011" } else { "none" };
        text += &format!(
            "[[domain]]\nname = \"d{index}\"\nboot = \"dom0less\"\nkernel = \"guest.bin\"\n\
             {memory}\nvcpus = {vcpus}\nconsole = \"{console}\"\n"
        );
    }
    text
}

/// The layout that a blob tells Xen, by its own bindings.
fn layout(blob: &[u8]) -> Vec<(u64, u32, bool, bool)> {
    let fdt = Fdt::new(blob).expect("reads");
    let chosen = fdt.find_node("/chosen").expect("there");
    let domains = chosen.children().filter(|node| has(node, "cpus"));
    domains
        .map(|node| {
            let memory = words(&node, "memory");
            let kib = u64::from(memory[0]) << 32 | u64::from(memory[1]);
            let fixed = has(&node, "xen,static-mem");
            if fixed {
                let bank = words(&node, "xen,static-mem");
                assert_eq!(u64::from(bank[3]), kib * 1024);
            }
            (
                kib / 1024,
                words(&node, "cpus")[0],
                fixed,
                has(&node, "vpl011"),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_emitted_reads_back_as_the_same_layout(
        domains in proptest::collection::vec((8_u64..64, 1_u32..=8, any::<bool>(), any::<bool>()), 1..7)
    ) {
        use std::sync::OnceLock;
        static VIRT: OnceLock<Vec<u8>> = OnceLock::new();
        let base = VIRT.get_or_init(|| machine("virt.dts"));
        let plan: Plan = plan_on(base, &document(&domains));
        let sizes: Sizes<'_> = &sizes;
        let blob = dtb(&plan, base, sizes).expect("emits");
        prop_assert_eq!(layout(&blob), domains);
        prop_assert_eq!(&blob, &dtb(&plan, base, sizes).expect("emits"), "the same bytes");
    }

    #[test]
    fn a_broken_machine_is_refused_or_gives_a_whole_tree(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30)
    ) {
        use std::sync::OnceLock;
        static BOARD: OnceLock<(Vec<u8>, Plan)> = OnceLock::new();
        let (board, plan) = BOARD.get_or_init(|| {
            let board = machine("board.dts");
            let plan = plan_on(&board, FULL);
            (board, plan)
        });
        let mut mutant = board.clone();
        for (at, byte) in changes {
            let at = 40 + at.index(mutant.len() - 40);
            mutant[at] = byte;
        }
        let _ = platform::emit::partial::emit(plan, &mutant);
        if let Ok(blob) = dtb(plan, &mutant, &sizes) {
            prop_assert!(platform::device_tree::facts(&blob).is_ok());
            prop_assert!(dts(plan, Some(&mutant), &sizes).is_ok());
        }
    }
}

/// A guest of Xen's own boot with two disks; `keys` go to its table, `disk` to that of its first disk.
fn with_disks(keys: &str, disk: &str) -> platform::Analysis {
    let text = format!(
        r#"
schema = "avps/1"
[platform]
name = "disks"
[boot]
window = {{ at = 0x5000_0000, size = "768MiB" }}
slot = "64MiB"
[[domain]]
name = "control"
kind = "control"
kernel = "/Image"
memory = "256MiB"
[[domain]]
name = "driver"
kernel = "/Image"
memory = "64MiB"
[[domain]]
name = "cockpit"
boot = "dom0less"
kernel = "/Image"
memory = "64MiB"
{keys}
[[domain.block]]
image = "/a.img"
{disk}
[[domain.block]]
image = "/b.img"
memory = "foreign"
"#
    );
    platform::analyse(&text, "/")
}

#[test]
fn a_guest_of_xen_finds_its_disks_and_no_driver_takes_them_by_itself() {
    let base = machine("board.dts");
    let plan = with_disks("", "").plan.expect("no errors");
    let partial = platform::emit::partial::emit(&plan, &base).expect("emits");
    assert_eq!(partial[0].file_name, "cockpit.passthrough.dtb");
    let fdt = Fdt::new(&partial[0].dtb).expect("reads");
    let grants = fdt.find_node("/passthrough/xen_iommu").expect("there");
    assert_eq!(text(&grants, "compatible"), "xen,grant-dma");
    let first = fdt.find_node("/passthrough/virtio@2000000").expect("there");
    assert_ne!(text(&first, "compatible"), "virtio,mmio");
    assert_eq!(words(&first, "reg"), [0, 0x0200_0000, 0, 0x200]);
    assert_eq!(words(&first, "interrupts"), [0, 1, 0xf01]);
    assert_eq!(words(&first, "iommus"), [words(&grants, "phandle")[0], 0]);
    let second = fdt.find_node("/passthrough/virtio@2000200").expect("there");
    assert_eq!(words(&second, "interrupts"), [0, 2, 0xf01]);
    assert!(!has(&second, "iommus"), "foreign mappings need no grants");
    assert!(!has(&second, "xen,reg") && !has(&second, "xen,path"));
    let dtb = dtb(&plan, &base, &|_| None).expect("emits");
    let fdt = Fdt::new(&dtb).expect("reads");
    let cockpit = fdt.find_node("/chosen/cockpit").expect("there");
    assert_eq!(text(&cockpit, "xen,enhanced"), "enabled");
    let has_tree = cockpit.children().any(|child| {
        let compatible = child.property("compatible");
        compatible.is_some_and(|words| words.value().starts_with(b"multiboot,device-tree\0"))
    });
    assert!(has_tree);
}

#[test]
fn disks_of_a_guest_of_xen_need_all_that_a_late_backend_needs() {
    let found = |keys: &str, disk: &str| {
        let findings = with_disks(keys, disk).findings;
        let ours = findings.into_iter().find(|f| f.rule.id == "AVPS0625");
        ours.map(|finding| finding.at)
    };
    let place = |key: &str| Some(format!("domain[2].{key}"));
    assert_eq!(found("", ""), None);
    assert_eq!(found("vcpus = 2", ""), place("vcpus"));
    assert_eq!(found("interrupts = 3", ""), None);
    assert_eq!(found("interrupts = 2", ""), place("interrupts"));
    assert_eq!(found("enhanced = \"disabled\"", ""), place("enhanced"));
    assert_eq!(found("", "backend = \"driver\""), place("block[0].backend"));
    assert_eq!(found("", "backend = \"control\""), None);
    assert_eq!(
        found("device_tree = \"/own.dtb\"", ""),
        place("device_tree")
    );
    assert_eq!(found("direct_map = true", ""), place("direct_map"));
    assert_eq!(found("asil = \"A\"", ""), place("block[0]"));
}
