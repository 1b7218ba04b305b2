//! Good documents, each with one thing changed at random: what a slip of the hand makes of them.
//!
//! The change is made to the document's values, not to its text, so that what comes out is still TOML and mostly still of
//! the right types: what the reader refuses tells nothing about Xen.

use super::random::Random;
use toml::{Table, Value};

/// A document with one change.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    /// The document.
    pub(super) text: String,
    /// What was changed: the key without indices, which is the class it is counted in.
    pub(super) class: String,
    /// What was done.
    pub(super) deed: String,
}

/// Keys that are left alone: what they name is outside the layout, or the machine that judges is of that kind.
const LEFT_ALONE: [&str; 9] = [
    "schema",
    "platform",
    "machine",
    "kernel",
    "ramdisk",
    "device_tree",
    "cmdline",
    "asil",
    "waive",
];

/// Numbers at which something is known to change: the borders of ports, vCPUs, pages, and of Xen's map of a guest.
const BORDERS: [i64; 22] = [
    0,
    1,
    2,
    9,
    1023,
    1024,
    127,
    128,
    129,
    960,
    988,
    992,
    0x0300_1000,
    0x2200_0000,
    0x3800_0000,
    0x3900_0000,
    0x4000_0000,
    0x4100_0000,
    0x4800_0000,
    0x7fff_f000,
    0x8000_0000,
    0x2_0000_0000,
];

/// Steps that a number is moved by.
const STEPS: [i64; 14] = [
    1,
    -1,
    8,
    0x800,
    -0x800,
    0x1000,
    -0x1000,
    0x1_0000,
    -0x1_0000,
    0x10_0000,
    0x20_0000,
    -0x20_0000,
    0x100_0000,
    -0x100_0000,
];

const SIZES: [&str; 12] = [
    "0B", "1B", "2KiB", "4KiB", "5KiB", "64KiB", "1MiB", "2MiB", "31MiB", "33MiB", "64MiB", "2GiB",
];

const SCHEDULERS: [&str; 5] = ["credit2", "credit", "null", "rtds", "arinc653"];
const ENHANCED: [&str; 3] = ["disabled", "no-xenstore", "enabled"];
const ROLES: [&str; 2] = ["owner", "borrower"];
const CONSOLES: [&str; 3] = ["vpl011", "pv", "none"];
const DMA: [&str; 3] = ["iommu", "none", "trusted"];

/// Changes one thing in a document. `None` when this one cannot be changed so.
pub(super) fn mutate(text: &str, random: &mut Random) -> Option<Mutant> {
    let mut document: Table = text.parse().ok()?;
    let mut places = Vec::new();
    find(
        &Value::Table(document.clone()),
        &mut Vec::new(),
        &mut places,
    );
    let names = names(&document);
    let path = random.pick(&places)?.clone();
    let class = path
        .iter()
        .filter_map(Step::key)
        .collect::<Vec<_>>()
        .join(".");
    let deed = change(&mut document, &path, &names, random)?;
    Some(Mutant {
        text: toml::to_string(&document).ok()?,
        deed: format!("{class}: {deed}"),
        class,
    })
}

/// A step from a value into a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Index(_) => None,
        }
    }
}

/// Every place in a value that may be changed.
fn find(value: &Value, path: &mut Vec<Step>, places: &mut Vec<Vec<Step>>) {
    if !path.is_empty() {
        places.push(path.clone());
    }
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                if LEFT_ALONE.contains(&key.as_str()) {
                    continue;
                }
                path.push(Step::Key(key.clone()));
                find(value, path, places);
                path.pop();
            }
        }
        Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                path.push(Step::Index(index));
                find(value, path, places);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Names of domains and pools, for references that go elsewhere.
fn names(document: &Table) -> Vec<String> {
    let lists = ["domain", "cpupool"]
        .iter()
        .filter_map(|key| document.get(*key)?.as_array());
    let tables = lists.flatten().filter_map(Value::as_table);
    tables
        .filter_map(|table| Some(table.get("name")?.as_str()?.to_owned()))
        .collect()
}

fn change(
    document: &mut Table,
    path: &[Step],
    names: &[String],
    random: &mut Random,
) -> Option<String> {
    let (last, parents) = path.split_last()?;
    // A place may be taken out, or put in once more, whatever it is.
    match random.below(12) {
        0 => return remove(document, parents, last),
        1 => return repeat(document, path, random),
        _ => {}
    }
    let mut root = Value::Table(std::mem::take(document));
    let place = at(&mut root, path);
    let deed = place.and_then(|place| change_value(place, last, names, random));
    if let Value::Table(table) = root {
        *document = table;
    }
    deed
}

fn at<'a>(root: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

