//! Words that names, comments, messages and pages no longer use.
//!
//! `excused.txt` counts those that are still there, by file. It may only shrink: a word more fails the check, and so does a
//! line that is no longer needed. `UPDATE_EXCUSED=1 cargo test -p xtask retired` writes a shorter one.

use crate::paths;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often each word is in each file.
type Counts = BTreeMap<(String, String), usize>;

/// How a word is looked for.
#[derive(Clone, Copy)]
enum How {
    /// The text, wherever it stands, in any case.
    Text,
    /// A word of its own, in any case.
    Word,
    /// A name in code, or the first word of one; comments are prose.
    Name,
    /// The same for types only: in small letters it is an ordinary word.
    Type,
    /// A comment that says nothing else.
    Comment,
}

/// What is retired, how it is looked for, and what to write instead.
const RETIRED: &[(&str, How, &str)] = &[
    (
        "nobody can take its place",
        How::Text,
        "its domain ID cannot be reused while its guests are alive",
    ),
    (
        "fine: everything wanted is so",
        How::Text,
        "success: nothing left to change",
    ),
    ("all that is heavy", How::Text, "build artefacts"),
    ("named by its contents", How::Text, "keyed by content"),
    ("has no place for", How::Text, "does not support"),
    (
        "somebody may answer for a finding",
        How::Text,
        "a finding can be waived, with an owner and an expiry date",
    ),
    (
        "that domains can have that the toolstack starts",
        How::Text,
        "for domains that the toolstack starts",
    ),
    ("asks nobody else", How::Text, "needs nothing else"),
    ("the whole.", How::Comment, "all of what, or no comment"),
    ("no longer.", How::Comment, "no comment"),
    ("anew", How::Word, "again"),
    ("mod placed", How::Text, "what it is: a plan with backends"),
    ("placed::", How::Text, "what it is: a plan with backends"),
    ("going", How::Type, "what ends: closing, shutting down"),
    ("standing", How::Type, "state"),
    ("desk", How::Name, "dispatcher"),
    ("bell", How::Name, "waker"),
    ("turn", How::Type, "permit"),
    ("loan", How::Name, "lease"),
    ("hearsay", How::Name, "what it is"),
];

/// Folders whose files are looked at. The virtio engine, holder and worker are left to the work that replaces them.
const FOLDERS: [&str; 5] = [
    "toolstack",
    "optee-mediator",
    "tests",
    "configs",
    "backends",
];
/// Below them, what is left out.
const LEFT_OUT: [&str; 4] = [
    "backends/transport-xen",
    "backends/devices",
    "backends/avps-backend",
    // This list, and the tests of it.
    "tests/testbed/src/pages/retired.rs",
];
const EXCUSED: &str = "tests/testbed/src/pages/excused.txt";

/// How often a retired word is in a text.
fn count(text: &str, word: &str, how: How) -> usize {
    match how {
        How::Text => {
            let plain = text.to_lowercase();
            let plain = plain
                .split_whitespace()
                .filter(|word| !["//", "///", "//!"].contains(word));
            plain.collect::<Vec<_>>().join(" ").matches(word).count()
        }
        How::Word => words(text)
            .filter(|seen| seen.eq_ignore_ascii_case(word))
            .count(),
        How::Name => names(text).filter(|seen| first_part(seen) == word).count(),
        How::Type => names(text)
            .filter(|seen| seen.starts_with(char::is_uppercase) && first_part(seen) == word)
            .count(),
        How::Comment => text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("//"))
            .filter(|comment| {
                comment
                    .trim_start_matches(['/', '!'])
                    .trim()
                    .eq_ignore_ascii_case(word)
            })
            .count(),
    }
}

/// Words of prose and names: `some_name` has two, `SomeName` is one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// Words of code, without comments.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(words)
}

/// `desk` of `Desk`, `DeskError` and `desk`.
fn first_part(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().into_iter().flat_map(char::to_lowercase);
    first
        .chain(letters.take_while(|c| !c.is_uppercase()))
        .collect()
}

