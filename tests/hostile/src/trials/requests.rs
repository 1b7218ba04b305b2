//! Requests that cannot be done: they fail, and the device goes on.

use super::{
    DISCARD, Found, GET_ID, IN, IO_ERROR, OK, OUT, Trial, UNSUPPORTED, WRITE_ZEROES, Where, expect,
    place, trial, up, works,
};
use crate::choices::Choices;
use crate::lab::{DATA, Lab, Verdict};
use crate::machine::DISK;

pub(super) const TRIALS: &[Trial] = &[
    trial("proper requests", Where::Everywhere, proper),
    trial("a header cut short", Where::Everywhere, short_header),
    trial("a kind that nobody knows", Where::Everywhere, unknown),
    trial("a part of a sector", Where::Everywhere, partial),
    trial("a transfer beyond the disk", Where::Everywhere, beyond),
    trial(
        "a list of ranges of a wrong length",
        Where::Everywhere,
        list_length,
    ),
    trial(
        "a range that is too large or has unknown flags",
        Where::Everywhere,
        bad_range,
    ),
    trial(
        "a request too large to be mapped at once",
        Where::Everywhere,
        huge,
    ),
    trial("data in many small pieces", Where::Everywhere, pieces),
];

fn proper(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    for _ in 0..=choices.below(8) {
        works(lab, choices)?;
    }
    let at = place(choices, 20);
    expect(
        lab.request(GET_ID, 0, &[(lab.addr(at), 20)]),
        Verdict::Status(OK),
    )
}

fn short_header(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let mut buffers = lab.buffers(0, IN, 0, &[(lab.addr(DATA), 512)]);
    buffers[0].1 = 1 + choices.below(15) as u32;
    lab.chain(lab.layout.desc, 0, &buffers);
    expect(lab.submit(), Verdict::Status(IO_ERROR))?;
    works(lab, choices)
}

fn unknown(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let kind = choices.pick(&[2, 3, 5, 7, 9, 14, 99, u32::MAX]);
    let data = [(lab.addr(DATA), 512)];
    expect(lab.request(kind, 0, &data), Verdict::Status(UNSUPPORTED))?;
    works(lab, choices)
}

fn partial(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let (kind, len) = (choices.pick(&[IN, OUT]), 1 + choices.below(511));
    let data = [(
        lab.addr(DATA),
        (len + 512 * choices.pick(&[0, 1, 7, 70])) as u32,
    )];
    expect(lab.request(kind, 0, &data), Verdict::Status(IO_ERROR))?;
    works(lab, choices)
}

fn beyond(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let sectors = DISK / 512;
    let sector = choices.pick(&[
        sectors,
        sectors - 1,
        sectors + 1000,
        u64::MAX / 512,
        u64::MAX / 512 + 1,
        u64::MAX - 1,
        u64::MAX,
    ]);
    let (kind, len) = (choices.pick(&[IN, OUT]), choices.pick(&[1024, 65536]));
    expect(
        lab.request(kind, sector, &[(lab.addr(DATA), len)]),
        Verdict::Status(IO_ERROR),
    )?;
    let size = lab.machine.image.metadata().map(|of| of.len());
    super::same("the image's size", size.unwrap_or(0), DISK)?;
    works(lab, choices)
}

/// A discard or write-zeroes request with this list.
fn ranges(lab: &mut Lab<'_>, kind: u32, list: &[u8]) -> Verdict {
    lab.guest().write(list, DATA);
    lab.counts.payload += 1;
    lab.request(kind, 0, &[(lab.addr(DATA), list.len() as u32)])
}

fn range(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend(count.to_le_bytes());
    range.extend(flags.to_le_bytes());
    range
}

fn list_length(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let kind = choices.pick(&[DISCARD, WRITE_ZEROES]);
    let mut list = range(0, 8, 0).repeat(17);
    list.truncate(choices.pick(&[1, 15, 17, 31, 17 * 16]));
    expect(ranges(lab, kind, &list), Verdict::Status(IO_ERROR))?;
    works(lab, choices)
}

fn bad_range(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let good = range(64, 8, 0);
    for (kind, bad, status) in [
        (DISCARD, range(64, 8, 1), UNSUPPORTED),
        (WRITE_ZEROES, range(64, 8, 2), UNSUPPORTED),
        (WRITE_ZEROES, range(0, (1 << 15) + 1, 0), IO_ERROR),
        (DISCARD, range(0, (1 << 21) + 1, 0), IO_ERROR),
        (DISCARD, range(DISK / 512 - 7, 8, 0), IO_ERROR),
        (WRITE_ZEROES, range(u64::MAX, 1, 0), IO_ERROR),
    ] {
        let list = [good.clone(), bad].concat();
        expect(ranges(lab, kind, &list), Verdict::Status(status))?;
    }
    expect(ranges(lab, WRITE_ZEROES, &good), Verdict::Status(OK))?;
    expect(ranges(lab, DISCARD, &good), Verdict::Status(OK))?;
    works(lab, choices)
}

fn huge(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let len: u32 = if lab.has_grants() { 9 << 20 } else { 17 << 20 };
    expect(
        lab.request(IN, 0, &[(lab.addr(DATA), len)]),
        Verdict::Status(OK),
    )?;
    // No guest has as much.
    let (kind, len) = (choices.pick(&[IN, OUT]), !0xffff);
    let verdict = lab.request(kind, 0, &[(lab.addr(DATA), len)]);
    expect(verdict, Verdict::Status(IO_ERROR))?;
    works(lab, choices)
}

fn pieces(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    lab.bring_up(
        choices.pick(&[0, transport_xen::fake::features::INDIRECT]),
        crate::lab::Layout::of_size(64),
    )?;
    let pieces = 1 + choices.below(60);
    let len = 512 * (1 + choices.below(8)) as u32;
    let at = |n: u64| DATA + n * 0x3000 + 0xff0;
    for n in 0..pieces {
        let bytes = vec![n as u8 ^ 0x5a; len as usize];
        lab.guest().write(&bytes, at(n));
    }
    let data: Vec<_> = (0..pieces).map(|n| (lab.addr(at(n)), len)).collect();
    expect(lab.request(OUT, 0, &data), Verdict::Status(OK))?;
    // Back in one piece, and into places of another cut.
    let total = pieces as u32 * len;
    let to = DATA + 0x100_0000;
    let cut = choices.below(u64::from(total)) as u32;
    let mut back = vec![
        (lab.addr(to), cut),
        (lab.addr(to) + u64::from(cut), total - cut),
    ];
    back.retain(|&(_, len)| len > 0);
    expect(lab.request(IN, 0, &back), Verdict::Status(OK))?;
    super::same("the length in the used ring", lab.used_len(), total + 1)?;
    let read = lab.guest().read(to, total as usize);
    let right = (0..pieces).zip(read.chunks(len as usize));
    for (n, piece) in right {
        if piece.iter().any(|&byte| byte != n as u8 ^ 0x5a) {
            return Err(format!("piece {n} of {pieces} holds something else"));
        }
    }
    Ok(())
}
