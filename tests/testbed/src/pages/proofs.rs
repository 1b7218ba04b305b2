//! What pages claim has a test or a command behind it, which exists.

use super::commands::{self, Place};
use super::{Block, Kind, Page};
use crate::{paths, suite};
use clap::error::ErrorKind;
use clap::{Command, CommandFactory};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a block may state without anything that shows it.
const KINDS: [(&str, &str); 5] = [
    ("definition", "says what a word, part or key is"),
    ("pointer", "says where something is"),
    ("limit", "says what is not promised, or not there"),
    ("advice", "says what a user should do"),
    ("untested", "claims what no test shows yet"),
];

/// Blocks that claim what no test shows: this number may only shrink.
const UNTESTED: usize = 0;

/// Units that make a number a figure.
const UNITS: [&str; 16] = [
    "ms", "s", "µs", "seconds", "minutes", "hours", "KiB", "MiB", "GiB", "kB", "MB", "GB", "%",
    "times", "requests", "cases",
];

/// What shows a claim.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// A case of `cargo xtask test`, or the beginning of its name.
    Case(String),
    /// A unit test, and a folder that has it.
    Unit(String, String),
    /// A fuzz target, and the folder of its crate.
    Fuzz(String, String),
    /// A command.
    Command(Vec<String>),
}

/// Reads `test "…"; unit NAME in FOLDER; cargo xtask …`.
fn proofs(text: &str) -> Result<Vec<Proof>, String> {
    let (mut proofs, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (proof, after) = if let Some(named) = rest.strip_prefix("test \"") {
            let (name, after) = named
                .split_once('"')
                .ok_or_else(|| format!("a name without an end: {named}"))?;
            (Proof::Case(name.to_owned()), after)
        } else {
            let (one, after) = rest.split_once(';').unwrap_or((rest, ""));
            let in_folder = |kind: &str| {
                let (name, folder) = one.trim().strip_prefix(kind)?.split_once(" in ")?;
                Some((name.to_owned(), folder.to_owned()))
            };
            let proof = if let Some((name, folder)) = in_folder("unit ") {
                Proof::Unit(name, folder)
            } else if let Some((name, folder)) = in_folder("fuzz ") {
                Proof::Fuzz(name, folder)
            } else {
                Proof::Command(
                    commands::words(one).ok_or_else(|| format!("this shows nothing: {one}"))?,
                )
            };
            (proof, after)
        };
        proofs.push(proof);
        rest = after.trim().trim_start_matches(';').trim();
    }
    if proofs.is_empty() {
        return Err("nothing is named".to_owned());
    }
    Ok(proofs)
}

/// What is wrong with the comments of a block, and whether it is one that nothing shows.
fn judge(block: &Block, known: &Known) -> Result<bool, String> {
    let mut marked = false;
    let mut untested = false;
    let mut shown = false;
    for comment in &block.comments {
        if let Some(text) = comment.strip_prefix("shown by:") {
            (marked, shown) = (true, true);
            for proof in proofs(text)? {
                known.check(&proof)?;
            }
        } else if let Some(kind) = comment.strip_prefix("states:") {
            marked = true;
            let kind = kind.trim();
            if !KINDS.iter().any(|(word, _)| *word == kind) {
                return Err(format!("\"{kind}\" is none of {KINDS:?}"));
            }
            untested |= kind == "untested";
        }
    }
    if !marked {
        return Err(
            "nothing says what shows it: add <!-- shown by: … --> or <!-- states: … -->".to_owned(),
        );
    }
    if !shown && let Some(figure) = figure(&block.text) {
        return Err(format!("\"{figure}\" is a figure, and nothing shows it"));
    }
    Ok(untested)
}

/// A number with a unit.
fn figure(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).find_map(|pair| {
        let number = pair[0].trim_start_matches(['(', '|', '`']);
        let number = !number.is_empty()
            && number
                .chars()
                .all(|c| c.is_ascii_digit() || ".,".contains(c));
        let unit = pair[1].trim_end_matches(|c: char| !c.is_alphanumeric() && c != '%');
        (number && UNITS.contains(&unit)).then(|| pair.join(" "))
    })
}

/// Everything that can show something.
struct Known {
    cases: Vec<String>,
    /// Names that only the program `in-dom0` lists are looked for in its source.
    in_dom0: String,
    programs: BTreeMap<&'static str, Command>,
    /// Names of the unit tests in each folder that was asked for.
    unit_tests: RefCell<BTreeMap<String, BTreeSet<String>>>,
}

