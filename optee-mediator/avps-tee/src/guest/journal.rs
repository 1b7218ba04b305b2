//! What a guest has registered, kept for the next life of this program.
//!
//! A guest's driver registers memory once and uses it for as long as it runs; it would never learn that somebody has forgotten it.
//! So each registration, and that it takes notifications, is a line in a file below `/run`, which goes with the domain. Only places
//! in the guest's own memory stand there: wrong ones can hurt nobody but the guest.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use optee_abi::ShmRef;
use serde::{Deserialize, Serialize};
use xen::{DomId, Pfn};

/// Bytes of lines that are no longer true and may stay before the file is rewritten; beyond that, as many as those of lines that
/// are. What is true is bounded by what the guest may share: a run of frames has at least a page.
const SLACK: u64 = 16 * 1024;

/// Where memory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Of the first byte in the first page.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) size: u64,
    /// Runs of frames: the first, and how many.
    runs: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// Whose file it is: its domain's UUID.
    Of(String),
    Register(u64, Kept),
    Forget(u64),
    Notify(bool),
}

/// What a file says.
#[derive(Debug, Default)]
struct Content {
    kept: BTreeMap<u64, Kept>,
    notify: bool,
}

/// The file of one guest.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    of: String,
    file: File,
    content: Content,
    /// Bytes in the file.
    bytes: u64,
    /// Bytes there that are true: of each registration.
    live: BTreeMap<u64, u64>,
}

impl Kept {
    /// Memory in these frames.
    pub(super) fn new(offset: u64, size: u64, frames: &[Pfn]) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for Pfn(frame) in frames {
            match runs.last_mut() {
                Some((first, count)) if first.checked_add(*count) == Some(*frame) => {
                    *count = count.saturating_add(1);
                }
                _ => runs.push((*frame, 1)),
            }
        }
        Self { offset, size, runs }
    }

    /// The frames, at most so many.
    pub(super) fn frames(&self, most: usize) -> Vec<Pfn> {
        let runs = self.runs.iter();
        runs.flat_map(|(first, count)| *first..first.saturating_add(*count))
            .take(most)
            .map(Pfn)
            .collect()
    }
}

impl Journal {
    /// Opens a guest's file; what an earlier life of this program left there, if it was of the same domain.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(super) fn open(folder: &Path, domid: DomId, of: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{domid}.journal"));
        let content = match File::open(&path) {
            Ok(file) => read(file, of),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(error),
        };
        let written = write(&path, of, &content)?;
        Ok(Self {
            path,
            of: of.to_owned(),
            file: written.file,
            content,
            bytes: written.bytes,
            live: written.live,
        })
    }

    /// What is registered.
    pub(super) fn kept(&self) -> Vec<(ShmRef, Kept)> {
        let kept = self.content.kept.iter();
        kept.map(|(shm_ref, kept)| (ShmRef(*shm_ref), kept.clone()))
            .collect()
    }

    /// Memory was registered.
    ///
    /// # Errors
    /// It could not be written down.
    pub(super) fn register(&mut self, shm_ref: ShmRef, kept: Kept) -> io::Result<()> {
        self.content.kept.insert(shm_ref.0, kept.clone());
        let line = text(&Line::Register(shm_ref.0, kept))?;
        self.live.insert(shm_ref.0, length(&line));
        self.append(&line)
    }

    /// It is not any more.
    ///
    /// # Errors
    /// As [`Journal::register`].
    pub(super) fn forget(&mut self, shm_ref: ShmRef) -> io::Result<()> {
        self.content.kept.remove(&shm_ref.0);
        self.live.remove(&shm_ref.0);
        self.append(&text(&Line::Forget(shm_ref.0))?)
    }

    /// The guest takes notifications.
    pub(super) fn notifies(&self) -> bool {
        self.content.notify
    }

    /// It does from now on, or does not any more.
    ///
    /// # Errors
    /// As [`Journal::register`].
    pub(super) fn notify(&mut self, taken: bool) -> io::Result<()> {
        if self.content.notify == taken {
            return Ok(());
        }
        self.content.notify = taken;
        self.append(&text(&Line::Notify(taken))?)
    }

    /// The domain is gone.
    pub(super) fn remove(&self) {
        // Another one that gets this number rewrites it.
        let _ = fs::remove_file(&self.path);
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let live = self.live.values().copied().fold(0, u64::saturating_add);
        let most = live.saturating_mul(2).saturating_add(SLACK);
        if self.bytes.saturating_add(length(line)) > most {
            let written = write(&self.path, &self.of, &self.content)?;
            (self.file, self.bytes, self.live) = (written.file, written.bytes, written.live);
            return Ok(());
        }
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(length(line));
        Ok(())
    }
}

