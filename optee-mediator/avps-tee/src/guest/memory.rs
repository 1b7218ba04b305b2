//! Memory that a guest shares: mapped once when it is registered, or for one call, and copied from and to in calls. All of it is
//! charged to what the guest may share, for as long as it is mapped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

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
    /// None of single pages: messages, lists and requests, of which there are few.
    _charge: Option<Charge>,
}

/// Pages that are charged to what a guest may share, until this is dropped.
#[derive(Debug)]
struct Charge {
    used: Arc<AtomicU64>,
    pages: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.pages, Ordering::SeqCst);
    }
}

/// Memory that a guest shares for one call.
#[derive(Debug)]
pub(super) struct Temporary<'a> {
    memory: &'a GuestShared,
    key: u64,
    /// Gone when the guest is: nothing keeps its pages while the secure world works.
    pub(super) region: Weak<Region>,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let region = self.memory.lock().temporary.remove(&self.key);
        // Unmapped once the lock is free.
        drop(region);
    }
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
    /// Nobody waits for the answer.
    #[error("memory of a guest that has ended")]
    Ended,
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

/// What a guest shares.
#[derive(Debug)]
pub(crate) struct GuestShared {
    guest: Box<dyn GuestMemory>,
    /// Pages that are charged.
    used: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    regions: HashMap<ShmRef, Arc<Region>>,
    /// For calls that are under way.
    temporary: HashMap<u64, Arc<Region>>,
    next: u64,
    journal: Option<Journal>,
    ended: bool,
}

impl GuestShared {
    /// What the journal kept, as far as it is still there.
    pub(super) fn new(guest: Box<dyn GuestMemory>, journal: Journal) -> Self {
        let this = Self {
            guest,
            used: Arc::default(),
            state: Mutex::default(),
        };
        let mut state = State::default();
        for (shm_ref, kept) in journal.kept() {
            let pages = kept.offset.saturating_add(kept.size).div_ceil(PAGE_SIZE);
            let frames = kept.frames(usize::try_from(pages).unwrap_or(usize::MAX));
            // It was within the limit when it was registered.
            match this.region(&frames, kept.offset, kept.size, u64::MAX) {
                Ok(region) => drop(state.regions.insert(shm_ref, Arc::new(region))),
                Err(error) => tracing::debug!("registered before: {error}"),
            }
        }
        state.journal = Some(journal);
        *this.lock() = state;
        this
    }

    /// Maps and keeps memory.
    pub(super) fn register(&self, memory: &Described, limit: u64) -> Result<(), MemoryError> {
        let (frames, offset) = self.frames(memory, self.left(limit), limit)?;
        let region = Arc::new(self.region(&frames, offset, memory.size, limit)?);
        let mut state = self.open()?;
        if state.regions.contains_key(&memory.shm_ref) {
            return Err(MemoryError::Reference("taken"));
        }
        state.regions.insert(memory.shm_ref, region);
        let kept = Kept::new(offset, memory.size, &frames);
        state.note(|journal| journal.register(memory.shm_ref, kept));
        Ok(())
    }

    /// Forgets memory; it stays until calls that use it have ended.
    pub(super) fn unregister(&self, shm_ref: ShmRef) -> Result<(), MemoryError> {
        let mut state = self.lock();
        let region = state.regions.remove(&shm_ref);
        region.ok_or(MemoryError::Reference("unknown"))?;
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

    /// Forgets everything, and takes nothing more; `for_good` when the domain is gone.
    pub(super) fn clear(&self, for_good: bool) {
        let last = State {
            ended: true,
            ..State::default()
        };
        let all = std::mem::replace(&mut *self.lock(), last);
        if let Some(journal) = all.journal.as_ref().filter(|_| for_good) {
            journal.remove();
        }
    }

    /// How many pieces are registered, and the bytes of all that is shared.
    pub(super) fn totals(&self) -> (usize, u64) {
        let bytes = self.used.load(Ordering::SeqCst).saturating_mul(PAGE_SIZE);
        (self.lock().regions.len(), bytes)
    }

    /// Maps memory for as long as the caller keeps it.
    pub(super) fn map(&self, memory: &Described, limit: u64) -> Result<Temporary<'_>, MemoryError> {
        let (frames, offset) = self.frames(memory, self.left(limit), limit)?;
        let region = Arc::new(self.region(&frames, offset, memory.size, limit)?);
        let weak = Arc::downgrade(&region);
        let mut state = self.open()?;
        let key = state.next;
        state.next = key.wrapping_add(1);
        state.temporary.insert(key, region);
        Ok(Temporary {
            memory: self,
            key,
            region: weak,
        })
    }

    /// Pages that the guest may still share.
    fn left(&self, limit: u64) -> u64 {
        (limit / PAGE_SIZE).saturating_sub(self.used.load(Ordering::SeqCst))
    }

    /// Charges so many pages.
    fn charge(&self, pages: u64, limit: u64) -> Result<Charge, MemoryError> {
        let more = |used: u64| {
            let used = used.checked_add(pages)?;
            (used <= limit / PAGE_SIZE).then_some(used)
        };
        let charged = self
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        charged.map_err(|_| Denied::Memory(limit))?;
        Ok(Charge {
            used: Arc::clone(&self.used),
            pages,
        })
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

    /// Maps memory that is charged.
    fn region(
        &self,
        frames: &[Pfn],
        offset: u64,
        size: u64,
        limit: u64,
    ) -> Result<Region, MemoryError> {
        let pages = u64::try_from(frames.len()).unwrap_or(u64::MAX);
        let charge = self.charge(pages, limit)?;
        Ok(Region {
            mapping: self.map_frames(frames, size)?,
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            size,
            _charge: Some(charge),
        })
    }

    /// A page that a call names by its address.
    pub(super) fn page(&self, address: Ipa) -> Result<Region, MemoryError> {
        let mapping = self.map_frames(&[Pfn(address.page().0 / PAGE_SIZE)], PAGE_SIZE)?;
        Ok(Region {
            mapping,
            offset: 0,
            size: PAGE_SIZE,
            _charge: None,
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

    /// The state, unless the guest has ended.
    fn open(&self) -> Result<MutexGuard<'_, State>, MemoryError> {
        let state = self.lock();
        if state.ended {
            return Err(MemoryError::Ended);
        }
        Ok(state)
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
