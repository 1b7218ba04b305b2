//! Boots a layout and watches until the verdict is certain.

use super::console::Came;
use super::judge::{self, Judge};
use super::machine::{self, Running, XEN_AT};
use super::{Error, Layout, Machine, Readback, Result, Verdict, readback, symbols, tree};
use crate::artefacts::Workshop;
use crate::artefacts::oracle::{self, Oracle as Media, machine_tree};
use crate::interrupt;
use crate::run::folder::Folder;
use crate::run::qemu;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long one look at the console waits.
const TICK: Duration = Duration::from_millis(50);
/// Bytes of Xen's first console ring.
const RING: usize = 16384;
/// How much slower a machine is whose time is counted.
const COUNTED: u32 = 4;
/// A debug key's output is complete after this long without a byte.
const KEY_QUIET: Duration = Duration::from_millis(80);
/// A debug key must answer within this time.
const KEY_LIMIT: Duration = Duration::from_secs(3);

/// Judges layouts, one after the other.
pub(crate) struct Oracle {
    workshop: Workshop,
    media: Media,
    /// Physical address of Xen's first console ring, where it is known.
    ring: Option<u64>,
    folder: Folder,
    /// Those asked for so far.
    trees: RefCell<Vec<Rc<MachineTree>>>,
}

/// A machine's own device tree.
struct MachineTree {
    machine: Machine,
    source: String,
    dtb: Vec<u8>,
}

/// What came of one layout.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// What Xen makes of it.
    pub(crate) verdict: Verdict,
    /// Everything on the console.
    pub(crate) log: String,
    /// What Xen said before its console worked, from its memory: RAM, modules, reserved ranges, command lines.
    pub(crate) early: String,
    /// What Xen really did, as it tells.
    pub(crate) readback: Readback,
    /// Wall-clock time from QEMU's start to the verdict.
    pub(crate) time: Duration,
}

impl Oracle {
    /// Gets ready: gets and builds what is missing.
    pub(crate) fn get(workshop: Workshop) -> Result<Self> {
        let media = oracle::oracle(&workshop)?;
        let offset = media.symbols.as_deref().map(symbols::console_ring);
        Ok(Self {
            ring: offset.transpose()?.map(|offset| XEN_AT + offset),
            media,
            workshop,
            folder: Folder::new("oracle")?,
            trees: RefCell::default(),
        })
    }

    /// Where logs are.
    pub(crate) fn logs(&self) -> &std::path::Path {
        self.folder.logs()
    }

    /// Bytes of the guest's image, as modules must tell them.
    pub(crate) fn guest_size(&self) -> Result<u64> {
        let path = &self.media.guest;
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        Ok(metadata.len())
    }

    /// The machine's own device tree.
    pub(crate) fn tree(&self, machine: &Machine) -> Result<Vec<u8>> {
        Ok(self.known(machine)?.dtb.clone())
    }

    /// The machine's own device tree with these nodes (as source) put in. In a device tree's source a node that comes again
    /// adds to the one before.
    pub(crate) fn tree_with(
        &self,
        name: &str,
        machine: &Machine,
        fragment: &str,
    ) -> Result<Vec<u8>> {
        let source = format!("{}{fragment}", self.known(machine)?.source);
        tree::compile_text(name, &source, self.folder.logs())
    }

    fn known(&self, machine: &Machine) -> Result<Rc<MachineTree>> {
        let mut trees = self.trees.borrow_mut();
        if let Some(known) = trees.iter().find(|tree| tree.machine == *machine) {
            return Ok(Rc::clone(known));
        }
        let arguments = machine.arguments();
        let path = machine_tree(
            &self.workshop,
            &self.media.qemu,
            &machine.kind(),
            &arguments,
        )?;
        let source = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let name = format!("machine-{}", trees.len());
        let tree = Rc::new(MachineTree {
            machine: machine.clone(),
            dtb: tree::compile_text(&name, &source, self.folder.logs())?,
            source,
        });
        trees.push(Rc::clone(&tree));
        Ok(tree)
    }

