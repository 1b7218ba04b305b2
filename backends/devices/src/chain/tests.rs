use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

use super::*;

const TABLE: u64 = 0x1000;
const SIZE: u16 = 16;

const LIMITS: ChainLimits = ChainLimits {
    queue_size: SIZE,
    max_segments: SIZE,
    max_bytes: 1 << 20,
    indirect: true,
};

fn raw(addr: u64, len: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}

fn ring(descriptors: &[[u8; 16]]) -> GuestMemoryMmap<()> {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(TABLE), 0x1000)]).unwrap();
    for (index, bytes) in descriptors.iter().enumerate() {
        memory
            .write_slice(bytes, GuestAddress(TABLE + 16 * index as u64))
            .unwrap();
    }
    memory
}

fn walk_all(descriptors: &[[u8; 16]], head: u16, limits: &ChainLimits) -> Result<Walk, ChainError> {
    walk(&ring(descriptors), GuestAddress(TABLE), head, limits)
}

fn whole(descriptors: &[[u8; 16]]) -> Result<Chain, ChainError> {
    match walk_all(descriptors, 0, &LIMITS)? {
        Walk::Whole(chain) => Ok(chain),
        Walk::Table(_) => panic!("no table was expected"),
    }
}

fn through_table(table: &[[u8; 16]]) -> Result<Chain, ChainError> {
    let len = u32::try_from(16 * table.len()).unwrap();
    match walk_all(&[raw(0x8000, len, INDIRECT, 0)], 0, &LIMITS)? {
        Walk::Table(pending) => {
            assert_eq!(pending.table(), Segment { addr: 0x8000, len });
            pending.finish(table.as_flattened())
        }
        Walk::Whole(_) => panic!("a table was expected"),
    }
}

#[test]
fn a_chain_is_split_into_what_may_be_read_and_written() {
    let chain = whole(&[
        raw(0xa000, 16, NEXT, 2),
        raw(0xdead, 1, 0, 0),
        raw(0xb000, 4096, NEXT | WRITE, 3),
        raw(0xc000, 1, WRITE, 9),
    ])
    .unwrap();
    assert_eq!(
        chain.readable(),
        [Segment {
            addr: 0xa000,
            len: 16
        }]
    );
    assert_eq!(
        chain.writable(),
        [
            Segment {
                addr: 0xb000,
                len: 4096
            },
            Segment {
                addr: 0xc000,
                len: 1
            }
        ]
    );
    assert_eq!(
        (chain.head(), chain.readable_len(), chain.writable_len()),
        (0, 16, 4097)
    );
}

#[test]
fn an_indirect_table_may_follow_ordinary_descriptors() {
    let first = [
        raw(0xa000, 16, NEXT, 1),
        raw(0x8000, 32, INDIRECT | WRITE, 7),
    ];
    let Ok(Walk::Table(pending)) = walk_all(&first, 0, &LIMITS) else {
        panic!("a table was expected")
    };
    let table = [raw(0xb000, 8, NEXT, 1), raw(0xc000, 1, WRITE, 0)];
    let chain = pending.finish(table.as_flattened()).unwrap();
    assert_eq!(
        chain.readable(),
        [
            Segment {
                addr: 0xa000,
                len: 16
            },
            Segment {
                addr: 0xb000,
                len: 8
            }
        ]
    );
    assert_eq!(
        chain.writable(),
        [Segment {
            addr: 0xc000,
            len: 1
        }]
    );
}

#[test]
fn a_head_or_next_beyond_the_table_is_refused() {
    let beyond = ChainError::Index {
        index: SIZE,
        size: SIZE,
    };
    assert_eq!(walk_all(&[], SIZE, &LIMITS).unwrap_err(), beyond);
    assert_eq!(whole(&[raw(0, 1, NEXT, SIZE)]).unwrap_err(), beyond);
    let table = [raw(0, 1, NEXT, 2), raw(0, 1, 0, 0)];
    assert_eq!(
        through_table(&table).unwrap_err(),
        ChainError::Index { index: 2, size: 2 }
    );
}

