//! Grants against a real Xen: dom0 grants pages to itself, maps them and copies from and to them.

use std::error::Error;
use std::sync::Arc;

use xen::{
    Access, CopySegment, Counters, DomId, Error as XenError, GrantAllocation, GrantAllocator,
    GrantDevice, GrantMapping, GrantRef, GrantStatus, PAGE_SIZE, UnmapNotify,
};

use crate::xen_events::Loopback;

type Outcome = Result<(), Box<dyn Error>>;
type Test = (&'static str, fn() -> Outcome);

/// Name and body of each test.
pub(crate) const TESTS: &[Test] = &[
    (
        "xen: what is written to a granted page is seen through its mapping, both ways",
        a_mapping_is_the_granted_page,
    ),
    (
        "xen: a read-only grant can be mapped for reading only",
        a_read_only_grant_is_not_mapped_for_writing,
    ),
    (
        "xen: grants can be copied from and to in one request of many segments",
        many_segments_are_copied_in_one_request,
    ),
    (
        "xen: a refused segment has its own status and does not spoil the others",
        a_refused_segment_does_not_spoil_the_others,
    ),
    (
        "xen: a copy with a bad local buffer fails as a whole",
        a_copy_with_a_bad_buffer_fails_as_a_whole,
    ),
    (
        "xen: a batch with one bad grant is refused as a whole and names the grant",
        a_batch_with_one_bad_grant_names_it,
    ),
    (
        "xen: unmapping clears the agreed byte and sends the agreed event",
        unmapping_clears_a_byte_and_sends_an_event,
    ),
    (
        "xen: mappings of any size undone in any order never mix",
        mappings_undone_in_any_order_never_mix,
    ),
    (
        "xen: two thousand maps and unmaps leave nothing behind",
        maps_and_unmaps_leave_nothing_behind,
    ),
    (
        "xen: a mapping outlives the handle it was made with",
        a_mapping_outlives_its_handle,
    ),
    (
        "xen: more pages than may be granted is an error that says so",
        more_pages_than_may_be_granted,
    ),
];

/// Grants no domain has made: beyond any grant table of the bed.
const BAD: GrantRef = GrantRef(0x00ff_ffff);

fn check(condition: bool, broken: &str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(broken.into())
    }
}

fn grant(pages: usize, access: Access) -> xen::Result<GrantAllocation> {
    GrantAllocator::open()?.alloc(DomId::DOM0, pages, access)
}

fn write(start: *mut u8, length: usize, at: usize, byte: u8) {
    assert!(at < length);
    // SAFETY: within the mapping, which the caller holds writable.
    unsafe { start.add(at).write_volatile(byte) }
}

fn read(start: *mut u8, length: usize, at: usize) -> u8 {
    assert!(at < length);
    // SAFETY: within the mapping, which the caller holds.
    unsafe { start.add(at).read_volatile() }
}

/// Writes a pattern that differs from page to page and from `seed` to `seed`.
fn fill(allocation: &GrantAllocation, seed: u8) {
    for at in 0..allocation.len() {
        write(
            allocation.as_mut_ptr(),
            allocation.len(),
            at,
            pattern(seed, at),
        );
    }
}

fn pattern(seed: u8, at: usize) -> u8 {
    let [low, high, ..] = (at / 7 + 3 * (at / PAGE_SIZE)).to_le_bytes();
    low ^ high ^ seed
}

/// Looks at the ends of each page and at bytes in between.
fn holds(mapping: &GrantMapping, seed: u8) -> bool {
    (0..mapping.len())
        .step_by(PAGE_SIZE)
        .flat_map(|page| [0, 1, 977, 2048, 4094, 4095].map(|at| page + at))
        .all(|at| read(mapping.as_ptr(), mapping.len(), at) == pattern(seed, at))
}

