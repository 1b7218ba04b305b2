//! The queue registers: what the driver says about each queue before the device runs.

use devices::QueueConfig;
use devices::refusal::refused;

use super::saved::SavedQueue;

/// Which half of an address a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Low,
    High,
}

#[derive(Clone, Copy, Debug)]
struct QueueRegisters {
    config: QueueConfig,
    /// The driver wrote a size that fits; without one, the largest is used.
    ready: bool,
    /// The size the driver wrote, which may be nonsense.
    wanted: u32,
}

/// All queues of a device, one of them selected.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    queues: Vec<QueueRegisters>,
    selected: u32,
}

impl Queues {
    /// Queues of these largest sizes.
    pub(super) fn new(sizes: &[u16]) -> Self {
        let queues = sizes
            .iter()
            .map(|&max_size| QueueRegisters {
                config: QueueConfig {
                    max_size,
                    size: max_size,
                    desc_table: 0,
                    avail_ring: 0,
                    used_ring: 0,
                    event_idx: false,
                    indirect: false,
                },
                ready: false,
                wanted: u32::from(max_size),
            })
            .collect();
        Queues {
            queues,
            selected: 0,
        }
    }

    /// QueueSel: any number is taken; one without a queue shows as size 0.
    pub(super) fn select(&mut self, queue: u32) {
        self.selected = queue;
    }

    /// QueueSel as it was written.
    pub(super) fn selected_raw(&self) -> u32 {
        self.selected
    }

    /// All queues' registers.
    pub(super) fn snapshot(&self) -> Vec<SavedQueue> {
        self.queues
            .iter()
            .map(|queue| SavedQueue {
                size: queue.wanted,
                ready: queue.ready,
                desc_table: queue.config.desc_table,
                avail_ring: queue.config.avail_ring,
                used_ring: queue.config.used_ring,
            })
            .collect()
    }

    /// Takes registers over, with no queue ready yet; false if they are those of another number of queues.
    #[must_use]
    pub(super) fn restore(&mut self, saved: &[SavedQueue]) -> bool {
        if saved.len() != self.queues.len() {
            return false;
        }
        for (queue, saved) in self.queues.iter_mut().zip(saved) {
            queue.wanted = saved.size;
            queue.ready = false;
            queue.config.desc_table = saved.desc_table;
            queue.config.avail_ring = saved.avail_ring;
            queue.config.used_ring = saved.used_ring;
        }
        true
    }

    /// The selected queue's number, if there is such a queue.
    pub(super) fn selected(&self) -> Option<u16> {
        self.current()
            .and_then(|_| u16::try_from(self.selected).ok())
    }

    fn current(&self) -> Option<&QueueRegisters> {
        usize::try_from(self.selected)
            .ok()
            .and_then(|index| self.queues.get(index))
    }

    fn current_mut(&mut self) -> Option<&mut QueueRegisters> {
        usize::try_from(self.selected)
            .ok()
            .and_then(|index| self.queues.get_mut(index))
    }

    /// QueueSizeMax.
    pub(super) fn size_max(&self) -> u16 {
        self.current().map_or(0, |queue| queue.config.max_size)
    }

    /// QueueReady.
    pub(super) fn is_ready(&self) -> bool {
        self.current().is_some_and(|queue| queue.ready)
    }

    /// Whether queue `index` is ready.
    pub(super) fn ready_at(&self, index: u16) -> bool {
        self.queues
            .get(usize::from(index))
            .is_some_and(|queue| queue.ready)
    }

    /// QueueSize of a queue that is not ready.
    pub(super) fn set_size(&mut self, size: u32) {
        match self.current_mut().filter(|queue| !queue.ready) {
            Some(queue) => queue.wanted = size,
            None => refused("register: the size of a ready queue or of none", ()),
        }
    }

    /// Half of an address of a queue that is not ready.
    pub(super) fn set_address(
        &mut self,
        address: fn(&mut QueueConfig) -> &mut u64,
        half: Half,
        value: u32,
    ) {
        if let Some(queue) = self.current_mut().filter(|queue| !queue.ready) {
            let address = address(&mut queue.config);
            *address = match half {
                Half::Low => (*address & !0xffff_ffff) | u64::from(value),
                Half::High => (*address & 0xffff_ffff) | (u64::from(value) << 32),
            };
        } else {
            refused("register: an address of a ready queue or of none", ());
        }
    }

    /// The selected queue as configured. A size that is no size shows as 0, which [`check`] refuses.
    pub(super) fn config(&self) -> Option<QueueConfig> {
        self.current().map(|queue| QueueConfig {
            size: u16::try_from(queue.wanted).unwrap_or(0),
            ..queue.config
        })
    }

    /// Takes the selected queue's configuration, which was checked, into use.
    pub(super) fn make_ready(&mut self) {
        if let Some(config) = self.config()
            && let Some(queue) = self.current_mut()
        {
            queue.config = config;
            queue.ready = true;
        }
    }

    /// Takes a queue out of use.
    pub(super) fn unready(&mut self, index: u16) {
        if let Some(queue) = self.queues.get_mut(usize::from(index)) {
            queue.ready = false;
        }
    }

    /// The queues in use.
    pub(super) fn ready(&self) -> impl Iterator<Item = (u16, QueueConfig)> + '_ {
        (0..)
            .zip(&self.queues)
            .filter(|(_, queue)| queue.ready)
            .map(|(index, queue)| (index, queue.config))
    }
}

/// Whether size and alignments are what the specification allows (§2.7, §4.2.2.2).
pub(super) fn check(config: &QueueConfig) -> Result<(), String> {
    if !config.size.is_power_of_two() || config.size > config.max_size {
        let error = format!("its size must be a power of two up to {}", config.max_size);
        return Err(refused("register: a queue size that is none", error));
    }
    for (name, addr, alignment) in [
        ("descriptor table", config.desc_table, 16),
        ("available ring", config.avail_ring, 2),
        ("used ring", config.used_ring, 4),
    ] {
        if !addr.is_multiple_of(alignment) {
            let error = format!("its {name} at {addr:#x} is not aligned to {alignment} bytes");
            return Err(refused("register: a ring that is not aligned", error));
        }
    }
    Ok(())
}
