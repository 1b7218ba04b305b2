//! Ctrl-C and termination signals as something that can be waited for beside other things.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells whether the user wants to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

/// The side that says so.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

impl Canceller {
    /// Asks everybody who holds the [`Cancel`] to stop.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// A pair: who cancels, and who is told.
    pub fn pair() -> (Canceller, Cancel) {
        let (sender, receiver) = watch::channel(false);
        (Canceller(sender), Cancel(receiver))
    }

    /// Never cancelled.
    pub fn never() -> Cancel {
        Cancel::pair().1
    }

    /// Cancelled by SIGINT, SIGTERM or SIGHUP, which no longer end the process from here on.
    ///
    /// # Errors
    /// The system's, when a handler cannot be installed.
    pub fn on_signals() -> io::Result<Cancel> {
        let (canceller, cancel) = Cancel::pair();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                canceller.cancel();
            }
        });
        Ok(cancel)
    }

    /// Whether the user wants to stop.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the user wants to stop; for ever, if nobody can say so any more.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