fn a_mapping_is_the_granted_page() -> Outcome {
    let counters = Arc::new(Counters::default());
    let device = GrantDevice::open_counted(Arc::clone(&counters))?;
    let pages = grant(3, Access::ReadWrite)?;
    fill(&pages, 0x11);
    let mapping = device.map(DomId::DOM0, pages.refs(), Access::ReadWrite)?;
    check(
        mapping.len() == 3 * PAGE_SIZE,
        "the mapping has another size",
    )?;
    check(holds(&mapping, 0x11), "the mapping shows something else")?;
    for at in [0, PAGE_SIZE - 1, 2 * PAGE_SIZE + 5] {
        write(mapping.as_ptr(), mapping.len(), at, 0xa5);
        check(
            read(pages.as_mut_ptr(), pages.len(), at) == 0xa5,
            "a write through the mapping did not arrive",
        )?;
    }
    mapping.unmap()?;
    let counted = counters.snapshot();
    check(
        (counted.maps, counted.mapped_pages, counted.unmaps) == (1, 3, 1),
        &format!("counted {counted:?}"),
    )
}

fn a_read_only_grant_is_not_mapped_for_writing() -> Outcome {
    let device = GrantDevice::open()?;
    let pages = grant(2, Access::ReadOnly)?;
    fill(&pages, 0x22);
    let refused = device
        .map(DomId::DOM0, pages.refs(), Access::ReadWrite)
        .unwrap_err();
    check(
        matches!(
            refused,
            XenError::GrantMap {
                first_bad: None,
                count: 2,
                ..
            }
        ),
        &format!("a grant that can be read is not bad: {refused}"),
    )?;
    let mapping = device.map(DomId::DOM0, pages.refs(), Access::ReadOnly)?;
    check(holds(&mapping, 0x22), "the mapping shows something else")?;
    mapping.unmap()?;

    let byte = [0x99];
    let mut segments = [CopySegment::to_grant(
        DomId::DOM0,
        *pages.refs().first().ok_or("no grant")?,
        0,
        &byte,
    )?];
    device.copy(&mut segments)?;
    check(
        segments.iter().all(|segment| !segment.status().is_okay()),
        "a read-only grant was written to",
    )?;
    check(
        read(pages.as_mut_ptr(), pages.len(), 0) == pattern(0x22, 0),
        "the page has changed",
    )
}

fn many_segments_are_copied_in_one_request() -> Outcome {
    // More than the 16 the kernel puts into one hypercall, at odd offsets.
    const SEGMENTS: usize = 40;
    const LENGTH: usize = 101;
    let counters = Arc::new(Counters::default());
    let device = GrantDevice::open_counted(Arc::clone(&counters))?;
    let pages = grant(2, Access::ReadWrite)?;
    fill(&pages, 0x33);

    let mut buffer = vec![0_u8; SEGMENTS * LENGTH];
    let mut segments = Vec::new();
    for (number, piece) in buffer.chunks_mut(LENGTH).enumerate() {
        let reference = pages.refs()[number % 2];
        let offset = u16::try_from(number * 97)?;
        segments.push(CopySegment::from_grant(
            DomId::DOM0,
            reference,
            offset,
            piece,
        )?);
    }
    device.copy(&mut segments)?;
    check(
        segments.iter().all(|segment| segment.status().is_okay()),
        "a segment was refused",
    )?;
    drop(segments);
    for (number, piece) in buffer.chunks(LENGTH).enumerate() {
        let start = (number % 2) * PAGE_SIZE + number * 97;
        let same = piece
            .iter()
            .enumerate()
            .all(|(at, &byte)| byte == pattern(0x33, start + at));
        check(same, &format!("segment {number} has other bytes"))?;
    }

    let out: Vec<u8> = (0..PAGE_SIZE).map(|at| pattern(0x44, at)).collect();
    // Across a page of the local side, up to the very end of the granted one.
    let mut local = vec![0_u8; 3 * PAGE_SIZE];
    let misaligned = local.as_ptr().align_offset(PAGE_SIZE) + PAGE_SIZE / 2 + 1;
    local[misaligned..misaligned + PAGE_SIZE].copy_from_slice(&out);
    let mut segments = [CopySegment::to_grant(
        DomId::DOM0,
        pages.refs()[1],
        0,
        &local[misaligned..misaligned + PAGE_SIZE],
    )?];
    device.copy(&mut segments)?;
    check(
        segments[0].status().is_okay(),
        "copying a whole page was refused",
    )?;
    let arrived = (0..PAGE_SIZE)
        .all(|at| read(pages.as_mut_ptr(), pages.len(), PAGE_SIZE + at) == pattern(0x44, at));
    check(arrived, "the page holds other bytes")?;

    let counted = counters.snapshot();
    check(
        (counted.grant_copies, counted.grant_copy_segments) == (2, 41),
        &format!("counted {counted:?}"),
    )
}

