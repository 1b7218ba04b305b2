//! A short attack with every run of the tests, and what keeps the lists of refusals and mutants up to date.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hostile::coverage::{EXPECTED, OUT_OF_REACH};
use hostile::mutants::{list, workspace};
use hostile::run::{Limits, run};

#[test]
fn a_hostile_driver_harms_only_itself_and_every_refusal_is_reached() {
    let limits = Limits {
        operations: 70_000,
        seed: 1,
        // Many times what an idle machine takes: a slow one is to try everything, too.
        time: Some(Duration::from_secs(300)),
        impatient: false,
    };
    let summary = run(&limits, |_| {});
    assert!(summary.passed(), "{:#?}", summary.notes());
    assert!(summary.counts.total() >= limits.operations, "{summary:#?}");
    assert!(summary.scribbles > 0);
}

#[test]
fn bytes_of_a_fuzzer_are_operations() {
    let bytes: Vec<u8> = (0..4096_u32).map(|n| ((n * n) >> 3) as u8).collect();
    for start in [0, 1, 777] {
        let episode = hostile::attack::of_bytes(&bytes[start..]);
        assert!(episode.findings.is_empty(), "{:?}", episode.findings);
        assert!(episode.counts.total() > 100);
    }
}

/// Names of refusals in the source below `folder`.
fn refusals(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            refusals(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let kinds = ["chain", "engine", "memory", "queue", "register", "request"];
            let names = text.split('"').skip(1).step_by(2).filter(|name| {
                let kind = name.split_once(": ").map(|(kind, _)| kind);
                kind.is_some_and(|kind| kinds.contains(&kind))
            });
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_refusal_of_the_source_is_listed() {
    let mut found = BTreeSet::new();
    for folder in ["backends/devices/src", "backends/transport-xen/src"] {
        refusals(&workspace().join(folder), &mut found);
    }
    let listed = EXPECTED.iter().copied();
    let listed: BTreeSet<String> = listed
        .chain(OUT_OF_REACH.iter().map(|&(name, _)| name))
        .map(str::to_owned)
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn every_mutant_applies_to_the_source_as_it_is() {
    let mutants = list().unwrap();
    assert!(mutants.len() >= 20);
    let ids: BTreeSet<_> = mutants.iter().map(|mutant| &mutant.id).collect();
    assert_eq!(ids.len(), mutants.len(), "ids are unique");
    for mutant in &mutants {
        let text = std::fs::read_to_string(workspace().join(&mutant.file)).unwrap();
        let changed = mutant.apply(&text).unwrap();
        assert_ne!(changed, text, "{}", mutant.id);
    }
}
