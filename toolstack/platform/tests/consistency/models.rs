//! Models of what is checked, documents without sense, and time.

use std::fmt::Write;

use platform::{Analysis, Finding, MachinePlan, analyse, check, document, resolve};
use proptest::prelude::*;

use crate::{HEAD, RAM, guest, of};

fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let first = text.split(' ').next().expect("three numbers");
    first.parse().expect("a number")
}

/// A document with some of everything, `count` times.
fn some_of_everything(count: usize) -> String {
    let mut text = format!("{HEAD}{RAM}[machine]\ncpus = 8\n");
    for number in 0..count {
        let name = format!("guest{number}");
        let at = 0x4000_0000 + number * 0x20_0000;
        let place = format!(
            "static_memory = [{{ at = {at}, size = \"2MiB\" }}]\nafter = [\"guest{}\"]\n",
            number + 1
        );
        text += &guest(&name, &place);
        let registers = 0x900_0000 + number * 0x1000;
        let _ = write!(
            text,
            "[[domain.device]]\npath = \"/dev{number}\"\ndma = \"none\"\ninterrupts = [{}]\n\
             [[domain.device.region]]\nat = {registers}\nsize = \"4KiB\"\n\
             [[shared_memory]]\nid = \"m{number}\"\nsize = \"64KiB\"\n\
             [[shared_memory.user]]\ndomain = \"{name}\"\n[[shared_memory.user]]\ndomain = \"guest0\"\n\
             [[event_channel]]\nbetween = [\"{name}\", \"guest0\"]\n\
             [[ipc]]\nname = \"i{number}\"\nfrom = \"{name}\"\nto = \"guest1\"\n\
             [[network]]\nname = \"n{number}\"\n[[network.port]]\ndomain = \"{name}\"\nmac = \"02:00:00:00:00:01\"\n",
            100 + number % 800,
        );
    }
    // TOML wants the machine's table before its banks.
    text.replacen(
        &format!("{RAM}[machine]\ncpus = 8\n"),
        &format!("[machine]\ncpus = 8\n{RAM}"),
        1,
    )
}

#[test]
fn the_time_for_all_checks_grows_with_the_document_and_not_faster() {
    let time = |count| {
        let text = some_of_everything(count);
        let before = cpu_time();
        let analysis = analyse(&text, "/");
        assert!(analysis.findings.len() > count, "{:#?}", analysis.findings);
        cpu_time() - before
    };
    time(100);
    let (small, large) = (time(150), time(1_200));
    assert!(
        large < small * 24,
        "8 times as long: {small} ns, {large} ns"
    );
}

#[test]
fn two_hundred_domains_are_checked_in_a_moment() {
    let text = some_of_everything(200);
    let (document, _) = document::read(&text);
    let document = document.expect("readable");
    let plan = resolve(&document, "/", MachinePlan::default());
    let before = cpu_time();
    let findings = check::check(&plan);
    let took = cpu_time() - before;
    assert!(!findings.is_empty());
    // Unoptimised, on a machine that does other things as well.
    assert!(took < 100_000_000, "{took} ns");
}

/// What takes a place in the small model: its kind, where it begins and how many units it has.
fn thing() -> impl Strategy<Value = (u8, u64, u64)> {
    (0_u8..4, 0_u64..24, 1_u64..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every unit of a small memory knows who wants it: the checks must refuse exactly what has two owners or none.
    #[test]
    fn places_in_memory_are_refused_exactly_where_a_model_of_each_byte_does(
        things in proptest::collection::vec(thing(), 0..7)
    ) {
        const UNIT: u64 = 1 << 20;
        const BASE: u64 = 0x4000_0000;
        // RAM has units 2 to 19.
        let mut text = format!("[[machine.bank]]\nat = {}\nsize = \"18MiB\"\n", BASE + 2 * UNIT);
        let mut tables = String::new();
        let mut heap = String::new();
        let mut owners = [0_u32; 32];
        for (number, (kind, at, size)) in things.iter().enumerate() {
            let place = format!("at = {}, size = \"{size}MiB\"", BASE + at * UNIT);
            match kind {
                0 | 1 => tables += &guest(&format!("g{number}"), &format!("static_memory = [{{ {place} }}]\n")),
                2 => {
                    let place = place.replace(", ", "\n");
                    let _ = write!(tables, "[[shared_memory]]\nid = \"s{number}\"\n{place}\n[[shared_memory.user]]\ndomain = \"user\"\n");
                }
                _ => { let _ = write!(heap, "{{ {place} }}, "); }
            }
            for unit in *at..at + size {
                owners[unit as usize] += 1;
            }
        }
        tables += &guest("user", "memory = \"8MiB\"\n");
        let _ = write!(text, "[xen]\nstatic_heap = [{heap}]\n{tables}");
        let findings = of(&text).findings;
        let outside = owners.iter().enumerate().any(|(unit, owners)| *owners > 0 && !(2..20).contains(&unit));
        let twice = owners.iter().any(|owners| *owners > 1);
        let found = |id| findings.iter().any(|finding: &Finding| finding.rule.id == id);
        prop_assert_eq!(found("AVPS0411"), outside, "{}", text);
        prop_assert_eq!(found("AVPS0412"), twice, "{}", text);
        let others = findings.iter().find(|f| !["AVPS0411", "AVPS0412", "AVPS0420", "AVPS0427"].contains(&f.rule.id));
        prop_assert!(others.is_none(), "{:#?}", others);
    }
}

/// Numbers that a check may stumble over.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("0".to_owned()),
        Just("1".to_owned()),
        Just("0x3fff_ffff_ffff_ffff".to_owned()),
        Just("9223372036854775807".to_owned()),
        (0_u64..5000).prop_map(|number| number.to_string()),
        (0_u64..0x1_0000).prop_map(|page| (page * 4096).to_string()),
    ]
}

