//! Lists of pages as Linux's driver makes them (drivers/tee/optee/smc_abi.c, `optee_fill_pages_list`), and others.

use crate::common::driver;
use optee_abi::message::{Memory, Place};
use optee_abi::pages::{PageListError, Wanted};
use optee_abi::{Ipa, PageList, ShmRef};
use proptest::prelude::*;

const AT: u64 = 0x8000_0000;

/// All pages of the list that starts at [`AT`], read out of memory that begins there.
fn read(mut list: PageList, memory: &[[u8; 4096]]) -> Result<Vec<u64>, PageListError> {
    let mut pages = Vec::new();
    while let Some(Wanted { address, len }) = list.wanted() {
        let nth = usize::try_from((address.0 - AT) / 4096).expect("a small memory");
        pages.extend(list.feed(&memory[nth][..len])?.map(|page| page.0));
    }
    Ok(pages)
}

fn scattered(count: u64) -> Vec<u64> {
    (0..count)
        .map(|n| 0x4000_0000 + (n * 7919 % 65536) * 4096)
        .collect()
}

#[test]
fn lists_of_linux_are_read_whatever_their_length() {
    // At 511 Linux links to a page behind its list, at 512 the list has a second page.
    for count in [1, 2, 510, 511, 512, 1021, 1022, 1023, 2000] {
        let pages = scattered(count);
        let memory = driver::page_list(AT, &pages);
        let list = PageList::new(Ipa(AT), count * 4096, count).expect("few enough");
        assert_eq!(list.pages(), count);
        assert_eq!(read(list, &memory), Ok(pages), "{count}");
    }
}

#[test]
fn only_what_is_used_of_a_list_is_wanted() {
    let wanted = |count: u64| {
        let list = PageList::new(Ipa(AT), count * 4096, u64::MAX).expect("few enough");
        list.wanted().map(|wanted| wanted.len)
    };
    assert_eq!(wanted(1), Some(8));
    assert_eq!(wanted(511), Some(4088));
    assert_eq!(wanted(512), Some(4096));
    assert_eq!(wanted(1 << 40), Some(4096));
}

#[test]
fn offset_and_size_say_how_many_pages_there_are() {
    let list = |offset, size| PageList::new(Ipa(AT + offset), size, 2);
    for (offset, size, pages) in [
        (0, 1, 1),
        (0, 4096, 1),
        (0, 4097, 2),
        (4095, 1, 1),
        (4095, 2, 2),
        (1, 4096, 2),
        (4095, 4097, 2),
    ] {
        let list = list(offset, size).expect("few enough");
        assert_eq!(list.pages(), pages);
        assert_eq!((list.offset(), list.size()), (offset, size));
        let start = list.wanted().map(|wanted| wanted.address);
        assert_eq!(start, Some(Ipa(AT)));
    }
    assert_eq!(list(0, 0), Err(PageListError::Empty));
    assert_eq!(list(5, 0), Err(PageListError::Empty));
    assert_eq!(
        list(4095, 4098),
        Err(PageListError::TooMany { pages: 3, max: 2 })
    );
    assert_eq!(
        list(0, u64::MAX),
        Err(PageListError::TooMany {
            pages: 1 << 52,
            max: 2
        })
    );
    assert_eq!(
        list(1, u64::MAX),
        Err(PageListError::Wraps {
            offset: 1,
            size: u64::MAX
        })
    );
}

#[test]
fn memory_in_one_piece_has_no_list() {
    let memory = |place| Memory {
        place,
        size: 1,
        shm_ref: ShmRef(0),
    };
    assert_eq!(
        PageList::of(&memory(Place::Contiguous(Ipa(AT))), 1),
        Err(PageListError::Contiguous)
    );
    assert_eq!(
        PageList::of(&memory(Place::List(Ipa(AT + 5))), 1),
        PageList::new(Ipa(AT + 5), 1, 1)
    );
}

#[test]
fn a_list_that_leads_back_into_itself_ends() {
    let mut memory = driver::page_list(AT, &scattered(511));
    memory[0][4088..].copy_from_slice(&AT.to_le_bytes());
    let list = PageList::new(Ipa(AT), 1300 * 4096, 2000).expect("few enough");
    let pages = read(list, &memory).expect("it is one");
    assert_eq!(pages.len(), 1300);
    assert_eq!(pages[..200], pages[1022..1222]);
}

#[test]
fn what_is_no_page_is_refused_and_the_list_stays_where_it_was() {
    let good = driver::page_list(AT, &scattered(600));
    let mut list = PageList::new(Ipa(AT), 600 * 4096, 600).expect("few enough");
    let before = list;
    for (at, error) in [
        (
            0,
            PageListError::Unaligned {
                address: 0x4000_0001,
            },
        ),
        (
            4080,
            PageListError::Unaligned {
                address: 0x4000_0001,
            },
        ),
        (
            4088,
            PageListError::Link {
                address: 0x4000_0001,
            },
        ),
    ] {
        let mut bad = good[0];
        bad[at..at + 8].copy_from_slice(&0x4000_0001_u64.to_le_bytes());
        assert_eq!(list.feed(&bad).map(|_| ()), Err(error));
        assert_eq!(list, before);
    }
    assert_eq!(
        list.feed(&good[0][..4095]).map(|_| ()),
        Err(PageListError::Short {
            given: 4095,
            wanted: 4096
        })
    );
    assert_eq!(read(list, &good), Ok(scattered(600)));
}

#[test]
fn a_list_that_was_read_takes_no_more() {
    let memory = driver::page_list(AT, &scattered(1));
    let mut list = PageList::new(Ipa(AT), 1, 1).expect("few enough");
    assert!(list.feed(&memory[0]).is_ok());
    assert_eq!(list.wanted(), None);
    assert_eq!(list.feed(&memory[0]).map(|_| ()), Err(PageListError::Done));
}

proptest! {
    #[test]
    fn every_list_says_what_its_guest_says(
        frames in prop::collection::vec(0..1_u64 << 52, 1..1200), offset in 0..4096_u64, end in 1..=4096_u64,
    ) {
        let pages: Vec<u64> = frames.iter().map(|frame| frame << 12).collect();
        let count = u64::try_from(pages.len()).expect("few");
        prop_assume!(count > 1 || end > offset);
        let size = (count - 1) * 4096 + end - offset;
        let list = PageList::new(Ipa(AT + offset), size, count).expect("few enough");
        prop_assert_eq!(list.pages(), count);
        prop_assert_eq!(read(list, &driver::page_list(AT, &pages)), Ok(pages));
    }
}
