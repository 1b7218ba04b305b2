//! What holder and worker say to each other.
//!
//! Descriptors travel beside a message, in the order its documentation gives. Slots are the holder's small
//! numbers for a guest's devices; XenStore's names never reach a worker.

use serde::{Deserialize, Serialize};

use crate::parameters::{Cache, Memory};
use backend_stats::Counters;

/// Most devices one guest can have (libxl's interrupts 33 to 43 make 11; room for other toolstacks).
pub(crate) const MAX_SLOTS: usize = 32;
/// Most vCPUs a guest can have: slots of one ioreq page.
pub(crate) const MAX_VCPUS: usize = 128;
/// Longest text from a worker that is shown to people, in bytes.
const MAX_TEXT: usize = 1024;

/// A device's place in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// The holder's number for it.
    pub(crate) slot: u32,
    /// Guest physical address of its registers.
    pub(crate) base: u64,
    /// Its interrupt, as the GIC counts.
    pub(crate) irq: u32,
}

/// Everything about the guest a worker must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guest {
    /// The guest.
    pub(crate) domid: u16,
    /// Ioreq server that covers its devices.
    pub(crate) ioserv: u16,
    /// Local event-channel port per vCPU, bound by the holder; its length is the number of vCPUs.
    pub(crate) ports: Vec<u32>,
    /// Most memory the guest can have, in KiB; 0 where the holder cannot know.
    pub(crate) memory_kib: u64,
}

/// What is spent on speed, for all guests alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tuning {
    /// Busy threads look for more work before they sleep.
    pub(crate) polling: bool,
    /// Over grants, larger payload than this is mapped instead of copied, in bytes; `None`: none is.
    pub(crate) copy_limit: Option<u32>,
}

/// A block device, without its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Refuse writes.
    pub(crate) read_only: bool,
    /// Logical block size in bytes.
    pub(crate) block_size: u32,
    /// Serial for the guest, at most 20 bytes.
    pub(crate) serial: String,
    /// Cache mode; the image was opened for it.
    pub(crate) cache: Cache,
    /// Number of queues.
    pub(crate) queues: u16,
    /// How guest memory is reached.
    pub(crate) memory: Memory,
}

/// Holder to worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// First of all. Descriptors: privcmd (restricted to the guest), evtchn.
    Start {
        /// The guest.
        guest: Guest,
        /// Windows that are ours already; empty until attached.
        slots: Vec<Slot>,
        /// What is spent on speed.
        tuning: Tuning,
    },
    /// All devices there are by now have been attached: start to answer the guest. A guest that waits since a
    /// predecessor died must not find its devices missing. Answered by `Ready`.
    Serve,
    /// Show an empty slot. Answered by nothing.
    AddSlot(Slot),
    /// Put a block device into a slot; may come before `Serve`. Descriptors: image, gntdev, and the device's record if
    /// there is one. Answered by `Attached` or `Refused`.
    Attach {
        /// The slot.
        slot: u32,
        /// The device.
        block: Block,
    },
    /// Let go of whatever is in the slot, and of the slot. Answered by `Removed`.
    RemoveSlot {
        /// The slot.
        slot: u32,
    },
    /// Answered by `Counters`.
    Count {
        /// Comes back in the answer.
        question: u64,
    },
    /// Finish what is in flight, let go of everything, end.
    Stop,
    /// Instead of serving, do what an intruder would. Descriptor: gntdev. Answered by `Attacked`.
    #[cfg(feature = "probe")]
    Attack(crate::probe::Attempt),
}

/// Worker to holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notice {
    /// First of all: the sandbox is shut.
    Confined {
        /// Parts of it that could not be had, with the reason, for people.
        missing: Vec<String>,
    },
    /// The guest's accesses are being answered.
    Ready,
    /// The device is in its slot.
    Attached {
        /// The slot.
        slot: u32,
        /// The driver runs it already.
        driver_ok: bool,
    },
    /// The device cannot be served.
    Refused {
        /// The slot.
        slot: u32,
        /// Why, for people.
        reason: String,
    },
    /// The driver set DRIVER_OK, or reset the device.
    Driver {
        /// The slot.
        slot: u32,
        /// DRIVER_OK is set.
        ok: bool,
    },
    /// The driver broke the protocol; the device waits for its reset.
    NeedsReset {
        /// The slot.
        slot: u32,
        /// What it did, for people.
        reason: String,
    },
    /// Nothing of the slot is mapped, open or in flight any more.
    Removed {
        /// The slot.
        slot: u32,
    },
    /// Counters since this worker started.
    Counters {
        /// From the question.
        question: u64,
        /// Calls to the kernel for this guest.
        guest: Counters,
        /// Slot and counters of each device.
        devices: Vec<(u32, Counters)>,
    },
    /// The attack was tried.
    #[cfg(feature = "probe")]
    Attacked {
        /// How it was refused; nothing if it was not.
        refused: Option<String>,
    },
    /// The worker cannot go on, and ends.
    Fatal {
        /// Why, for people.
        reason: String,
    },
}

/// Text from a worker, made fit for a log and a XenStore key: bounded, one line.
pub(crate) fn clean(text: &str) -> String {
    let (text, end) = match text.char_indices().find(|(at, _)| *at >= MAX_TEXT) {
        Some((at, _)) => (text.get(..at).unwrap_or_default(), "…"),
        None => (text, ""),
    };
    format!("{}{end}", printable::line(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_full_size_fits_a_packet() {
        let counters: Counters = (0..30)
            .map(|index| (format!("a_counter_of_some_length_{index}"), u64::MAX))
            .collect();
        let notice = Notice::Counters {
            question: u64::MAX,
            guest: counters.clone(),
            devices: (0..MAX_SLOTS as u32)
                .map(|slot| (slot, counters.clone()))
                .collect(),
        };
        let order = Order::Start {
            guest: Guest {
                domid: u16::MAX,
                ioserv: u16::MAX,
                ports: vec![u32::MAX; MAX_VCPUS],
                memory_kib: u64::MAX,
            },
            slots: vec![
                Slot {
                    slot: u32::MAX,
                    base: u64::MAX,
                    irq: u32::MAX
                };
                MAX_SLOTS
            ],
            tuning: Tuning {
                polling: false,
                copy_limit: Some(u32::MAX),
            },
        };
        for text in [
            serde_json::to_vec(&notice).unwrap(),
            serde_json::to_vec(&order).unwrap(),
        ] {
            assert!(
                text.len() <= super::super::frame::MAX_PAYLOAD,
                "{}",
                text.len()
            );
        }
    }

    #[test]
    fn a_workers_words_cannot_forge_log_lines_or_grow() {
        assert_eq!(clean("a\nb\x1b[31m\u{9b}\u{202e}"), "a b?[31m?????");
        assert!(clean(&"ä".repeat(5000)).len() <= MAX_TEXT + 4);
    }
}
