//! A small XenStore server with the semantics that matter to a client: a tree, permissions,
//! watches, transactions that fail when something they touched has changed, directories in parts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use xenstore::wire::{Decoder, Message, MessageType, PAYLOAD_MAX, encode};

#[derive(Clone, Debug)]
struct Node {
    value: Vec<u8>,
    permissions: Vec<String>,
    generation: u64,
}

#[derive(Clone, Debug)]
struct Tree {
    nodes: BTreeMap<String, Node>,
    generation: u64,
}

struct Transaction {
    tree: Tree,
    start: Tree,
    touched: BTreeSet<String>,
    changed: Vec<String>,
}

struct WatchEntry {
    path: String,
    token: String,
    depth: Option<usize>,
}

struct Peer {
    writer: Mutex<UnixStream>,
    watches: Mutex<Vec<WatchEntry>>,
}

/// Behaviour a test can switch on.
#[derive(Default)]
pub(crate) struct Faults {
    /// Send every reply byte by byte.
    pub(crate) split: AtomicBool,
    /// Wait before every reply, in microseconds.
    pub(crate) delay_micros: AtomicU64,
    /// Answer so many commits with EAGAIN.
    pub(crate) refuse_commits: AtomicU32,
    /// Offer watch depth, as Xen 4.22 does.
    pub(crate) watch_depth: AtomicBool,
    /// Change a node before so many `DIRECTORY_PART` replies.
    pub(crate) disturb_parts: AtomicU32,
    /// Know no `DIRECTORY_PART`, as oxenstored.
    pub(crate) no_parts: AtomicBool,
}

struct Shared {
    tree: Mutex<Tree>,
    peers: Mutex<Vec<Arc<Peer>>>,
    faults: Faults,
    open_transactions: AtomicU32,
    conflicts: AtomicU32,
}

pub(crate) struct Server {
    folder: TempDir,
    shared: Arc<Shared>,
}

type Reply = Result<Vec<u8>, &'static str>;

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let root = Node {
            value: Vec::new(),
            permissions: vec!["n0".into()],
            generation: 0,
        };
        let shared = Arc::new(Shared {
            tree: Mutex::new(Tree {
                nodes: BTreeMap::from([("/".into(), root)]),
                generation: 1,
            }),
            peers: Mutex::default(),
            faults: Faults::default(),
            open_transactions: AtomicU32::new(0),
            conflicts: AtomicU32::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let shared = Arc::clone(&accepting);
                thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { folder, shared }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(self.folder.path()).join("socket")
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    pub(crate) fn open_transactions(&self) -> u32 {
        self.shared.open_transactions.load(Ordering::SeqCst)
    }

    pub(crate) fn conflicts(&self) -> u32 {
        self.shared.conflicts.load(Ordering::SeqCst)
    }

    pub(crate) fn watches(&self) -> usize {
        let peers = self.shared.peers.lock().unwrap();
        peers
            .iter()
            .map(|peer| peer.watches.lock().unwrap().len())
            .sum()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.peers.lock().unwrap().len()
    }

    /// Tells all watches that these paths have changed, in one burst.
    pub(crate) fn fire(&self, paths: impl IntoIterator<Item = String>) {
        fire(&self.shared, &paths.into_iter().collect::<Vec<_>>());
    }
}

fn serve(shared: &Arc<Shared>, mut stream: UnixStream) {
    let peer = Arc::new(Peer {
        writer: Mutex::new(stream.try_clone().unwrap()),
        watches: Mutex::default(),
    });
    shared.peers.lock().unwrap().push(Arc::clone(&peer));
    let mut connection = Connection {
        shared: Arc::clone(shared),
        peer: Arc::clone(&peer),
        transactions: HashMap::new(),
        next_transaction: 1,
    };
    let mut decoder = Decoder::new();
    let mut buffer = [0; 16384];
    'connection: while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let mut input = &buffer[..count];
        while let Some(request) = decoder.next(&mut input).expect("clients obey the limit") {
            if connection.answer(&request).is_err() {
                break 'connection;
            }
        }
    }
    shared
        .peers
        .lock()
        .unwrap()
        .retain(|p| !Arc::ptr_eq(p, &peer));
    let open = u32::try_from(connection.transactions.len()).unwrap();
    shared.open_transactions.fetch_sub(open, Ordering::SeqCst);
}