    /// What the bed's QEMU loads for the layout; `name` as for [`Oracle::ask`]. Some of the files go with this oracle.
    pub(crate) fn files(&self, name: &str, layout: &Layout) -> Result<qemu::Layout> {
        machine::files(layout, &self.media, &self.folder, name)
    }

    /// Boots the layout. `name` must be unique within a run: its logs are called so.
    ///
    /// A verdict that rests on nothing having come is only believed after a second boot with more patience: a host under
    /// load can keep a machine from running for seconds. So is one of a boot in which lines were lost.
    pub(crate) fn ask(&self, name: &str, layout: &Layout) -> Result<Answer> {
        let answer = self.boot(name, layout, 1)?;
        let uncertain = match &answer.verdict {
            Verdict::Hangs { .. } | Verdict::Missing { .. } => true,
            Verdict::Boots { guests } => guests.iter().any(|guest| guest.torn > 0),
            _ => false,
        };
        match uncertain {
            true => self.boot(&format!("{name}-again"), layout, 2),
            false => Ok(answer),
        }
    }

    fn boot(&self, name: &str, layout: &Layout, patience: u32) -> Result<Answer> {
        let began = Instant::now();
        let slowness = if layout.machine.counted { COUNTED } else { 1 };
        let mut running = Running::start(layout, &self.media, &self.folder, name)?;
        let mut judge = Judge::new(tree::domains(&layout.dtb).len(), &layout.strangers);
        let mut answer = Answer {
            verdict: Verdict::Hangs {
                last: String::new(),
            },
            log: String::new(),
            early: String::new(),
            readback: Readback::default(),
            time: Duration::ZERO,
        };
        let mut heard = began;
        answer.verdict = loop {
            if interrupt::interrupted() {
                return Err(Error::Interrupted);
            }
            match running.console.wait(TICK) {
                Came::Nothing => {}
                Came::End => return Err(running.ended(name)),
                Came::Lines(lines) => {
                    heard = Instant::now();
                    for line in lines {
                        judge.line(&line);
                        answer.log.push_str(&line);
                        answer.log.push('\n');
                    }
                }
            }
            if answer.early.is_empty() || !judge.spoke() {
                answer.early = self.early(&mut running)?;
                if !judge.spoke()
                    && let Some(silent) = judge::of_ring(&answer.early)
                {
                    break silent;
                }
            }
            let (quiet, total) = (heard.elapsed() / patience, began.elapsed() / slowness);
            if let Some(verdict) = judge.verdict(quiet / slowness, total) {
                break verdict;
            }
        };
        answer.time = began.elapsed();
        if layout.readback && matches!(answer.verdict, Verdict::Boots { .. }) {
            // Two keys pressed at once are one.
            for key in ['q', 'r'] {
                answer.log.push_str(&press(&mut running, key, name)?);
            }
        }
        answer.readback = readback::read(&answer.early, &answer.log);
        Ok(answer)
    }

    /// What Xen's first console ring holds.
    fn early(&self, running: &mut Running) -> Result<String> {
        let Some(address) = self.ring else {
            return Ok(String::new());
        };
        let bytes = running.qmp.memory(address, RING, &running.dump)?;
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        let text = String::from_utf8_lossy(&bytes[..end]);
        // Before Xen runs there is whatever was there.
        Ok(if text.starts_with("(XEN)") {
            text.into_owned()
        } else {
            String::new()
        })
    }
}

/// Presses one of Xen's debug keys and gives what it prints.
fn press(running: &mut Running, key: char, name: &str) -> Result<String> {
    let failed = |source| Error::Io {
        wanted: "write to the console of",
        path: name.into(),
        source,
    };
    running.console.press(key).map_err(failed)?;
    let (mut text, began) = (String::new(), Instant::now());
    while began.elapsed() < KEY_LIMIT {
        match running.console.wait(KEY_QUIET) {
            Came::Nothing if text.is_empty() => {}
            Came::Nothing => break,
            Came::End => return Err(running.ended(name)),
            Came::Lines(lines) => lines.iter().for_each(|line| {
                text.push_str(line);
                text.push('\n');
            }),
        }
    }
    Ok(text)
}
