//! What a sector holds: who it is, when it was written, and a check value over both.

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seedable, good enough to spread sizes and contents.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Fills `buffer` (whole sectors) with what sector `first` and its successors hold under `seed`.
pub(crate) fn fill(buffer: &mut [u8], first: u64, seed: u64) {
    for (sector, number) in buffer.chunks_exact_mut(SECTOR).zip(first..) {
        let mut random = Random::new(seed ^ number.rotate_left(32));
        for word in sector.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        sector[..8].copy_from_slice(&number.to_le_bytes());
        sector[8..16].copy_from_slice(&seed.to_le_bytes());
    }
}

/// Says what is wrong with the first bad sector of `buffer`.
pub(crate) fn check(buffer: &[u8], first: u64, seed: u64) -> Result<(), String> {
    let mut expected = [0_u8; SECTOR];
    for (sector, number) in buffer.chunks_exact(SECTOR).zip(first..) {
        fill(&mut expected, number, seed);
        if sector == expected {
            continue;
        }
        let word =
            |at: usize| u64::from_le_bytes(sector[at..at + 8].try_into().unwrap_or_default());
        return Err(if sector.iter().all(|&byte| byte == 0) {
            format!("sector {number} is all zero: its write was lost")
        } else if word(8) == seed && word(0) != number {
            format!(
                "sector {number} holds sector {}: a request went to the wrong place",
                word(0)
            )
        } else if word(0) == number {
            format!(
                "sector {number} holds data of seed {} instead of {seed}, or is damaged",
                word(8)
            )
        } else {
            format!("sector {number} is damaged")
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_buffer_checks() {
        let mut buffer = vec![0; 8 * SECTOR];
        fill(&mut buffer, 7, 3);
        assert_eq!(check(&buffer, 7, 3), Ok(()));
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let mut buffer = vec![0; 2 * SECTOR];
        assert!(check(&buffer, 0, 1).unwrap_err().contains("lost"));
        fill(&mut buffer, 5, 1);
        assert!(check(&buffer, 6, 1).unwrap_err().contains("wrong place"));
        assert!(check(&buffer, 5, 2).unwrap_err().contains("seed 1"));
        buffer[SECTOR + 100] ^= 1;
        assert!(check(&buffer, 5, 1).unwrap_err().starts_with("sector 6 "));
    }
}