struct Connection {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    transactions: HashMap<u32, Transaction>,
    next_transaction: u32,
}

impl Connection {
    fn answer(&mut self, request: &Message) -> std::io::Result<()> {
        let mut changed = Vec::new();
        let reply = self.carry_out(request, &mut changed);
        let reply = match reply {
            Ok(payload) if payload.len() > PAYLOAD_MAX => Err("E2BIG"),
            reply => reply,
        };
        let (kind, payload) = match reply {
            Ok(payload) => (request.kind, payload),
            Err(name) => (MessageType::ERROR, format!("{name}\0").into_bytes()),
        };
        let bytes = encode(kind, request.request_id, request.transaction_id, &payload).unwrap();
        let delay = self.shared.faults.delay_micros.load(Ordering::Relaxed);
        if delay > 0 {
            thread::sleep(Duration::from_micros(delay));
        }
        {
            let mut writer = self.peer.writer.lock().unwrap();
            if self.shared.faults.split.load(Ordering::Relaxed) {
                for byte in &bytes {
                    writer.write_all(std::slice::from_ref(byte))?;
                }
            } else {
                writer.write_all(&bytes)?;
            }
        }
        if request.kind == MessageType::WATCH && kind != MessageType::ERROR {
            let strings = strings(&request.payload);
            send_event(&self.peer, &strings[0], &strings[1]);
        }
        fire(&self.shared, &changed);
        Ok(())
    }

    fn carry_out(&mut self, request: &Message, changed: &mut Vec<String>) -> Reply {
        let ok = || Ok(b"OK\0".to_vec());
        match request.kind {
            MessageType::TRANSACTION_START => {
                if request.transaction_id != 0 {
                    return Err("EBUSY");
                }
                let tree = self.shared.tree.lock().unwrap().clone();
                let id = self.next_transaction;
                self.next_transaction += 1;
                let transaction = Transaction {
                    start: tree.clone(),
                    tree,
                    touched: BTreeSet::new(),
                    changed: Vec::new(),
                };
                self.transactions.insert(id, transaction);
                self.shared.open_transactions.fetch_add(1, Ordering::SeqCst);
                Ok(format!("{id}\0").into_bytes())
            }
            MessageType::TRANSACTION_END => {
                let Some(transaction) = self.transactions.remove(&request.transaction_id) else {
                    return Err("ENOENT");
                };
                self.shared.open_transactions.fetch_sub(1, Ordering::SeqCst);
                match request.payload.as_slice() {
                    b"F\0" => ok(),
                    b"T\0" => {
                        *changed = self.commit(transaction)?;
                        ok()
                    }
                    _ => Err("EINVAL"),
                }
            }
            MessageType::WATCH => {
                let strings = strings(&request.payload);
                let depth = match strings.get(2) {
                    None => None,
                    Some(_) if !self.shared.faults.watch_depth.load(Ordering::Relaxed) => {
                        return Err("EINVAL");
                    }
                    Some(depth) => Some(depth.parse().map_err(|_| "EINVAL")?),
                };
                let [path, token, ..] = strings.as_slice() else {
                    return Err("EINVAL");
                };
                let mut watches = self.peer.watches.lock().unwrap();
                if watches.iter().any(|w| w.path == *path && w.token == *token) {
                    return Err("EEXIST");
                }
                watches.push(WatchEntry {
                    path: path.clone(),
                    token: token.clone(),
                    depth,
                });
                ok()
            }
            MessageType::UNWATCH => {
                let strings = strings(&request.payload);
                let mut watches = self.peer.watches.lock().unwrap();
                let before = watches.len();
                watches.retain(|w| w.path != strings[0] || w.token != strings[1]);
                if watches.len() < before {
                    ok()
                } else {
                    Err("ENOENT")
                }
            }
            MessageType::RESET_WATCHES => {
                self.peer.watches.lock().unwrap().clear();
                ok()
            }
            MessageType::GET_DOMAIN_PATH => {
                let domid = &strings(&request.payload)[0];
                Ok(format!("/local/domain/{domid}\0").into_bytes())
            }
            MessageType::IS_DOMAIN_INTRODUCED => {
                let introduced = strings(&request.payload)[0] == "0";
                Ok(if introduced { b"T\0" } else { b"F\0" }.to_vec())
            }
            MessageType::INTRODUCE => {
                let strings = strings(&request.payload);
                if strings.len() == 3 && strings[2] != "0" {
                    ok()
                } else {
                    Err("EINVAL")
                }
            }
            MessageType::RELEASE | MessageType::RESUME => Err("ENOENT"),
            MessageType::SET_TARGET => ok(),
            MessageType::CONTROL => match strings(&request.payload)[0].as_str() {
                "help" => Ok(b"check\nhelp\nlog\n\0".to_vec()),
                _ => Err("EINVAL"),
            },
            MessageType::GET_FEATURE if self.shared.faults.watch_depth.load(Ordering::Relaxed) => {
                Ok(b"7\0".to_vec())
            }
            kind => match self.transactions.get_mut(&request.transaction_id) {
                Some(transaction) => {
                    let Transaction {
                        tree,
                        touched,
                        changed,
                        ..
                    } = transaction;
                    on_node(&self.shared, tree, touched, changed, kind, &request.payload)
                }
                None if request.transaction_id != 0 => Err("ENOENT"),
                None => {
                    let mut tree = self.shared.tree.lock().unwrap();
                    let touched = &mut BTreeSet::new();
                    on_node(
                        &self.shared,
                        &mut tree,
                        touched,
                        changed,
                        kind,
                        &request.payload,
                    )
                }
            },
        }
    }

