//! The register file in words, for a [`Record`](crate::Record), and back.

use crate::record::COPY_WORDS;

/// Words before those of the queues.
const HEAD: usize = 5;
/// Words of a queue.
const QUEUE: usize = 4;

/// What of a register file has to survive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) status: u8,
    pub(crate) impossible_features: bool,
    pub(crate) device_features_sel: u32,
    pub(crate) driver_features_sel: u32,
    pub(crate) driver_features: u64,
    pub(crate) queue_sel: u32,
    /// What the driver changed in the configuration space, in the device's own words.
    pub(crate) device: u64,
    pub(crate) queues: Vec<SavedQueue>,
}

/// What of a queue's registers has to survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SavedQueue {
    /// As the driver wrote it.
    pub(crate) size: u32,
    pub(crate) ready: bool,
    pub(crate) desc_table: u64,
    pub(crate) avail_ring: u64,
    pub(crate) used_ring: u64,
}

/// Most queues of a device whose registers can be saved.
pub(crate) const MAX_QUEUES: usize = (COPY_WORDS - HEAD) / QUEUE;

impl Saved {
    /// As words.
    pub(crate) fn encode(&self) -> Vec<u64> {
        let mut words = vec![
            u64::from(self.status)
                | u64::from(self.impossible_features) << 8
                | (self.queues.len() as u64) << 16,
            u64::from(self.device_features_sel) | u64::from(self.driver_features_sel) << 32,
            self.driver_features,
            u64::from(self.queue_sel),
            self.device,
        ];
        for queue in &self.queues {
            words.extend([
                u64::from(queue.size) | u64::from(queue.ready) << 32,
                queue.desc_table,
                queue.avail_ring,
                queue.used_ring,
            ]);
        }
        words
    }

    /// From words, whoever wrote them. `None` if they cannot be those of a register file; that they make sense is for
    /// the caller to check.
    pub(crate) fn decode(words: &[u64]) -> Option<Self> {
        let (head, rest) = words.split_first_chunk::<HEAD>()?;
        let &[flags, selects, driver_features, queue_sel, device] = head;
        let count = usize::try_from(flags >> 16).ok()?;
        let (queues, _) = rest.as_chunks::<QUEUE>();
        let queues = queues
            .get(..count)?
            .iter()
            .map(|&[size, desc_table, avail_ring, used_ring]| SavedQueue {
                size: size as u32,
                ready: size >> 32 != 0,
                desc_table,
                avail_ring,
                used_ring,
            })
            .collect();
        Some(Saved {
            status: flags as u8,
            impossible_features: flags & 0x100 != 0,
            device_features_sel: selects as u32,
            driver_features_sel: (selects >> 32) as u32,
            driver_features,
            queue_sel: queue_sel as u32,
            device,
            queues,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            status: u8,
            impossible_features: bool,
            selects: (u32, u32, u32),
            words: (u64, u64),
            queues in prop::collection::vec(
                (any::<u32>(), any::<bool>(), any::<u64>(), any::<u64>(), any::<u64>()), 0..=MAX_QUEUES),
        ) {
            let saved = Saved {
                status,
                impossible_features,
                device_features_sel: selects.0,
                driver_features_sel: selects.1,
                queue_sel: selects.2,
                driver_features: words.0,
                device: words.1,
                queues: queues
                    .into_iter()
                    .map(|(size, ready, desc_table, avail_ring, used_ring)| SavedQueue {
                        size, ready, desc_table, avail_ring, used_ring,
                    })
                    .collect(),
            };
            let words = saved.encode();
            prop_assert!(words.len() <= COPY_WORDS);
            prop_assert_eq!(Saved::decode(&words), Some(saved));
        }

        #[test]
        fn any_words_are_read_or_refused(words in prop::collection::vec(any::<u64>(), 0..COPY_WORDS)) {
            let _ = Saved::decode(&words);
        }
    }
}