#[test]
fn a_loop_ends() {
    let limits = ChainLimits {
        max_segments: 1000,
        ..LIMITS
    };
    let looped = [raw(0, 1, NEXT, 1), raw(0, 1, NEXT, 0)];
    assert_eq!(
        walk_all(&looped, 0, &limits).unwrap_err(),
        ChainError::TooLong(SIZE)
    );
    assert_eq!(through_table(&looped).unwrap_err(), ChainError::TooLong(2));
}

#[test]
fn an_empty_buffer_is_refused() {
    assert_eq!(whole(&[raw(0, 0, 0, 0)]).unwrap_err(), ChainError::Empty);
}

#[test]
fn a_buffer_that_wraps_is_refused() {
    for (addr, len) in [
        (u64::MAX, 1),
        (u64::MAX - 10, 100),
        (1 << 63 | u64::MAX >> 1, 2),
    ] {
        assert_eq!(
            whole(&[raw(addr, len, 0, 0)]).unwrap_err(),
            ChainError::Wraps { addr, len }
        );
    }
    assert!(whole(&[raw(u64::MAX - 1, 1, 0, 0)]).is_ok());
}

#[test]
fn too_many_bytes_are_refused() {
    let half = LIMITS.max_bytes / 2;
    assert!(whole(&[raw(0, half, NEXT, 1), raw(0, half, WRITE, 0)]).is_ok());
    let more = whole(&[raw(0, half, NEXT, 1), raw(0, half + 1, WRITE, 0)]);
    assert_eq!(more.unwrap_err(), ChainError::TooBig(LIMITS.max_bytes));
    let limits = ChainLimits {
        max_bytes: u32::MAX,
        ..LIMITS
    };
    let overflowing = [raw(0, u32::MAX, NEXT, 1), raw(0, u32::MAX, 0, 0)];
    assert_eq!(
        walk_all(&overflowing, 0, &limits).unwrap_err(),
        ChainError::TooBig(u32::MAX)
    );
}

#[test]
fn a_readable_buffer_after_a_writable_one_is_refused() {
    let wrong = [raw(0, 1, NEXT | WRITE, 1), raw(0, 1, 0, 0)];
    assert_eq!(whole(&wrong).unwrap_err(), ChainError::Order);
    assert_eq!(through_table(&wrong).unwrap_err(), ChainError::Order);
}

#[test]
fn an_indirect_descriptor_must_be_negotiated_last_and_outside_of_tables() {
    let indirect = raw(0x8000, 16, INDIRECT, 0);
    let limits = ChainLimits {
        indirect: false,
        ..LIMITS
    };
    assert_eq!(
        walk_all(&[indirect], 0, &limits).unwrap_err(),
        ChainError::NotNegotiated
    );
    let goes_on = raw(0x8000, 16, INDIRECT | NEXT, 1);
    assert_eq!(
        walk_all(&[goes_on], 0, &LIMITS).unwrap_err(),
        ChainError::IndirectNext
    );
    assert_eq!(through_table(&[indirect]).unwrap_err(), ChainError::Nested);
}

#[test]
fn a_table_of_a_wrong_length_is_refused() {
    for len in [0, 1, 15, 17, 16 * (u32::from(SIZE) + 1), u32::MAX, !15] {
        let found = walk_all(&[raw(0x8000, len, INDIRECT, 0)], 0, &LIMITS);
        assert_eq!(found.unwrap_err(), ChainError::TableLength(len));
    }
    let wrapping = walk_all(&[raw(u64::MAX - 8, 16, INDIRECT, 0)], 0, &LIMITS);
    assert_eq!(
        wrapping.unwrap_err(),
        ChainError::Wraps {
            addr: u64::MAX - 8,
            len: 16
        }
    );
}

#[test]
fn a_table_that_is_not_all_there_is_refused() {
    let Ok(Walk::Table(pending)) = walk_all(&[raw(0x8000, 32, INDIRECT, 0)], 0, &LIMITS) else {
        panic!("a table was expected")
    };
    assert_eq!(
        pending.finish(&raw(0, 1, 0, 0)).unwrap_err(),
        ChainError::TableLength(32)
    );
}

