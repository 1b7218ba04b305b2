//! Borders that real Xen 4.20 was seen to have: the last that starts, the first that does not.

use std::fmt::Write;

use crate::{RAM, guest, ids, of};

#[test]
fn what_is_left_for_domains_is_what_xen_has_left() {
    let only = |mib: u32| guest("a", &format!("memory = \"{mib}MiB\"\n"));
    let found = |text: &str| ids(&of(text).findings);
    // Tried on Xen 4.20: 1000 MiB of 1 GiB start, 1 GiB does not.
    assert!(found(&format!("{RAM}{}", only(1000))).is_empty());
    assert_eq!(found(&format!("{RAM}{}", only(1024))), ["AVPS0420"]);
    let heap = |mib| {
        let heap = format!("[xen]\nstatic_heap = [{{ at = 0x6000_0000, size = \"{mib}MiB\" }}]\n");
        found(&format!("{RAM}{heap}{}", only(32)))
    };
    assert!(heap(256).is_empty());
    for small in [1, 16, 32] {
        assert_eq!(heap(small), ["AVPS0420"], "{small} MiB");
    }
    // One of sixteen colours is a sixteenth of the RAM.
    let llc = "[machine.llc]\nsize = \"1MiB\"\nways = 16\n";
    let colored = |mib| guest("a", &format!("memory = \"{mib}MiB\"\ncolors = [1]\n"));
    assert!(found(&format!("{llc}{RAM}{}", colored(32))).is_empty());
    assert_eq!(found(&format!("{llc}{RAM}{}", colored(128))), ["AVPS0420"]);
}

#[test]
fn free_ram_in_too_many_pieces_is_refused() {
    // Tried on Xen 4.20: 200 start, 255 do not.
    let pieces = |count: u64| {
        let mut list = "{ at = 0x6000_0000, size = \"16MiB\" }".to_owned();
        for index in 1..count {
            let _ = write!(
                list,
                ", {{ at = {}, size = \"64KiB\" }}",
                0x6100_0000 + index * 0x2_0000
            );
        }
        ids(&of(&format!(
            "{RAM}{}",
            guest("a", &format!("static_memory = [{list}]\n"))
        ))
        .findings)
    };
    assert!(pieces(200).is_empty());
    assert_eq!(pieces(255), ["AVPS0417"]);
}

#[test]
fn a_guests_device_tree_is_as_large_as_xen_makes_it() {
    // Tried on Xen 4.20 with a Cortex-A57 and no console: 30 vCPUs start, 34 do not; 10 regions do, 32 do not.
    let core = "[[machine.cluster]]\ncpus = [0]\ncore = \"arm,cortex-a57\"\n";
    let found = |vcpus: u32, line: usize| {
        let rest = format!(
            "memory = \"64MiB\"\nconsole = \"none\"\nvcpus = {vcpus}\ncmdline = \"{}\"\n",
            "x".repeat(line)
        );
        ids(&of(&format!("{core}{}", guest("a", &rest))).findings)
    };
    assert!(found(30, 0).is_empty());
    assert_eq!(found(34, 0), ["AVPS0426"]);
    assert!(found(8, 1000).is_empty());
    assert_eq!(found(24, 1000), ["AVPS0426"]);
    let regions = |count: u32| {
        let mut text = guest("a", "memory = \"64MiB\"\nconsole = \"none\"\n");
        for number in 0..count {
            let _ = write!(
                text,
                "[[shared_memory]]\nid = \"s{number}\"\nsize = \"4KiB\"\n[[shared_memory.user]]\ndomain = \"a\"\n"
            );
        }
        ids(&of(&format!("{core}{text}")).findings)
    };
    assert!(regions(10).is_empty());
    assert_eq!(regions(32), ["AVPS0426"]);
}
