//! What a guest is served with: memory of its own, and the secure world. Both are real in the daemon; tests have others.

use std::fmt::Debug;
use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use tee_device::{Buffer, Outcome, PARAMETERS, Parameter, Tee};
use xen::{Access, DomId, ForeignMapping, Pfn, PrivCmd};

/// Memory of a guest, found by its frames.
pub(crate) trait GuestMemory: Send + Sync + Debug {
    /// Frames in the order given, one behind the other; all of them or none.
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn Pages>>;
}

/// Pages of a guest. It may change them at any moment.
pub(crate) trait Pages: Send + Sync + Debug {
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
    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        ForeignMapping::read(self, offset, bytes).is_ok()
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        ForeignMapping::write(self, offset, bytes).is_ok()
    }
}

/// Who opens a session, as the secure world is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Nobody in particular.
    Public,
    /// A user of this number.
    User(u32),
    /// A group of this number.
    Group(u32),
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
        let told = client.told();
        let mut open =
            move || Tee::open_session(self, application, told, cancel_id, buffers, parameters);
        if client == Client::Public {
            return open();
        }
        let failed = |source| tee_device::Error::Device {
            what: "open a session for a client of a guest",
            source,
        };
        // The kernel asks who calls. A thread of its own: what it becomes ends with it.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("client".into());
            let thread = thread.spawn_scoped(scope, move || {
                client.become_it().map_err(failed)?;
                open()
            });
            let panicked = |_| Err(failed(io::Error::other("its thread panicked")));
            thread.map_err(failed)?.join().unwrap_or_else(panicked)
        })
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

impl Client {
    /// As the device takes it (Linux: drivers/tee/tee_core.c, `tee_session_calc_client_uuid`).
    fn told(self) -> tee_device::Client {
        let (login, group) = match self {
            Self::Public => (optee_abi::Login::Public, 0),
            Self::User(_) => (optee_abi::Login::User, 0),
            Self::Group(number) => (optee_abi::Login::Group, number),
        };
        let mut uuid = [0; 16];
        for (byte, of_group) in uuid.iter_mut().zip(u32::to_ne_bytes(group)) {
            *byte = of_group;
        }
        tee_device::Client {
            login: login as u32,
            uuid,
        }
    }

    /// Makes the calling thread, and no other, one of this effective user or group.
    fn become_it(self) -> io::Result<()> {
        match self {
            Self::Public => {}
            Self::User(number) => set_thread_res_uid(None, Uid::from_raw(number), None)?,
            Self::Group(number) => set_thread_res_gid(None, Gid::from_raw(number), None)?,
        }
        Ok(())
    }
}
