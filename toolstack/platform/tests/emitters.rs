//! Emitters other than the device tree: each says what the plan says, in a language that its reader accepts.

use crate::common::{machine, plan_on};
use platform::Plan;
use platform::emit::uboot::UbootError;
use platform::emit::{cmdline, kconfig, libxl_json, uboot, xl};

const SAMPLE: &str = include_str!("../../../configs/dom0less.avps.toml");

/// A control domain, a guest of Xen's boot, and one of the toolstack with everything that xl knows.
const MIXED: &str = r#"
schema = "avps/1"
[platform]
name = "mixed"
[machine]
device_tree = "board.dtb"
llc = { size = "4MiB", ways = 16 }
[boot]
xen = "/boot/xen-4.20"
window = { at = 0x9000_0000, size = "256MiB" }
slot = "4MiB"
device_tree_at = 0x8c00_0000
xen_at = 0x8d00_0000
[xen]
scheduler = "credit"
[[cpupool]]
name = "first"
cpus = [2]
scheduler = "null"
[[cpupool]]
name = "boot"
cpus = [0, 1]
scheduler = "rtds"
[[domain]]
name = "dom0"
kind = "control"
kernel = "Image"
memory = "512MiB"
cmdline = "console=hvc0"
vcpus = 2
[[domain]]
name = "cluster"
boot = "dom0less"
kernel = "rtos.bin"
memory = "64MiB"
cpupool = "first"
[[domain]]
name = "driver"
kernel = "Image"
memory = "256MiB"
vcpus = 2
cpus = "0-1"
cpupool = "boot"
console = "vpl011"
rtds = { period = "10ms", budget = "4ms" }
tee = { mode = "hypervisor" }
device = [{ path = "/soc/can@80001000", dma = "none" }, { path = "/soc/mmc@5000000" }]
[[domain.block]]
image = "disk.img"
[[domain]]
name = "payment"
kernel = "Image"
memory = "128MiB"
tee = { mode = "mediated", applications = ["8aaaf200-2450-11e4-abe2-0002a5d5c51b"] }
[[shared_memory]]
id = "speed"
size = "64KiB"
at = 0xb800_0000
user = [{ domain = "cluster" }, { domain = "dom0", at = 0xb800_0000 }]
[[event_channel]]
between = ["dom0", "cluster"]
"#;

fn mixed() -> Plan {
    let mut plan = plan_on(&machine("board.dts"), MIXED);
    // Not in the document: colours for all would hide what is said where some have none.
    for (name, colors) in [("dom0", 0..32), ("driver", 32..60)] {
        let mut domains = plan.domains.iter_mut();
        let domain = domains.find(|domain| domain.name == name);
        domain.expect("there").colors = colors.chain([63]).collect();
    }
    plan
}

#[test]
fn xl_is_told_of_places_pools_colours_and_devices() {
    let files = xl::emit(&mixed()).expect("emits");
    let names: Vec<_> = files.iter().map(|file| &*file.file_name).collect();
    assert_eq!(
        names,
        ["driver.cfg", "payment.cfg"],
        "Xen starts the others itself"
    );
    insta::assert_snapshot!("mixed-xl", files[0].text);
}

#[test]
fn libxl_is_told_what_xl_would_tell_it() {
    let files = libxl_json::emit(&mixed());
    assert_eq!(files[0].file_name, "driver.json");
    insta::assert_snapshot!("mixed-libxl-json", format!("{:#}", files[0].config));
}

#[test]
fn a_driver_domain_gets_its_rights_in_xenstore_from_xl_and_from_libxl_and_is_imported_as_one() {
    let text = include_str!("../../../configs/driver-domain.avps.toml");
    let plan = platform::analyse(text, "/").plan.expect("no errors");
    let files = libxl_json::emit(&plan);
    let rights = |number: usize| files[number].config["c_info"]["driver_domain"].as_str();
    assert_eq!((rights(0), rights(1)), (Some("True"), None));
    // libxl finds a driver domain by its name: it has no number before it runs.
    let disk = &files[1].config["virtios"][0];
    assert_eq!(disk["backend_domname"], "storage", "{disk}");
    assert!(disk.get("backend_domid").is_none(), "{disk}");
    let files = xl::emit(&plan).expect("emits");
    assert!(files[0].text.contains("\ndriver_domain = 1\n"));
    assert!(!files[1].text.contains("driver_domain"));
    let source = platform::import::Source {
        name: &files[0].file_name,
        text: &files[0].text,
    };
    let again = platform::import::import("again", &[source]);
    let again = again.expect("valid").text;
    assert!(again.contains("kind = \"driver\""), "{again}");
}

