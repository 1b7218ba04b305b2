//! Device folders: read, judged by the life cycle, and what it decided is done.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use xen::DomId;

use super::awaited::Refusal;
use super::guest::{Device, Guest, OpenBlock};
use super::restart::Restarts;
use super::server::Server;
use super::{Holder, records, workers};
use crate::adopt;
use crate::image;
use crate::ipc::Order;
use crate::ipc::message::{self, MAX_SLOTS};
use crate::lifecycle::{Action, Input};
use crate::parameters::{BlockParameters, Memory};
use crate::store::folder::{BusState, Content, DeviceKey, Folder, FolderError, Parsed, parse};
use crate::store::{Located, StoreError, locate};
use backend_stats::Counters;
use daemon::rate::not_shown;

/// How long after its start the holder waits for images that its predecessor's workers may still have.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(3);

impl Holder {
    /// A watch has fired.
    pub(super) fn changed(&mut self, path: &str) {
        match locate(self.store.own(), path) {
            Located::Device(key) => {
                self.dirty.insert(key);
            }
            Located::Everything => self.rescan = true,
            Located::Nothing => {}
        }
    }

    /// Reads a device's folder and acts on it.
    pub(super) fn examine(&mut self, key: DeviceKey) {
        let keys = match self.store.read(key) {
            Ok(Some(keys)) => keys,
            Ok(None) => {
                self.orphans.remove(&key);
                self.feed(key, Input::Gone);
                return;
            }
            Err(error) => {
                tracing::error!("{key}: the folder cannot be read: {error}");
                return;
            }
        };
        if !self.same_guest(key.guest) {
            // Read again once the old guest's record is gone.
            return;
        }
        let folder = match parse(key, &keys) {
            Ok(Parsed::Complete(folder)) => folder,
            Ok(Parsed::Incomplete(missing)) => {
                tracing::debug!("{key}: still being written ({missing} is missing)");
                return;
            }
            Err(error) => {
                self.unusable(key, &error, keys.contains_key("avps/error"));
                return;
            }
        };
        if !self.devices.contains_key(&key) {
            if folder.online && folder.state != BusState::Closed && !self.is_alive(key.guest) {
                // Not introduced yet, or dead: only time tells.
                self.orphans.entry(key).or_insert_with(Instant::now);
                return;
            }
            self.devices
                .insert(key, Device::new(folder.window, folder.wired_for));
        }
        if let Some(device) = self.devices.get_mut(&key)
            && !device.life.has_window()
        {
            device.window = folder.window;
            device.wired_for = folder.wired_for;
        }
        self.orphans.remove(&key);
        let content = self.content(key, &folder);
        self.feed(
            key,
            Input::Seen {
                folder: &folder,
                content: &content,
            },
        );
    }

    /// What to serve: what the folder says, or else an adoption rule.
    fn content(&self, key: DeviceKey, folder: &Folder) -> Content {
        if folder.content != Content::Unsaid || self.rules.is_empty() {
            return folder.content.clone();
        }
        let known = self.guests.get(&key.guest).map(|guest| guest.facts.clone());
        let name = match known {
            Some(facts) => facts.name,
            None => self
                .store
                .facts(key.guest)
                .ok()
                .and_then(|facts| facts.name),
        };
        name.and_then(|name| adopt::find(&self.rules, &name, key.device))
            .map_or(Content::Unsaid, |rule| Content::Block(rule.block.clone()))
    }

    /// A folder whose window cannot even be shown empty.
    fn unusable(&mut self, key: DeviceKey, error: &FolderError, shown: bool) {
        if shown || self.devices.contains_key(&key) {
            return;
        }
        tracing::error!("{key}: cannot be served: {error}");
        self.told(key, self.store.show_error(key, &error.to_string()));
    }

    /// Hands an event to a device's life cycle and does what comes out of it.
    pub(super) fn feed(&mut self, key: DeviceKey, input: Input<'_>) {
        let Some(device) = self.devices.get_mut(&key) else {
            return;
        };
        if matches!(input, Input::TornDown) && device.life.is_closing() {
            self.give_back(key);
        }
        let Some(device) = self.devices.get_mut(&key) else {
            return;
        };
        let mut actions = VecDeque::from(device.life.step(input));
        while let Some(action) = actions.pop_front() {
            if let Some(answer) = self.act(key, action) {
                if matches!(answer, Input::TornDown) {
                    self.give_back(key);
                }
                if let Some(device) = self.devices.get_mut(&key) {
                    actions.extend(device.life.step(answer));
                }
            }
        }
        if let Some(device) = self.devices.get_mut(&key) {
            if !device.life.is_closed() {
                device.closed_at = None;
            } else if device.closed_at.is_none() {
                device.closed_at = Some(Instant::now());
            }
        }
        self.end_guest_if_idle(key.guest);
    }