fn a_refused_segment_does_not_spoil_the_others() -> Outcome {
    let device = GrantDevice::open()?;
    let pages = grant(1, Access::ReadWrite)?;
    fill(&pages, 0x55);
    let good = pages.refs()[0];
    let absent = DomId::new(32_000).ok_or("domain 32000")?;
    let mut buffer = [[0_u8; 8]; 4];
    let [a, b, c, d] = &mut buffer;
    let mut segments = [
        CopySegment::from_grant(DomId::DOM0, good, 0, a)?,
        CopySegment::from_grant(DomId::DOM0, BAD, 0, b)?,
        CopySegment::from_grant(absent, good, 0, c)?,
        CopySegment::from_grant(DomId::DOM0, good, 8, d)?,
    ];
    device.copy(&mut segments)?;
    let status: Vec<GrantStatus> = segments.iter().map(CopySegment::status).collect();
    check(
        status
            == [
                GrantStatus::OKAY,
                GrantStatus::BAD_GRANT_REF,
                GrantStatus::BAD_DOMAIN,
                GrantStatus::OKAY,
            ],
        &format!("{status:?}"),
    )?;
    check(
        buffer[0][1] == pattern(0x55, 1) && buffer[3][1] == pattern(0x55, 9),
        "a good segment was not copied",
    )?;
    check(
        buffer[1] == [0; 8] && buffer[2] == [0; 8],
        "a refused segment was copied",
    )
}

fn a_copy_with_a_bad_buffer_fails_as_a_whole() -> Outcome {
    let device = GrantDevice::open()?;
    let pages = grant(1, Access::ReadWrite)?;
    let nowhere = std::ptr::without_provenance_mut::<u8>(PAGE_SIZE);
    // SAFETY: nothing is mapped there, which the kernel finds out before anyone touches it.
    let segment =
        unsafe { CopySegment::from_grant_raw(DomId::DOM0, pages.refs()[0], 0, nowhere, 8) }?;
    let error = device.copy(&mut [segment]).unwrap_err();
    check(
        error.errno() == Some(libc::EFAULT),
        &format!("expected EFAULT: {error}"),
    )?;
    // The handle is as good as before.
    let mut byte = [0];
    let mut segments = [CopySegment::from_grant(
        DomId::DOM0,
        pages.refs()[0],
        0,
        &mut byte,
    )?];
    device.copy(&mut segments)?;
    check(segments[0].status().is_okay(), "the next copy was refused")
}

fn a_batch_with_one_bad_grant_names_it() -> Outcome {
    let device = GrantDevice::open()?;
    let pages = grant(2, Access::ReadWrite)?;
    fill(&pages, 0x66);
    let (first, last) = (pages.refs()[0], pages.refs()[1]);
    for _ in 0..10 {
        let error = device
            .map(DomId::DOM0, &[first, BAD, last], Access::ReadWrite)
            .unwrap_err();
        let named = matches!(
            error,
            XenError::GrantMap {
                first_bad: Some((1, BAD, GrantStatus::BAD_GRANT_REF)),
                count: 3,
                ..
            }
        );
        check(named, &error.to_string())?;
    }
    // Nothing of the refused batches is in the way.
    let mapping = device.map(DomId::DOM0, &[first, last], Access::ReadWrite)?;
    check(holds(&mapping, 0x66), "the mapping shows something else")?;
    mapping.unmap()?;
    let empty = device.map(DomId::DOM0, &[], Access::ReadOnly);
    check(empty.is_err(), "an empty batch was mapped")
}

