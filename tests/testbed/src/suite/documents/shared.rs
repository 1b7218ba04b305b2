//! Shared memory, used and missed: what each domain is ordered to do with it, and what must come of that.

use crate::oracle::GuestReport;
use crate::suite::{Failed, Outcome, ensure};
use platform::Plan;
use platform::plan::{SharedMemory, SharedMemoryUser};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: u64 = 4096;
/// Where a reader leaves a word for the writer, who fills a page's first 16 bytes.
const NOTE: u64 = 16;
/// The word (`oracle-guest`, `touch`).
const WORD: &str = "value=0xbadcafe";

/// What a domain is ordered to do, and what it must report: the beginnings of its lines, and what is in them.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// For its command line.
    pub(super) words: String,
    expected: Vec<(String, String)>,
}

impl Orders {
    fn add(&mut self, word: &str, report: String, outcome: &str) {
        self.words = format!("{} {word}", self.words).trim().to_owned();
        self.expected.push((report, outcome.to_owned()));
    }

    /// Accesses that must fault.
    fn miss(&mut self, address: u64) {
        for access in ["r", "w"] {
            let order = format!("touch={address:#x}:{access}");
            self.add(&order, format!("touch {address:#x} {access} fault"), "");
        }
    }

    /// What lies beside a region is not there.
    fn surroundings(&mut self, user: &SharedMemoryUser, memory: &SharedMemory) {
        self.miss(user.at - PAGE);
        self.miss(user.at + memory.size_bytes);
    }

    /// Fills a region for its readers, and finds what one of them has left.
    fn write(&mut self, user: &SharedMemoryUser, memory: &SharedMemory) {
        let (at, size) = (user.at, memory.size_bytes);
        let filled = format!("shm {at:#x}+{size:#x} written=");
        self.add(&format!("shm={at:#x},{size:#x},write"), filled, "");
        let note = at + NOTE;
        let report = format!("touch {note:#x} r ok");
        self.add(&format!("touch={note:#x}:r"), report, WORD);
    }

    /// Sees all of a region filled. Xen 4.20 lets a reader write as well: what the document means, nothing enforces (AVPS0801).
    fn read(&mut self, user: &SharedMemoryUser, memory: &SharedMemory) {
        let (at, size, pages) = (user.at, memory.size_bytes, memory.size_bytes / PAGE);
        let seen = format!("shm {at:#x}+{size:#x} pages={pages} of={pages} moved=true");
        self.add(&format!("shm={at:#x},{size:#x},read"), seen, "");
        let note = at + NOTE;
        let report = format!("touch {note:#x} w ok");
        self.add(&format!("touch={note:#x}:w"), report, WORD);
    }

    /// Sees that all of it came so.
    pub(super) fn were_obeyed(&self, guest: &GuestReport) -> Outcome {
        ensure(guest.torn == 0, || {
            format!("{} lines of domain {} were lost", guest.torn, guest.domain)
        })?;
        let missing = self.expected.iter().find(|(report, outcome)| {
            let came = |said: &String| said.starts_with(report) && said.contains(outcome);
            !guest.said.iter().any(came)
        });
        match missing {
            None => Ok(()),
            Some((report, outcome)) => Err(Failed(format!(
                "domain {} did not report \"{report} {outcome}\": {:?}",
                guest.domain, guest.said
            ))),
        }
    }
}

/// Orders for all domains of Xen's own boot, by name, from the plan's shared memory.
pub(super) fn orders(plan: &Plan) -> BTreeMap<String, Orders> {
    let mut all = BTreeMap::<String, Orders>::new();
    for memory in &plan.shared_memory {
        for domain in plan.dom0less() {
            let orders = all.entry(domain.name.clone()).or_default();
            let mut users = memory.users.iter();
            match users.find(|user| user.domain == domain.name) {
                Some(user) => {
                    if user.writes {
                        orders.write(user, memory);
                    } else {
                        orders.read(user, memory);
                    }
                    orders.surroundings(user, memory);
                }
                None => {
                    let places: BTreeSet<u64> = memory.users.iter().map(|user| user.at).collect();
                    places.into_iter().for_each(|place| orders.miss(place));
                }
            }
        }
    }
    all
}
