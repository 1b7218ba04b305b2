//! One cause, one finding: what only follows from something that is reported is left out.

use crate::{RAM, guest, ids, of};

#[test]
fn an_address_that_is_missing_has_no_consequences() {
    let text = format!(
        "{RAM}{}{}",
        guest("a", "static_memory = [{ size = \"64MiB\" }]\n"),
        guest("b", "static_memory = [{ at = 0x5000_0000 }]\n")
    );
    assert_eq!(ids(&of(&text).findings), ["AVPS0004", "AVPS0004"]);
}

#[test]
fn a_place_that_is_missing_is_proposed_where_nothing_is() {
    let missing = "static_memory = [{ size = \"64MiB\" }]\n";
    let text = format!(
        "{RAM}{}{}{}",
        guest(
            "a",
            "static_memory = [{ at = 0x4000_0000, size = \"64MiB\" }]\n"
        ),
        guest("b", missing),
        guest("c", missing)
    );
    let findings = of(&text).findings;
    assert_eq!(ids(&findings), ["AVPS0004", "AVPS0004"]);
    assert!(
        findings[0].help.contains("at = 0x4400_0000"),
        "{}",
        findings[0].help
    );
    assert!(
        findings[1].help.contains("at = 0x4800_0000"),
        "{}",
        findings[1].help
    );
}

#[test]
fn a_domain_that_is_missing_is_one_finding_for_a_link() {
    let text = format!(
        "{}[[ipc]]\nname = \"speed\"\nfrom = \"a\"\nto = \"b\"\n",
        guest("a", "memory = \"64MiB\"\n")
    );
    let findings = of(&text).findings;
    assert_eq!(ids(&findings), ["AVPS0601"]);
    assert_eq!(findings[0].at, "ipc[0].to");
}

#[test]
fn a_link_of_a_domain_with_itself_is_one_finding() {
    let text = format!(
        "{}[[ipc]]\nname = \"speed\"\nfrom = \"a\"\nto = \"a\"\n",
        guest("a", "memory = \"64MiB\"\n")
    );
    assert_eq!(ids(&of(&text).findings), ["AVPS0622"]);
}

#[test]
fn a_link_of_a_domain_the_toolstack_starts_is_one_finding() {
    let text = format!(
        "{}[[domain]]\nname = \"b\"\nkernel = \"k\"\nmemory = \"64MiB\"\n\
         [[ipc]]\nname = \"speed\"\nfrom = \"a\"\nto = \"b\"\n",
        guest("a", "memory = \"64MiB\"\n")
    );
    let findings = of(&text).findings;
    assert_eq!(ids(&findings), ["AVPS0611"]);
    assert_eq!(findings[0].at, "ipc[0].to");
}

#[test]
fn an_event_channel_needs_two_names_and_two_ports_or_none() {
    let guests = ["a", "b", "c"].map(|name| guest(name, "memory = \"64MiB\"\n"));
    let guests = guests.concat();
    for (channel, at) in [
        ("between = [\"a\"]", "event_channel[0].between"),
        (
            "between = [\"a\", \"b\", \"c\"]",
            "event_channel[0].between",
        ),
        ("between = [\"a\", \"\"]", "event_channel[0].between"),
        (
            "between = [\"a\", \"b\"]\nports = [9]",
            "event_channel[0].ports",
        ),
        (
            "between = [\"a\", \"b\"]\nports = [9, 9, 9]",
            "event_channel[0].ports",
        ),
    ] {
        let findings = of(&format!("{guests}[[event_channel]]\n{channel}\n")).findings;
        assert_eq!(ids(&findings), ["AVPS0622"], "{channel}");
        assert_eq!(findings[0].at, at);
    }
}

#[test]
fn the_port_of_xenstore_is_taken_in_a_domain_that_is_fully_enhanced() {
    let control =
        "[[domain]]\nname = \"dom0\"\nkind = \"control\"\nkernel = \"k\"\nmemory = \"256MiB\"\n";
    let channel = "[[event_channel]]\nbetween = [\"a\", \"b\"]\nports = [1, 1]\n";
    let text = |enhanced| {
        let rest = format!("memory = \"64MiB\"\nenhanced = \"{enhanced}\"\n");
        format!(
            "{control}{}{}{channel}",
            guest("a", &rest),
            guest("b", "memory = \"64MiB\"\n")
        )
    };
    assert_eq!(ids(&of(&text("enabled")).findings), ["AVPS0620"]);
    assert!(of(&text("no-xenstore")).findings.is_empty());
}

#[test]
fn three_domains_that_wait_in_a_circle_are_one_finding() {
    let domain = |name, after| {
        format!(
            "[[domain]]\nname = \"{name}\"\nkernel = \"k\"\nmemory = \"1MiB\"\nafter = [\"{after}\"]\n"
        )
    };
    let text = [
        domain("a", "b"),
        domain("b", "c"),
        domain("c", "a"),
        domain("d", "a"),
    ]
    .concat();
    let findings = of(&text).findings;
    assert_eq!(ids(&findings), ["AVPS0107"]);
    assert!(
        findings[0].message.ends_with("a → b → c → a"),
        "{}",
        findings[0].message
    );
    assert_eq!(ids(&of(&domain("a", "a")).findings), ["AVPS0107"]);
}

#[test]
fn cpu_0_in_a_pool_makes_it_the_pool_of_domains_that_name_none() {
    let text = |cpus| {
        format!(
            "[machine]\ncpus = 2\n[[cpupool]]\nname = \"p\"\ncpus = {cpus}\nscheduler = \"null\"\n\
             [[domain]]\nname = \"a\"\nkernel = \"k\"\nmemory = \"1MiB\"\nvcpus = 2\n"
        )
    };
    assert_eq!(ids(&of(&text("[0]")).findings), ["AVPS0517", "AVPS0518"]);
    assert!(of(&text("[1]")).findings.is_empty());
    assert!(of(&text("[0, 1]")).findings.is_empty());
}

#[test]
fn a_domain_bound_to_all_of_its_pool_loses_nothing_on_an_old_xen() {
    let text = |cpus| {
        let pool = "[machine]\ncpus = 4\n[[cpupool]]\nname = \"p\"\ncpus = [2, 3]\n";
        let rest = format!("memory = \"64MiB\"\ncpupool = \"p\"\ncpus = {cpus}\n");
        format!("{pool}{}", guest("a", &rest))
    };
    assert!(of(&text("[2, 3]")).findings.is_empty());
    assert_eq!(ids(&of(&text("[2]")).findings), ["AVPS0519"]);
}