#[test]
fn a_table_beyond_the_rings_memory_is_refused() {
    let nothing = ring(&[]);
    for table in [0, 0x1ff8, u64::MAX - 4] {
        let found = walk(&nothing, GuestAddress(table), 0, &LIMITS);
        assert_eq!(found.unwrap_err(), ChainError::Unreadable);
    }
}

#[test]
fn slices_keep_within_their_segments() {
    let segments = [
        Segment { addr: 100, len: 10 },
        Segment { addr: 200, len: 5 },
    ];
    assert_eq!(slice_segments(&segments, 0, 15).as_slice(), segments);
    assert_eq!(
        slice_segments(&segments, 4, 8).as_slice(),
        [Segment { addr: 104, len: 6 }, Segment { addr: 200, len: 2 }]
    );
    assert_eq!(slice_segments(&segments, 10, 100).as_slice(), [segments[1]]);
    assert!(slice_segments(&segments, 15, 1).is_empty());
    assert!(slice_segments(&segments, 0, 0).is_empty());
}

fn any_descriptor() -> impl Strategy<Value = [u8; 16]> {
    let addr = prop_oneof![
        any::<u64>(),
        0..0x10000_u64,
        (1_u64 << 63)..(1 << 63 | 0x10000)
    ];
    let len = prop_oneof![any::<u32>(), 0..600_u32, (0..20_u32).prop_map(|n| n * 16)];
    let flags = prop_oneof![0..8_u16, Just(NEXT), any::<u16>()];
    let next = prop_oneof![0..SIZE + 2, any::<u16>()];
    (addr, len, flags, next).prop_map(|(addr, len, flags, next)| raw(addr, len, flags, next))
}

fn assert_sound(chain: &Chain, limits: &ChainLimits) {
    let all = [chain.readable(), chain.writable()].concat();
    assert!(!all.is_empty() && all.len() <= usize::from(limits.max_segments));
    assert!(all.iter().all(|segment| segment.len > 0));
    assert!(
        all.iter()
            .all(|segment| segment.addr.checked_add(u64::from(segment.len)).is_some())
    );
    assert_eq!(total_len(chain.readable()), u64::from(chain.readable_len()));
    assert_eq!(total_len(chain.writable()), u64::from(chain.writable_len()));
    assert!(total_len(&all) <= u64::from(limits.max_bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_table_of_descriptors_breaks_the_walk(
        descriptors in proptest::collection::vec(any_descriptor(), usize::from(SIZE)),
        table in proptest::collection::vec(any_descriptor(), usize::from(SIZE)),
        head in 0..SIZE + 2,
        indirect: bool,
    ) {
        let limits = ChainLimits { indirect, ..LIMITS };
        match walk_all(&descriptors, head, &limits) {
            Ok(Walk::Whole(chain)) => assert_sound(&chain, &limits),
            Ok(Walk::Table(pending)) => {
                prop_assert!(indirect);
                let len = pending.table().len as usize;
                prop_assert!(len <= 16 * usize::from(SIZE));
                if let Ok(chain) = pending.finish(&table.as_flattened()[..len]) {
                    assert_sound(&chain, &limits);
                }
            }
            Err(_) => {}
        }
    }

    #[test]
    fn slices_hold_the_bytes_asked_for_and_no_others(
        lens in proptest::collection::vec(1..5000_u32, 0..20),
        skip in 0..60_000_u64,
        take in 0..60_000_u64,
    ) {
        let mut addr = 0;
        let mut segments = Vec::new();
        for len in lens {
            // Each directly behind the last, so that addresses are offsets.
            segments.push(Segment { addr, len });
            addr += u64::from(len);
        }
        let part = slice_segments(&segments, skip, take);
        let end = addr.min(skip.saturating_add(take));
        prop_assert_eq!(total_len(&part), end.saturating_sub(skip));
        let mut at = skip;
        for segment in part {
            prop_assert_eq!(segment.addr, at);
            at += u64::from(segment.len);
        }
    }
}
