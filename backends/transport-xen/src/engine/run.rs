//! The engine's thread: answers the guest's register accesses and carries out orders.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use xen::IoreqPage;

use super::core::Core;
use super::front::Front;
use super::orders::{EngineHandle, Order, OrderSender};
use super::slot::Links;
use super::wake::{Wake, wait_for};
use super::{
    Attachment, EngineError, EngineSetup, Event, EventSink, SlotConfig, Tuning, VcpuPorts,
};
use crate::memory::ForeignMemory;
use crate::xen_side::{Gate, Platform, XenGate, XenPlatform};

/// Serves all virtio devices of one guest.
pub struct Engine {
    front: Arc<Front>,
    /// Readable when a vCPU may have come.
    events: OwnedFd,
    sink: EventSink,
    wake: Arc<Wake>,
    orders: Receiver<Order>,
}

impl Engine {
    /// An engine for one guest, with its slots as known so far. Binds the event channels if it is to; answers nothing
    /// before [`Engine::run`].
    ///
    /// # Errors
    /// [`EngineError::Xen`] if the ioreq page or an event channel cannot be had; what [`EngineHandle::add_slot`] and
    /// [`EngineHandle::attach`] may give.
    pub fn new(
        setup: EngineSetup,
        slots: Vec<(SlotConfig, Option<Attachment>)>,
        sink: EventSink,
    ) -> Result<(Self, EngineHandle), EngineError> {
        let EngineSetup {
            domid,
            privcmd,
            event_channels,
            ports,
            ioserv,
            vcpus,
            grants,
            memory_kib,
            tuning,
        } = setup;
        let xen = |what| move |error| EngineError::Xen { what, error };
        let page = IoreqPage::map(&privcmd, domid, ioserv, vcpus)
            .map_err(xen("map the guest's ioreq page"))?;
        let ports = match ports {
            VcpuPorts::Bound(ports) => ports,
            VcpuPorts::Bind => (0..vcpus)
                .map(|vcpu| {
                    let remote = page.port(vcpu).ok_or(xen::Error::Argument(
                        "the ioreq page names no event channel; enable the ioreq server first",
                    ))?;
                    event_channels.bind_interdomain(domid, remote)
                })
                .collect::<xen::Result<_>>()
                .map_err(xen("bind a vCPU's event channel"))?,
        };
        let gate = Box::new(XenGate::new(page, event_channels, ports));
        let platform = Arc::new(XenPlatform {
            domid,
            privcmd,
            source: grants,
        });
        Self::assemble(gate, platform, memory_kib, tuning, slots, sink)
    }

    /// An engine on any Xen, a test's own included.
    pub(crate) fn assemble(
        gate: Box<dyn Gate>,
        platform: Arc<dyn Platform>,
        memory_kib: u64,
        tuning: Tuning,
        slots: Vec<(SlotConfig, Option<Attachment>)>,
        sink: EventSink,
    ) -> Result<(Self, EngineHandle), EngineError> {
        let os = |what| move |error| EngineError::Os { what, error };
        let wake = Arc::new(Wake::new().map_err(os("make an eventfd"))?);
        let events = gate.fd().try_clone_to_owned();
        let events = events.map_err(os("wait for the guest"))?;
        let (sender, orders) = OrderSender::new(Arc::clone(&wake));
        let foreign = Arc::new(ForeignMemory::new(platform.foreign(), memory_kib));
        let handle = EngineHandle::new(sender.clone());
        let absence = Front::timer().map_err(os("make a timer"))?;
        let told = Arc::clone(&sink);
        let front = Arc::new_cyclic(|front| {
            let links = Links {
                orders: sender,
                front: front.clone(),
            };
            let core = Core::new(gate, platform, foreign, tuning.copy_limit, sink, links);
            Front::new(core, tuning.polling, absence)
        });
        front.with(|core| {
            for (config, attachment) in slots {
                core.add_slot(config)?;
                if let Some(attachment) = attachment {
                    core.attach(config.devid, attachment)?;
                }
            }
            Ok(())
        })?;
        let engine = Engine {
            front,
            events,
            sink: told,
            wake,
            orders,
        };
        Ok((engine, handle))
    }

    /// Serves the guest until [`EngineHandle::stop`], then drains and unmaps everything.
    ///
    /// # Errors
    /// When its handles fail; [`Event::Fatal`] is sent then too, and everything is drained as well.
    pub fn run(mut self) -> Result<(), EngineError> {
        let outcome = self.serve();
        if let Err(error) = &outcome {
            (self.sink)(Event::Fatal(error.to_string()));
            self.drain();
        }
        outcome
    }

    fn serve(&mut self) -> Result<(), EngineError> {
        self.front.with(Core::take_over)?;
        loop {
            let fds = [self.events.as_fd(), self.wake.as_fd(), self.front.absence()];
            let [guest, order, absent] = wait_for(fds, None).map_err(|error| EngineError::Os {
                what: "wait for the guest",
                error,
            })?;
            if order {
                self.wake.take();
                if self.carry_out()? {
                    return Ok(());
                }
            }
            if guest || order {
                self.front.serve_events()?;
            }
            if absent {
                self.front.take_over()?;
            }
        }
    }

    /// Carries out all orders; true when everything has stopped.
    fn carry_out(&mut self) -> Result<bool, EngineError> {
        while let Ok(order) = self.orders.try_recv() {
            self.front.with(|core| core.obey(order))?;
        }
        Ok(self.front.with(|core| core.has_stopped()))
    }

    /// Ends all queues when the guest cannot be served any more; answers nobody.
    fn drain(&mut self) {
        self.front.with(Core::halt);
        while !self.front.with(|core| core.is_quiet()) {
            match self.orders.recv() {
                Ok(Order::QueueEnded(devid, queue)) => {
                    self.front.with(|core| core.queue_ended(devid, queue));
                }
                // Dropping an order's answer tells whoever waits that the engine has stopped.
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
