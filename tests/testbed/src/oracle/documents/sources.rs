//! Where documents come from.

use super::mutate::mutate;
use super::random::Random;
use crate::paths;

/// A document to be judged.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is counted with.
    pub(crate) class: String,
    /// Its name, unique.
    pub(crate) name: String,
    /// What is changed in it, for people.
    pub(crate) deed: String,
    /// The document.
    pub(crate) text: String,
}

/// Documents written by hand: the rules' fixtures, bad and good ones.
pub(crate) fn written() -> std::io::Result<Vec<Case>> {
    let fixtures = paths::workspace().join("configs/fixtures");
    let mut cases = Vec::new();
    for (kind, folder) in [("bad", fixtures.clone()), ("good", fixtures.join("good"))] {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some(stem) = name.strip_suffix(".toml") else {
                continue;
            };
            cases.push(Case {
                class: stem.to_owned(),
                name: format!("{kind}-{stem}"),
                deed: String::new(),
                text: std::fs::read_to_string(&path)?,
            });
        }
    }
    cases.sort_by(|a, b| (&a.class, &a.name).cmp(&(&b.class, &b.name)));
    Ok(cases)
}

/// Mutants of the good ones among `written`, without end.
pub(crate) fn mutants(written: &[Case], seed: u64) -> impl Iterator<Item = Case> {
    let good: Vec<Case> = written
        .iter()
        .filter(|case| case.name.starts_with("good-"))
        .cloned()
        .collect();
    let mut random = Random::new(seed);
    let mut number = 0_u32;
    std::iter::from_fn(move || {
        // Some documents have nothing that can be changed in the way that is drawn; most have.
        for _ in 0..1000 {
            let base = random.pick(&good)?.clone();
            let Some(mutant) = mutate(&base.text, &mut random) else {
                continue;
            };
            number += 1;
            return Some(Case {
                name: format!("mutant-{seed:x}-{number}"),
                deed: format!("{}: {}", base.class, mutant.deed),
                class: mutant.class,
                text: mutant.text,
            });
        }
        None
    })
}
