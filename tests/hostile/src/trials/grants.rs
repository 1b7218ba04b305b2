//! Pages that are not granted, or not as they would have to be.

use transport_xen::fake::FakeGuest;

use super::{
    Found, HEADER_PAGE, IN, IO_ERROR, OK, OUT, Trial, Where, expect, place, trial, up, works,
};
use crate::choices::Choices;
use crate::lab::{DATA, HEADERS, Lab, Layout, RINGS, Verdict};

pub(super) const TRIALS: &[Trial] = &[
    trial("data that are no grant", Where::Grants, no_grant),
    trial(
        "data in a page that is not granted",
        Where::Grants,
        withheld,
    ),
    trial(
        "reading into a page granted for reading",
        Where::Grants,
        read_only,
    ),
    trial(
        "writing from a page granted for reading",
        Where::Grants,
        written_from_read_only,
    ),
    trial(
        "data in more pages than are mapped at once",
        Where::Grants,
        many_pages,
    ),
    trial("a header that is not granted", Where::Everywhere, header),
    trial("a status that cannot be written", Where::Everywhere, status),
    trial(
        "data outside of the guest's memory",
        Where::Foreign,
        outside,
    ),
    trial(
        "data in a page that is ballooned out",
        Where::Foreign,
        ballooned,
    ),
    trial(
        "a window of pages that are ballooned out",
        Where::Foreign,
        window,
    ),
    trial(
        "mappings are forgotten when Xen says so",
        Where::Foreign,
        invalidate,
    ),
];

/// Small enough to be copied, or large enough to be mapped.
fn len(choices: &mut Choices<'_>) -> u32 {
    choices.pick(&[512, 4096, 16384, 16896, 65536])
}

/// Which page of the data is spoilt.
fn page(choices: &mut Choices<'_>, at: u64, len: u32) -> u64 {
    let first = at & !0xfff;
    let last = (at + u64::from(len) - 1) & !0xfff;
    first + 4096 * choices.below((last - first) / 4096 + 1)
}

fn no_grant(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let (kind, len) = (choices.pick(&[IN, OUT]), len(choices));
    let good = lab.addr(DATA);
    let addr = choices.pick(&[
        good & !(1 << 63),
        good + (1 << 44),
        good + (1 << 62),
        0x4020_0000,
        (1 << 63) + (u64::from(u32::MAX) << 12),
        (1 << 63) - 4096,
        0,
        u64::MAX - 0x2_0000,
    ]);
    expect(
        lab.request(kind, 0, &[(addr, len)]),
        Verdict::Status(IO_ERROR),
    )?;
    works(lab, choices)
}

fn withheld(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    // The first is copied, the second mapped.
    for len in [4096, 65536] {
        let kind = choices.pick(&[IN, OUT]);
        let at = place(choices, len.into());
        let page = page(choices, at, len);
        let deeds: [fn(&FakeGuest, u64); 2] = [FakeGuest::revoke, FakeGuest::grant_elsewhere];
        lab.page(choices.pick(&deeds), page);
        let request = [(lab.addr(at), len)];
        expect(lab.request(kind, 0, &request), Verdict::Status(IO_ERROR))?;
        lab.page(FakeGuest::grant_again, page);
        expect(lab.request(kind, 0, &request), Verdict::Status(OK))?;
    }
    works(lab, choices)
}

fn read_only(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let len = len(choices);
    let at = place(choices, len.into());
    let page = page(choices, at, len);
    let before = lab.guest().read(page, 4096);
    lab.page(FakeGuest::make_read_only, page);
    expect(
        lab.request(IN, 0, &[(lab.addr(at), len)]),
        Verdict::Status(IO_ERROR),
    )?;
    if lab.guest().read(page, 4096) != before {
        return Err("a page granted for reading was written".into());
    }
    lab.page(FakeGuest::grant_again, page);
    works(lab, choices)
}

fn written_from_read_only(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let len = len(choices);
    let at = place(choices, len.into());
    for n in 0..=u64::from(len) / 4096 {
        lab.page(FakeGuest::make_read_only, at + 4096 * n);
    }
    expect(
        lab.request(OUT, 0, &[(lab.addr(at), len)]),
        Verdict::Status(OK),
    )
}

