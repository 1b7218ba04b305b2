//! The cache: folders named `<name>-<key>`, each complete or absent.
//!
//! An artefact is built in a folder of its own under a file lock and renamed into place with its manifest, so a reader
//! never sees half of one. `work/` keeps what an interrupted build has done so far; the next run goes on there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::error::{Error, Result};
use super::key::Key;
use super::lock::Lock;
use super::manifest::{Depth, Manifest};
use crate::progress::Step;

/// A cache folder.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    verified: Mutex<BTreeSet<String>>,
}

/// A complete artefact.
#[derive(Clone, Debug)]
pub(crate) struct Artefact {
    /// Its name without the key.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) path: PathBuf,
    /// All files' sizes in bytes.
    pub(crate) size: u64,
    /// How long its build took, in seconds.
    pub(crate) seconds: f64,
    /// Whether this run built it.
    pub(crate) fresh: bool,
}

impl Artefact {
    /// A file inside.
    pub(crate) fn file(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }
}

/// What a recipe is given to work with.
pub(crate) struct Build {
    /// Empty folder; what is in it at the end is the artefact.
    pub(crate) out: PathBuf,
    /// Folder that survives an interruption; may hold an earlier run's work.
    pub(crate) work: PathBuf,
    /// Where children's output belongs.
    pub(crate) log: PathBuf,
    /// For saying what is being done.
    pub(crate) step: Step,
}

impl Store {
    /// A cache at `root`, created when first needed.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            verified: Mutex::default(),
        }
    }

    /// The cache's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The log of the last build of `name`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The artefact, built by `recipe` if it is absent or damaged.
    pub(crate) fn ensure(
        &self,
        name: &str,
        key: &Key,
        recipe: impl FnOnce(&Build) -> Result<()>,
    ) -> Result<Artefact> {
        if let Ok(artefact) = self.look_up(name, key) {
            return Ok(artefact);
        }
        let id = format!("{name}-{}", key.id());
        let _lock = Lock::take(&self.root.join("locks").join(format!("{id}.lock")), name)?;
        // Another run may have built it while this one waited.
        let problem = match self.look_up(name, key) {
            Ok(artefact) => return Ok(artefact),
            Err(problem) => problem,
        };
        let path = self.root.join(&id);
        let step = Step::begin(name, "preparing");
        if path.exists() {
            step.note(&format!(
                "the cached one is damaged ({problem}): building it again"
            ));
            remove(&path)?;
        }
        let build = Build {
            out: self.root.join("tmp").join(&id),
            work: self.root.join("work").join(&id),
            log: self.log(name),
            step,
        };
        let begun = Instant::now();
        remove(&build.out)?;
        let made = create(&build.out)
            .and_then(|()| create(&build.work))
            .and_then(|()| remove(&build.log))
            .and_then(|()| recipe(&build))
            .and_then(|()| {
                let manifest =
                    Manifest::describe(name, key, begun.elapsed().as_secs_f64(), &build.out)?;
                manifest.write(&build.out)?;
                std::fs::rename(&build.out, &path).map_err(Error::io("put into place", &path))?;
                Ok(manifest)
            });
        match made {
            Ok(manifest) => {
                build.step.state("tidying up");
                remove(&build.work)?;
                build.step.done(&crate::progress::size(manifest.size()));
                self.mark_verified(&id);
                Ok(Self::artefact(name, path, &manifest, true))
            }
            Err(error) => {
                remove(&build.out)?;
                // An empty work folder tells nothing to the next run.
                let _ = std::fs::remove_dir(&build.work);
                Err(error)
            }
        }
    }

    /// The artefact if it is complete; else what is wrong with it. Content is hashed once per run.
    pub(crate) fn look_up(&self, name: &str, key: &Key) -> std::result::Result<Artefact, String> {
        let id = format!("{name}-{}", key.id());
        let path = self.root.join(&id);
        let manifest = Manifest::read(&path).ok_or("it has no readable manifest")?;
        let depth = if self.is_verified(&id) {
            Depth::Sizes
        } else {
            Depth::Content
        };
        if let Some(problem) = manifest.verify(&path, depth) {
            return Err(problem);
        }
        self.mark_verified(&id);
        Ok(Self::artefact(name, path, &manifest, false))
    }

    fn artefact(name: &str, path: PathBuf, manifest: &Manifest, fresh: bool) -> Artefact {
        Artefact {
            name: name.to_owned(),
            path,
            size: manifest.size(),
            seconds: manifest.seconds,
            fresh,
        }
    }

    fn is_verified(&self, id: &str) -> bool {
        self.verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(id)
    }

    fn mark_verified(&self, id: &str) {
        self.verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned());
    }
}

/// Creates a folder and those above it.
pub(crate) fn create(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// Removes a file or folder; an absent one is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    removed.map_err(Error::io("remove", path))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Store, create};
    use crate::artefacts::error::Error;
    use crate::artefacts::key::Key;

    fn write(text: &'static str) -> impl Fn(&super::Build) -> crate::artefacts::error::Result<()> {
        move |build| {
            let path = build.out.join("product");
            std::fs::write(&path, text).map_err(Error::io("write", &path))
        }
    }

    #[test]
    fn a_second_run_finds_what_the_first_built() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new(1);
        let first = Store::new(folder.path().into())
            .ensure("thing", &key, write("good"))
            .unwrap();
        assert!(first.fresh);
        let second = Store::new(folder.path().into())
            .ensure("thing", &key, |_| panic!("built twice"))
            .unwrap();
        assert_eq!((second.fresh, second.size), (false, 4));
        assert_eq!(std::fs::read(second.file("product")).unwrap(), b"good");
    }

    #[test]
    fn a_corrupt_artefact_is_rebuilt() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key::new(1);
        let path = Store::new(folder.path().into())
            .ensure("thing", &key, write("good"))
            .unwrap()
            .path;
        for damage in ["evil", "short!", ""] {
            std::fs::write(path.join("product"), damage).unwrap();
            let again = Store::new(folder.path().into())
                .ensure("thing", &key, write("good"))
                .unwrap();
            assert!(again.fresh, "damage {damage:?} went unnoticed");
            assert_eq!(std::fs::read(path.join("product")).unwrap(), b"good");
        }
    }

    #[test]
    fn a_failed_build_leaves_no_artefact_but_keeps_its_work() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        let key = Key::new(1);
        let failed = store.ensure("thing", &key, |build| {
            std::fs::write(build.out.join("product"), "half").unwrap();
            std::fs::write(build.work.join("objects"), "so far").unwrap();
            Err(Error::Interrupted)
        });
        assert!(matches!(failed, Err(Error::Interrupted)));
        assert!(!folder.path().join(format!("thing-{}", key.id())).exists());
        let resumed = Cell::new(false);
        store
            .ensure("thing", &key, |build| {
                resumed.set(build.work.join("objects").exists());
                assert!(
                    !build.out.join("product").exists(),
                    "half an output was kept"
                );
                write("whole")(build)
            })
            .unwrap();
        assert!(resumed.get());
        assert_eq!(
            std::fs::read_dir(folder.path().join("work"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn two_runs_at_once_build_it_once() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path()).unwrap();
        let builds = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (root, builds) = (folder.path().to_path_buf(), Arc::clone(&builds));
                std::thread::spawn(move || {
                    Store::new(root)
                        .ensure("thing", &Key::new(1), |build| {
                            builds.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(std::time::Duration::from_millis(150));
                            write("good")(build)
                        })
                        .unwrap()
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(
                std::fs::read(thread.join().unwrap().file("product")).unwrap(),
                b"good"
            );
        }
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    }
}
