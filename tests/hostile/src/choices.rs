//! Where an attack's decisions come from: a seed, or a fuzzer's bytes.

/// A stream of decisions. The same seed or bytes give the same decisions.
#[derive(Debug)]
pub struct Choices<'a> {
    from: From<'a>,
}

#[derive(Debug)]
enum From<'a> {
    Seed(u64),
    Bytes(&'a [u8]),
}

impl Choices<'static> {
    /// An endless stream.
    pub fn of_seed(seed: u64) -> Self {
        // SplitMix64 (Steele, Lea and Flood, 2014) takes any seed.
        Choices {
            from: From::Seed(seed),
        }
    }
}

impl<'a> Choices<'a> {
    /// As many decisions as the bytes hold; afterwards all are 0.
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        Choices {
            from: From::Bytes(bytes),
        }
    }

    /// No decision is left.
    pub fn ended(&self) -> bool {
        matches!(self.from, From::Bytes([]))
    }

    fn take(&mut self, bytes: usize) -> u64 {
        match &mut self.from {
            From::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
            From::Bytes(rest) => {
                let (now, later) = rest.split_at(bytes.min(rest.len()));
                *rest = later;
                now.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
            }
        }
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.take(8)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let bytes = match end {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        self.take(bytes) % end
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let run = |seed| {
            let mut choices = Choices::of_seed(seed);
            (0..100).map(|_| choices.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn bytes_end() {
        let mut choices = Choices::of_bytes(&[1, 2, 3]);
        assert_eq!((choices.below(10), choices.below(0x1000)), (1, 0x203));
        assert!(choices.ended());
        assert_eq!(choices.any(), 0);
    }
}
