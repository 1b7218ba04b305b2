//! A device's life as pure logic: what has happened goes in, what is to be done comes out.
//!
//! No XenStore, no file, no process here, so that every path can be tested on any machine. The
//! promise: whatever order events come in, a device that is asked to go reaches Closed exactly once,
//! and a guest's window is never left without somebody who answers while the toolstack wants the device.
//!
//! States shown in XenStore (xen/include/public/io/xenbus.h): 1 until the device can serve, 2
//! (InitWait) when it can, 4 (Connected) while the guest's driver runs, back to 2 when the driver resets
//! it, 6 (Closed) when everything is given back. A device in error stays at 1 and tells why in
//! `avps/error`.

use crate::parameters::BlockParameters;
use crate::store::folder::{BusState, Content, Folder};

/// Told when a device comes back without what its driver had set up.
const STATE_LOST: &str = "the process that served this device was replaced and the device's state is lost: \
                          the guest's driver waits until it resets the device (unbind and bind it, or reboot the guest)";

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input<'a> {
    /// The folder was read (again). `content` is the folder's, or the adoption rule's where the folder
    /// says nothing.
    Seen {
        /// The folder as it stands.
        folder: &'a Folder,
        /// What to serve.
        content: &'a Content,
    },
    /// The folder, or the whole domain, is gone.
    Gone,
    /// The window could not be claimed, the image not opened, or the worker could not use it.
    Failed(String),
    /// The worker serves the device (for the first time, or after a restart).
    Attached {
        /// The driver had already set DRIVER_OK (a restart that kept its state).
        driver_ok: bool,
    },
    /// The driver set DRIVER_OK, or reset the device.
    Driver {
        /// DRIVER_OK is set.
        ok: bool,
    },
    /// The worker does not stay alive; the device waits.
    Trouble(String),
    /// This domain is about to end: the device is given up, whoever still wants it.
    GivenUp,
    /// The worker has let go of the device, or is dead.
    TornDown,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Have Xen send the window's accesses to us, and show an empty slot there (device id 0).
    ClaimWindow,
    /// Open the image and hand it to the worker; answer with `Attached` or `Failed`.
    Open(BlockParameters),
    /// Write the `state` key.
    Publish(BusState),
    /// Write `avps/error` and log.
    ShowError(String),
    /// Remove `avps/error`.
    ClearError,
    /// Have the worker let go of the device; answer with `TornDown`.
    TearDown,
    /// Drop everything about the device.
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing done yet.
    New,
    /// Window claimed, nothing behind it.
    Slot,
    /// Image on its way to the worker.
    Attaching,
    /// Served, the driver does not run.
    Ready,
    /// Served, the driver runs.
    Connected,
    /// Cannot be served as told.
    Failed,
    /// The worker was asked to let go.
    Closing,
    /// All is given back and said so.
    Closed,
}

/// One device's life.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    phase: Phase,
    published: BusState,
    tried: Option<Content>,
    folder_gone: bool,
    /// `avps/error` tells of a trouble that may pass.
    troubled: bool,
    /// The guest's driver believes that the device runs.
    driver_runs: bool,
}

