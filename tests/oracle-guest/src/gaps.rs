//! Time gaps in a fixed amount of memory: a histogram of all, and the last thousand.
//!
//! The histogram has 32 buckets for each power of two: a percentile is told at most 1/32 too high, never too low.

const PARTS: u32 = 5;
const BUCKETS: usize = 2048;

/// Gaps in timer ticks.
#[derive(Debug)]
pub struct Gaps {
    counts: [u32; BUCKETS],
    total: u64,
    /// The smallest; `u64::MAX` while there is none.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Default for Gaps {
    fn default() -> Self {
        Self::new()
    }
}

impl Gaps {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
            min: u64::MAX,
            max: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Adds one.
    pub fn add(&mut self, ticks: u64) {
        if let Some(count) = self.counts.get_mut(bucket(ticks)) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
        self.min = self.min.min(ticks);
        self.max = self.max.max(ticks);
    }

    /// The gap that this many of ten thousand do not exceed: 5000 is the median, 9990 the 99.9th percentile.
    #[must_use]
    pub fn percentile(&self, of_ten_thousand: u64) -> u64 {
        let wanted = (self.total * of_ten_thousand).div_ceil(10_000);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return last_of(index).min(self.max);
            }
        }
        self.max
    }
}

/// Gaps of a stretch that is judged by its 99.9th percentile.
pub const STRETCH: usize = 1000;

/// The last gaps, [`STRETCH`] of them at most, in timer ticks.
#[derive(Debug)]
pub struct Recent {
    gaps: [u32; STRETCH],
    total: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

impl Recent {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            gaps: [0; STRETCH],
            total: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.total.min(STRETCH)
    }

    /// Adds one, in the place of the oldest.
    pub fn add(&mut self, ticks: u64) {
        if let Some(gap) = self.gaps.get_mut(self.total % STRETCH) {
            *gap = u32::try_from(ticks).unwrap_or(u32::MAX);
        }
        self.total += 1;
    }

    /// The largest, and the one that 999 of 1000 do not exceed: of fewer than a thousand that is the largest, too.
    #[must_use]
    pub fn largest(&self) -> (u32, u32) {
        let (mut first, mut second) = (0, 0);
        for gap in self.gaps.iter().take(self.count()) {
            if *gap > first {
                (first, second) = (*gap, first);
            } else {
                second = second.max(*gap);
            }
        }
        if self.count() < STRETCH {
            second = first;
        }
        (first, second)
    }
}

/// Values below 64 have a bucket each.
fn bucket(ticks: u64) -> usize {
    let shift = (u64::BITS - ticks.leading_zeros()).saturating_sub(PARTS + 1);
    let index = (u64::from(shift) << PARTS) + (ticks >> shift);
    usize::try_from(index).unwrap_or(BUCKETS)
}

/// The largest value in a bucket.
fn last_of(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let shift = (index >> PARTS).saturating_sub(1);
    let part = index - (shift << PARTS);
    u32::try_from(shift)
        .ok()
        .and_then(|shift| (part + 1).checked_shl(shift))
        .map_or(u64::MAX, |next| next.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_a_bucket_that_ends_at_most_a_32nd_above_it() {
        let values = (0..10_000_u64)
            .chain((0..58).map(|bits| (77 << bits) + 3))
            .chain([u64::MAX]);
        for value in values {
            let last = last_of(bucket(value));
            assert!(
                last >= value && last - value <= value / 32,
                "{value}: {last}"
            );
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn of_the_last_thousand_one_may_be_larger() {
        let mut recent = Recent::new();
        assert_eq!((recent.count(), recent.largest()), (0, (0, 0)));
        recent.add(90);
        recent.add(70);
        assert_eq!((recent.count(), recent.largest()), (2, (90, 90)));
        (2..STRETCH).for_each(|_| recent.add(10));
        assert_eq!(recent.largest(), (90, 70));
        recent.add(80);
        assert_eq!((recent.count(), recent.largest()), (STRETCH, (80, 70)));
        recent.add(u64::MAX);
        assert_eq!(recent.largest(), (u32::MAX, 80));
        (0..STRETCH).for_each(|_| recent.add(5));
        assert_eq!(recent.largest(), (5, 5));
    }

    #[test]
    fn percentiles_are_those_of_a_known_series() {
        let mut gaps = Gaps::new();
        for value in 1..=1000 {
            gaps.add(value * 1000);
        }
        assert_eq!((gaps.total(), gaps.min, gaps.max), (1000, 1000, 1_000_000));
        for (wanted, exact) in [(5000, 500_000), (9900, 990_000), (9990, 999_000)] {
            let seen = gaps.percentile(wanted);
            assert!(
                seen >= exact && seen <= exact + exact / 32,
                "{wanted}: {seen}"
            );
        }
        assert_eq!(gaps.percentile(10_000), 1_000_000);
        assert_eq!(Gaps::new().percentile(5000), 0);
    }
}
