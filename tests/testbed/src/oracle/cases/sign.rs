//! What shows that Xen gave something else than was asked for: in the guests' reports, and in what Xen tells of its domains.

use crate::oracle::readback::{Domain, Range};
use crate::oracle::{Answer, GuestReport, Verdict};

/// How it shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::oracle) struct Sign {
    /// What is to be seen, for people.
    pub(in crate::oracle) words: &'static str,
    holds: fn(&Seen<'_>) -> bool,
}

impl Sign {
    /// That `holds` of what was seen.
    pub(in crate::oracle) const fn new(words: &'static str, holds: fn(&Seen<'_>) -> bool) -> Self {
        Self { words, holds }
    }

    /// Whether it is there.
    pub(in crate::oracle) fn is_in(self, answer: &Answer) -> bool {
        (self.holds)(&Seen(answer))
    }
}

/// What came of a layout.
pub(in crate::oracle) struct Seen<'a>(&'a Answer);

impl<'a> Seen<'a> {
    fn guests(&self) -> &'a [GuestReport] {
        match &self.0.verdict {
            Verdict::Boots { guests } | Verdict::Missing { guests, .. } => guests,
            _ => &[],
        }
    }

    /// What holds of the guest in this domain; nothing does where it has not reported.
    pub(in crate::oracle) fn guest(
        &self,
        domain: u16,
        holds: impl Fn(&GuestReport) -> bool,
    ) -> bool {
        let mut guests = self.guests().iter();
        guests.any(|guest| guest.domain == domain && holds(guest))
    }

    /// What holds of what Xen tells of this domain.
    pub(in crate::oracle) fn domain(&self, domain: u16, holds: impl Fn(&Domain) -> bool) -> bool {
        self.0.readback.domains.get(&domain).is_some_and(holds)
    }

    /// The guest has said something that begins so.
    pub(in crate::oracle) fn said(&self, domain: u16, words: &str) -> bool {
        self.guest(domain, |guest| {
            guest.said.iter().any(|said| said.starts_with(words))
        })
    }

    /// The guest's memory is this.
    pub(in crate::oracle) fn memory(&self, domain: u16, ranges: &[Range]) -> bool {
        self.guest(domain, |guest| guest.memory == ranges)
    }

    /// Xen lets each of the domain's vCPUs run on all of its two CPUs.
    pub(in crate::oracle) fn runs_anywhere(&self, domain: u16) -> bool {
        self.domain(domain, |domain| {
            !domain.affinity.is_empty() && domain.affinity.iter().all(|cpus| *cpus == [0, 1])
        })
    }

    /// Xen has pools, and none of just these CPUs.
    pub(in crate::oracle) fn has_no_pool_of(&self, cpus: &[u32]) -> bool {
        let pools = &self.0.readback.pools;
        !pools.is_empty() && pools.values().all(|pool| pool.cpus != cpus)
    }

    /// The domain is in the pool of this number.
    pub(in crate::oracle) fn is_in_pool(&self, domain: u16, pool: u32) -> bool {
        self.domain(domain, |domain| domain.pool == Some(pool))
    }

    /// Just these CPUs are a pool with this scheduler.
    pub(in crate::oracle) fn schedules(&self, cpus: &[u32], name: &str) -> bool {
        let mut pools = self.0.readback.pools.values();
        pools.any(|pool| pool.cpus == cpus && pool.scheduler == name)
    }

    /// The colours of a domain's memory.
    pub(in crate::oracle) fn colours(&self, domain: u16, colours: &[u32]) -> bool {
        self.domain(domain, |domain| domain.colours == colours)
    }

    /// A node of this kind lies over something else in the guest's own map.
    pub(in crate::oracle) fn is_covered(&self, domain: u16, kind: &str) -> bool {
        self.guest(domain, |guest| {
            let nodes = guest.nodes.iter();
            let places: Vec<Range> = nodes.clone().map(|(_, at, size)| (*at, *size)).collect();
            let mut named = nodes
                .enumerate()
                .filter(|(_, (name, ..))| name.starts_with(kind));
            named.any(|(number, (_, at, size))| {
                let own = (*at, *size);
                let others = places
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != number);
                let others = others.map(|(_, place)| *place);
                // Xen tells shared memory as RAM, too.
                let ram = guest.memory.iter().copied().filter(|bank| *bank != own);
                others.chain(ram).any(|other| overlap(own, other))
            })
        })
    }
}

fn overlap((a, length): Range, (b, other): Range) -> bool {
    a < b.saturating_add(other) && b < a.saturating_add(length)
}