    fn commit(&self, transaction: Transaction) -> Result<Vec<String>, &'static str> {
        let refuse = &self.shared.faults.refuse_commits;
        let refused = refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        let mut tree = self.shared.tree.lock().unwrap();
        let generation = |tree: &Tree, path: &str| tree.nodes.get(path).map(|n| n.generation);
        let conflict = transaction
            .touched
            .iter()
            .any(|path| generation(&tree, path) != generation(&transaction.start, path));
        if refused.is_ok() || conflict {
            self.shared.conflicts.fetch_add(1, Ordering::SeqCst);
            return Err("EAGAIN");
        }
        for path in &transaction.touched {
            match transaction.tree.nodes.get(path) {
                None => {
                    tree.nodes.remove(path);
                }
                Some(node) if Some(node.generation) == generation(&transaction.start, path) => {}
                Some(node) => {
                    tree.generation += 1;
                    let mut node = node.clone();
                    node.generation = tree.generation;
                    tree.nodes.insert(path.clone(), node);
                }
            }
        }
        Ok(transaction.changed)
    }
}

fn on_node(
    shared: &Shared,
    tree: &mut Tree,
    touched: &mut BTreeSet<String>,
    changed: &mut Vec<String>,
    kind: MessageType,
    payload: &[u8],
) -> Reply {
    let end = payload.iter().position(|byte| *byte == 0).ok_or("EINVAL")?;
    let path = String::from_utf8(payload[..end].to_vec()).map_err(|_| "EINVAL")?;
    let rest = &payload[end + 1..];
    if !path.starts_with('/') {
        return Err("EINVAL");
    }
    touched.insert(path.clone());
    match kind {
        MessageType::READ => Ok(tree.node(&path)?.value.clone()),
        MessageType::WRITE => {
            if path == "/quota" {
                return Err("ENOSPC");
            }
            tree.create(&path, touched);
            tree.touch(&path)?.value = rest.to_vec();
            changed.push(path);
            Ok(b"OK\0".to_vec())
        }
        MessageType::MKDIR => {
            if !tree.nodes.contains_key(&path) {
                tree.create(&path, touched);
                changed.push(path);
            }
            Ok(b"OK\0".to_vec())
        }
        MessageType::RM => {
            let parent = parent(&path).ok_or("EINVAL")?;
            tree.node(&parent)?;
            if tree.nodes.contains_key(&path) {
                let below = format!("{path}/");
                touched.extend(tree.nodes.keys().filter(|p| p.starts_with(&below)).cloned());
                tree.nodes
                    .retain(|p, _| *p != path && !p.starts_with(&below));
                touched.insert(parent.clone());
                tree.touch(&parent)?;
                changed.push(path);
            }
            Ok(b"OK\0".to_vec())
        }
        MessageType::DIRECTORY => {
            tree.node(&path)?;
            Ok(tree.children(&path))
        }
        MessageType::DIRECTORY_PART if shared.faults.no_parts.load(Ordering::Relaxed) => {
            Err("ENOSYS")
        }
        MessageType::DIRECTORY_PART => {
            let disturb = &shared.faults.disturb_parts;
            if disturb
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok()
            {
                tree.touch(&path)?;
            }
            let offset: usize = strings(rest)[0].parse().map_err(|_| "EINVAL")?;
            let mut reply = format!("{}\0", tree.node(&path)?.generation).into_bytes();
            let all = tree.children(&path);
            let mut at = offset.min(all.len());
            while at < all.len() {
                let name = all[at..].iter().position(|byte| *byte == 0).unwrap() + 1;
                if reply.len() + name + 1 > PAYLOAD_MAX {
                    return Ok(reply);
                }
                reply.extend_from_slice(&all[at..at + name]);
                at += name;
            }
            reply.push(0);
            Ok(reply)
        }
        MessageType::GET_PERMS => {
            let mut reply = tree.node(&path)?.permissions.join("\0").into_bytes();
            reply.push(0);
            Ok(reply)
        }
        MessageType::SET_PERMS => {
            let permissions = strings(rest);
            if path == "/private" {
                return Err("EACCES");
            }
            tree.touch(&path)?.permissions = permissions;
            changed.push(path);
            Ok(b"OK\0".to_vec())
        }
        _ => Err("ENOSYS"),
    }
}

