use super::*;
use crate::fake::{Addressing, FakeGuest, FakePlatform};
use crate::xen_side::Platform;

fn memory(guest: &Arc<FakeGuest>, kib: u64) -> Arc<ForeignMemory> {
    Arc::new(ForeignMemory::new(
        FakePlatform(Arc::clone(guest)).foreign(),
        kib,
    ))
}

fn payload(memory: &Arc<ForeignMemory>) -> ForeignPayload {
    ForeignPayload::new(Arc::clone(memory), Arc::default())
}

fn segment(at: u64, len: u32) -> Segment {
    Segment {
        addr: Addressing::Physical.of(at),
        len,
    }
}

/// A guest whose memory is anything: pages of one zeroed buffer, over and over.
struct Endless(Arc<FakeGuest>);

impl Foreign for Endless {
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn HostPages>> {
        let first = 0x40000;
        let frames: Vec<_> = frames
            .iter()
            .map(|frame| Pfn(first + frame.0 % 256))
            .collect();
        FakePlatform(Arc::clone(&self.0)).foreign().map(&frames)
    }
}

#[test]
fn a_transfer_may_cross_windows_but_not_banks() {
    let guest = FakeGuest::new();
    let memory = memory(&guest, FakeGuest::MEMORY_KIB);
    let mut payload = payload(&memory);
    let bytes: Vec<u8> = (0..3_000_000).map(|i| (i % 251) as u8).collect();
    let place = [segment(0x7_ff01, 3_000_000)];
    let mut out = [CopyOut::new(&place, &bytes)];
    payload.copy_out(&mut out);
    out[0].result.as_ref().unwrap();
    assert_eq!(guest.read(0x7_ff01, 3_000_000), bytes);
    let end = FakeGuest::MEMORY_KIB * 1024;
    assert!(
        payload
            .map(&[segment(end - 100, 100)], Access::Write)
            .is_ok()
    );
    assert!(
        payload
            .map(&[segment(end - 100, 101)], Access::Write)
            .is_err()
    );
}

#[test]
fn memory_beyond_three_gib_lies_in_the_second_bank() {
    let guest = FakeGuest::new();
    let kib = (5 << 20) + 4;
    let memory = Arc::new(ForeignMemory::new(Arc::new(Endless(guest)), kib));
    let mut payload = payload(&memory);
    let at = |addr, len| [Segment { addr, len }];
    assert!(
        payload
            .map(&at(0x4000_0000 + 0xc000_0000 - 16, 16), Access::Write)
            .is_ok()
    );
    assert!(
        payload
            .map(&at(0x4000_0000 + 0xc000_0000 - 16, 17), Access::Write)
            .is_err()
    );
    assert!(payload.map(&at(0x2_0000_0000, 4096), Access::Write).is_ok());
    let last = 0x2_0000_0000 + (2 << 30);
    assert!(payload.map(&at(last, 4096), Access::Write).is_ok());
    assert!(payload.map(&at(last, 4097), Access::Write).is_err());
}

#[test]
fn the_windows_kept_are_bounded_and_the_oldest_goes_first() {
    let guest = FakeGuest::new();
    let memory = Arc::new(ForeignMemory::new(Arc::new(Endless(guest)), 1 << 20));
    let counters = Arc::new(Counters::default());
    let mut payload = ForeignPayload::new(Arc::clone(&memory), Arc::clone(&counters));
    let touch = |payload: &mut ForeignPayload, window: u64| {
        payload
            .map(&[segment(window << 20, 1)], Access::Read)
            .unwrap();
    };
    for window in 0..MAX_WINDOWS as u64 {
        touch(&mut payload, window);
    }
    assert_eq!((memory.windows(), counters.maps.get()), (MAX_WINDOWS, 64));
    touch(&mut payload, 0);
    touch(&mut payload, 100);
    assert_eq!(
        (memory.windows(), counters.maps.get(), counters.unmaps.get()),
        (MAX_WINDOWS, 65, 1)
    );
    // Used lately, so it was kept; the next oldest went.
    touch(&mut payload, 0);
    assert_eq!(counters.maps.get(), 65);
    touch(&mut payload, 1);
    assert_eq!(counters.maps.get(), 66);
}

#[test]
fn a_mapping_in_use_outlives_a_forgotten_window() {
    let guest = FakeGuest::new();
    let memory = memory(&guest, FakeGuest::MEMORY_KIB);
    let mut payload = payload(&memory);
    let mapping = payload
        .map(&[segment(0x10_0000, 4096)], Access::Write)
        .unwrap();
    memory.forget();
    assert_eq!(memory.windows(), 0);
    guest.write(b"still here", 0x10_0000);
    let mut bytes = [0; 10];
    mapping.slices()[0].copy_to(&mut bytes[..]);
    assert_eq!(&bytes, b"still here");
    mapping.unmap().unwrap();
    assert_eq!(guest.mapped_pages(), 0);
}

#[test]
fn one_request_cannot_hold_unbounded_windows() {
    let guest = FakeGuest::new();
    let memory = Arc::new(ForeignMemory::new(Arc::new(Endless(guest)), 4 << 20));
    let mut payload = payload(&memory);
    let refused = payload.map(&[segment(0, 1 << 30)], Access::Read);
    assert!(matches!(refused, Err(MemoryError::TooMany { .. })));
    assert_eq!(memory.windows(), 0);
}

#[test]
fn a_page_that_is_not_there_is_refused_before_it_is_touched() {
    let guest = FakeGuest::new();
    let memory = memory(&guest, FakeGuest::MEMORY_KIB);
    let mut payload = payload(&memory);
    guest.balloon_out(0x10_1000);
    let around = [segment(0x10_0ff0, 32)];
    assert!(matches!(
        payload.map(&around, Access::Read),
        Err(MemoryError::Refused { .. })
    ));
    let mut bytes = [0; 32];
    let mut batch = [CopyIn::new(&around, &mut bytes)];
    payload.copy_in(&mut batch);
    assert!(matches!(batch[0].result, Err(MemoryError::Refused { .. })));
    assert!(payload.map(&[segment(0x10_0ff0, 16)], Access::Read).is_ok());
    assert!(payload.map(&[segment(0x10_2000, 16)], Access::Read).is_ok());
}