impl Known {
    fn get() -> Self {
        let mut programs: BTreeMap<&'static str, Command> =
            manual::programs().into_iter().collect();
        programs.insert("xtask", crate::CommandLine::command());
        Self {
            cases: suite::case_names(),
            in_dom0: source(&paths::workspace().join("tests/in-dom0/src")),
            programs,
            unit_tests: RefCell::default(),
        }
    }

    fn check(&self, proof: &Proof) -> Result<(), String> {
        match proof {
            Proof::Case(name) => {
                let known = match name.strip_suffix('…') {
                    Some(begin) => self.cases.iter().any(|case| case.starts_with(begin)),
                    None => {
                        self.cases.contains(name) || self.in_dom0.contains(&format!("\"{name}\""))
                    }
                };
                known
                    .then_some(())
                    .ok_or_else(|| format!("no case has the name \"{name}\""))
            }
            Proof::Unit(name, folder) => {
                let mut known = self.unit_tests.borrow_mut();
                let tests = known.entry(folder.clone()).or_insert_with(|| {
                    let source = source(&paths::workspace().join(folder));
                    unit_tests(&source)
                });
                tests
                    .contains(name)
                    .then_some(())
                    .ok_or_else(|| format!("{folder} has no unit test {name}"))
            }
            Proof::Fuzz(name, folder) => {
                let file = paths::workspace()
                    .join(folder)
                    .join(format!("fuzz/fuzz_targets/{name}.rs"));
                file.exists()
                    .then_some(())
                    .ok_or_else(|| format!("there is no {}", file.display()))
            }
            Proof::Command(words) => self.parses(words),
        }
    }

    /// Whether a program takes these words. What a page leaves out may be missing.
    fn parses(&self, words: &[String]) -> Result<(), String> {
        let (name, words) = match words {
            [cargo, xtask, rest @ ..] if cargo == "cargo" && xtask == "xtask" => ("xtask", rest),
            [program, rest @ ..] => (program.as_str(), rest),
            [] => return Err("no words".to_owned()),
        };
        let command = self
            .programs
            .get(name)
            .ok_or_else(|| format!("no program {name}"))?;
        let words = std::iter::once(name).chain(words.iter().map(String::as_str));
        match command.clone().try_get_matches_from(words) {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Ok(()),
                _ => Err(error.to_string()),
            },
        }
    }

    /// Whether some command has this option.
    fn has_option(&self, long: &str) -> bool {
        fn has(command: &Command, long: &str) -> bool {
            let own = command
                .get_arguments()
                .any(|arg| arg.get_long() == Some(long));
            own || command.get_subcommands().any(|sub| has(sub, long))
        }
        self.programs.values().any(|command| has(command, long))
    }
}

/// All Rust source below a folder.
fn source(folder: &Path) -> String {
    let mut text = String::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap_or_default());
            }
        }
    }
    text
}

/// Names of the functions that have a test's attribute above them.
fn unit_tests(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = line.trim_start_matches("async ").strip_prefix("fn ") {
            if is_test {
                names.insert(name.split('(').next().unwrap_or_default().to_owned());
            }
            is_test = false;
        }
    }
    names
}

/// Each of `judged` with its place, as one text.
fn told<'a>(judged: impl Iterator<Item = (&'a Page, &'a Block, String)>) -> String {
    judged
        .map(|(page, block, what)| {
            let first = block.text.lines().next().unwrap_or_default();
            format!("{}:{}: {what}\n    {first}\n", page.name, block.line)
        })
        .collect()
}

#[test]
fn every_claim_of_a_page_names_a_test_or_command_that_exists() {
    let (pages, known) = (super::read().unwrap(), Known::get());
    let mut untested = 0;
    let prose = pages
        .iter()
        .flat_map(|page| page.blocks.iter().map(move |block| (page, block)))
        .filter(|(_, block)| block.is_prose());
    let wrong = told(
        prose.filter_map(|(page, block)| match judge(block, &known) {
            Ok(is_untested) => {
                untested += usize::from(is_untested);
                None
            }
            Err(what) => Some((page, block, what)),
        }),
    );
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(
        untested, UNTESTED,
        "so many blocks are marked as untested; the number may only shrink"
    );
}