    fn act(&mut self, key: DeviceKey, action: Action) -> Option<Input<'static>> {
        match action {
            Action::ClaimWindow => self.claim(key).err().map(Input::Failed),
            Action::Open(parameters) => {
                self.opening.push_back((key, parameters));
                None
            }
            Action::Publish(state) => {
                // A guest can move its device between ready and connected as fast as it likes.
                if let Some(device) = self.devices.get(&key)
                    && let Some(withheld) = self.chatter.pass(Instant::now())
                {
                    tracing::info!("{key}: {}{}", device.life.word(), not_shown(withheld));
                }
                self.told(key, self.store.publish(key, state));
                None
            }
            Action::ShowError(text) => {
                tracing::error!("{key}: {text}");
                if let Some(device) = self.devices.get_mut(&key)
                    && !device.life.is_served()
                {
                    device.close();
                }
                self.told(key, self.store.show_error(key, &text));
                None
            }
            Action::ClearError => {
                self.told(key, self.store.clear_error(key));
                None
            }
            Action::TearDown => self.tear_down(key),
            Action::Forget => {
                tracing::info!("{key}: gone");
                self.devices.remove(&key);
                // The folder may be another's by now.
                self.dirty.insert(key);
                None
            }
        }
    }

    /// Makes the device's window ours, with an empty slot in it.
    fn claim(&mut self, key: DeviceKey) -> Result<(), String> {
        self.ensure_guest(key.guest)?;
        let slot = self.free_slot(key.guest)?;
        let (Some(guest), Some(device)) =
            (self.guests.get_mut(&key.guest), self.devices.get_mut(&key))
        else {
            return Err("the guest is gone".to_owned());
        };
        if device.slot.is_some() {
            return Ok(());
        }
        device.slot = Some(slot);
        // The worker first: an access that finds nobody makes a vCPU wait.
        if let Some(place) = device.place() {
            workers::send(guest, &Order::AddSlot(place), &[]);
        }
        if let Err(error) = guest.server.claim(&self.xen, device.window.base) {
            device.slot = None;
            workers::send(guest, &Order::RemoveSlot { slot }, &[]);
            return Err(error.to_string());
        }
        tracing::info!(
            "{key}: window {:#x}, interrupt {}",
            device.window.base,
            device.window.irq
        );
        Ok(())
    }

    fn free_slot(&self, guest: DomId) -> Result<u32, String> {
        let taken: Vec<u32> = self
            .devices
            .iter()
            .filter(|(key, _)| key.guest == guest)
            .filter_map(|(_, device)| device.slot)
            .collect();
        (0..u32::try_from(MAX_SLOTS).unwrap_or(0))
            .find(|slot| !taken.contains(slot))
            .ok_or_else(|| format!("the guest has {MAX_SLOTS} devices here already"))
    }

    /// Makes the guest's record: its ioreq server and its worker.
    fn ensure_guest(&mut self, domid: DomId) -> Result<(), String> {
        if self.guests.contains_key(&domid) {
            return Ok(());
        }
        let facts = self.store.facts(domid).map_err(|error| error.to_string())?;
        let earlier = self
            .store
            .recall_server(domid, facts.vm.as_deref())
            .map_err(|error| error.to_string())?;
        let server = Server::open(&self.xen, domid, earlier).map_err(|error| {
            let why = if error.is_unsupported() {
                "; this Xen was built without ioreq servers (CONFIG_IOREQ_SERVER)"
            } else {
                ""
            };
            format!("{error}{why}")
        })?;
        tracing::info!(
            "guest {domid} ({}): ioreq server {}{}",
            facts.name.as_deref().unwrap_or("unnamed"),
            server.id(),
            if earlier == Some(server.id()) {
                ", taken over"
            } else {
                ""
            }
        );
        if let Err(error) = self
            .store
            .remember_server(domid, server.id(), facts.vm.as_deref())
        {
            tracing::warn!(
                "guest {domid}: its ioreq server cannot be remembered, a later start will not find it: {error}"
            );
        }
        let now = Instant::now();
        self.guests.insert(
            domid,
            Guest {
                domid,
                facts,
                server,
                worker: None,
                start_at: Some(now),
                restarts: Restarts::new(now),
                counted_before: Counters::new(),
                counted_now: Counters::new(),
                ending: false,
            },
        );
        // Its worker is started when all there is to read has been read: a guest that was served before must not find
        // some of its devices missing.
        Ok(())
    }

    /// Opens the image and hands it to the worker.
    pub(super) fn open(
        &mut self,
        key: DeviceKey,
        parameters: &BlockParameters,
    ) -> Result<(), Refusal> {
        self.claim(key)?;
        self.learn(key.guest);
        let (Some(guest), Some(device)) =
            (self.guests.get_mut(&key.guest), self.devices.get_mut(&key))
        else {
            return Err("the guest is gone".to_owned().into());
        };
        let memory = memory_model(
            self.store.own(),
            guest.facts.memory_kib,
            parameters.memory,
            device.wired_for,
        )?;
        let description = message::Block {
            read_only: parameters.read_only,
            block_size: parameters.block_size,
            serial: parameters.serial.clone(),
            cache: parameters.cache,
            queues: parameters.queues,
            memory,
        };
        let patience = PREDECESSOR_PATIENCE.saturating_sub(self.started.elapsed());
        let image = image::open(&parameters.image, &image::config(&description)?, patience)?;
        tracing::info!(
            "{key}: image {}, {}, memory {memory}, cache {}",
            parameters.image.display(),
            if parameters.read_only {
                "read-only"
            } else {
                "read-write"
            },
            parameters.cache
        );
        let record = self
            .records
            .open(key, guest.facts.vm.as_deref())
            .inspect_err(|error| {
                tracing::warn!(
                    "{key}: no record of its state can be kept below {} ({error}): should its worker die, its guest has to reset it",
                    records::FOLDER
                );
            });
        device.block = Some(OpenBlock {
            description,
            image,
            record: record.ok(),
        });
        Ok(workers::attach(guest, device)?)
    }

    /// Has the worker let go of a device. Without a worker that is done already.
    fn tear_down(&mut self, key: DeviceKey) -> Option<Input<'static>> {
        tracing::debug!("{key}: closing");
        let slot = self.devices.get(&key).and_then(|device| device.slot);
        let (Some(slot), Some(guest)) = (slot, self.guests.get_mut(&key.guest)) else {
            return Some(Input::TornDown);
        };
        if guest.worker.is_none() {
            return Some(Input::TornDown);
        }
        workers::send(guest, &Order::RemoveSlot { slot }, &[]);
        None
    }

    /// Gives back what the holder itself holds for a device nobody serves any more.
    fn give_back(&mut self, key: DeviceKey) {
        let Some(device) = self.devices.get_mut(&key) else {
            return;
        };
        device.close();
        if device.slot.take().is_some()
            && let Some(guest) = self.guests.get(&key.guest)
        {
            guest.server.release(&self.xen, device.window.base);
        }
    }

    /// Ends a guest's record when no device of it holds anything any more.
    pub(super) fn end_guest_if_idle(&mut self, domid: DomId) {
        let held = self
            .devices
            .iter()
            .any(|(key, device)| key.guest == domid && device.life.has_window());
        let Some(guest) = self.guests.get_mut(&domid) else {
            return;
        };
        if held {
            return;
        }
        if guest.worker.is_some() {
            guest.ending = true;
            workers::stop(guest, Instant::now().checked_add(super::STOP_PATIENCE));
            return;
        }
        if let Some(guest) = self.guests.remove(&domid) {
            guest.server.destroy(&self.xen);
            if let Err(error) = self.store.forget_server(domid) {
                tracing::warn!("guest {domid}: the note on its ioreq server stays: {error}");
            }
            tracing::info!("guest {domid}: nothing left to serve");
            // Its number may already be another's.
            self.rescan = true;
        }
    }

    pub(super) fn told(&self, key: DeviceKey, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!("{key}: XenStore was not told: {error}");
        }
    }
}

