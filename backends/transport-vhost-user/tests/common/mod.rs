//! A guest in a memfd with its driver, the front end it belongs to, and a server to try them on.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use devices::Device;
use devices::block::{Block, BlockConfig, open_image};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use transport_vhost_user::{ServeError, Server};
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

pub(crate) mod gate;

/// Where the guest's memory begins, as it sees it.
pub(crate) const RAM: u64 = 0x4000_0000;
pub(crate) const RAM_LEN: usize = 4 << 20;
/// Free for payload.
pub(crate) const DATA: u64 = RAM + 0x10_0000;
/// What is added to a guest's address for the front end's own.
const OWN: u64 = 0x7f00_0000_0000;
pub(crate) const SIZE: u16 = 64;
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(20);

/// Memory that can be shared.
pub(crate) fn memfd(name: &str, len: usize) -> File {
    let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).unwrap());
    file.set_len(len as u64).unwrap();
    file
}

/// What a front end says of a piece of memory.
pub(crate) fn region(file: &File, at: u64, len: usize) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: at,
        memory_size: len as u64,
        userspace_addr: at + OWN,
        mmap_offset: 0,
        mmap_handle: file.as_raw_fd(),
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A guest's memory.
pub(crate) struct Guest {
    pub(crate) file: File,
    pub(crate) memory: GuestMemoryMmap,
}

impl Guest {
    pub(crate) fn new(name: &str) -> Self {
        let file = memfd(name, RAM_LEN);
        let offset = FileOffset::new(file.try_clone().unwrap(), 0);
        let ranges = [(GuestAddress(RAM), RAM_LEN, Some(offset))];
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).unwrap();
        Guest { file, memory }
    }

    pub(crate) fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub(crate) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        bytes
    }

    pub(crate) fn word(&self, at: u64) -> u16 {
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    pub(crate) fn set_word(&self, at: u64, value: u16) {
        self.memory.write_obj(value, GuestAddress(at)).unwrap();
    }
}

/// A queue, from the driver's side.
pub(crate) struct Ring {
    index: usize,
    pub(crate) kick: EventFd,
    pub(crate) call: EventFd,
    pub(crate) err: EventFd,
    avail: u16,
    seen: u16,
}

impl Ring {
    pub(crate) fn new(index: usize) -> Self {
        let event = || EventFd::new(libc_nonblock()).unwrap();
        Ring {
            index,
            kick: event(),
            call: event(),
            err: event(),
            avail: 0,
            seen: 0,
        }
    }

    fn at(&self, offset: u64) -> u64 {
        RAM + 0x1_0000 * self.index as u64 + offset
    }

    fn desc(&self) -> u64 {
        self.at(0)
    }

    fn avail_ring(&self) -> u64 {
        self.at(0x2000)
    }

    fn used_ring(&self) -> u64 {
        self.at(0x4000)
    }

    /// Where request `head` has its header and its status.
    pub(crate) fn header(&self, head: u16) -> u64 {
        self.at(0x8000 + 32 * u64::from(head))
    }

    /// A driver's reset: everything from the beginning.
    pub(crate) fn reset(&mut self, guest: &Guest) {
        guest.put(self.desc(), &vec![0; 0x8000]);
        (self.avail, self.seen) = (0, 0);
    }

    pub(crate) fn descriptor(&self, guest: &Guest, index: u16, desc: (u64, u32, u16, u16)) {
        let (addr, len, flags, next) = desc;
        let at = self.desc() + 16 * u64::from(index);
        guest.put(at, &addr.to_le_bytes());
        guest.put(at + 8, &len.to_le_bytes());
        guest.put(at + 12, &flags.to_le_bytes());
        guest.put(at + 14, &next.to_le_bytes());
    }

    /// Makes a chain available and kicks. An interrupt is wanted for it.
    pub(crate) fn offer(&mut self, guest: &Guest, head: u16) {
        let slot = u64::from(self.avail % SIZE);
        guest.set_word(self.avail_ring() + 4 + 2 * slot, head);
        guest.set_word(
            self.avail_ring() + 4 + 2 * u64::from(SIZE),
            self.used_index(guest),
        );
        self.avail = self.avail.wrapping_add(1);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        guest.set_word(self.avail_ring() + 2, self.avail);
        self.kick.write(1).unwrap();
    }

    pub(crate) fn used_index(&self, guest: &Guest) -> u16 {
        guest.word(self.used_ring() + 2)
    }