#[test]
fn every_command_and_option_in_a_page_exists() {
    let (pages, known) = (super::read().unwrap(), Known::get());
    let mut wrong = String::new();
    for script in commands::scripts(&pages).unwrap() {
        for words in script.commands() {
            if let Err(what) = known.parses(&words) {
                wrong.push_str(&format!("{}: {what}\n", script.at));
            }
        }
        if script.place == Place::Bed && script.commands().is_empty() {
            wrong.push_str(&format!("{}: no command of cargo xtask\n", script.at));
        }
    }
    let prose = pages
        .iter()
        .flat_map(|page| page.blocks.iter().map(move |block| (page, block)))
        .filter(|(_, block)| block.is_prose());
    wrong.push_str(&told(prose.flat_map(|(page, block)| {
        let wrong = block.code().into_iter().filter_map(|code| {
            if let Some(option) = code.strip_prefix("--") {
                let long = option.split([' ', '=']).next().unwrap_or_default();
                let known = known.has_option(long);
                return (!known).then(|| format!("no command has the option --{long}"));
            }
            known.parses(&commands::words(&code)?).err()
        });
        wrong.map(|what| (page, block, what)).collect::<Vec<_>>()
    })));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn documents_in_pages_have_no_error() {
    let base = "schema = \"avps/1\"\n[platform]\nname = \"page\"\n";
    for page in super::read().unwrap() {
        for block in &page.blocks {
            let Kind::Fence(fence) = &block.kind else {
                continue;
            };
            if fence.language != "toml" {
                continue;
            }
            let text = if fence.words == "document" {
                block.text.clone()
            } else {
                format!("{base}{}", block.text)
            };
            let analysis = platform::analyse(&text, "/etc/avps");
            let errors: Vec<String> = analysis
                .findings
                .iter()
                .filter(|finding| finding.severity == platform::Severity::Error)
                .map(|finding| finding.message.clone())
                .collect();
            let at = format!("{}:{}", page.name, block.line);
            assert!(errors.is_empty(), "{at}: {}", errors.join("; "));
        }
    }
}

mod the_check_itself {
    use super::*;

    fn known() -> Known {
        Known {
            cases: vec!["bed: a; b".into(), "driver: one, two".into()],
            in_dom0: "(\"xen: x\", x)".into(),
            programs: Known::get().programs,
            unit_tests: RefCell::default(),
        }
    }

    fn judged(text: &str) -> Result<bool, String> {
        let page = Page::parse("x.md", text).unwrap();
        judge(&page.blocks[0], &known())
    }

    #[test]
    fn a_block_without_a_comment_is_seen() {
        assert!(judged("It works.\n").is_err());
        assert!(judged("It works. <!-- a note -->\n").is_err());
        assert_eq!(
            judged("It works. <!-- shown by: test \"bed: a; b\" -->\n"),
            Ok(false)
        );
        assert_eq!(judged("A word. <!-- states: definition -->\n"), Ok(false));
        assert_eq!(judged("It works. <!-- states: untested -->\n"), Ok(true));
        assert!(judged("A word. <!-- states: nothing -->\n").is_err());
    }

    #[test]
    fn a_test_or_command_that_is_gone_is_seen() {
        for good in [
            "test \"driver: one…\"; test \"xen: x\"",
            "cargo xtask bench block --cases 2000; unit a_lost_timer_is_told_from_other_trouble in tests/testbed",
            "avpsctl check",
            "fuzz document in toolstack/platform",
        ] {
            assert_eq!(
                judged(&format!("It works. <!-- shown by: {good} -->\n")),
                Ok(false),
                "{good}"
            );
        }
        for bad in [
            "test \"bed: a\"",
            "test \"driver: two…\"",
            "unit nobody_wrote_this in tests/testbed",
            // A function that is no test.
            "unit known in tests/testbed/src/pages",
            "cargo xtask bench blocks",
            "cargo xtask bench block --case 2",
            "avpsctl chek",
            "fuzz nothing in toolstack/platform",
            "trust",
            "",
        ] {
            assert!(
                judged(&format!("It works. <!-- shown by: {bad} -->\n")).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_figure_needs_more_than_a_statement() {
        assert!(judged("It takes 20 ms. <!-- states: definition -->\n").is_err());
        assert!(judged("It is faster (3.5 times). <!-- states: limit -->\n").is_err());
        assert_eq!(
            judged("It takes 20 ms. <!-- shown by: cargo xtask demo -->\n"),
            Ok(false)
        );
        assert_eq!(
            judged("Xen 4.20 works. <!-- states: limit -->\n"),
            Ok(false)
        );
    }
}