/// Decides the memory model: what is asked for must fit the guest's device tree and this domain.
fn memory_model(
    own: DomId,
    memory_kib: Option<u64>,
    wanted: Option<Memory>,
    wired_for: Memory,
) -> Result<Memory, String> {
    let memory = wanted.unwrap_or(wired_for);
    if memory != wired_for {
        let usage = match wired_for {
            Memory::Grant => 1,
            Memory::Foreign => 0,
        };
        return Err(format!(
            "memory = {memory} was asked for, but the guest was created with grant_usage={usage}, so its \
             driver works with {wired_for}; make the two agree"
        ));
    }
    if memory == Memory::Foreign {
        if own != DomId::DOM0 {
            return Err(format!(
                "memory = foreign maps the whole guest, which only dom0 may; this is domain {own}: use grant"
            ));
        }
        if memory_kib.is_none() {
            return Err(
                "memory = foreign needs the guest's memory size, and XenStore does not tell it (memory/static-max)"
                    .to_owned(),
            );
        }
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(own: u16, wanted: Option<Memory>, wired_for: Memory) -> Result<Memory, String> {
        memory_model(DomId::new(own).unwrap(), Some(1024), wanted, wired_for)
    }

    #[test]
    fn the_guests_device_tree_decides_when_nothing_is_asked_for() {
        assert_eq!(decide(0, None, Memory::Grant), Ok(Memory::Grant));
        assert_eq!(decide(0, None, Memory::Foreign), Ok(Memory::Foreign));
    }

    #[test]
    fn only_dom0_maps_whole_guests() {
        let error = decide(2, Some(Memory::Foreign), Memory::Foreign).unwrap_err();
        assert!(error.contains("only dom0"), "{error}");
        assert_eq!(
            decide(2, Some(Memory::Grant), Memory::Grant),
            Ok(Memory::Grant)
        );
    }

    #[test]
    fn a_model_the_guests_driver_does_not_work_with_is_refused() {
        for (wanted, wired_for) in [
            (Memory::Grant, Memory::Foreign),
            (Memory::Foreign, Memory::Grant),
        ] {
            let error = decide(0, Some(wanted), wired_for).unwrap_err();
            assert!(error.contains("grant_usage"), "{error}");
        }
    }

    #[test]
    fn foreign_mapping_is_not_tried_without_knowing_the_guests_size() {
        let error = memory_model(DomId::DOM0, None, None, Memory::Foreign).unwrap_err();
        assert!(error.contains("static-max"), "{error}");
    }
}
