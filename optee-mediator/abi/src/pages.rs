//! Lists of pages: how a guest says where memory is that is not in one piece (optee_msg.h, `OPTEE_MSG_ATTR_NONCONTIG`).
//!
//! A list is made of pages in the guest's memory, each of 511 addresses and the address of the next one. The caller
//! copies one of them at a time ([`PageList::wanted`], [`PageList::feed`]), each exactly once, and gets addresses of
//! pages, of which nothing more is known than that they are multiples of the page size. How many there are follows from
//! the memory's size alone, so a list that leads back into itself ends like any other. The same page may come twice.

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::ids::Ipa;
use crate::limits::{LIST_ENTRIES, LIST_ENTRY_LEN, PAGE_SIZE};
use crate::message::{Memory, Place};

/// A list that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageList {
    /// The page of the list to be read next.
    next: Ipa,
    /// Pages of memory that the list has yet to name.
    remaining: u64,
    pages: u64,
    offset: u64,
    size: u64,
}

/// Which bytes of the guest's to copy next: within one page, not more than a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The first byte, the start of a page.
    pub address: Ipa,
    /// How many.
    pub len: usize,
}

/// Why a list is none. The guest gets `BAD_PARAMETERS` (core/tee/entry_std.c, core/kernel/msg_param.c), or
/// `OUT_OF_MEMORY` for [`PageListError::TooMany`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageListError {
    /// It is in one piece.
    #[error("memory without a list")]
    Contiguous,
    /// No bytes.
    #[error("a list of pages for no bytes")]
    Empty,
    /// Its end overflows.
    #[error("{size} bytes from offset {offset} of a page on wrap around")]
    Wraps {
        /// Offset in the first page.
        offset: u64,
        /// Size in bytes.
        size: u64,
    },
    /// More pages than allowed.
    #[error("a list of {pages} pages where {max} are allowed")]
    TooMany {
        /// How many.
        pages: u64,
        /// How many could be.
        max: u64,
    },
    /// An address that is no page's.
    #[error("{address:#x} in a list of pages is not the start of a page")]
    Unaligned {
        /// The address.
        address: u64,
    },
    /// The address of the list's next page is no page's.
    #[error("a list of pages goes on at {address:#x}, which is not the start of a page")]
    Link {
        /// The address.
        address: u64,
    },
    /// Fewer bytes than [`PageList::wanted`].
    #[error("a copy of {given} bytes of a list instead of {wanted}")]
    Short {
        /// Bytes there are.
        given: usize,
        /// Bytes there should be.
        wanted: usize,
    },
    /// All pages are known.
    #[error("more of a list than there is")]
    Done,
}

impl PageList {
    /// The list of `size` bytes of memory whose start is given as the protocol does: page and offset of `start` are the
    /// list's page and the memory's offset in its own first page. `max_pages` is what the caller allows.
    pub fn new(start: Ipa, size: u64, max_pages: u64) -> Result<PageList, PageListError> {
        let offset = start.offset();
        if size == 0 {
            return Err(PageListError::Empty);
        }
        let end = offset
            .checked_add(size)
            .ok_or(PageListError::Wraps { offset, size })?;
        let pages = end.div_ceil(PAGE_SIZE);
        if pages > max_pages {
            let max = max_pages;
            return Err(PageListError::TooMany { pages, max });
        }
        Ok(PageList {
            next: start.page(),
            remaining: pages,
            pages,
            offset,
            size,
        })
    }

    /// The list of this memory.
    pub fn of(memory: &Memory, max_pages: u64) -> Result<PageList, PageListError> {
        match memory.place {
            Place::List(start) => PageList::new(start, memory.size, max_pages),
            Place::Contiguous(_) => Err(PageListError::Contiguous),
        }
    }

    /// How many pages the memory has in all: as many addresses come of the list.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Where in the first of them the memory starts, in bytes.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Size of the memory in bytes. It fills the pages but for `offset` bytes before and less than a page behind.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What to copy next; `None` once all pages are known. Of the list's last page that is only what is used.
    pub fn wanted(&self) -> Option<Wanted> {
        let bytes = match self.remaining {
            0 => return None,
            1..=LIST_ENTRIES => self.remaining.saturating_mul(LIST_ENTRY_LEN),
            _ => PAGE_SIZE,
        };
        // At most a page.
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        let address = self.next;
        Some(Wanted { address, len })
    }

    /// Takes a private copy of what was wanted, checks all of it, and tells the pages it names. More bytes do not
    /// matter. After an error the list is as it was.
    pub fn feed<'a>(
        &mut self,
        copy: &'a [u8],
    ) -> Result<impl ExactSizeIterator<Item = Ipa> + use<'a>, PageListError> {
        let wanted = self.wanted().ok_or(PageListError::Done)?.len;
        let given = copy.len();
        let short = PageListError::Short { given, wanted };
        let here = self.remaining.min(LIST_ENTRIES);
        // At most 511.
        let count = usize::try_from(here).unwrap_or(usize::MAX);
        let (entries, rest) =
            <[U64]>::ref_from_prefix_with_elems(copy, count).map_err(|_| short)?;
        for address in entries.iter().map(|entry| entry.get()) {
            if !Ipa(address).is_page_aligned() {
                return Err(PageListError::Unaligned { address });
            }
        }
        let remaining = self.remaining.saturating_sub(here);
        // Linux links to a page behind the list's last one when that is full (drivers/tee/optee/smc_abi.c,
        // `optee_fill_pages_list`), so the link counts only when there is more to come.
        if remaining > 0 {
            let (link, _) = U64::ref_from_prefix(rest).map_err(|_| short)?;
            let address = link.get();
            if !Ipa(address).is_page_aligned() {
                return Err(PageListError::Link { address });
            }
            self.next = Ipa(address);
        }
        self.remaining = remaining;
        Ok(entries.iter().map(|entry| Ipa(entry.get())))
    }
}