impl Tree {
    fn node(&self, path: &str) -> Result<&Node, &'static str> {
        self.nodes.get(path).ok_or("ENOENT")
    }

    fn touch(&mut self, path: &str) -> Result<&mut Node, &'static str> {
        self.generation += 1;
        let node = self.nodes.get_mut(path).ok_or("ENOENT")?;
        node.generation = self.generation;
        Ok(node)
    }

    fn create(&mut self, path: &str, touched: &mut BTreeSet<String>) {
        if self.nodes.contains_key(path) {
            return;
        }
        let parent = parent(path).unwrap();
        self.create(&parent, touched);
        touched.extend([parent.clone(), path.to_owned()]);
        let permissions = self.nodes[&parent].permissions.clone();
        self.touch(&parent).unwrap();
        self.generation += 1;
        let node = Node {
            value: Vec::new(),
            permissions,
            generation: self.generation,
        };
        self.nodes.insert(path.to_owned(), node);
    }

    fn children(&self, path: &str) -> Vec<u8> {
        let below = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let mut list = Vec::new();
        for name in self.nodes.keys().filter_map(|p| p.strip_prefix(&below)) {
            if !name.is_empty() && !name.contains('/') {
                list.extend_from_slice(name.as_bytes());
                list.push(0);
            }
        }
        list
    }
}

fn parent(path: &str) -> Option<String> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/".to_owned()),
        (parent, _) => Some(parent.to_owned()),
    }
}

fn fire(shared: &Shared, changed: &[String]) {
    if changed.is_empty() {
        return;
    }
    let peers: Vec<Arc<Peer>> = shared.peers.lock().unwrap().clone();
    for peer in peers {
        let mut burst = Vec::new();
        for path in changed {
            for watch in peer.watches.lock().unwrap().iter() {
                if let Some(path) = matches(watch, path) {
                    burst.extend(super::peer::event_bytes(&path, &watch.token));
                }
            }
        }
        // A client that has gone is no concern of the others.
        let _ = peer.writer.lock().unwrap().write_all(&burst);
    }
}

/// The path to report, if the watch is concerned.
fn matches(watch: &WatchEntry, path: &str) -> Option<String> {
    if watch.path.starts_with(&format!("{path}/")) {
        return Some(watch.path.clone());
    }
    let below = xenstore::path::depth_below(&watch.path, path)?;
    let deep_enough = watch.depth.is_none_or(|depth| below as usize <= depth);
    deep_enough.then(|| path.to_owned())
}

fn send_event(peer: &Peer, path: &str, token: &str) {
    let bytes = super::peer::event_bytes(path, token);
    let _ = peer.writer.lock().unwrap().write_all(&bytes);
}

fn strings(payload: &[u8]) -> Vec<String> {
    let text = String::from_utf8(payload.to_vec()).unwrap();
    let text = text.strip_suffix('\0').unwrap_or(&text);
    text.split('\0').map(str::to_owned).collect()
}