fn length(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

fn text(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

/// The last line may be half: this program may have died while it wrote it. Then the call that brought it was not answered.
fn read(file: File, of: &str) -> Content {
    let mut content = Content::default();
    let mut ours = false;
    for line in BufReader::new(file).lines() {
        let Some(line) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else {
            break;
        };
        match line {
            Line::Of(found) => ours = found == of,
            _ if !ours => break,
            Line::Register(shm_ref, memory) => drop(content.kept.insert(shm_ref, memory)),
            Line::Forget(shm_ref) => drop(content.kept.remove(&shm_ref)),
            Line::Notify(taken) => content.notify = taken,
        }
    }
    content
}

/// A file that was rewritten.
struct Written {
    file: File,
    bytes: u64,
    /// Bytes of each registration.
    live: BTreeMap<u64, u64>,
}

/// Rewrites the file, whole or not at all.
fn write(path: &Path, of: &str, content: &Content) -> io::Result<Written> {
    let unfinished = path.with_extension("part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    let mut all = text(&Line::Of(of.to_owned()))?;
    if content.notify {
        all.extend(text(&Line::Notify(true))?);
    }
    let mut live = BTreeMap::new();
    for (shm_ref, memory) in &content.kept {
        let line = text(&Line::Register(*shm_ref, memory.clone()))?;
        live.insert(*shm_ref, length(&line));
        all.extend(line);
    }
    file.write_all(&all)?;
    fs::rename(&unfinished, path)?;
    let bytes = length(&all);
    Ok(Written { file, bytes, live })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOMID: DomId = DomId::DOM0;

    fn memory(first: u64) -> Kept {
        Kept::new(16, 8192, &[Pfn(first), Pfn(first + 1), Pfn(first + 9)])
    }

    #[test]
    fn the_next_life_finds_what_was_registered_and_nothing_of_another_domain() {
        let folder = tempfile::tempdir().unwrap();
        let open = |of: &str| Journal::open(folder.path(), DOMID, of).unwrap();
        let mut journal = open("one");
        journal.register(ShmRef(7), memory(100)).unwrap();
        journal.register(ShmRef(8), memory(200)).unwrap();
        journal.forget(ShmRef(7)).unwrap();
        drop(journal);
        assert_eq!(open("one").kept(), [(ShmRef(8), memory(200))]);
        assert_eq!(open("two").kept(), []);
        let journal = open("two");
        journal.remove();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_line_that_was_not_finished_is_no_registration() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), DOMID, "one").unwrap();
        journal.register(ShmRef(7), memory(100)).unwrap();
        journal.file.write_all(b"{\"register\":[8,{\"off").unwrap();
        drop(journal);
        let journal = Journal::open(folder.path(), DOMID, "one").unwrap();
        assert_eq!(journal.kept(), [(ShmRef(7), memory(100))]);
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), DOMID, "one").unwrap();
        for number in 0..5000 {
            journal.register(ShmRef(number), memory(number)).unwrap();
            journal.forget(ShmRef(number)).unwrap();
        }
        journal.register(ShmRef(1), memory(1)).unwrap();
        let length = fs::metadata(&journal.path).unwrap().len();
        assert!(length < 64 * 1024, "{length}");
        drop(journal);
        let journal = Journal::open(folder.path(), DOMID, "one").unwrap();
        assert_eq!(journal.kept().len(), 1);
    }

    proptest! {
        #[test]
        fn frames_come_back_in_their_order(frames in prop::collection::vec(0_u64..20, 0..40)) {
            let frames: Vec<Pfn> = frames.into_iter().map(Pfn).collect();
            let kept = Kept::new(0, 1, &frames);
            prop_assert_eq!(kept.frames(usize::MAX), frames.clone());
            prop_assert!(kept.frames(3).len() <= 3);
        }
    }
}
