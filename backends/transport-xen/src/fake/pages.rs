//! Mappings of guest pages, with forbidden pages around them.

use std::sync::Arc;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use xen::{Access, PAGE_SIZE};

use super::guest::FakeGuest;
use crate::xen_side::HostPages;

/// Kept free of ordinary files' errno.
pub(super) const EINVAL: i32 = 22;
const WORDS: usize = PAGE_SIZE / 8;

/// Mapped pages, one behind the other. Before the first, behind the last and where a page is missing lie pages full of
/// [`FakeGuest::SECRET`]: a write there is found when they are unmapped, a read when the secret shows up elsewhere.
pub(super) struct FakePages {
    /// Of the forbidden page before the first one.
    start: *mut u8,
    pages: Vec<Option<usize>>,
    errors: Vec<i32>,
    guest: Arc<FakeGuest>,
}

// SAFETY: the pointer is to a mapping that belongs to this value alone.
unsafe impl Send for FakePages {}
// SAFETY: as above; users go through volatile accesses.
unsafe impl Sync for FakePages {}

impl FakePages {
    pub(super) fn map(
        guest: &Arc<FakeGuest>,
        pages: &[Option<usize>],
        access: Access,
    ) -> Box<dyn HostPages> {
        let protection = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a fresh reservation that nobody else uses.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                (pages.len() + 2) * PAGE_SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .unwrap();
        for (first, page, count) in runs(pages) {
            // SAFETY: replaces pages of the reservation above.
            unsafe {
                mmap(
                    start.byte_add((first + 1) * PAGE_SIZE),
                    count * PAGE_SIZE,
                    protection,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &guest.file,
                    (page * PAGE_SIZE) as u64,
                )
            }
            .unwrap();
        }
        let errors = pages
            .iter()
            .map(|page| if page.is_some() { 0 } else { -EINVAL })
            .collect();
        let mapped = FakePages {
            start: start.cast(),
            pages: pages.to_vec(),
            errors,
            guest: Arc::clone(guest),
        };
        for index in mapped.forbidden() {
            let words = mapped.words(index);
            for word in 0..WORDS {
                // SAFETY: the page is part of the reservation, and nobody else knows it yet.
                unsafe { words.add(word).write_volatile(FakeGuest::SECRET) };
            }
        }
        let mut state = guest.state.lock().unwrap();
        for page in pages.iter().flatten() {
            *state.mapped.entry(*page).or_default() += 1;
        }
        Box::new(mapped)
    }

    /// Indices in the reservation of what is no page of the guest.
    fn forbidden(&self) -> impl Iterator<Item = usize> + '_ {
        let holes = self.pages.iter().enumerate();
        let holes = holes.filter_map(|(index, page)| page.is_none().then_some(index + 1));
        [0, self.pages.len() + 1].into_iter().chain(holes)
    }

    fn words(&self, index: usize) -> *mut u64 {
        self.start.wrapping_add(index * PAGE_SIZE).cast()
    }
}

/// Pages that follow each other on both sides: index of the first, its page, how many.
fn runs(pages: &[Option<usize>]) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        let Some(page) = *page else { continue };
        match runs.last_mut() {
            Some((first, start, count)) if *first + *count == index && *start + *count == page => {
                *count += 1;
            }
            _ => runs.push((index, page, 1)),
        }
    }
    runs
}

impl HostPages for FakePages {
    fn as_ptr(&self) -> *mut u8 {
        self.start.wrapping_add(PAGE_SIZE)
    }

    fn len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    fn errors(&self) -> &[i32] {
        &self.errors
    }

    fn unmap(self: Box<Self>) -> xen::Result<()> {
        Ok(())
    }
}

impl Drop for FakePages {
    fn drop(&mut self) {
        for index in self.forbidden() {
            let words = self.words(index);
            // SAFETY: the page is part of the reservation, which is still there.
            let kept = |word: usize| unsafe { words.add(word).read_volatile() };
            if (0..WORDS).any(|word| kept(word) != FakeGuest::SECRET) {
                self.guest
                    .escape(|| format!("a write beyond a mapping of {} pages", self.pages.len()));
            }
        }
        let len = (self.pages.len() + 2) * PAGE_SIZE;
        // SAFETY: the mapping is this value's own, and it is being dropped.
        unsafe { munmap(self.start.cast(), len) }.unwrap();
        let mut state = self.guest.state.lock().unwrap();
        for page in self.pages.iter().flatten() {
            let count = state.mapped.get_mut(page).unwrap();
            *count -= 1;
            if *count == 0 {
                state.mapped.remove(page);
            }
        }
    }
}
