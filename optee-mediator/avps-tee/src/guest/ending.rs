//! A thread that waits for a guest's end. What is left of a guest then is given back to the secure world, which may be busy for as
//! long as somebody's call takes: whoever says that the guest has ended does not wait for it. It is there from the beginning, so that
//! no end fails for want of a thread.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Takes over what is left, and is the last one to have it.
#[derive(Debug)]
pub(super) struct Ending<T> {
    thread: SyncSender<T>,
}

impl<T: Send + 'static> Ending<T> {
    /// Starts the thread, which does this with what is left.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(name: String, with: impl FnOnce(T) + Send + 'static) -> io::Result<Self> {
        let (thread, left) = sync_channel(1);
        let waits = move || {
            // Without an end there is nothing to do.
            if let Ok(left) = left.recv() {
                with(left);
            }
        };
        thread::Builder::new().name(name).spawn(waits)?;
        Ok(Self { thread })
    }

    /// The end: hands over what is left. Only the first one counts.
    pub(super) fn begin(&self, left: T) {
        // There is room for one, and the thread takes it.
        let _ = self.thread.try_send(left);
    }
}