fn size() -> impl Strategy<Value = String> {
    (
        prop_oneof![Just(0), Just(u64::MAX), 0_u64..5, 0_u64..100_000],
        0_usize..5,
    )
        .prop_map(|(number, unit)| {
            let unit = ["B", "KiB", "MiB", "GiB", "TiB"][unit];
            // What does not fit is refused by the reader, and nothing would be checked.
            let number = if unit == "B" {
                number
            } else {
                number.min(9_000)
            };
            format!("\"{number}{unit}\"")
        })
}

/// Tables with every key that a check looks at, and values of the right type without any sense.
fn senseless() -> impl Strategy<Value = String> {
    const WORDS: [(&str, &[&str]); 10] = [
        ("kind", &["control", "driver", "guest", "rtos"]),
        ("boot", &["dom0less", "toolstack"]),
        ("scheduler", &["credit2", "null", "rtds", "arinc653"]),
        ("gic", &["v2", "v3"]),
        ("role", &["owner", "borrower"]),
        ("enhanced", &["disabled", "enabled", "no-xenstore"]),
        ("console", &["vpl011", "pv", "none"]),
        ("iommu", &["none", "smmu-v3"]),
        ("dma", &["iommu", "none"]),
        ("mode", &["mediated", "hypervisor", "ffa", "none"]),
    ];
    let name = (0..4).prop_map(|index| format!("\"{}\"", ["a", "b", "", "c.d"][index as usize]));
    let numbers =
        proptest::collection::vec(0_u32..12, 0..6).prop_map(|numbers| format!("{numbers:?}"));
    let value = |n: String, s: String, name: String, list: String, word: usize| {
        move |template: &str| {
            let mut text = template
                .replace("NUMBER", &n)
                .replace("SIZE", &s)
                .replace("NAME", &name);
            text = text.replace("LIST", &list);
            for (key, words) in WORDS {
                text = text.replace(
                    &format!("{key} = WORD"),
                    &format!("{key} = \"{}\"", words[word % words.len()]),
                );
            }
            text
        }
    };
    const TEMPLATES: [&str; 12] = [
        "[[machine.bank]]\nat = NUMBER\nsize = SIZE\n",
        "[[machine.reserved]]\nname = NAME\nat = NUMBER\nsize = SIZE\n",
        "[[cpupool]]\nname = NAME\ncpus = LIST\nscheduler = WORD\n",
        "[[domain]]\nname = NAME\nkind = WORD\nboot = WORD\nkernel = \"k\"\nmemory = SIZE\nvcpus = NUMBER\ncpus = LIST\n\
         colors = LIST\ncpupool = NAME\nafter = [NAME, NAME]\nenhanced = WORD\nconsole = WORD\ninterrupts = NUMBER\n\
         rtds = { period = \"10ms\", budget = \"9ms\" }\narinc653 = { runtime = \"1ms\" }\n",
        "[[domain]]\nname = NAME\nkind = WORD\nboot = \"dom0less\"\nkernel = \"k\"\ndirect_map = true\n\
         static_memory = [{ at = NUMBER, size = SIZE }, { at = NUMBER, size = SIZE }]\n[[domain.device]]\npath = \"/d\"\n\
         dma = WORD\ninterrupts = LIST\n[[domain.device.region]]\nat = NUMBER\nsize = SIZE\nguest_at = NUMBER\n",
        "[[domain]]\nname = NAME\nkernel = \"k\"\nmemory = SIZE\n[domain.tee]\nmode = WORD\napplications = [NAME]\n\
         sessions = NUMBER\nshared_memory = SIZE\nrate = NUMBER\n",
        "[[shared_memory]]\nid = NAME\nsize = SIZE\nat = NUMBER\n[[shared_memory.user]]\ndomain = NAME\nat = NUMBER\nrole = WORD\n\
         [[shared_memory.user]]\ndomain = NAME\nwrites = true\n",
        "[[event_channel]]\nbetween = [NAME, NAME]\nports = LIST\n",
        "[[ipc]]\nname = NAME\nfrom = NAME\nto = NAME\nsize = SIZE\nat = NUMBER\nguest_at = NUMBER\n",
        "[[network]]\nname = NAME\nrate = NUMBER\n[[network.port]]\ndomain = NAME\nvlan = NUMBER\npriority = NUMBER\n\
         frame = SIZE\ninterval = \"1us\"\nmac = NAME\n",
        "[[waive]]\nrule = NAME\nreason = NAME\nowner = NAME\nexpires = 2027-01-01\n",
        "",
    ];
    (
        number(),
        size(),
        name,
        numbers,
        0_usize..12,
        0_usize..TEMPLATES.len(),
    )
        .prop_map(move |(n, s, name, list, word, template)| {
            value(n, s, name, list, word)(TEMPLATES[template])
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_senseless_document_panics_and_the_same_is_found_each_time(
        tables in proptest::collection::vec(senseless(), 0..14), cpus in number(), ways in number(), place in number(), room in size(),
    ) {
        let text = format!(
            "[tee]\npartitions = {cpus}\n[machine]\ncpus = {cpus}\ngic = \"v3\"\nllc = {{ size = {room}, ways = {ways} }}\n\
             [boot]\nwindow = {{ at = {place}, size = {room} }}\nslot = {room}\nxen_at = {place}\ndevice_tree_at = {place}\n\
             [xen]\nstatic_heap = [{{ at = {place}, size = {room} }}]\n{}",
            tables.concat()
        );
        let shown = |analysis: &Analysis| format!("{:?}", analysis.findings);
        prop_assert_eq!(shown(&of(&text)), shown(&of(&text)));
    }
}
