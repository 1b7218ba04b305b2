//! A guest's ioreq server, and the handles a worker needs to answer it.
//!
//! The server belongs to the guest, not to a file handle: it outlives workers and holders. The event
//! channels belong to an open file; the holder keeps its own reference on that file, so that they stay bound when a
//! worker dies. Nobody but the worker reads from it.

use std::thread;
use std::time::{Duration, Instant};

use xen::device_model;
use xen::{DomId, EventChannels, EventPort, IoreqPage, IoservId, PrivCmd};

use crate::ipc::message;
use crate::store::folder::WINDOW_BYTES;

/// How long event channels may still be held by the worker of an earlier holder.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between attempts to bind them.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// One guest's server.
#[derive(Debug)]
pub(super) struct Server {
    guest: DomId,
    id: IoservId,
    ports: Vec<EventPort>,
    /// Restricted to the guest: may be handed out.
    pub(super) privcmd: PrivCmd,
    /// The vCPUs' channels are bound here.
    pub(super) event_channels: EventChannels,
}

impl Server {
    /// Makes a server, or takes over the one an earlier holder left.
    ///
    /// # Errors
    /// Xen has no ioreq servers, this domain may not have one, or the guest is gone.
    pub(super) fn open(
        xen: &PrivCmd,
        guest: DomId,
        earlier: Option<IoservId>,
    ) -> Result<Self, xen::Error> {
        let vcpus = device_model::vcpu_count(xen, guest)?;
        if let Some(id) = earlier {
            match Self::bind_again(xen, guest, id, vcpus) {
                Ok(server) => return Ok(server),
                Err(error) => {
                    tracing::warn!(
                        "guest {guest}: the ioreq server {id} of an earlier run cannot be used again ({error}); making a new one"
                    );
                    // Its ranges would stand in the way of the new one's.
                    let _ = device_model::destroy_ioreq_server(xen, guest, id);
                }
            }
        }
        let id = device_model::create_ioreq_server(xen, guest)?;
        Self::bind(xen, guest, id, vcpus).inspect_err(|_| {
            // Already failing: the first error is the one to tell.
            let _ = device_model::destroy_ioreq_server(xen, guest, id);
        })
    }

    /// As [`Server::bind`], waiting a little for the event channels: the worker of a holder that was killed has them
    /// until it has ended.
    fn bind_again(
        xen: &PrivCmd,
        guest: DomId,
        id: IoservId,
        vcpus: u32,
    ) -> Result<Self, xen::Error> {
        let started = Instant::now();
        loop {
            match Self::bind(xen, guest, id, vcpus) {
                Err(xen::Error::EventChannel { .. })
                    if started.elapsed() < PREDECESSOR_PATIENCE =>
                {
                    thread::sleep(RETRY_PAUSE);
                }
                result => return result,
            }
        }
    }

    fn bind(xen: &PrivCmd, guest: DomId, id: IoservId, vcpus: u32) -> Result<Self, xen::Error> {
        // Mapping makes Xen allocate the page; enabling makes it write the ports there.
        let page = IoreqPage::map(xen, guest, id, vcpus)?;
        device_model::set_enabled(xen, guest, id, true)?;
        let event_channels = EventChannels::open()?;
        let mut ports = Vec::new();
        for vcpu in 0..vcpus {
            let remote = page.port(vcpu).ok_or(xen::Error::Argument(
                "Xen gave no event channel for a vCPU of the guest",
            ))?;
            ports.push(event_channels.bind_interdomain(guest, remote)?);
        }
        if guest != DomId::DOM0 {
            event_channels.restrict(guest)?;
        }
        let privcmd = PrivCmd::open()?;
        privcmd.restrict(guest)?;
        Ok(Self {
            guest,
            id,
            ports,
            privcmd,
            event_channels,
        })
    }

    /// Its number, unique within the guest.
    pub(super) fn id(&self) -> IoservId {
        self.id
    }

    /// What a worker has to know.
    pub(super) fn describe(&self, memory_kib: Option<u64>) -> message::Guest {
        message::Guest {
            domid: self.guest.get(),
            ioserv: self.id.0,
            ports: self.ports.iter().map(|port| port.get()).collect(),
            memory_kib: memory_kib.unwrap_or(0),
        }
    }

    /// Has the guest's accesses to a device's window sent here. A window that is ours already is fine.
    ///
    /// # Errors
    /// Another server has it, or the guest is gone.
    pub(super) fn claim(&self, xen: &PrivCmd, base: u64) -> Result<(), xen::Error> {
        match device_model::map_mmio_range(xen, self.guest, self.id, base, end_of(base)) {
            Err(error) if error.errno() == Some(rustix::io::Errno::EXIST.raw_os_error()) => Ok(()),
            result => result,
        }
    }

    /// Gives a window back.
    pub(super) fn release(&self, xen: &PrivCmd, base: u64) {
        let result = device_model::unmap_mmio_range(xen, self.guest, self.id, base, end_of(base));
        if let Err(error) = result {
            // The guest is gone, as a rule, and its ranges with it.
            tracing::debug!(
                "guest {}: window {base:#x} not given back: {error}",
                self.guest
            );
        }
    }

    /// Ends the server.
    pub(super) fn destroy(self, xen: &PrivCmd) {
        if let Err(error) = device_model::destroy_ioreq_server(xen, self.guest, self.id) {
            tracing::debug!(
                "guest {}: ioreq server {} not destroyed: {error}",
                self.guest,
                self.id
            );
        }
    }
}

fn end_of(base: u64) -> u64 {
    // The folder's parser has made sure that this does not overflow.
    base.saturating_add(WINDOW_BYTES.saturating_sub(1))
}
