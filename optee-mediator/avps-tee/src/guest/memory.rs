//! Memory that a guest shares: mapped once when it is registered, copied from and to in calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use optee_abi::limits::PAGE_SIZE;
use optee_abi::message::{Memory as Described, Place};
use optee_abi::{Ipa, PageList, ShmRef, TeeResult};
use rustix::io::Errno;
use xen::Pfn;

use super::journal::{Journal, Kept};
use crate::rights::Denied;
use crate::world::{GuestMemory, Pages};

/// Memory of a guest, in one piece here.
#[derive(Debug)]
pub(crate) struct Region {
    mapping: Box<dyn Pages>,
    /// Of its first byte in the first page.
    offset: usize,
    /// Bytes.
    pub(super) size: u64,
}

impl Region {
    /// Copies bytes from `offset` on out; false beyond its end.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> bool {
        self.place(offset, bytes.len())
            .is_some_and(|place| self.mapping.read(place, bytes))
    }

    /// Copies bytes in; false beyond its end.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        self.place(offset, bytes.len())
            .is_some_and(|place| self.mapping.write(place, bytes))
    }

    fn place(&self, offset: u64, length: usize) -> Option<usize> {
        let end = offset.checked_add(u64::try_from(length).ok()?)?;
        if end > self.size {
            return None;
        }
        self.offset.checked_add(usize::try_from(offset).ok()?)
    }

    fn pages(&self) -> u64 {
        u64::try_from(self.mapping.len()).unwrap_or(u64::MAX) / PAGE_SIZE
    }
}

/// Why memory cannot be shared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    /// More than the guest may.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It is not where the guest says.
    #[error("memory to share of {size} bytes that is not there: {source}")]
    NotThere {
        /// Bytes.
        size: u64,
        /// What Xen or the kernel said.
        source: xen::Error,
    },
    /// A list that is none.
    #[error("{0}")]
    List(optee_abi::pages::PageListError),
    /// A reference that is taken, or unknown.
    #[error("a reference to shared memory that is {0}")]
    Reference(&'static str),
}

impl MemoryError {
    /// What the guest is told.
    pub(super) fn result(&self) -> TeeResult {
        match self {
            Self::Denied(_) => TeeResult::OUT_OF_MEMORY,
            Self::NotThere { source, .. }
                if source.errno() == Some(Errno::NOMEM.raw_os_error()) =>
            {
                TeeResult::OUT_OF_MEMORY
            }
            _ => TeeResult::BAD_PARAMETERS,
        }
    }
}

/// What a guest has registered.
#[derive(Debug)]
pub(crate) struct Registered {
    guest: Box<dyn GuestMemory>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    regions: HashMap<ShmRef, Arc<Region>>,
    pages: u64,
    journal: Option<Journal>,
}

impl Registered {
    /// What the journal kept, as far as it is still there.
    pub(super) fn new(guest: Box<dyn GuestMemory>, journal: Journal) -> Self {
        let this = Self {
            guest,
            state: Mutex::default(),
        };
        let mut state = State::default();
        for (shm_ref, kept) in journal.kept() {
            let pages = kept.offset.saturating_add(kept.size).div_ceil(PAGE_SIZE);
            let frames = kept.frames(usize::try_from(pages).unwrap_or(usize::MAX));
            match this.region(&frames, kept.offset, kept.size) {
                Ok(region) => {
                    state.pages = state.pages.saturating_add(region.pages());
                    state.regions.insert(shm_ref, Arc::new(region));
                }
                Err(error) => tracing::debug!("registered before: {error}"),
            }
        }
        state.journal = Some(journal);
        *this.lock() = state;
        this
    }

    /// Maps and keeps memory.
    pub(super) fn register(&self, memory: &Described, limit: u64) -> Result<(), MemoryError> {
        let used = self.lock().pages;
        let left = (limit / PAGE_SIZE).saturating_sub(used);
        let (frames, offset) = self.frames(memory, left, limit)?;
        let region = self.region(&frames, offset, memory.size)?;
        let mut state = self.lock();
        if state.regions.contains_key(&memory.shm_ref) {
            return Err(MemoryError::Reference("taken"));
        }
        let pages = state.pages.saturating_add(region.pages());
        // Another vCPU may have registered some meanwhile.
        if pages > limit / PAGE_SIZE {
            return Err(Denied::Memory(limit).into());
        }
        state.pages = pages;
        state.regions.insert(memory.shm_ref, Arc::new(region));
        let kept = Kept::new(offset, memory.size, &frames);
        state.note(|journal| journal.register(memory.shm_ref, kept));
        Ok(())
    }