fn files() -> Vec<PathBuf> {
    let root = paths::workspace();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    let mut files = vec![root.join("README.md"), root.join("SECURITY.md")];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if LEFT_OUT.iter().any(|out| path == root.join(out)) || path.ends_with("target") {
                continue;
            }
            let kind = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if ["rs", "md", "toml", "service"].contains(&kind.unwrap_or_default()) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// What is in the sources: for each file and word, how often.
fn found() -> Counts {
    let mut found = BTreeMap::new();
    for file in files() {
        // Random bytes are no prose.
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let is_code = file.extension().is_some_and(|extension| extension == "rs");
        for (word, how, _) in RETIRED {
            if matches!(how, How::Name | How::Type) && !is_code {
                continue;
            }
            let count = count(&text, word, *how);
            if count > 0 {
                found.insert((relative(&file), (*word).to_owned()), count);
            }
        }
    }
    found
}

fn relative(file: &Path) -> String {
    let path = file.strip_prefix(paths::workspace()).unwrap_or(file);
    path.display().to_string()
}

/// Reads lines of `COUNT FILE WORD`.
fn excused(text: &str) -> Counts {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let entries = lines.map(|line| {
        let parts: Vec<&str> = line.splitn(3, ' ').collect();
        let [count, file, word] = parts[..] else {
            panic!("{EXCUSED}: {line:?} is not COUNT FILE WORD");
        };
        let count: usize = count.parse().unwrap();
        ((file.to_owned(), word.to_owned()), count)
    });
    entries.collect()
}

/// What is in `found` beyond `excused`, and what `excused` has beyond `found`.
fn compare(found: &Counts, excused: &Counts) -> (Vec<String>, Vec<String>) {
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for (key, count) in found {
        let (file, word) = key;
        if *count > of(excused, key) {
            let instead = RETIRED.iter().find(|entry| entry.0 == word);
            let instead = instead.map_or("", |entry| entry.2);
            more.push(format!(
                "{file} has \"{word}\" {count} times; write: {instead}"
            ));
        }
    }
    for (key, count) in excused {
        if *count > of(found, key) {
            less.push(format!("{count} {} {}", key.0, key.1));
        }
    }
    (more, less)
}

fn of(counts: &Counts, key: &(String, String)) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

#[test]
fn retired_words_are_not_used_and_their_list_of_excuses_shrinks() {
    let path = paths::workspace().join(EXCUSED);
    let text = std::fs::read_to_string(&path).unwrap();
    let found = found();
    let (more, less) = compare(&found, &excused(&text));
    assert!(more.is_empty(), "retired words:\n{}", more.join("\n"));
    if less.is_empty() {
        return;
    }
    if std::env::var_os("UPDATE_EXCUSED").is_some() {
        let head = text.lines().filter(|line| line.starts_with('#'));
        let mut lines: Vec<String> = head.map(str::to_owned).collect();
        lines.extend(
            found
                .iter()
                .map(|((file, word), count)| format!("{count} {file} {word}")),
        );
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        return;
    }
    panic!(
        "{EXCUSED} excuses more than there is; UPDATE_EXCUSED=1 cargo test -p xtask retired shortens it:\n{}",
        less.join("\n")
    );
}

#[test]
fn the_check_of_retired_words_sees_them() {
    let of = |text, word| {
        let (_, how, _) = RETIRED
            .iter()
            .find(|(retired, ..)| *retired == word)
            .unwrap();
        count(text, word, *how)
    };
    assert_eq!(
        of(
            "/// Nobody can\n/// take its place.",
            "nobody can take its place"
        ),
        1
    );
    assert_eq!(of("started anew, renewed", "anew"), 1);
    assert_eq!(of("pub mod placed; is_placed", "mod placed"), 1);
    assert_eq!(
        of(
            "struct Desk; DeskError, desktop, its_desk // a desk",
            "desk"
        ),
        3
    );
    assert_eq!(of("Turnover of Turn, my turn // Turn", "turn"), 1);
    assert_eq!(
        of("/// The whole.\n/// The whole image.\n", "the whole."),
        1
    );
    assert_eq!(of("    /// No longer.", "no longer."), 1);
}

#[test]
fn excuses_may_only_shrink() {
    let key = |word: &str| ("a.rs".to_owned(), word.to_owned());
    let map = |count| BTreeMap::from([(key("anew"), count)]);
    assert_eq!(compare(&map(2), &map(2)), (vec![], vec![]));
    assert_eq!(compare(&map(3), &map(2)).0.len(), 1);
    assert_eq!(compare(&map(1), &map(2)).1, ["2 a.rs anew"]);
    assert_eq!(compare(&map(1), &BTreeMap::new()).0.len(), 1);
    assert_eq!(excused("# why\n2 a.rs anew\n"), map(2));
}
