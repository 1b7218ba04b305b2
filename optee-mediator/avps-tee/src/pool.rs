//! Memory that is shared with the secure world, for the guests' parameters.
//!
//! What dom0 may share is little (Xen's mediator: 16 buffers of at most 129 pages), so guests' registrations are not mirrored
//! there: a fixed number of buffers is lent, each for the time that a call has its turn (`slots`): with a buffer for each turn no
//! guest can find them all lent to others. Buffers belong to a guest's context of the TEE; one that lies
//! idle is given up when another guest needs one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use tee_device::Buffer;

use crate::Attachment;
use crate::world::SecureWorld;

/// Bytes of a small buffer: enough for most calls.
const SMALL: usize = 64 * 1024;
/// Bytes of a large buffer: what Xen's mediator takes in one piece (xen/arch/arm/tee/optee.c, `MAX_SHM_BUFFER_PG`), so that there is
/// room for a little more than 512 KiB.
pub(crate) const LARGE: usize = 129 * 4096;

/// The buffers of all guests.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many more there may be.
    left: usize,
    idle: HashMap<Attachment, Vec<Buffer>>,
}

/// A buffer for the time of a call.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    pool: &'a Pool,
    guest: Attachment,
    buffer: Option<Buffer>,
}

/// There is no buffer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBuffer {
    /// Larger than can be.
    #[error("{0} bytes of parameters, more than {LARGE}")]
    TooLarge(usize),
    /// All are lent.
    #[error("all buffers are in use")]
    Exhausted,
    /// The secure world takes no more.
    #[error(transparent)]
    Refused(#[from] tee_device::Error),
}

impl Pool {
    /// At most so many buffers.
    pub(crate) fn new(buffers: usize) -> Self {
        Self {
            state: Mutex::new(State {
                left: buffers,
                idle: HashMap::new(),
            }),
        }
    }

    /// Lends a buffer of at least `size` bytes.
    ///
    /// # Errors
    /// [`NoBuffer`].
    pub(crate) fn lend(
        &self,
        guest: Attachment,
        tee: &dyn SecureWorld,
        size: usize,
    ) -> Result<Loan<'_>, NoBuffer> {
        let wanted = match size {
            0..=SMALL => SMALL,
            size if size <= LARGE => LARGE,
            size => return Err(NoBuffer::TooLarge(size)),
        };
        let mut state = self.lock();
        let own = state.idle.entry(guest).or_default();
        let found = own.iter().position(|buffer| buffer.len() >= size);
        let buffer = match found {
            Some(index) => own.swap_remove(index),
            None => {
                let given_up = match state.left.checked_sub(1) {
                    Some(left) => {
                        state.left = left;
                        None
                    }
                    None => Some(state.give_up().ok_or(NoBuffer::Exhausted)?),
                };
                // Not under the lock: both go to the secure world.
                drop(state);
                drop(given_up);
                tee.buffer(wanted).inspect_err(|_| self.returned(1))?
            }
        };
        Ok(Loan {
            pool: self,
            guest,
            buffer: Some(buffer),
        })
    }

    /// Gives up a guest's idle buffers.
    pub(crate) fn forget(&self, guest: Attachment) {
        let mut state = self.lock();
        let idle = state.idle.remove(&guest).unwrap_or_default();
        drop(state);
        let count = idle.len();
        drop(idle);
        self.returned(count);
    }

    /// There may be so many more again.
    fn returned(&self, count: usize) {
        let mut state = self.lock();
        state.left = state.left.saturating_add(count);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        crate::lock(&self.state)
    }
}

impl State {
    /// Gives up an idle buffer of whoever has most, if there is one.
    fn give_up(&mut self) -> Option<Buffer> {
        let most = self.idle.values_mut().max_by_key(|idle| idle.len());
        most.and_then(Vec::pop)
    }
}

impl Loan<'_> {
    /// The buffer.
    pub(crate) fn buffer(&mut self) -> Option<&mut Buffer> {
        self.buffer.as_mut()
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else {
            return;
        };
        let mut state = self.pool.lock();
        match state.idle.get_mut(&self.guest) {
            Some(idle) => idle.push(buffer),
            // The guest was forgotten meanwhile.
            None => {
                drop(state);
                drop(buffer);
                self.pool.returned(1);
            }
        }
    }
}
