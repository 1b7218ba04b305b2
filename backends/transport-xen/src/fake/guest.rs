//! Guest memory in a memfd. Granting, revoking, ballooning; and a record of what is mapped and of what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use vm_memory::{ByteValued, Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use xen::{GrantRef, PAGE_SIZE};

/// Pages of a guest.
pub(super) const PAGES: usize = 8192;
/// Every page is granted under its number plus this.
const FIRST_GRANT: u32 = 1000;
/// First frame of the guest's memory.
pub(super) const FIRST_FRAME: u64 = 0x4000_0000 / PAGE_SIZE as u64;
/// Escapes that are described; more are only counted.
const DESCRIBED: usize = 16;

/// How a driver names its memory to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// By grants.
    Grants,
    /// By guest physical addresses.
    Physical,
}

impl Addressing {
    /// The address of the guest's byte `at`.
    pub fn of(self, at: u64) -> u64 {
        match self {
            Addressing::Grants => (1 << 63) + u64::from(FIRST_GRANT) * PAGE_SIZE as u64 + at,
            Addressing::Physical => FIRST_FRAME * PAGE_SIZE as u64 + at,
        }
    }
}

/// What Xen was asked for, and what the guest did with its pages.
#[derive(Default)]
pub(super) struct State {
    /// Granted to nobody.
    revoked: BTreeSet<u32>,
    /// Granted to another domain than the backend's.
    elsewhere: BTreeSet<u32>,
    read_only: BTreeSet<u32>,
    pub(super) ballooned: BTreeSet<u64>,
    /// Mappings now, by page of the guest.
    pub(super) mapped: BTreeMap<usize, usize>,
    pub(super) interrupts: BTreeMap<u32, u64>,
    pub(super) small_pages_only: bool,
    escapes: u64,
    described: Vec<String>,
}

/// A guest as its backend sees it: memory, grants, interrupts.
pub struct FakeGuest {
    pub(super) file: File,
    pub(super) memory: GuestMemoryMmap<()>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Grant copy calls so far.
    pub copy_calls: AtomicU64,
    /// Mapping calls so far.
    pub map_calls: AtomicU64,
}

