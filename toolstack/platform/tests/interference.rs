//! Where the borders of the rules of interference are: what just disturbs a safety domain, and what just does not.

use std::fs;
use std::path::Path;

/// A good document: "adas" (ASIL B) on CPU 1 in pool "safe", "cluster" (QM) on CPU 0 in pool "rest", both started by Xen.
fn good() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/fixtures/good");
    fs::read_to_string(folder.join("AVPS0809-cpu-shared-across-levels.toml")).expect("readable")
}

/// Ids of the rules of interference and levels that a document breaks, in the order of the document.
fn broken(text: &str) -> Vec<&'static str> {
    let findings = platform::analyse(text, "/").findings;
    let ids = findings.iter().map(|finding| finding.rule.id);
    ids.filter(|id| *id >= "AVPS08").collect()
}

/// The document with one piece replaced.
fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

/// Both domains in the pool of the safety domain, under this scheduler.
fn together(scheduler: &str) -> String {
    let text = with(&good(), "cpupool = \"rest\"", "cpupool = \"safe\"");
    let pool = format!("name = \"safe\"\nscheduler = \"{scheduler}\"");
    with(&text, "name = \"safe\"", &pool)
}

#[test]
fn the_good_document_has_no_finding() {
    assert_eq!(broken(&good()), [""; 0]);
}

#[test]
fn only_schedulers_that_partition_time_let_levels_share_a_cpu() {
    assert_eq!(broken(&together("credit2")), ["AVPS0809"]);
    assert_eq!(broken(&together("credit")), ["AVPS0809"]);
    assert_eq!(broken(&together("rtds")), ["AVPS0809", "AVPS0832"]);
    assert_eq!(broken(&together("null")), ["AVPS0832"]);
    assert_eq!(broken(&together("arinc653")), [""; 0]);
}

#[test]
fn a_domain_without_a_pool_shares_with_all_that_have_none() {
    let text = with(&good(), "cpupool = \"rest\"\n", "");
    assert_eq!(
        broken(&text),
        [""; 0],
        "the first pool is not that of the safety domain"
    );
    let text = with(&text, "cpupool = \"safe\"\n", "");
    assert_eq!(broken(&text), ["AVPS0809"]);
}

#[test]
fn what_the_toolstack_starts_has_a_control_domain_whether_it_is_described_or_not() {
    let text = with(
        &good(),
        "name = \"cluster\"\nboot = \"dom0less\"",
        "name = \"cluster\"",
    );
    assert_eq!(broken(&text), ["AVPS0820"]);
    let analysis = platform::analyse(&text, "/");
    let finding = &analysis.findings[0];
    assert_eq!(finding.at, "domain[1].boot");
    assert!(
        finding.message.contains("not described, so QM"),
        "{}",
        finding.message
    );
    // It runs in the first pool, and so disturbs who is there.
    let text = with(&text, "cpupool = \"safe\"\n", "");
    assert_eq!(broken(&text), ["AVPS0809", "AVPS0820"]);
}

#[test]
fn the_last_word_about_the_scrubber_counts() {
    let cmdline = |words: &str| format!("{}[xen]\ncmdline = \"{words}\"\n", good());
    for words in [
        "bootscrub=off",
        "bootscrub",
        "no-bootscrub",
        "bootscrub=idle bootscrub=1",
    ] {
        assert_eq!(broken(&cmdline(words)), ["AVPS0831"], "{words}");
    }
    for words in [
        "bootscrub=idle",
        "bootscrub=0 bootscrub=idle",
        "bootscrub_chunk=1M",
        "sync_console",
    ] {
        assert_eq!(broken(&cmdline(words)), [""; 0], "{words}");
    }
}

#[test]
fn reserved_time_goes_before_every_priority() {
    let port =
        |domain: &str, rest: &str| format!("[[network.port]]\ndomain = \"{domain}\"\n{rest}\n");
    let network = |adas: &str, cluster: &str| {
        let ports = port("adas", adas) + &port("cluster", cluster);
        format!(
            "{}[[network]]\nname = \"n\"\nrate = 1_000_000_000\n{ports}",
            good()
        )
    };
    assert_eq!(
        broken(&network("priority = 2", "priority = 2")),
        ["AVPS1001", "AVPS0830"]
    );
    assert_eq!(
        broken(&network("priority = 3", "priority = 2")),
        ["AVPS1001"]
    );
    let reserved = "frame = \"1KiB\"\ninterval = \"1ms\"";
    assert_eq!(broken(&network(reserved, "priority = 7")), ["AVPS1001"]);
    assert_eq!(broken(&network("", reserved)), ["AVPS1001", "AVPS0830"]);
}

