//! Trials: one thing is wrong, and it is known what the device must make of it.
//!
//! Each trial brings the device up for itself, so they can be made in any order. What a trial leaves behind (revoked
//! pages, a broken device) is mended after it.

use transport_xen::fake::features;

use crate::choices::Choices;
use crate::lab::{DATA, DATA_LEN, HEADERS, Lab, Layout, Verdict};

mod chains;
mod grants;
mod lifecycle;
mod registers;
mod requests;
mod rings;

/// Read.
pub const IN: u32 = 0;
/// Write.
pub const OUT: u32 = 1;
/// Tell the serial number.
pub const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// Where a trial makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// With both memory models.
    Everywhere,
    /// With grants.
    Grants,
    /// With foreign mappings.
    Foreign,
}

/// What a trial finds.
pub type Found = Result<(), String>;

/// One trial.
pub struct Trial {
    /// The promise in short.
    pub name: &'static str,
    /// Where it makes sense.
    pub at: Where,
    body: fn(&mut Lab<'_>, &mut Choices<'_>) -> Found,
}

const fn trial(
    name: &'static str,
    at: Where,
    body: fn(&mut Lab<'_>, &mut Choices<'_>) -> Found,
) -> Trial {
    Trial { name, at, body }
}

impl Trial {
    /// Makes it, and mends the guest's pages afterwards.
    pub fn run(&self, lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
        let found = (self.body)(lab, choices);
        lab.guest().restore();
        found.map_err(|seen| format!("{}: {seen}", self.name))
    }
}

/// All trials.
pub fn all() -> impl Iterator<Item = &'static Trial> {
    [
        chains::TRIALS,
        grants::TRIALS,
        lifecycle::TRIALS,
        registers::TRIALS,
        requests::TRIALS,
        rings::TRIALS,
    ]
    .into_iter()
    .flatten()
}

fn expect(seen: Verdict, wanted: Verdict) -> Found {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("{seen:?} instead of {wanted:?}"))
    }
}

fn same<T: PartialEq + std::fmt::LowerHex>(what: &str, seen: T, wanted: T) -> Found {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("{what} is {seen:#x} instead of {wanted:#x}"))
    }
}

/// A queue size that is allowed and holds a request.
fn size(choices: &mut Choices<'_>) -> Layout {
    Layout::of_size(choices.pick(&[4, 8, 16, 64, 128, 256]))
}

/// Somewhere in the data, with room for `len` bytes.
fn place(choices: &mut Choices<'_>, len: u64) -> u64 {
    DATA + choices.below((DATA_LEN - len) / 16) * 16
}

/// Brings the device up with or without indirect tables and event indices.
fn up(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let without = choices.pick(&[0, features::INDIRECT, features::EVENT_IDX]);
    let layout = size(choices);
    lab.bring_up(without, layout)
}

/// The device still works: a verified write and read, with data of `len` bytes at an odd place.
pub fn works(lab: &mut Lab<'_>, choices: &mut Choices<'_>) -> Found {
    let most = choices.pick(&[16, 16, 16, 256]);
    let len = 512 * (1 + choices.below(most));
    let (from, to) = (place(choices, len), place(choices, len));
    // The two may overlap: then only what was written before counts.
    let sector = choices.below(crate::machine::DISK / 512 - len / 512);
    let bytes: Vec<u8> = (0..len).map(|n| (n ^ n >> 8 ^ sector) as u8 | 1).collect();
    lab.guest().write(&bytes, from);
    lab.counts.payload += 1;
    for (kind, at) in [(OUT, from), (IN, to)] {
        let verdict = lab.request(kind, sector, &[(lab.addr(at), len as u32)]);
        if verdict != Verdict::Status(OK) {
            return Err(format!(
                "a proper request of {len} bytes ended with {verdict:?}"
            ));
        }
        if lab.has_grants() && lab.guest().is_mapped(at) {
            return Err("a page is mapped after its request was completed".into());
        }
    }
    if lab.guest().read(to, len as usize) != bytes {
        return Err("something else was read than was written".into());
    }
    Ok(())
}

/// The page of header 0.
const HEADER_PAGE: u64 = HEADERS;
