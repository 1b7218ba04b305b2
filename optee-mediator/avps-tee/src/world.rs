//! What a guest is served with: memory of its own, and the secure world. Both are real in the daemon; tests have others.

use std::fmt::Debug;

use tee_device::{Buffer, Client, Outcome, PARAMETERS, Parameter, Tee};
use xen::{Access, DomId, ForeignMapping, Pfn, PrivCmd};

/// Memory of a guest, found by its frames.
pub(crate) trait GuestMemory: Send + Sync + Debug {
    /// Frames in the order given, one behind the other; all of them or none.
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn Pages>>;
}

/// Pages of a guest. It may change them at any moment.
pub(crate) trait Pages: Send + Sync + Debug {
    /// Bytes.
    fn len(&self) -> usize;
    /// Copies bytes out; false beyond the end.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool;
    /// Copies bytes in; false beyond the end.
    fn write(&self, offset: usize, bytes: &[u8]) -> bool;
}

/// A domain's memory, by Xen.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) privcmd: PrivCmd,
    pub(crate) domid: DomId,
}

impl GuestMemory for Foreign {
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn Pages>> {
        let mapping = self
            .privcmd
            .map_foreign(self.domid, frames, Access::ReadWrite)?;
        Ok(Box::new(mapping.complete()?))
    }
}

impl Pages for ForeignMapping {
    fn len(&self) -> usize {
        ForeignMapping::len(self)
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        ForeignMapping::read(self, offset, bytes).is_ok()
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        ForeignMapping::write(self, offset, bytes).is_ok()
    }
}

/// The secure world, as one client sees it.
pub(crate) trait SecureWorld: Send + Sync + Debug {
    /// As [`Tee::open_session`].
    fn open_session(
        &self,
        application: [u8; 16],
        client: Client,
        cancel_id: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<(Outcome, u32)>;
    /// As [`Tee::invoke`].
    fn invoke(
        &self,
        session: u32,
        function: u32,
        cancel_id: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<Outcome>;
    /// As [`Tee::cancel`].
    fn cancel(&self, session: u32, cancel_id: u32) -> tee_device::Result<()>;
    /// As [`Tee::close_session`].
    fn close_session(&self, session: u32) -> tee_device::Result<()>;
    /// As [`Buffer::new`].
    fn buffer(&self, size: usize) -> tee_device::Result<Buffer>;
}

impl SecureWorld for Tee {
    fn open_session(
        &self,
        application: [u8; 16],
        client: Client,
        cancel_id: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<(Outcome, u32)> {
        Tee::open_session(self, application, client, cancel_id, buffers, parameters)
    }

    fn invoke(
        &self,
        session: u32,
        function: u32,
        cancel_id: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> tee_device::Result<Outcome> {
        Tee::invoke(self, session, function, cancel_id, buffers, parameters)
    }

    fn cancel(&self, session: u32, cancel_id: u32) -> tee_device::Result<()> {
        Tee::cancel(self, session, cancel_id)
    }

    fn close_session(&self, session: u32) -> tee_device::Result<()> {
        Tee::close_session(self, session)
    }

    fn buffer(&self, size: usize) -> tee_device::Result<Buffer> {
        Buffer::new(self, size)
    }
}
