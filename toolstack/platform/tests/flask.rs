//! Promises about the FLASK policy of a plan: what it allows between domains is what the plan links, and nothing else. That
//! Xen's own compiler takes it, and that no rule is too many, is tested on Xen.

use std::collections::BTreeSet;

use platform::Plan;
use platform::flask::classes::meaning;
use platform::flask::{CONTROL, Policy, label_of, type_of};
use proptest::prelude::*;

const DOCUMENT: &str = include_str!("../../../configs/driver-domain.avps.toml");

fn plan(text: &str) -> Plan {
    let analysis = platform::analyse(text, "/base");
    let findings = analysis.findings;
    analysis.plan.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// A platform of `guests`, each with a disk from one of the drivers, over grants.
fn platform_of(drivers: usize, guests: &[usize]) -> String {
    let mut text =
        "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[xen]\nflask = \"enforcing\"\n".to_owned();
    for driver in 0..drivers {
        text += &format!(
            "[[domain]]\nname = \"d{driver}\"\nkind = \"driver\"\nkernel = \"k\"\nmemory = \"64MiB\"\n"
        );
    }
    for (guest, driver) in guests.iter().enumerate() {
        text += &format!(
            "[[domain]]\nname = \"g{guest}\"\nkernel = \"k\"\nmemory = \"64MiB\"\nafter = [\"d{driver}\"]\n\
             [[domain.block]]\nimage = \"i{guest}\"\nbackend = \"d{driver}\"\n"
        );
    }
    text
}

#[test]
fn the_policy_of_a_driver_domain_is_what_reviewers_were_promised() {
    insta::assert_snapshot!("driver-domain", Policy::of(&plan(DOCUMENT)).source());
}

#[test]
fn a_backend_in_the_control_domain_needs_no_channels_of_its_own() {
    let text = "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[xen]\nflask = \"enforcing\"\n\
                [[domain]]\nname = \"g\"\nkernel = \"k\"\nmemory = \"64MiB\"\n[[domain.block]]\nimage = \"i\"\n";
    let policy = Policy::of(&plan(text));
    let rules: Vec<String> = policy.rules.iter().map(ToString::to_string).collect();
    assert!(
        rules.contains(&format!("allow {CONTROL} avps_g_t:hvm dm;")),
        "{rules:#?}"
    );
    assert_eq!(
        rules.iter().collect::<BTreeSet<_>>().len(),
        rules.len(),
        "each once"
    );
}

/// What dom0 may do to the only guest of a platform, as class and permission; `tee` is what the document says of the guest.
fn permissions_of_dom0(tee: &str) -> BTreeSet<(&'static str, &'static str)> {
    let text = format!(
        "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[xen]\nflask = \"enforcing\"\n\
         [[domain]]\nname = \"g\"\nkernel = \"k\"\nmemory = \"64MiB\"\n{tee}"
    );
    let rules = Policy::of(&plan(&text)).rules.into_iter();
    rules
        .filter(|rule| rule.source == CONTROL && rule.target == "avps_g_t")
        .flat_map(|rule| {
            let class = rule.class;
            let permissions = rule.permissions.into_iter();
            permissions.map(move |permission| (class, permission))
        })
        .collect()
}

#[test]
fn a_mediator_gives_dom0_four_permissions_more_and_xens_own_gives_it_none() {
    let without = permissions_of_dom0("");
    let by_xen = permissions_of_dom0("tee = { mode = \"hypervisor\" }");
    assert_eq!(by_xen, without);
    let application = "8aaaf200-2450-11e4-abe2-0002a5d5c51b";
    let mediated = permissions_of_dom0(&format!(
        "tee = {{ mode = \"mediated\", applications = [\"{application}\"] }}"
    ));
    assert!(mediated.is_superset(&without));
    let more: Vec<_> = mediated.difference(&without).copied().collect();
    let expected = [
        ("domain", "getvcpucontext"),
        ("domain2", "vm_event"),
        ("hvm", "dm"),
        ("hvm", "getparam"),
    ];
    assert_eq!(more, expected);
    for (class, permission) in more {
        assert_ne!(meaning(class, permission), "", "{class} {permission}");
    }
}

#[test]
fn no_permission_is_named_that_the_release_does_not_have() {
    let rules = |version: &str| -> BTreeSet<(&'static str, &'static str)> {
        let text = DOCUMENT.replace("flask = ", &format!("version = \"{version}\"\nflask = "));
        assert!(text.contains(version), "{text}");
        let text = text.replacen("[[domain]]\n", "[[domain]]\nconsole = \"vpl011\"\n", 1);
        let rules = Policy::of(&plan(&text)).rules;
        let permissions = |rule: platform::flask::Rule| {
            let (class, permissions) = (rule.class, rule.permissions);
            permissions
                .into_iter()
                .map(move |permission| (class, permission))
        };
        rules.into_iter().flat_map(permissions).collect()
    };
    // What each release has more than the one before (its access_vectors), as far as rules are about it.
    let mut before = rules("4.17");
    for (version, expected) in [
        ("4.18", Some("vuart_op")),
        ("4.19", None),
        ("4.20", Some("set_llc_colors")),
        ("4.21", Some("get_domain_state")),
        ("4.22", None),
    ] {
        let after = rules(version);
        assert!(after.is_superset(&before), "{version}");
        let more: Vec<_> = after.difference(&before).copied().collect();
        let expected = expected.map(|permission| ("domain2", permission));
        assert_eq!(more, expected.into_iter().collect::<Vec<_>>(), "{version}");
        before = after;
    }
    for (class, permission) in before {
        assert_ne!(meaning(class, permission), "", "{class} {permission}");
    }
}

#[test]
fn labels_and_the_modes_words_go_to_xl_libxl_and_xen() {
    let plan = plan(DOCUMENT);
    let label = label_of("storage");
    let xl = platform::emit::xl::emit(&plan).expect("emits");
    assert!(xl[0].text.contains(&format!("seclabel = \"{label}\"\n")));
    assert!(
        xl[1].text.contains("\"backend=storage,type=virtio,"),
        "{}",
        xl[1].text
    );
    let json = platform::emit::libxl_json::emit(&plan);
    assert_eq!(json[0].config["c_info"]["ssid_label"], label.as_str());
    let words = platform::emit::cmdline::xen(&plan);
    assert!(words.contains("xsm=flask flask=enforcing"), "{words}");
    let storage = plan.domain("storage").expect("is there");
    assert!(storage.cmdline.ends_with(" xen_privcmd.unrestricted=1"));
}

proptest! {
    #[test]
    fn a_type_is_an_identifier_and_no_two_names_share_one(
        names in proptest::collection::hash_set("[a-zA-Z0-9_.+-]{1,12}", 2..20)
    ) {
        let types: BTreeSet<String> = names.iter().map(|name| type_of(name)).collect();
        prop_assert_eq!(types.len(), names.len());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        for of_type in types {
            prop_assert!(of_type.starts_with("avps_") && of_type.chars().all(plain), "{}", of_type);
        }
    }

    #[test]
    fn only_a_guests_own_backend_may_do_anything_to_it(
        drivers in 1_usize..4, guests in proptest::collection::vec(any::<prop::sample::Index>(), 1..6)
    ) {
        let guests: Vec<usize> = guests.iter().map(|guest| guest.index(drivers)).collect();
        let policy = Policy::of(&plan(&platform_of(drivers, &guests)));
        for rule in &policy.rules {
            let ends = [&rule.source, &rule.target].map(|end| policy.domain_of(end));
            let [Some(one), Some(other)] = ends else { continue };
            if one == other {
                continue;
            }
            let linked = guests.iter().enumerate().any(|(guest, driver)| {
                let (guest, driver) = (format!("g{guest}"), format!("d{driver}"));
                (one == guest && other == driver) || (one == driver && other == guest)
            });
            prop_assert!(linked, "{}", rule);
            // A guest gets nothing of its backend but the other side of channels and of copies.
            if one.starts_with('g') {
                let copies = rule.class == "grant" && rule.permissions == ["copy"];
                prop_assert!(rule.class == "event" || copies, "{}", rule);
            }
        }
    }
}

#[test]
fn the_same_path_in_two_driver_domains_is_two_images() {
    let of = |second: &str| {
        let mut text = platform_of(2, &[0]);
        text += &format!("[[domain.block]]\nimage = \"i0\"\nbackend = \"{second}\"\n");
        platform::analyse(&text, "/base").findings
    };
    let written_twice = |second: &str| {
        let findings = of(second);
        findings.iter().any(|finding| finding.rule.id == "AVPS0205")
    };
    assert!(!written_twice("d1"));
    assert!(written_twice("d0"));
}