fn remove(document: &mut Table, parents: &[Step], last: &Step) -> Option<String> {
    let mut root = Value::Table(std::mem::take(document));
    let removed = match (at(&mut root, parents), last) {
        (Some(Value::Table(table)), Step::Key(key)) => table.remove(key),
        (Some(Value::Array(array)), Step::Index(index)) => Some(array.remove(*index)),
        _ => None,
    };
    if let Value::Table(table) = root {
        *document = table;
    }
    removed.map(|removed| format!("{} taken out", short(&removed)))
}

/// Puts an element of a list in once more, perhaps at the list's other end.
fn repeat(document: &mut Table, path: &[Step], random: &mut Random) -> Option<String> {
    let index = path
        .iter()
        .rposition(|step| matches!(step, Step::Index(_)))?;
    let (parents, Step::Index(number)) = (&path[..index], &path[index]) else {
        return None;
    };
    let mut root = Value::Table(std::mem::take(document));
    let repeated = at(&mut root, parents)
        .and_then(Value::as_array_mut)
        .and_then(|array| {
            let element = array.get(*number)?.clone();
            let told = short(&element);
            let to = random.below(array.len() + 1);
            array.insert(to, element);
            Some(format!("{told} twice"))
        });
    if let Value::Table(table) = root {
        *document = table;
    }
    repeated
}

fn change_value(
    place: &mut Value,
    last: &Step,
    names: &[String],
    random: &mut Random,
) -> Option<String> {
    let before = short(place);
    match place {
        Value::Integer(number) => {
            let to = match random.below(3) {
                0 => *random.pick(&BORDERS)?,
                1 => number.checked_mul(2)?,
                _ => number.checked_add(*random.pick(&STEPS)?)?,
            };
            *number = to.max(0);
        }
        Value::Boolean(boolean) => *boolean = !*boolean,
        Value::String(text) => *text = word(text, last, names, random)?,
        Value::Array(array) if array.iter().all(Value::is_integer) => {
            let to = i64::try_from(random.below(6)).ok()?;
            match random.below(3) {
                0 => array.push(Value::Integer(to)),
                1 => drop(array.pop()?),
                _ => *array.first_mut()? = Value::Integer(to),
            }
        }
        _ => return None,
    }
    let after = short(place);
    (before != after).then(|| format!("{before} → {after}"))
}

/// Another text of the same kind.
fn word(text: &str, last: &Step, names: &[String], random: &mut Random) -> Option<String> {
    let key = last.key().unwrap_or_default();
    let one_of = |words: &[&str], random: &mut Random| random.pick(words).map(|w| (*w).to_owned());
    if text.ends_with('B') && text.starts_with(|c: char| c.is_ascii_digit()) {
        return one_of(&SIZES, random);
    }
    match key {
        "scheduler" => one_of(&SCHEDULERS, random),
        "enhanced" => one_of(&ENHANCED, random),
        "role" => one_of(&ROLES, random),
        "console" => one_of(&CONSOLES, random),
        "dma" => one_of(&DMA, random),
        "colors" | "cpus" | "interrupts" => {
            let (first, last) = (random.below(20), random.below(20));
            Some(format!("{}-{}", first.min(last), first.max(last)))
        }
        "id" => Some(match random.below(3) {
            0 => "a".repeat(15),
            1 => "a".repeat(16),
            _ => "other".to_owned(),
        }),
        "domain" | "cpupool" | "owner" => random.pick(names).cloned(),
        "kind" | "boot" | "period" | "budget" | "runtime" | "path" | "name" => None,
        _ => random.pick(names).cloned(),
    }
}

/// A value, told in a few characters.
fn short(value: &Value) -> String {
    let text = match value {
        Value::Integer(number) if *number > 0xffff => format!("{number:#x}"),
        value => value.to_string().replace('\n', " "),
    };
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
schema = "avps/1"
[platform]
name = "d"
[[domain]]
name = "a"
kernel = "k"
memory = "32MiB"
cpus = [1]
static_memory = [{ at = 0x6000_0000, size = "32MiB" }]
"#;

    #[test]
    fn a_seed_gives_the_same_mutants_each_time() {
        let mutants = |seed| {
            let mut random = Random::new(seed);
            (0..20)
                .filter_map(|_| mutate(GOOD, &mut random))
                .map(|mutant| mutant.deed)
                .collect::<Vec<_>>()
        };
        assert_eq!(mutants(7), mutants(7));
        assert_ne!(mutants(7), mutants(8));
    }

    #[test]
    fn a_mutant_is_toml_and_differs_in_what_may_be_changed() {
        let mut random = Random::new(1);
        let mut made = 0;
        for _ in 0..500 {
            let Some(mutant) = mutate(GOOD, &mut random) else {
                continue;
            };
            made += 1;
            let document: Table = mutant.text.parse().expect("TOML");
            let good: Table = GOOD.parse().expect("TOML");
            assert_ne!(document, good, "{}", mutant.deed);
            assert_eq!(document["platform"], good["platform"]);
            assert!(mutant.deed.starts_with(&mutant.class));
        }
        assert!(made > 250, "{made}");
    }
}