    /// Waits for the next used entry: head and bytes written.
    pub(crate) fn used(&mut self, guest: &Guest) -> (u16, u32) {
        until("a request is used", || self.used_index(guest) != self.seen);
        let at = self.used_ring() + 4 + 8 * u64::from(self.seen % SIZE);
        self.seen = self.seen.wrapping_add(1);
        let entry = guest.get(at, 8);
        let word = |from: usize| u32::from_le_bytes(entry[from..from + 4].try_into().unwrap());
        (u16::try_from(word(0)).unwrap(), word(4))
    }

    /// A disk's request with one data buffer; gives its status and the bytes written.
    pub(crate) fn disk(
        &mut self,
        guest: &Guest,
        kind: u32,
        sector: u64,
        data: (u64, u32),
    ) -> (u8, u32) {
        let head = 3 * (self.avail % 16);
        let header = self.header(head);
        guest.put(header, &kind.to_le_bytes());
        guest.put(header + 8, &sector.to_le_bytes());
        guest.put(header + 16, &[0xee]);
        let writes = if matches!(kind, 0 | 8) { WRITE } else { 0 };
        self.descriptor(guest, head, (header, 16, NEXT, head + 1));
        if data.1 > 0 {
            let desc = (data.0, data.1, NEXT | writes, head + 2);
            self.descriptor(guest, head + 1, desc);
            self.descriptor(guest, head + 2, (header + 16, 1, WRITE, 0));
        } else {
            self.descriptor(guest, head + 1, (header + 16, 1, WRITE, 0));
        }
        self.offer(guest, head);
        let (used, written) = self.used(guest);
        assert_eq!(used, head);
        (guest.get(header + 16, 1)[0], written)
    }
}

fn libc_nonblock() -> i32 {
    i32::try_from(EventfdFlags::NONBLOCK.bits()).unwrap()
}

/// A front end that has taken the device with everything it offers.
pub(crate) fn connect(path: &Path, guest: &Guest, queues: u64) -> Frontend {
    let mut front = Frontend::connect(path, queues).unwrap();
    front.set_owner().unwrap();
    let features = front.get_features().unwrap();
    let offered = front.get_protocol_features().unwrap();
    let wanted = VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK;
    assert_eq!(offered & wanted, wanted);
    front.set_protocol_features(wanted).unwrap();
    front.set_features(features).unwrap();
    front.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
    front
        .set_mem_table(&[region(&guest.file, RAM, RAM_LEN)])
        .unwrap();
    front
}

/// Starts a queue at `base`, as QEMU does.
pub(crate) fn start(front: &mut Frontend, ring: &Ring, base: u16) {
    let queue = ring.index;
    front.set_vring_num(queue, SIZE).unwrap();
    front.set_vring_base(queue, base).unwrap();
    let config = VringConfigData {
        queue_max_size: SIZE,
        queue_size: SIZE,
        flags: 0,
        desc_table_addr: ring.desc() + OWN,
        used_ring_addr: ring.used_ring() + OWN,
        avail_ring_addr: ring.avail_ring() + OWN,
        log_addr: None,
    };
    front.set_vring_addr(queue, &config).unwrap();
    front.set_vring_err(queue, &ring.err).unwrap();
    front.set_vring_kick(queue, &ring.kick).unwrap();
    front.set_vring_call(queue, &ring.call).unwrap();
    front.set_vring_enable(queue, true).unwrap();
}

/// Stops a queue; gives where it was.
pub(crate) fn stop(front: &mut Frontend, ring: &Ring) -> u32 {
    front.set_vring_enable(ring.index, false).unwrap();
    front.get_vring_base(ring.index).unwrap()
}

/// A server on a thread of its own.
pub(crate) struct Served {
    pub(crate) path: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    stop: OwnedFd,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Served {
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::within(folder, device)
    }

    /// A disk of 1 MiB.
    pub(crate) fn disk(config: BlockConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, vec![0; 1 << 20]).unwrap();
        let file = open_image(&image, &config).unwrap();
        Self::within(folder, Arc::new(Block::new(config, file).unwrap()))
    }

    fn within(folder: tempfile::TempDir, device: Arc<dyn Device>) -> Self {
        let path = folder.path().join("socket");
        let server = Server::bind(&path).unwrap();
        let stop = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let stopped = stop.try_clone().unwrap();
        let thread = std::thread::spawn(move || server.run(&device, stopped.as_fd()));
        Served {
            path,
            folder,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("image")).unwrap()
    }

    /// Ends it; what it said.
    pub(crate) fn end(&mut self) -> Result<(), ServeError> {
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end().unwrap();
        }
    }
}