fn unmapping_clears_a_byte_and_sends_an_event() -> Outcome {
    let loopback = Loopback::new()?;
    let device = GrantDevice::open()?;
    let pages = grant(2, Access::ReadWrite)?;
    let at = PAGE_SIZE + 17;
    let mapping = device.map(DomId::DOM0, pages.refs(), Access::ReadWrite)?;
    for near in [at - 1, at, at + 1] {
        write(pages.as_mut_ptr(), pages.len(), near, 0x77);
    }
    mapping.set_unmap_notify(UnmapNotify {
        clear_byte: Some(at),
        event: Some(loopback.near),
    })?;
    check(
        read(pages.as_mut_ptr(), pages.len(), at) == 0x77,
        "the byte was cleared too early",
    )?;
    drop(mapping);
    check(
        loopback.wait_for(loopback.far)?,
        "no event came when the mapping was dropped",
    )?;
    let bytes = [at - 1, at, at + 1].map(|at| read(pages.as_mut_ptr(), pages.len(), at));
    check(bytes == [0x77, 0, 0x77], &format!("{bytes:x?}"))?;

    // Taken back, nothing happens.
    loopback.channels.unmask(&[loopback.far])?;
    let mapping = device.map(DomId::DOM0, pages.refs(), Access::ReadWrite)?;
    mapping.set_unmap_notify(UnmapNotify {
        clear_byte: Some(0),
        event: Some(loopback.near),
    })?;
    mapping.set_unmap_notify(UnmapNotify::default())?;
    write(pages.as_mut_ptr(), pages.len(), 0, 0x78);
    mapping.unmap()?;
    check(
        read(pages.as_mut_ptr(), pages.len(), 0) == 0x78,
        "a notification that was taken back cleared its byte",
    )
}

fn mappings_undone_in_any_order_never_mix() -> Outcome {
    let device = GrantDevice::open()?;
    let mut grants = Vec::new();
    for number in 0..24_u8 {
        let pages = grant(usize::from(number % 5) + 1, Access::ReadWrite)?;
        fill(&pages, number);
        grants.push(pages);
    }
    let mut mappings: Vec<Option<GrantMapping>> = Vec::new();
    for pages in &grants {
        mappings.push(Some(device.map(
            DomId::DOM0,
            pages.refs(),
            Access::ReadOnly,
        )?));
    }
    // Holes of changing sizes in the kernel's table, filled again in another order.
    for step in [5, 7, 11] {
        for number in (0..grants.len()).map(|number| number * step % grants.len()) {
            if let Some(mapping) = mappings[number].take() {
                mapping.unmap()?;
            }
            if number % 3 != 0 {
                let pages = &grants[number];
                mappings[number] = Some(device.map(DomId::DOM0, pages.refs(), Access::ReadOnly)?);
            }
            for (seed, mapping) in (0_u8..).zip(&mappings) {
                if let Some(mapping) = mapping {
                    check(
                        holds(mapping, seed),
                        &format!("mapping {seed} shows another's pages"),
                    )?;
                }
            }
        }
    }
    Ok(())
}

fn maps_and_unmaps_leave_nothing_behind() -> Outcome {
    let device = GrantDevice::open()?;
    let pages = grant(4, Access::ReadWrite)?;
    let maps_before = gntdev_areas()?;
    // They are seen while they are there.
    let held = device.map(DomId::DOM0, pages.refs(), Access::ReadWrite)?;
    check(
        gntdev_areas()? == maps_before + 1,
        "a mapping of gntdev is not seen in this process",
    )?;
    held.unmap()?;
    for _ in 1..2000 {
        device
            .map(DomId::DOM0, pages.refs(), Access::ReadWrite)?
            .unmap()?;
    }
    check(
        gntdev_areas()? == maps_before,
        "mappings of gntdev are left in this process",
    )?;
    let counted = device.counters().snapshot();
    check(
        (counted.maps, counted.unmaps, counted.mapped_pages) == (2000, 2000, 8000),
        &format!("counted {counted:?}"),
    )
}

/// Mappings of the grant device in this process.
fn gntdev_areas() -> std::io::Result<usize> {
    Ok(std::fs::read_to_string("/proc/self/maps")?
        .lines()
        .filter(|line| line.ends_with("/dev/xen/gntdev"))
        .count())
}

fn a_mapping_outlives_its_handle() -> Outcome {
    let device = GrantDevice::open()?;
    let pages = grant(1, Access::ReadWrite)?;
    fill(&pages, 0x0f);
    let mapping = device.map(DomId::DOM0, pages.refs(), Access::ReadWrite)?;
    drop(device);
    check(holds(&mapping, 0x0f), "the mapping died with its handle")?;
    mapping.unmap()?;
    Ok(())
}

fn more_pages_than_may_be_granted() -> Outcome {
    let error = grant(1 << 20, Access::ReadWrite).unwrap_err();
    let text = error.to_string();
    check(
        error.errno() == Some(libc::ENOSPC) && text.contains("limit"),
        &text,
    )
}
