//! What domains share: memory, event channels, networks.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::names::mac;
use super::saturate;
use crate::document::{DocumentTable, IpcTable, SharedMemoryTable};
use crate::plan::{
    self, DomainKind, DomainPlan, EventChannel, EventChannelEnd, IpcKind, IpcLink, Network,
    NetworkPort, SharedMemory, SharedMemoryUser, ShmRole,
};
use crate::units::{ByteSize, KIB, MIB, Texts};

/// First port given to a domain that names none.
const FIRST_PORT: u32 = 10;
/// Size of an IPC link's memory in a document that does not say.
const IPC_SIZE: u64 = 4 * KIB;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) shared_memory: Vec<SharedMemory>,
    pub(super) event_channels: Vec<EventChannel>,
    pub(super) ipc: Vec<IpcLink>,
    pub(super) networks: Vec<Network>,
}

pub(super) fn links(content: &DocumentTable, platform: &str, domains: &[DomainPlan]) -> Links {
    let mut places = Places::new(domains);
    let mut links = Links::default();
    for (index, table) in content.shared_memory.iter().enumerate() {
        let memory = shared_memory(&mut places, index, table);
        links.shared_memory.push(memory);
    }
    let mut ports = Ports::new(content);
    for (index, table) in content.event_channel.iter().enumerate() {
        let Texts(names) = table.between.clone().unwrap_or_default();
        let [a, b] = [0, 1].map(|end| names.get(end).cloned().unwrap_or_default());
        let given = table.ports.clone().unwrap_or_default().0;
        links.event_channels.push(EventChannel {
            name: table.name.clone().unwrap_or_else(|| format!("{a}-{b}")),
            ends: [
                ports.end(&a, given.first().copied()),
                ports.end(&b, given.get(1).copied()),
            ],
            ipc: None,
            from: format!("event_channel[{index}]"),
        });
    }
    for (index, table) in content.ipc.iter().enumerate() {
        ipc(&mut links, &mut places, &mut ports, index, table);
    }
    links.networks = networks(content, platform);
    links
}

/// Where guests see shared memory.
struct Places<'a> {
    /// Names of the domains whose addresses are the machine's.
    direct: HashSet<&'a str>,
    next: u64,
}

impl<'a> Places<'a> {
    fn new(domains: &'a [DomainPlan]) -> Self {
        // Xen's first domain always has the machine's addresses.
        let is_direct =
            |domain: &&DomainPlan| domain.direct_map || domain.kind == DomainKind::Control;
        let direct = domains.iter().filter(is_direct);
        Places {
            direct: direct.map(|domain| domain.name.as_str()).collect(),
            next: plan::SHARED_MEMORY_BASE,
        }
    }

    /// The next place in the guests' window for shared memory, for a region of this size.
    fn window(&mut self, size: u64) -> u64 {
        let at = self.next;
        let room = size
            .max(1)
            .checked_next_multiple_of(MIB)
            .unwrap_or(u64::MAX);
        self.next = at.saturating_add(room);
        at
    }

    /// Where this domain sees what is at `host`: it says so, or its addresses are the machine's, or in the window.
    fn of(&self, domain: &str, given: Option<u64>, host: Option<u64>, window: u64) -> u64 {
        let direct = self.direct.contains(domain);
        given.or(host.filter(|_| direct)).unwrap_or(window)
    }
}

fn shared_memory(places: &mut Places<'_>, index: usize, table: &SharedMemoryTable) -> SharedMemory {
    let from = format!("shared_memory[{index}]");
    let size = table.size.unwrap_or_default().0;
    let at = table.at.map(|address| address.0);
    let window = places.window(size);
    let users = table.user.iter().enumerate().map(|(index, user)| {
        let domain = user.domain.clone().unwrap_or_default();
        SharedMemoryUser {
            at: places.of(&domain, user.at.map(|address| address.0), at, window),
            role: user.role.unwrap_or(ShmRole::Borrower),
            writes: user.writes.unwrap_or(false),
            from: format!("{from}.user[{index}]"),
            domain,
        }
    });
    SharedMemory {
        id: table.id.clone().unwrap_or_default(),
        size_bytes: size,
        at,
        users: users.collect(),
        ipc: None,
        from,
    }
}