    /// Forgets memory; it stays until calls that use it have ended.
    pub(super) fn unregister(&self, shm_ref: ShmRef) -> Result<(), MemoryError> {
        let mut state = self.lock();
        let region = state.regions.remove(&shm_ref);
        let region = region.ok_or(MemoryError::Reference("unknown"))?;
        state.pages = state.pages.saturating_sub(region.pages());
        state.note(|journal| journal.forget(shm_ref));
        Ok(())
    }

    /// Registered memory.
    pub(super) fn get(&self, shm_ref: ShmRef) -> Option<Arc<Region>> {
        self.lock().regions.get(&shm_ref).cloned()
    }

    /// Keeps whether the guest takes notifications.
    pub(super) fn notify(&self, taken: bool) {
        self.lock().note(|journal| journal.notify(taken));
    }

    /// Whether it did in an earlier life of this program.
    pub(super) fn notifies(&self) -> bool {
        let state = self.lock();
        state.journal.as_ref().is_some_and(Journal::notifies)
    }

    /// Forgets everything; `for_good` when the domain is gone.
    pub(super) fn clear(&self, for_good: bool) {
        let all = std::mem::take(&mut *self.lock());
        if let Some(journal) = all.journal.as_ref().filter(|_| for_good) {
            journal.remove();
        }
    }

    /// How many there are, and their bytes.
    pub(super) fn totals(&self) -> (usize, u64) {
        let state = self.lock();
        (state.regions.len(), state.pages.saturating_mul(PAGE_SIZE))
    }

    /// Maps memory for as long as the caller keeps it, at most `max_pages` pages.
    pub(super) fn map(
        &self,
        memory: &Described,
        max_pages: u64,
        limit: u64,
    ) -> Result<Region, MemoryError> {
        let (frames, offset) = self.frames(memory, max_pages, limit)?;
        self.region(&frames, offset, memory.size)
    }

    /// The frames of memory, and where in the first one it begins.
    fn frames(
        &self,
        memory: &Described,
        max_pages: u64,
        limit: u64,
    ) -> Result<(Vec<Pfn>, u64), MemoryError> {
        let too_much = || MemoryError::Denied(Denied::Memory(limit));
        match memory.place {
            Place::Contiguous(start) => {
                let end = start.offset().saturating_add(memory.size);
                let pages = end.div_ceil(PAGE_SIZE).max(1);
                if pages > max_pages {
                    return Err(too_much());
                }
                let first = start.page().0 / PAGE_SIZE;
                let frames = (first..first.saturating_add(pages)).map(Pfn).collect();
                Ok((frames, start.offset()))
            }
            Place::List(_) => {
                let list = PageList::of(memory, max_pages);
                let list = list.map_err(|error| match error {
                    optee_abi::pages::PageListError::TooMany { .. } => too_much(),
                    error => MemoryError::List(error),
                })?;
                let offset = list.offset();
                Ok((self.listed(list)?, offset))
            }
        }
    }

    fn region(&self, frames: &[Pfn], offset: u64, size: u64) -> Result<Region, MemoryError> {
        Ok(Region {
            mapping: self.map_frames(frames, size)?,
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            size,
        })
    }

    /// A page that a call names by its address.
    pub(super) fn page(&self, address: Ipa) -> Result<Region, MemoryError> {
        let mapping = self.map_frames(&[Pfn(address.page().0 / PAGE_SIZE)], PAGE_SIZE)?;
        Ok(Region {
            mapping,
            offset: 0,
            size: PAGE_SIZE,
        })
    }

    /// Follows a list; each of its pages is copied once.
    fn listed(&self, mut list: PageList) -> Result<Vec<Pfn>, MemoryError> {
        let mut frames = Vec::with_capacity(usize::try_from(list.pages()).unwrap_or(0));
        let mut copy = vec![0; PAGE_SIZE as usize];
        while let Some(wanted) = list.wanted() {
            let page = self.page(wanted.address)?;
            let bytes = copy.get_mut(..wanted.len).unwrap_or_default();
            if !page.read(0, bytes) {
                return Err(MemoryError::Reference("beyond its page"));
            }
            let named = list.feed(bytes).map_err(MemoryError::List)?;
            frames.extend(named.map(|address| Pfn(address.0 / PAGE_SIZE)));
        }
        Ok(frames)
    }

    fn map_frames(&self, frames: &[Pfn], size: u64) -> Result<Box<dyn Pages>, MemoryError> {
        let mapped = self.guest.map(frames);
        mapped.map_err(|source| MemoryError::NotThere { size, source })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl State {
    /// Writes down what happened. A full disk keeps nobody from working: without a journal, the next life of this program knows less.
    fn note(&mut self, write: impl FnOnce(&mut Journal) -> std::io::Result<()>) {
        if let Some(Err(error)) = self.journal.as_mut().map(write) {
            tracing::warn!("the journal cannot be written, and is given up: {error}");
            if let Some(journal) = self.journal.take() {
                journal.remove();
            }
        }
    }
}