fn many_pages(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    // As many buffers as the largest queue has room for, each across the border of two pages, and one large one.
    const BUFFERS: u64 = 1020;
    let layout = Layout {
        size: 1024,
        desc: RINGS,
        avail: RINGS + 0x4000,
        used: RINGS + 0x5000,
    };
    lab.bring_up(0, layout)?;
    let mut places: Vec<_> = (0..BUFFERS)
        .map(|n| (DATA + 0x2000 * n + 0xf00, 512))
        .collect();
    places.push((DATA + 0x2000 * BUFFERS, 0x1_0000));
    let data: Vec<_> = places
        .iter()
        .map(|&(at, len)| (lab.addr(at), len))
        .collect();
    let kind = choices.pick(&[IN, OUT]);
    expect(lab.request(kind, 0, &data), Verdict::Status(OK))?;
    if places.iter().any(|&(at, _)| lab.guest().is_mapped(at)) {
        return Err("a page is mapped after its request was completed".into());
    }
    works(lab, choices)
}

fn header(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    // The status lies in another page, so the request can be answered.
    let mut buffers = lab.buffers(1, IN, 0, &[(lab.addr(DATA), 512)]);
    buffers[2].0 = lab.addr(HEADER_PAGE + 16);
    let deed = if lab.has_grants() {
        choices.pick::<fn(&FakeGuest, u64)>(&[FakeGuest::revoke, FakeGuest::grant_elsewhere])
    } else {
        FakeGuest::balloon_out
    };
    lab.page(deed, HEADERS + 0x1000);
    lab.forget();
    lab.chain(lab.layout.desc, 0, &buffers);
    expect(lab.submit(), Verdict::Status(IO_ERROR))?;
    works(lab, choices)
}

fn status(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let mut buffers = lab.buffers(0, OUT, 0, &[(lab.addr(DATA), 512)]);
    buffers[2].0 = lab.addr(HEADERS + 0x1000);
    let deed = if lab.has_grants() {
        choices.pick::<fn(&FakeGuest, u64)>(&[FakeGuest::revoke, FakeGuest::make_read_only])
    } else {
        FakeGuest::balloon_out
    };
    lab.page(deed, HEADERS + 0x1000);
    lab.forget();
    lab.chain(lab.layout.desc, 0, &buffers);
    expect(lab.submit(), Verdict::NeedsReset)
}

fn outside(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let end = 0x4000_0000 + FakeGuest::MEMORY_KIB * 1024;
    let addr = choices.pick(&[
        0,
        0x3fff_f000,
        0x4000_0000 - 256,
        end - 256,
        end,
        0x2_0000_0000,
        0x1_0000_0000,
        u64::MAX - 0x2_0000,
    ]);
    let (kind, len) = (choices.pick(&[IN, OUT]), len(choices));
    expect(
        lab.request(kind, 0, &[(addr, len)]),
        Verdict::Status(IO_ERROR),
    )?;
    works(lab, choices)
}

fn ballooned(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    let (kind, len) = (choices.pick(&[IN, OUT]), len(choices));
    let at = place(choices, len.into());
    let page = page(choices, at, len);
    lab.page(FakeGuest::balloon_out, page);
    lab.forget();
    let request = [(lab.addr(at), len)];
    expect(lab.request(kind, 0, &request), Verdict::Status(IO_ERROR))?;
    lab.page(FakeGuest::balloon_in, page);
    expect(lab.request(kind, 0, &request), Verdict::Status(OK))?;
    works(lab, choices)
}

fn window(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    for n in 0..256 {
        lab.page(FakeGuest::balloon_out, DATA + 4096 * n);
    }
    lab.forget();
    let request = [(lab.addr(DATA + 512 * choices.below(100)), len(choices))];
    expect(lab.request(IN, 0, &request), Verdict::Status(IO_ERROR))
}

fn invalidate(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    up(lab, choices)?;
    works(lab, choices)?;
    let at = place(choices, 512);
    let request = [(lab.addr(at), 512)];
    expect(lab.request(OUT, 0, &request), Verdict::Status(OK))?;
    lab.forget();
    if lab.guest().is_mapped(at) {
        return Err("a page is mapped after Xen said that the memory map has changed".into());
    }
    works(lab, choices)
}
