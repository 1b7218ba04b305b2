//! Validations removed one by one, from a copy of the source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Deserialize;

/// The list, in this crate's folder.
const LIST: &str = include_str!("../mutants.toml");

/// Which mutants, and how long each is attacked.
#[derive(Args, Debug)]
pub struct Options {
    /// Only mutants whose name holds this text.
    filter: Option<String>,
    /// Operations of each run, at most.
    #[arg(long, default_value_t = 400_000)]
    operations: u64,
    /// Seconds of each run, at most.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Where the copies are built, a folder for nothing else: cargo takes their libraries for the source's own. Kept, so
    /// that the next time is shorter.
    #[arg(long)]
    target: Option<PathBuf>,
    /// Cargo's jobs.
    #[arg(long, default_value_t = 2)]
    jobs: u32,
    /// One JSON object on standard output instead of a table.
    #[arg(long)]
    json: bool,
}

/// One change of the source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// Its name.
    pub id: String,
    /// File, from the workspace's root.
    pub file: PathBuf,
    /// Text that occurs there once.
    pub old: String,
    /// What it becomes.
    pub new: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// The attack failed, and said this first.
    Killed(String),
    /// Only a refusal that was never reached gave it away.
    Missed(String),
    /// The attack passed.
    Survived,
    /// It could not be judged.
    Unclear(String),
}

/// What became of all.
pub struct Report {
    fates: Vec<(String, Fate, Duration)>,
    json: bool,
}

/// The list.
pub fn list() -> Result<Vec<Mutant>, String> {
    let list: List = toml::from_str(LIST).map_err(|error| format!("mutants.toml: {error}"))?;
    Ok(list.mutant)
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Mutant {
    /// The changed file's text.
    ///
    /// # Errors
    /// The old text does not occur exactly once.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.old).count() {
            1 => Ok(text.replacen(&self.old, &self.new, 1)),
            count => Err(format!(
                "mutant {}: its text occurs {count} times in {}; bring mutants.toml up to date",
                self.id,
                self.file.display()
            )),
        }
    }
}

/// Builds and attacks all that are wanted.
///
/// # Errors
/// When the source cannot be copied or the unchanged copy does not pass.
pub fn run(options: &Options) -> Result<Report, String> {
    let wanted = |mutant: &Mutant| {
        let filter = options.filter.as_deref();
        filter.is_none_or(|filter| mutant.id.contains(filter))
    };
    let mutants: Vec<_> = list()?.into_iter().filter(wanted).collect();
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let target = options.target.clone();
    let own = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    if target.is_some() && (target == own || target == Some(workspace().join("target"))) {
        return Err("the mutants' target folder must not be the workspace's own".into());
    }
    let target = target.unwrap_or_else(|| folder.path().join("target"));
    let tree = folder.path().join("tree");
    copy(&workspace(), &tree)?;
    match attack(options, &tree, &target)? {
        Fate::Survived => {}
        fate => return Err(format!("the source as it is does not pass: {fate:?}")),
    }
    let mut fates = Vec::new();
    for mutant in mutants {
        let began = Instant::now();
        let path = tree.join(&mutant.file);
        let failed = |error| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        std::fs::write(&path, mutant.apply(&text)?).map_err(failed)?;
        let fate = attack(options, &tree, &target)?;
        std::fs::write(&path, text).map_err(failed)?;
        eprintln!("{}: {fate:?} ({:.0?})", mutant.id, began.elapsed());
        fates.push((mutant.id, fate, began.elapsed()));
    }
    Ok(Report {
        fates,
        json: options.json,
    })
}

/// Copies what a build of this crate needs.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let status = Command::new("cp")
        .arg("-a")
        .args(["Cargo.toml", "Cargo.lock", "backends", "tests", "toolstack"].map(|n| from.join(n)))
        .arg(to)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("the source cannot be copied: {other:?}")),
    }
}

/// Builds the copy and attacks it.
fn attack(options: &Options, tree: &Path, target: &Path) -> Result<Fate, String> {
    let cannot = |error| format!("cargo: {error}");
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--profile", "hostile", "-p", "hostile"])
        .args(["--bin", "hostile", "-j", &options.jobs.to_string()])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(tree)
        .output()
        .map_err(cannot)?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        return Ok(Fate::Unclear(format!("it does not build: {said}")));
    }
    let (operations, seconds) = (options.operations.to_string(), options.seconds.to_string());
    let ran = Command::new(target.join("hostile/hostile"))
        .args(["run", "--json", "--impatient"])
        .args(["--operations", &operations, "--seconds", &seconds])
        .stderr(Stdio::null())
        .output()
        .map_err(cannot)?;
    let said: Result<serde_json::Value, _> = serde_json::from_slice(&ran.stdout);
    let Ok(said) = said else {
        return Ok(Fate::Killed(format!("it ended with {}", ran.status)));
    };
    let note = said["notes"][0].as_str().unwrap_or_default().to_owned();
    Ok(
        match (said["passed"].as_bool(), said["behaved"].as_bool()) {
            (Some(true), _) => Fate::Survived,
            (_, Some(true)) => Fate::Missed(note),
            _ => Fate::Killed(note),
        },
    )
}

impl Report {
    /// Prints it; the exit code says whether all were found.
    pub fn print(&self) -> ExitCode {
        let count = |wanted: fn(&Fate) -> bool| {
            let found = self.fates.iter().filter(|(_, fate, _)| wanted(fate));
            found.count()
        };
        let killed = count(|fate| matches!(fate, Fate::Killed(_)));
        let missed = count(|fate| matches!(fate, Fate::Missed(_)));
        let survived = count(|fate| matches!(fate, Fate::Survived | Fate::Unclear(_)));
        let passed = survived == 0 && killed + missed > 0;
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header(["mutant", "fate", "because"]);
        for (id, fate, _) in &self.fates {
            let (word, because) = match fate {
                Fate::Killed(why) => ("killed", why.as_str()),
                Fate::Missed(why) => ("killed by coverage", why.as_str()),
                Fate::Survived => ("SURVIVED", ""),
                Fate::Unclear(why) => ("UNCLEAR", why.as_str()),
            };
            table.add_row([id.as_str(), word, because]);
        }
        if self.json {
            let figures: BTreeMap<_, _> = [
                ("mutants", self.fates.len()),
                ("killed", killed),
                ("killed_by_coverage", missed),
                ("survived", survived),
            ]
            .into();
            let notes: Vec<_> = table.lines().collect();
            let object = serde_json::json!({
                "name": "hostile mutants", "passed": passed, "figures": figures, "notes": notes,
            });
            println!("{object}");
        } else {
            println!("{table}");
            println!("{killed} killed, {missed} more by coverage alone, {survived} survived");
        }
        if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