impl FakeGuest {
    /// A guest whose pages are all granted for writing, and hold zeros.
    pub fn new() -> Arc<Self> {
        let file: File = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC)
            .unwrap()
            .into();
        let size = PAGES * PAGE_SIZE;
        file.set_len(size as u64).unwrap();
        let backing = FileOffset::new(file.try_clone().unwrap(), 0);
        let memory =
            GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), size, Some(backing))])
                .unwrap();
        Arc::new(FakeGuest {
            file,
            memory,
            state: Mutex::default(),
            changed: Condvar::new(),
            copy_calls: AtomicU64::new(0),
            map_calls: AtomicU64::new(0),
        })
    }

    /// Memory in KiB.
    pub const MEMORY_KIB: u64 = (PAGES * PAGE_SIZE / 1024) as u64;

    /// What lies right before, behind and in the holes of each mapping: nobody may read or change it.
    pub const SECRET: u64 = 0x5ec4_e7a5_0b5e_55ed;

    /// Writes a value into guest memory.
    pub fn put<T: ByteValued>(&self, value: T, at: u64) {
        self.memory.write_obj(value, GuestAddress(at)).unwrap();
    }

    /// Reads a value from guest memory.
    pub fn get<T: ByteValued>(&self, at: u64) -> T {
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    /// As [`FakeGuest::put`], ordered after everything before it.
    pub fn publish(&self, value: u16, at: u64) {
        self.memory
            .store(value, GuestAddress(at), Ordering::SeqCst)
            .unwrap();
    }

    /// As [`FakeGuest::get`], ordered before everything after it.
    pub fn observe(&self, at: u64) -> u16 {
        self.memory
            .load(GuestAddress(at), Ordering::SeqCst)
            .unwrap()
    }

    /// Writes bytes into guest memory.
    pub fn write(&self, bytes: &[u8], at: u64) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Reads bytes from guest memory.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    /// Whether the guest's memory holds a word of [`FakeGuest::SECRET`].
    pub fn knows_the_secret(&self) -> bool {
        holds_secret(&self.file)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Ends access to the page at `at`.
    pub fn revoke(&self, at: u64) {
        self.change(|state| state.revoked.insert(grant_at(at)));
    }

    /// Lets the page at `at` be read only.
    pub fn make_read_only(&self, at: u64) {
        self.change(|state| state.read_only.insert(grant_at(at)));
    }

    /// Grants the page at `at` to a domain that is not the backend's.
    pub fn grant_elsewhere(&self, at: u64) {
        self.change(|state| state.elsewhere.insert(grant_at(at)));
    }

    /// Grants the page at `at` as it was at first: to the backend, for writing.
    pub fn grant_again(&self, at: u64) {
        self.change(|state| {
            let grant = grant_at(at);
            state.revoked.remove(&grant);
            state.read_only.remove(&grant);
            state.elsewhere.remove(&grant);
        });
    }

    /// Gives the page at `at` back to Xen.
    pub fn balloon_out(&self, at: u64) {
        self.change(|state| state.ballooned.insert(frame_at(at)));
    }

    /// Takes a page at `at` again.
    pub fn balloon_in(&self, at: u64) {
        self.change(|state| state.ballooned.remove(&frame_at(at)));
    }

    /// Every page is there and granted as at first.
    pub fn restore(&self) {
        self.change(|state| {
            state.revoked.clear();
            state.read_only.clear();
            state.elsewhere.clear();
            state.ballooned.clear();
        });
    }

    /// Makes the backend's kernel one with large pages, which maps no batches.
    pub fn use_large_kernel_pages(&self) {
        self.change(|state| state.small_pages_only = true);
    }

    /// Pages of the guest that are mapped by the backend now, grants and foreign.
    pub fn mapped_pages(&self) -> usize {
        self.change(|state| state.mapped.len())
    }

    /// Whether the page at `at` is mapped by the backend now.
    pub fn is_mapped(&self, at: u64) -> bool {
        self.change(|state| state.mapped.contains_key(&(at as usize / PAGE_SIZE)))
    }

    /// Interrupts raised so far.
    pub fn interrupts(&self, irq: u32) -> u64 {
        self.change(|state| state.interrupts.get(&irq).copied().unwrap_or(0))
    }

    /// Notes that the backend went beyond what it may.
    pub(super) fn escape(&self, what: impl FnOnce() -> String) {
        self.change(|state| {
            state.escapes += 1;
            if state.described.len() < DESCRIBED {
                state.described.push(what());
            }
        });
    }

    /// How often the backend went beyond what it may, and the first cases in words.
    pub fn escapes(&self) -> (u64, Vec<String>) {
        self.change(|state| (state.escapes, state.described.clone()))
    }

    /// Waits until something makes `done` true, looking after each interrupt; false when `limit` is over.
    pub fn wait_for(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !done() {
            if Instant::now() >= deadline {
                return false;
            }
            let state = self.state.lock().unwrap();
            drop(
                self.changed
                    .wait_timeout(state, Duration::from_millis(2))
                    .unwrap(),
            );
        }
        true
    }

    /// Waits until more than `seen` interrupts came or `done` is true; false when `limit` is over. No interrupt that
    /// comes in between is missed; `done` must ask nothing of this guest but its memory.
    pub fn wait_interrupt(
        &self,
        irq: u32,
        seen: u64,
        limit: Duration,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        let state = self.state.lock().unwrap();
        let waits =
            |state: &mut State| state.interrupts.get(&irq).is_none_or(|&n| n <= seen) && !done();
        let (_state, timeout) = self
            .changed
            .wait_timeout_while(state, limit, waits)
            .unwrap();
        !timeout.timed_out()
    }

    /// Waits until something makes `done` true, looking after each interrupt.
    pub fn wait_until(&self, what: &str, done: impl FnMut() -> bool) {
        assert!(
            self.wait_for(Duration::from_secs(10), done),
            "waited in vain for {what}"
        );
    }

    /// The page that Xen finds for a grant of the backend.
    pub(super) fn page_of(&self, grant: GrantRef, write: bool) -> Option<usize> {
        let state = self.state.lock().unwrap();
        let page = grant.0.checked_sub(FIRST_GRANT)? as usize;
        let withheld = page >= PAGES
            || state.revoked.contains(&grant.0)
            || state.elsewhere.contains(&grant.0)
            || (write && state.read_only.contains(&grant.0));
        (!withheld).then_some(page)
    }
}

fn grant_at(at: u64) -> u32 {
    FIRST_GRANT + (at / PAGE_SIZE as u64) as u32
}

fn frame_at(at: u64) -> u64 {
    FIRST_FRAME + at / PAGE_SIZE as u64
}

/// Whether a file holds a word of [`FakeGuest::SECRET`], at any place. Only the parts that were written are read.
pub fn holds_secret(file: &File) -> bool {
    use rustix::fs::{SeekFrom, seek};
    use std::os::unix::fs::FileExt;
    const PIECE: u64 = 1 << 20;
    let secret = FakeGuest::SECRET.to_ne_bytes();
    let mut at = 0;
    let mut piece = Vec::new();
    while let Ok(start) = seek(file, SeekFrom::Data(at)) {
        let end = seek(file, SeekFrom::Hole(start)).unwrap_or(start + PIECE);
        at = end.min(start + PIECE);
        piece.resize((at - start) as usize, 0);
        if file.read_exact_at(&mut piece, start).is_err() {
            return false;
        }
        if piece.windows(8).any(|window| window == secret) {
            return true;
        }
    }
    false
}
