//! A queue's thread that looks after the vCPUs while it is awake.

use std::sync::Arc;

use devices::{Access, CopyIn, CopyOut, MappedPayload, MemoryError, PayloadMemory, Segment};

use super::front::Front;

/// One thread's duty at the [`Front`]. Dropping it ends it.
pub(super) struct Lookout {
    front: Arc<Front>,
    kept: bool,
    absent: bool,
}

impl Lookout {
    /// Not kept yet.
    pub(super) fn new(front: &Arc<Front>) -> Self {
        Lookout {
            front: Arc::clone(front),
            kept: false,
            absent: false,
        }
    }

    /// From now on; false if that is not wanted.
    pub(super) fn enter(&mut self) -> bool {
        self.kept = self.kept || self.front.enter();
        self.kept
    }

    /// Answers whoever waits.
    pub(super) fn look(&self) {
        if self.kept {
            self.front.look();
        }
        if self.absent {
            self.front.still_absent();
        }
    }

    /// It may be a while until the next look.
    pub(super) fn absent(&mut self) {
        if self.kept && !self.absent {
            self.absent = true;
            self.front.absent();
        }
    }

    /// It looks again.
    pub(super) fn back(&mut self) {
        if std::mem::take(&mut self.absent) {
            self.front.back();
        }
    }

    /// No longer.
    pub(super) fn leave(&mut self) {
        self.back();
        if std::mem::take(&mut self.kept) {
            self.front.leave();
        }
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A memory whose user looks after the vCPUs before and after each copy: one that moves much makes many.
pub(super) struct Attentive<'a> {
    pub(super) memory: &'a mut dyn PayloadMemory,
    pub(super) lookout: &'a Lookout,
}

impl PayloadMemory for Attentive<'_> {
    fn copy_in(&mut self, batch: &mut [CopyIn<'_>]) {
        self.lookout.look();
        self.memory.copy_in(batch);
        self.lookout.look();
    }

    fn copy_out(&mut self, batch: &mut [CopyOut<'_>]) {
        self.lookout.look();
        self.memory.copy_out(batch);
        self.lookout.look();
    }

    fn copy_limit(&self) -> usize {
        self.memory.copy_limit()
    }

    fn allows_direct_io(&self) -> bool {
        self.memory.allows_direct_io()
    }

    fn map(
        &mut self,
        segments: &[Segment],
        access: Access,
    ) -> Result<Box<dyn MappedPayload>, MemoryError> {
        self.memory.map(segments, access)
    }
}