fn ipc(
    links: &mut Links,
    places: &mut Places<'_>,
    ports: &mut Ports,
    index: usize,
    table: &IpcTable,
) {
    let from = format!("ipc[{index}]");
    let name = table.name.clone().unwrap_or_default();
    let kind = table.kind.unwrap_or(IpcKind::Mailbox);
    let sender = table.from.clone().unwrap_or_default();
    let receiver = table.to.clone().unwrap_or_default();
    let size = table.size.unwrap_or(ByteSize(IPC_SIZE)).0;
    let at = table.at.map(|address| address.0);
    let given = table.guest_at.map(|address| address.0);
    let window = places.window(size);
    let user = |domain: &String, writes: bool, key: &str| SharedMemoryUser {
        domain: domain.clone(),
        at: places.of(domain, given, at, window),
        role: ShmRole::Borrower,
        writes,
        from: format!("{from}.{key}"),
    };
    links.shared_memory.push(SharedMemory {
        id: name.clone(),
        size_bytes: size,
        at,
        users: vec![
            user(&sender, true, "from"),
            user(&receiver, kind == IpcKind::Rpmsg, "to"),
        ],
        ipc: Some(name.clone()),
        from: from.clone(),
    });
    links.event_channels.push(EventChannel {
        name: name.clone(),
        ends: [ports.end(&sender, None), ports.end(&receiver, None)],
        ipc: Some(name.clone()),
        from: from.clone(),
    });
    links.ipc.push(IpcLink {
        name,
        kind,
        sender,
        receiver,
        from,
    });
}

/// Which ports each domain has in use.
struct Ports {
    of: HashMap<String, DomainPorts>,
}

/// The ports of one domain.
#[derive(Default)]
struct DomainPorts {
    taken: BTreeSet<u32>,
    /// No port between the first one and this one is free.
    searched: u32,
}

impl Ports {
    /// Those that the document names are taken from the start.
    fn new(content: &DocumentTable) -> Self {
        let mut ports = Ports { of: HashMap::new() };
        for table in &content.event_channel {
            let Texts(names) = table.between.clone().unwrap_or_default();
            let given = table.ports.clone().unwrap_or_default().0;
            for (name, port) in names.into_iter().zip(given) {
                ports.of.entry(name).or_default().taken.insert(port);
            }
        }
        ports
    }

    fn end(&mut self, domain: &str, given: Option<u32>) -> EventChannelEnd {
        let ports = self.of.entry(domain.to_owned()).or_default();
        let port = given.unwrap_or_else(|| {
            let mut free =
                (ports.searched.max(FIRST_PORT)..).filter(|port| !ports.taken.contains(port));
            let port = free.next().unwrap_or(u32::MAX);
            ports.searched = port;
            port
        });
        ports.taken.insert(port);
        EventChannelEnd {
            domain: domain.to_owned(),
            port,
        }
    }
}

fn networks(content: &DocumentTable, platform: &str) -> Vec<Network> {
    let tables = content.network.iter().enumerate();
    tables
        .map(|(index, table)| {
            let from = format!("network[{index}]");
            let name = table.name.clone().unwrap_or_default();
            let ports = table.port.iter().enumerate().map(|(index, port)| {
                let domain = port.domain.clone().unwrap_or_default();
                NetworkPort {
                    mac: port
                        .mac
                        .clone()
                        .unwrap_or_else(|| mac(platform, &name, &domain)),
                    vlan: port.vlan.map(saturate),
                    priority: saturate(port.priority.unwrap_or(0)),
                    frame_bytes: port.frame.map(|ByteSize(bytes)| bytes),
                    interval_us: port.interval.map(|span| span.0),
                    latency_us: port.latency.map(|span| span.0),
                    from: format!("{from}.port[{index}]"),
                    domain,
                }
            });
            Network {
                ports: ports.collect(),
                uplink: table.uplink.clone(),
                rate_bps: table.rate,
                from: from.clone(),
                name,
            }
        })
        .collect()
}