#[test]
fn calls_by_ffa_are_asked_for_from_xl_libxl_xen_and_linux_and_imported_again() {
    let text = "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[tee]\npartitions = 2\n[[domain]]\nname = \"a\"\nkernel = \"k\"\n\
                memory = \"64MiB\"\ntee = { mode = \"ffa\" }\n";
    let plan = platform::analyse(text, "/").plan.expect("no errors");
    let libxl = libxl_json::emit(&plan);
    assert_eq!(libxl[0].config["b_info"]["tee"], "ffa");
    let xl = xl::emit(&plan).expect("emits");
    assert!(xl[0].text.contains("\ntee = \"ffa\"\n"), "{}", xl[0].text);
    let fragments = kconfig::emit(&plan);
    let (xen, linux) = (&fragments[0].text, &fragments[1].text);
    assert!(xen.contains("CONFIG_FFA=y") && !xen.contains("CONFIG_OPTEE=y"));
    assert!(linux.contains("CONFIG_ARM_FFA_TRANSPORT=y") && linux.contains("CONFIG_OPTEE=y"));
    let source = platform::import::Source {
        name: &xl[0].file_name,
        text: &xl[0].text,
    };
    let again = platform::import::import("again", &[source]);
    let again = again.expect("valid").text;
    assert!(again.contains("mode = \"ffa\""), "{again}");
}

#[test]
fn a_driver_domain_has_a_ramdisk_of_its_own_one_that_is_made_or_none() {
    let text = include_str!("../../../configs/driver-domain.avps.toml");
    let storage = |line: &str| {
        let kernel = "kernel = \"/usr/lib/avps/guest/Image\"\n";
        let text = text.replacen(kernel, &format!("{kernel}{line}\n"), 1);
        let plan = platform::analyse(&text, "/doc").plan.expect("no errors");
        let xl = xl::emit(&plan).expect("emits")[0].text.clone();
        let libxl = libxl_json::emit(&plan)[0].config.clone();
        (plan.domains[0].clone(), xl, libxl)
    };
    let (made, xl, libxl) = storage("");
    let path = "/doc/storage.ramdisk.cpio";
    assert!(made.ramdisk_generated);
    assert_eq!(made.ramdisk.as_deref(), Some(path));
    assert!(xl.contains("avpsctl emit ramdisk"), "{xl}");
    assert!(xl.contains(&format!("\nramdisk = \"{path}\"\n")), "{xl}");
    assert_eq!(libxl["b_info"]["ramdisk"].as_str(), Some(path));

    let (own, xl, _) = storage("ramdisk = \"own.cpio\"");
    assert!(!own.ramdisk_generated && !xl.contains("emit ramdisk"));
    assert_eq!(own.ramdisk.as_deref(), Some("/doc/own.cpio"));

    let (none, xl, libxl) = storage("ramdisk = \"none\"");
    assert!(!none.ramdisk_generated && none.ramdisk.is_none());
    assert!(!xl.contains("\nramdisk"), "{xl}");
    assert!(libxl["b_info"].get("ramdisk").is_none());
    // What xl has none for does not get one by being imported.
    let name = "storage.cfg";
    let source = platform::import::Source { name, text: &xl };
    let again = platform::import::import("again", &[source]);
    let again = again.expect("valid").text;
    assert!(again.contains("ramdisk = \"none\""), "{again}");
}

