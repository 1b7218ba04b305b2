//! Another guest, with an engine of its own, that behaves and checks everything it reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use transport_xen::MemoryModel;

use crate::choices::Choices;
use crate::lab::{Lab, Layout};
use crate::machine::Machine;
use crate::trials::works;

/// What it saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Writes that were read back.
    pub requests: u64,
    /// What was wrong, in words.
    pub errors: Vec<String>,
}

/// A running neighbour.
pub struct Neighbour {
    running: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Neighbour {
    /// Starts it.
    pub fn start() -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let go_on = Arc::clone(&running);
        let thread = std::thread::Builder::new().name("neighbour".into());
        let thread = thread.spawn(move || live(&go_on)).expect("a thread");
        Neighbour { running, thread }
    }

    /// Ends it.
    pub fn stop(self) -> Seen {
        self.running.store(false, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Seen {
            requests: 0,
            errors: vec!["the neighbour's driver panicked".into()],
        })
    }
}

fn live(go_on: &AtomicBool) -> Seen {
    let machine = Machine::start(MemoryModel::Grant);
    let mut lab = Lab::new(&machine);
    let mut choices = Choices::of_seed(0x6e65_6967_6862_6f75);
    let mut seen = Seen::default();
    lab.settle_in();
    if let Err(error) = lab.bring_up(0, Layout::of_size(64)) {
        seen.errors.push(error);
    }
    while go_on.load(Ordering::Relaxed) && seen.errors.len() < 8 && !lab.stuck {
        match works(&mut lab, &mut choices) {
            Ok(()) => seen.requests += 1,
            Err(error) => seen.errors.push(error),
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    if machine.log().needs_resets > 0 {
        seen.errors.push("its device asked for a reset".into());
    }
    seen.errors.extend(machine.guest.escapes().1);
    if lab.stuck {
        seen.errors.push("an access was never answered".into());
        std::mem::forget(machine);
    } else {
        seen.errors.append(&mut machine.stop());
    }
    seen
}
