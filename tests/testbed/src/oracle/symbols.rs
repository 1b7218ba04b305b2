//! Where a variable of Xen lies in its image, read from the ELF file with symbols.

use super::{Error, Result};
use std::path::Path;

const HEADER_OF_SECTION: usize = 64;
const SYMBOL: usize = 24;
const SYMBOL_TABLE: u32 = 2;

/// Distance in bytes from the image's start to Xen's first console ring.
pub(super) fn console_ring(path: &Path) -> Result<u64> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let problem = |problem| Error::Symbols {
        path: path.to_path_buf(),
        problem,
    };
    let start = value_of(&bytes, "_start").ok_or_else(|| problem("it has no symbol `_start`"))?;
    let ring =
        value_of(&bytes, "_conring").ok_or_else(|| problem("it has no symbol `_conring`"))?;
    ring.checked_sub(start)
        .ok_or_else(|| problem("its console ring lies before its start"))
}

/// The value of a symbol in a little-endian 64-bit ELF file.
fn value_of(elf: &[u8], name: &str) -> Option<u64> {
    elf.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let section = |index: usize| {
        let at = usize::try_from(number::<8>(elf, 40)?).ok()? + index * HEADER_OF_SECTION;
        elf.get(at..at + HEADER_OF_SECTION)
    };
    let content = |header: &[u8]| {
        let start = usize::try_from(number::<8>(header, 24)?).ok()?;
        let size = usize::try_from(number::<8>(header, 32)?).ok()?;
        elf.get(start..start.checked_add(size)?)
    };
    let count = usize::try_from(number::<2>(elf, 60)?).ok()?;
    let table = (0..count)
        .filter_map(section)
        .find(|header| number::<4>(header, 4) == Some(SYMBOL_TABLE.into()))?;
    let names = content(section(usize::try_from(number::<4>(table, 40)?).ok()?)?)?;
    let symbols = content(table)?.chunks_exact(SYMBOL);
    let named = |symbol: &&[u8]| {
        let found = number::<4>(symbol, 0).and_then(|at| {
            names
                .get(usize::try_from(at).ok()?..)?
                .split(|byte| *byte == 0)
                .next()
        });
        found == Some(name.as_bytes())
    };
    number::<8>(symbols.into_iter().find(named)?, 8)
}

fn number<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + SIZE)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::value_of;

    /// A header, two sections and what is in them.
    fn elf() -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let names = b"\0_start\0_conring\0";
        let names_at = bytes.len();
        bytes.extend(names);
        let symbols_at = bytes.len();
        for (name, value) in [(0_u32, 0_u64), (1, 0x20_0000), (8, 0x30_5908)] {
            bytes.extend(name.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(value.to_le_bytes());
            bytes.extend([0; 8]);
        }
        let sections_at = bytes.len();
        let mut section = |kind: u32, link: u32, start: usize, size: usize| {
            let mut header = [0; 64];
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&u64::try_from(start).unwrap().to_le_bytes());
            header[32..40].copy_from_slice(&u64::try_from(size).unwrap().to_le_bytes());
            header[40..44].copy_from_slice(&link.to_le_bytes());
            bytes.extend(header);
        };
        section(3, 0, names_at, names.len());
        section(2, 0, symbols_at, 72);
        bytes[40..48].copy_from_slice(&u64::try_from(sections_at).unwrap().to_le_bytes());
        bytes[60] = 2;
        bytes
    }

    #[test]
    fn symbols_are_found_by_their_whole_names() {
        assert_eq!(value_of(&elf(), "_conring"), Some(0x30_5908));
        assert_eq!(value_of(&elf(), "_start"), Some(0x20_0000));
        assert_eq!(value_of(&elf(), "conring"), None);
    }

    #[test]
    fn a_cut_file_has_no_symbols() {
        let whole = elf();
        for length in 0..whole.len() {
            assert_eq!(value_of(&whole[..length], "_conring"), None);
        }
    }
}