#[test]
fn the_kernel_of_a_driver_domain_has_what_its_only_program_needs() {
    let text = include_str!("../../../configs/driver-domain.avps.toml");
    let plan = platform::analyse(text, "/").plan.expect("no errors");
    for option in [
        "BLK_DEV_INITRD",
        "DEVTMPFS",
        "TMPFS",
        "XEN_GNTDEV",
        "XEN_PRIVCMD",
    ] {
        let line = format!("CONFIG_{option}=y\n");
        let (storage, guest) = (&plan.domains[0], &plan.domains[1]);
        assert!(kconfig::linux(&plan, storage).contains(&line), "{option}");
        assert!(!kconfig::linux(&plan, guest).contains(&line), "{option}");
    }
}

#[test]
fn other_domains_get_no_ramdisk_that_nobody_named() {
    let text = include_str!("../../../configs/driver-domain.avps.toml");
    let named = "ramdisk = \"/usr/lib/avps/guest/initramfs.cpio.gz\"\n";
    let plan = platform::analyse(&text.replace(named, ""), "/doc");
    for guest in &plan.plan.expect("no errors").domains[1..] {
        assert_eq!((&guest.ramdisk, guest.ramdisk_generated), (&None, false));
    }
}

#[test]
fn the_boot_script_loads_every_module_to_its_place_and_starts_xen() {
    let script = uboot::emit(&mixed()).expect("emits");
    insta::assert_snapshot!("mixed-uboot", script);
    let plan = plan_on(&machine("virt.dts"), SAMPLE);
    let script = uboot::emit(&plan).expect("emits");
    assert!(script.ends_with("booti ${kernel_addr_r} - ${fdt_addr_r}\n"));
}

#[test]
fn files_that_would_be_one_on_the_boot_device_are_told() {
    let text = SAMPLE.replacen("\"guest.bin\"", "\"other/guest.bin\"", 1);
    let plan = plan_on(&machine("virt.dts"), &text);
    let error = uboot::emit(&plan).expect_err("refused");
    assert!(matches!(error, UbootError::SameName { ref name, .. } if name == "guest.bin"));
    let text = SAMPLE.replacen("\"guest.bin\"", "\"a;b\"", 1);
    let plan = plan_on(&machine("virt.dts"), &text);
    let error = uboot::emit(&plan).expect_err("refused");
    assert!(matches!(error, UbootError::Name { .. }));
}

#[test]
fn command_lines_are_those_of_the_plan() {
    insta::assert_snapshot!("mixed-cmdline", cmdline::emit(&mixed()));
    let own = SAMPLE.replace("[xen]", "[xen]\ncmdline = \"loglvl=all\"");
    let plan = plan_on(&machine("virt.dts"), &own);
    let line = cmdline::xen(&plan);
    assert!(
        line.ends_with(" loglvl=all"),
        "the document's words hold: {line}"
    );
}

#[test]
fn build_options_have_their_reasons() {
    let fragments = kconfig::emit(&mixed());
    let names: Vec<_> = fragments.iter().map(|file| &*file.file_name).collect();
    assert_eq!(
        names,
        [
            "xen.cfg",
            "linux-dom0.cfg",
            "linux-cluster.cfg",
            "linux-driver.cfg",
            "linux-payment.cfg",
        ]
    );
    let texts: Vec<_> = fragments.into_iter().map(|file| file.text).collect();
    insta::assert_snapshot!("mixed-kconfig", texts.join("\n"));
}

#[test]
fn the_beds_xen_has_every_option_that_plans_ask_for() {
    // On by default, or in Debian's own configuration.
    let default = [
        "CONFIG_DOM0LESS_BOOT=y",
        "CONFIG_SBSA_VUART_CONSOLE=y",
        "CONFIG_SCHED_CREDIT=y",
        "CONFIG_SCHED_CREDIT2=y",
        "CONFIG_GICV2=y",
        "CONFIG_GICV3=y",
        "CONFIG_ARM_SMMU=y",
    ];
    let bed = include_str!("../../../tests/testbed/xen/bed.config");
    let bed: Vec<_> = bed.lines().chain(default).collect();
    let sample = plan_on(&machine("virt.dts"), SAMPLE);
    for plan in [mixed(), sample] {
        let asked = kconfig::xen(&plan);
        let mut options = asked.lines().filter(|line| line.starts_with("CONFIG_"));
        let missing = options.find(|option| !bed.contains(option));
        assert_eq!(missing, None, "in tests/testbed/xen/bed.config");
    }
}