impl Lifecycle {
    /// A device nobody has looked at.
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::New,
            published: BusState::Unknown,
            tried: None,
            folder_gone: false,
            troubled: false,
            driver_runs: false,
        }
    }

    /// Word for logs and statistics.
    pub(crate) fn word(&self) -> &'static str {
        match self.phase {
            Phase::New | Phase::Slot => "waiting",
            Phase::Attaching => "attaching",
            Phase::Ready => "ready",
            Phase::Connected => "connected",
            Phase::Failed => "error",
            Phase::Closing => "closing",
            Phase::Closed => "closed",
        }
    }

    /// The worker must know this device: its window belongs to us.
    pub(crate) fn has_window(&self) -> bool {
        !matches!(self.phase, Phase::New | Phase::Closed)
    }

    /// The worker must have the image as well.
    pub(crate) fn is_served(&self) -> bool {
        matches!(
            self.phase,
            Phase::Attaching | Phase::Ready | Phase::Connected
        )
    }

    /// A `TornDown` is awaited.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Nothing is held for the device any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Takes one event and says what to do.
    pub(crate) fn step(&mut self, input: Input<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Seen { folder, content } => self.seen(folder, content, &mut actions),
            Input::Gone => self.gone(&mut actions),
            Input::Failed(text) => {
                if self.is_served() || self.phase == Phase::Slot {
                    self.fail(text, &mut actions);
                }
            }
            Input::Attached { driver_ok } => {
                if self.is_served() {
                    self.calm(&mut actions);
                    let lost = self.driver_runs && !driver_ok;
                    self.driver(driver_ok, &mut actions);
                    if lost {
                        self.troubled = true;
                        actions.push(Action::ShowError(STATE_LOST.to_owned()));
                    }
                }
            }
            Input::Driver { ok } => {
                if matches!(self.phase, Phase::Ready | Phase::Connected) {
                    self.calm(&mut actions);
                    self.driver(ok, &mut actions);
                }
            }
            Input::Trouble(text) => {
                if self.is_served() {
                    self.troubled = true;
                    actions.push(Action::ShowError(text));
                }
            }
            Input::GivenUp => {
                if self.has_window() && !self.is_closing() {
                    self.close(&mut actions);
                }
            }
            Input::TornDown => self.torn_down(&mut actions),
        }
        actions
    }

    fn seen(&mut self, folder: &Folder, content: &Content, actions: &mut Vec<Action>) {
        if self.phase == Phase::New {
            self.published = folder.state;
        }
        let closing = matches!(folder.state, BusState::Closing | BusState::Closed);
        if closing || !folder.online {
            self.unwanted(folder, actions);
            return;
        }
        match self.phase {
            Phase::New | Phase::Closed => {
                // A closed device whose folder says Initialising again was added anew.
                *self = Self::new();
                self.published = folder.state;
                self.driver_runs = folder.state == BusState::Connected;
                self.phase = Phase::Slot;
                actions.push(Action::ClaimWindow);
                self.consider(content, actions);
            }
            Phase::Slot => self.consider(content, actions),
            Phase::Failed => {
                let told_otherwise = self.tried.as_ref() != Some(content);
                if told_otherwise || !folder.error_shown {
                    if folder.error_shown {
                        actions.push(Action::ClearError);
                    }
                    self.phase = Phase::Slot;
                    self.consider(content, actions);
                }
            }
            Phase::Attaching | Phase::Ready | Phase::Connected | Phase::Closing => {}
        }
    }

    fn unwanted(&mut self, folder: &Folder, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::New => {
                self.phase = Phase::Closed;
                self.publish(BusState::Closed, actions);
            }
            Phase::Closed => {
                self.published = folder.state;
                self.publish(BusState::Closed, actions);
            }
            Phase::Closing => {}
            Phase::Slot | Phase::Attaching | Phase::Ready | Phase::Connected | Phase::Failed => {
                self.close(actions)
            }
        }
    }

    fn gone(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::New | Phase::Closed => actions.push(Action::Forget),
            Phase::Closing => self.folder_gone = true,
            _ => {
                self.folder_gone = true;
                self.close(actions);
            }
        }
    }

    fn close(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Closing;
        actions.push(Action::TearDown);
    }

    fn torn_down(&mut self, actions: &mut Vec<Action>) {
        if self.phase != Phase::Closing {
            return;
        }
        self.phase = Phase::Closed;
        if self.folder_gone {
            actions.push(Action::Forget);
        } else {
            // Whatever the key says now (5, most likely), it is ours to end.
            self.published = BusState::Closing;
            self.publish(BusState::Closed, actions);
        }
    }

    fn consider(&mut self, content: &Content, actions: &mut Vec<Action>) {
        match content {
            Content::Unsaid => {}
            Content::Block(parameters) => {
                self.tried = Some(content.clone());
                self.phase = Phase::Attaching;
                actions.push(Action::Open(parameters.clone()));
            }
            Content::Refused(error) => {
                self.tried = Some(content.clone());
                self.fail(error.to_string(), actions);
            }
        }
    }

    fn fail(&mut self, text: String, actions: &mut Vec<Action>) {
        self.phase = Phase::Failed;
        actions.push(Action::ShowError(text));
        self.publish(BusState::Initialising, actions);
    }

    /// Takes back the word on a trouble that is over.
    fn calm(&mut self, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.troubled) {
            actions.push(Action::ClearError);
        }
    }

    fn driver(&mut self, ok: bool, actions: &mut Vec<Action>) {
        self.driver_runs = ok;
        if ok {
            self.phase = Phase::Connected;
            self.publish(BusState::Connected, actions);
        } else {
            self.phase = Phase::Ready;
            self.publish(BusState::InitWait, actions);
        }
    }

    fn publish(&mut self, state: BusState, actions: &mut Vec<Action>) {
        if self.published != state {
            self.published = state;
            actions.push(Action::Publish(state));
        }
    }
}

#[cfg(test)]
mod tests;