#[test]
fn a_watchdog_without_time_is_none_and_who_keeps_it_counts() {
    let own = "watchdog = { timeout = \"500ms\", owner = \"/soc/watchdog@9000000\" }";
    let watchdog = |text: &str| with(&good(), own, &format!("watchdog = {{ {text} }}"));
    let device = "/soc/watchdog@9000000";
    assert_eq!(
        broken(&watchdog(&format!(
            "timeout = \"0ms\", owner = \"{device}\""
        ))),
        ["AVPS0824"]
    );
    assert_eq!(
        broken(&watchdog("timeout = \"1s\", owner = \"adas\"")),
        ["AVPS1002"]
    );
    assert_eq!(
        broken(&watchdog("timeout = \"1s\", owner = \"cluster\"")),
        ["AVPS0903", "AVPS1002"]
    );
    // The watchdog device of a domain is in that domain's hands.
    let moved = watchdog("timeout = \"1s\", owner = \"/soc/wdt@9100000\"");
    let device = "\n[[domain.device]]\npath = \"/soc/wdt@9100000\"\ndma = \"none\"\n\n\
                  [[domain.device.region]]\nat = 0x910_0000\nsize = \"4KiB\"\n";
    assert_eq!(
        broken(&format!("{moved}{device}")),
        ["AVPS0903", "AVPS1002"],
        "it is the QM domain's"
    );
}

#[test]
fn caches_are_shared_in_one_cluster_and_behind_one_last_level() {
    let machine = |text: &str| with(&good(), "[machine]\n", &format!("[machine]\n{text}\n"));
    let clusters = |first: &str, second: &str| {
        machine(&format!(
            "cluster = [{{ cpus = {first} }}, {{ cpus = {second} }}]"
        ))
    };
    assert_eq!(broken(&clusters("[0]", "[1]")), [""; 0]);
    assert_eq!(
        broken(&machine("cluster = [{ cpus = [0, 1] }]")),
        ["AVPS0810"]
    );
    let llc = machine("llc = { size = \"1MiB\", ways = 16 }");
    assert_eq!(broken(&llc), ["AVPS0810"]);
    let colors = |adas: &str, cluster: &str| {
        let text = with(
            &llc,
            "cpupool = \"safe\"",
            &format!("cpupool = \"safe\"\ncolors = {adas}"),
        );
        with(
            &text,
            "cpupool = \"rest\"",
            &format!("cpupool = \"rest\"\ncolors = {cluster}"),
        )
    };
    assert_eq!(broken(&colors("\"0-7\"", "\"8-15\"")), ["AVPS0832"]);
    assert_eq!(
        broken(&colors("\"0-8\"", "\"8-15\"")),
        ["AVPS0810", "AVPS0832"]
    );
}

#[test]
fn severity_follows_the_level() {
    let severity = |level: &str| {
        let text = with(&good(), "cpupool = \"rest\"", "cpupool = \"safe\"");
        let text = with(&text, "asil = \"B\"", &format!("asil = \"{level}\""));
        let findings = platform::analyse(&text, "/").findings;
        findings.first().map(|finding| finding.severity())
    };
    assert_eq!(severity("QM"), None);
    assert_eq!(severity("A"), Some(platform::Severity::Warning));
    assert_eq!(severity("B"), Some(platform::Severity::Error));
    assert_eq!(severity("D"), Some(platform::Severity::Error));
}

#[test]
fn a_door_is_one_finding_however_many_stand_behind_it() {
    // The radio shares its CPU with the cluster, and the cluster shares memory with the safety domain: that memory is the
    // door, and closing it is enough.
    let memory = "[[shared_memory]]\nid = \"speed\"\nsize = \"4KiB\"\nat = 0x7000_0000\n\
                  [[shared_memory.user]]\ndomain = \"adas\"\nwrites = true\n\
                  [[shared_memory.user]]\ndomain = \"cluster\"\n";
    let radio = "[[domain]]\nname = \"radio\"\nboot = \"dom0less\"\nkernel = \"Image\"\nmemory = \"64MiB\"\n\
                 cpupool = \"rest\"\n";
    assert_eq!(broken(&format!("{}{radio}{memory}", good())), ["AVPS0801"]);
}
