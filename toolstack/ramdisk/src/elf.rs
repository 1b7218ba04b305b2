//! Whether a program can be the only file of a system: for the right machine, and complete in itself.
//!
//! Field offsets and values are those of the ELF-64 object file format; the machine's number is from the ELF
//! specification for the Arm 64-bit architecture.

const MAGIC: &[u8] = b"\x7fELF";
/// `ELFCLASS64`, `ELFDATA2LSB`.
const CLASS_64_LITTLE: [u8; 2] = [2, 1];
/// `ET_EXEC`, and `ET_DYN` for one that may lie anywhere.
const TYPES: [u16; 2] = [2, 3];
/// `EM_AARCH64`.
const AARCH64: u16 = 183;
/// `PT_LOAD`: a part of the program.
const LOAD: u32 = 1;
/// `PT_INTERP`: who is to load the libraries.
const INTERPRETER: u32 = 3;

/// Why a program cannot run alone in a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Another kind of file.
    #[error("it is no ELF program")]
    NoProgram,
    /// Another machine's.
    #[error("it is not for 64-bit Arm (aarch64)")]
    Machine,
    /// Libraries are missing there.
    #[error(
        "it is linked dynamically, and there are no libraries in such a domain; build it with -C target-feature=+crt-static"
    )]
    Dynamic,
    /// Its headers point outside of it.
    #[error("it is damaged or incomplete")]
    Damaged,
}

/// Looks at the headers of a program.
pub(crate) fn check(program: &[u8]) -> Result<(), Unfit> {
    if !program.starts_with(MAGIC) {
        return Err(Unfit::NoProgram);
    }
    if program.get(4..6) != Some(CLASS_64_LITTLE.as_slice())
        || number::<2>(program, 18)? != u64::from(AARCH64)
    {
        return Err(Unfit::Machine);
    }
    let kind = number::<2>(program, 16)?;
    let entry = number::<8>(program, 24)?;
    if !TYPES.iter().any(|known| u64::from(*known) == kind) || entry == 0 {
        return Err(Unfit::NoProgram);
    }
    let mut loaded = false;
    for segment in segments(program)? {
        match segment.kind {
            INTERPRETER => return Err(Unfit::Dynamic),
            LOAD => loaded = true,
            _ => continue,
        }
        let end = segment.offset.checked_add(segment.bytes);
        if end.is_none_or(|end| end > program.len()) {
            return Err(Unfit::Damaged);
        }
    }
    if loaded {
        Ok(())
    } else {
        Err(Unfit::NoProgram)
    }
}

/// A program header, as far as it matters.
struct Segment {
    kind: u32,
    /// Where its bytes begin in the file, and how many they are.
    offset: usize,
    bytes: usize,
}

fn segments(program: &[u8]) -> Result<Vec<Segment>, Unfit> {
    let table = place(number::<8>(program, 32)?)?;
    let size = place(number::<2>(program, 54)?)?;
    let count = place(number::<2>(program, 56)?)?;
    let mut segments = Vec::new();
    for index in 0..count {
        let header = size
            .checked_mul(index)
            .and_then(|at| at.checked_add(table))
            .and_then(|at| program.get(at..at.checked_add(size)?))
            .ok_or(Unfit::Damaged)?;
        segments.push(Segment {
            kind: u32::try_from(number::<4>(header, 0)?).map_err(|_| Unfit::Damaged)?,
            offset: place(number::<8>(header, 8)?)?,
            bytes: place(number::<8>(header, 32)?)?,
        });
    }
    Ok(segments)
}

/// The little-endian number of `N` bytes, at most eight, at an offset.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<u64, Unfit> {
    let field = at
        .checked_add(N)
        .and_then(|end| bytes.get(at..end))
        .ok_or(Unfit::Damaged)?;
    Ok(field
        .iter()
        .rev()
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

fn place(number: u64) -> Result<usize, Unfit> {
    usize::try_from(number).map_err(|_| Unfit::Damaged)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A program of headers only, with these kinds of segments.
    pub(crate) fn program(machine: u16, segments: &[u32]) -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..4].copy_from_slice(MAGIC);
        elf[4..6].copy_from_slice(&CLASS_64_LITTLE);
        elf[16..18].copy_from_slice(&2_u16.to_le_bytes());
        elf[18..20].copy_from_slice(&machine.to_le_bytes());
        elf[24..32].copy_from_slice(&0x40_0000_u64.to_le_bytes());
        elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
        elf[54..56].copy_from_slice(&56_u16.to_le_bytes());
        let count = u16::try_from(segments.len()).unwrap();
        elf[56..58].copy_from_slice(&count.to_le_bytes());
        for kind in segments {
            let mut header = [0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[32..40].copy_from_slice(&64_u64.to_le_bytes());
            elf.extend(header);
        }
        elf
    }

    #[test]
    fn a_static_program_for_the_machine_is_fit() {
        // PT_DYNAMIC (2) is there in one that may lie anywhere.
        assert_eq!(check(&program(AARCH64, &[LOAD, 2, LOAD])), Ok(()));
    }

    #[test]
    fn libraries_other_machines_and_other_files_are_refused() {
        let cases = [
            (program(AARCH64, &[INTERPRETER, LOAD]), Unfit::Dynamic),
            (program(62, &[LOAD]), Unfit::Machine),
            (program(AARCH64, &[]), Unfit::NoProgram),
            (b"#!/bin/sh\n".to_vec(), Unfit::NoProgram),
            (Vec::new(), Unfit::NoProgram),
        ];
        for (bytes, why) in cases {
            assert_eq!(check(&bytes), Err(why));
        }
    }

    #[test]
    fn what_this_test_itself_is_made_of_is_looked_at_rightly() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let expected = if cfg!(target_arch = "aarch64") {
            Unfit::Dynamic
        } else {
            Unfit::Machine
        };
        assert_eq!(check(&own), Err(expected));
    }

    #[test]
    fn a_program_cut_anywhere_is_refused_without_a_panic() {
        let whole = program(AARCH64, &[LOAD, LOAD]);
        for length in 0..whole.len() {
            assert!(check(&whole[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(check(&whole), Ok(()));
        let mut far = whole;
        far[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(check(&far), Err(Unfit::Damaged));
    }
}
