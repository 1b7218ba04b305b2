use devices::CopyIn;
use proptest::prelude::*;

use super::*;
use crate::fake::{Addressing, FakeGuest, FakePlatform};
use crate::xen_side::Platform;

fn payload(guest: &Arc<FakeGuest>) -> GrantPayload {
    let grants = FakePlatform(Arc::clone(guest)).grants().unwrap();
    GrantPayload::new(grants, usize::MAX, Arc::default())
}

fn segment(at: u64, len: u32) -> Segment {
    Segment {
        addr: Addressing::Grants.of(at),
        len,
    }
}

#[test]
fn each_transfer_of_a_batch_has_its_own_verdict() {
    let guest = FakeGuest::new();
    guest.write(&[7; 3 * PAGE_SIZE], 0x10_0000);
    guest.revoke(0x10_1000);
    let mut memory = payload(&guest);
    let places = [
        segment(0x10_0000, 100),
        segment(0x10_0f00, 0x200),
        segment(0x10_2000, 100),
    ];
    let mut buffers = [[0; 100]; 3];
    let mut long = [0; 0x200];
    let [first, second, third] = &mut buffers;
    let mut batch = [
        CopyIn::new(&places[..1], first),
        CopyIn::new(&places[1..2], &mut long),
        CopyIn::new(&places[2..], third),
        // More bytes than there are.
        CopyIn::new(&places[..1], &mut second[..]),
    ];
    memory.copy_in(&mut batch);
    let verdicts: Vec<_> = batch.iter().map(|job| job.result.is_ok()).collect();
    assert_eq!(verdicts, [true, false, true, true]);
    assert_eq!((buffers[0], buffers[2]), ([7; 100], [7; 100]));
}

#[test]
fn a_transfer_longer_than_its_segments_fails() {
    let guest = FakeGuest::new();
    let mut memory = payload(&guest);
    let place = [segment(0x10_0000, 100)];
    let mut buffer = [0; 101];
    let mut batch = [CopyIn::new(&place, &mut buffer)];
    memory.copy_in(&mut batch);
    assert!(matches!(
        batch[0].result,
        Err(MemoryError::TooShort {
            have: 100,
            need: 101
        })
    ));
}

#[test]
fn more_pages_than_a_request_may_have_are_not_mapped() {
    let guest = FakeGuest::new();
    let mut memory = payload(&guest);
    let fits = [segment(0x10_0000, (MAX_PAGES * PAGE_SIZE) as u32)];
    memory.map(&fits, Access::Read).unwrap().unmap().unwrap();
    let too_many = [segment(0x10_0001, (MAX_PAGES * PAGE_SIZE) as u32)];
    let refused = memory.map(&too_many, Access::Read);
    assert!(matches!(refused, Err(MemoryError::TooMany { .. })));
    let everything = [Segment {
        addr: GRANT_ADDRESS,
        len: u32::MAX,
    }; 200];
    assert!(matches!(
        memory.map(&everything, Access::Read),
        Err(MemoryError::TooMany { .. })
    ));
    assert_eq!(guest.mapped_pages(), 0);
}

#[test]
fn addresses_that_are_no_grants_are_refused_before_xen_is_asked() {
    let guest = FakeGuest::new();
    let mut memory = payload(&guest);
    for addr in [0, GRANT_ADDRESS - 1, GRANT_ADDRESS | 1 << 44, u64::MAX - 1] {
        let place = [Segment { addr, len: 1 }];
        assert!(
            matches!(
                memory.map(&place, Access::Read),
                Err(MemoryError::Address { .. })
            ),
            "{addr:#x}"
        );
        let mut byte = [0];
        let mut batch = [CopyIn::new(&place, &mut byte)];
        memory.copy_in(&mut batch);
        assert!(matches!(batch[0].result, Err(MemoryError::Address { .. })));
    }
    assert_eq!(
        guest.copy_calls.load(std::sync::atomic::Ordering::SeqCst),
        0
    );
    assert_eq!(guest.map_calls.load(std::sync::atomic::Ordering::SeqCst), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the segments, bytes are copied out and in again unchanged and nothing else is touched, also through a
    /// mapping.
    #[test]
    fn what_is_copied_out_comes_in_again(lens in proptest::collection::vec((0..200_u64, 1..9000_u32), 1..6)) {
        let guest = FakeGuest::new();
        let mut memory = payload(&guest);
        let mut at = 0x10_0000;
        let mut segments = Vec::new();
        for (gap, len) in lens {
            segments.push(segment(at + gap, len));
            at += gap + u64::from(len) + 1;
        }
        let total = devices::chain::total_len(&segments) as usize;
        let bytes: Vec<u8> = (0..total).map(|i| (i % 251 + 1) as u8).collect();
        let mut out = [CopyOut::new(&segments, &bytes)];
        memory.copy_out(&mut out);
        prop_assert!(out[0].result.is_ok());
        let nonzero = guest.read(0x10_0000, 0x1_0000).iter().filter(|&&byte| byte != 0).count();
        prop_assert_eq!(nonzero, total);
        let mut back = vec![0; total];
        let mut job = [CopyIn::new(&segments, &mut back)];
        memory.copy_in(&mut job);
        prop_assert!(job[0].result.is_ok());
        prop_assert_eq!(&back, &bytes);
        let mapping = memory.map(&segments, Access::Read).unwrap();
        let mut seen = Vec::new();
        for slice in mapping.slices() {
            let mut bytes = vec![0; slice.len()];
            slice.copy_to(&mut bytes[..]);
            seen.extend(bytes);
        }
        mapping.unmap().unwrap();
        prop_assert_eq!(&seen, &bytes);
        prop_assert_eq!(guest.mapped_pages(), 0);
    }
}
