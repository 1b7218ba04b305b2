//! What Xen tells about itself: banks, vCPUs, pools, colours. Read from its log and its debug keys `q` and `r`; whatever
//! it did not print stays empty. The format is Xen 4.20's.

use std::collections::BTreeMap;

/// A host or guest physical range: first address and bytes.
pub(crate) type Range = (u64, u64);

/// What Xen really did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readback {
    /// The machine's memory.
    pub(crate) ram: Vec<Range>,
    /// Kind (`Xen`, `Device Tree`, `Kernel` …) and place of everything loaded.
    pub(crate) modules: Vec<(String, Range)>,
    /// Reserved memory, static memory of domains included.
    pub(crate) reserved: Vec<Range>,
    /// Static shared memory.
    pub(crate) shared: Vec<Range>,
    /// Pools by id.
    pub(crate) pools: BTreeMap<u32, Pool>,
    /// Domains by id.
    pub(crate) domains: BTreeMap<u16, Domain>,
}

/// A pool of CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Its CPUs.
    pub(crate) cpus: Vec<u32>,
    /// Xen's name of its scheduler: `credit2`, `null`.
    pub(crate) scheduler: String,
}

/// A domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Domain {
    /// Its memory in KiB, as it was asked for.
    pub(crate) memory_kib: u64,
    /// Pages it has, shared ones it owns included; only with debug keys.
    pub(crate) pages: Option<u64>,
    /// Banks in the guest's address space; not printed for static memory.
    pub(crate) banks: Vec<Range>,
    /// Banks in the host's address space; only printed for static memory.
    pub(crate) host_banks: Vec<Range>,
    /// Where each vCPU may run, by vCPU; only with debug keys.
    pub(crate) affinity: Vec<Vec<u32>>,
    /// Its pool; only with debug keys.
    pub(crate) pool: Option<u32>,
    /// Colours of its memory; only with debug keys, and empty without colouring.
    pub(crate) colours: Vec<u32>,
}

/// Reads what Xen kept in its memory before its console worked, and its console.
pub(super) fn read(early: &str, log: &str) -> Readback {
    let mut reader = Reader::default();
    for line in early.lines().chain(log.lines()) {
        // Guests' lines begin with their own marks, or Xen prints them as `DOM3: ...`: Linux's time `[    2.031]` looks like
        // a unit of domain 2.
        if let Some(text) = line.strip_prefix("(XEN)").map(str::trim)
            && !is_guests(text)
        {
            reader.line(text);
        }
    }
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Readback,
    /// Domains begun to be built.
    built: u16,
    /// The domain and the pool whose dump is being read.
    domain: Option<u16>,
    pool: Option<u32>,
}

impl Reader {
    fn line(&mut self, text: &str) {
        self.early(text);
        self.building(text);
        self.dump(text);
    }

    fn early(&mut self, text: &str) {
        let inclusive = |text: &str| {
            let (first, last) = text.split_once(" - ")?;
            let last = last.split_whitespace().next()?;
            let first = hexadecimal(first)?;
            Some((
                first,
                hexadecimal(last)?.checked_sub(first)?.checked_add(1)?,
            ))
        };
        let (kind, rest) = text.split_once(": ").unwrap_or((text, ""));
        match kind.split('[').next() {
            Some("RAM") => self.found.ram.extend(inclusive(rest)),
            Some("RESVD") => self.found.reserved.extend(inclusive(rest)),
            Some("SHMEM") => self.found.shared.extend(inclusive(rest)),
            Some("MODULE") => {
                let mut words = rest.splitn(4, ' ').skip(3);
                let name = words.next().unwrap_or_default().trim().to_owned();
                let range = inclusive(rest);
                self.found.modules.extend(range.map(|range| (name, range)));
            }
            _ => {}
        }
    }

    fn building(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix("*** LOADING DOMU ") {
            self.built += 1;
            let memory = rest
                .split_once("memory=")
                .and_then(|(_, rest)| hexadecimal(rest.split_once("KB")?.0));
            self.domain(self.built).memory_kib = memory.unwrap_or_default();
            return;
        }
        let Some((owner, rest)) = text.split_once("BANK[") else {
            return;
        };
        let range = || {
            let (first, end) = rest.split_once("] ")?.1.split_once('-')?;
            let first = hexadecimal(first)?;
            let end = hexadecimal(end.split(' ').next()?)?;
            Some((first, end.checked_sub(first)?))
        };
        let (owner, is_static) = match owner.trim_end().strip_suffix("STATIC") {
            Some(owner) => (owner, true),
            None => (owner, false),
        };
        let id = owner.trim().trim_end_matches(':').strip_prefix('d');
        if let (Some(id), Some(range)) = (id.and_then(|id| id.parse().ok()), range()) {
            let domain = self.domain(id);
            if is_static {
                domain.host_banks.push(range);
            } else {
                domain.banks.push(range);
            }
        }
    }

    fn dump(&mut self, text: &str) {
        if let Some(id) = between(text, "General information for domain ", ":") {
            self.domain = id.parse().ok();
        } else if let Some(id) = between(text, "Cpupool ", ":") {
            self.pool = id.parse().ok();
            self.domain = None;
        } else if text.starts_with("CPUs info:") {
            // What runs at this moment, of all pools.
            self.pool = None;
        }
        if let Some(id) = self.domain {
            self.domain_line(id, text);
        } else if let Some(pool) = self.pool {
            self.pool_line(pool, text);
        }
    }

    fn domain_line(&mut self, id: u16, text: &str) {
        let domain = self.domain(id);
        if let Some(pages) = between(text, "nr_pages=", " ") {
            domain.pages = pages.parse().ok();
        } else if let Some(cpus) = between(text, "affinities: hard={", "}") {
            domain.affinity.push(list(cpus));
        } else if let Some(colours) = between(text, "LLC colors: {", "}") {
            domain.colours = list(colours);
        }
    }

    fn pool_line(&mut self, id: u32, text: &str) {
        let pool = self.found.pools.entry(id).or_default();
        if let Some(cpus) = text.strip_prefix("Cpus:") {
            pool.cpus = list(cpus);
        } else if text.starts_with("Scheduler:") {
            pool.scheduler = between(text, "(", ")").unwrap_or_default().to_owned();
        } else if let Some(unit) = between(text, "[", "]")
            && let Some((domain, _)) = unit.trim().split_once('.')
            && let Ok(domain) = domain.parse()
        {
            // `[1.0]`: a unit of domain 1.
            self.domain(domain).pool = Some(id);
        }
    }

    fn domain(&mut self, id: u16) -> &mut Domain {
        self.found.domains.entry(id).or_default()
    }
}

fn is_guests(text: &str) -> bool {
    let number = text
        .strip_prefix("DOM")
        .and_then(|rest| rest.split_once(':'));
    number.is_some_and(|(id, _)| id.parse::<u16>().is_ok())
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// `0-2,5` as numbers.
fn list(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "\
(XEN) RAM: 0000000040000000 - 000000007fffffff
(XEN) MODULE[0]: 0000000040200000 - 0000000040373fff Xen         
(XEN) MODULE[1]: 0000000048000000 - 0000000048009025 Device Tree 
(XEN)  RESVD[0]: 0000000060000000 - 0000000061ffffff
(XEN)  SHMEM[0]: 0000000070000000 - 0000000070000fff
";

    const KEYS: &str = "\
(XEN) General information for domain 2:
(XEN)     nr_pages=8192 xenheap_pages=2 dirty_cpus={} max_pages=8192
(XEN) 4 LLC colors: { 0-2, 9 }
(XEN)   UNIT0 affinities: hard={0-1} soft={0-1}
(XEN)   UNIT1 affinities: hard={3} soft={0-3}
(XEN) Cpupool 0:
(XEN) Cpus: 0-1
(XEN) Scheduler: SMP Credit Scheduler rev2 (credit2)
(XEN) Cpupool 1:
(XEN) Cpus: 2-3
(XEN) Scheduler: null Scheduler (null)
(XEN) \tDomain: 2
(XEN) \t  1: [2.0] pcpu=2
(XEN) CPUs info:
(XEN) CPU[00] current=d[IDLE]v0, curr=d[1.0]v0, prev=NULL
";

    #[test]
    fn what_xen_knew_before_its_console_worked_is_read() {
        let read = read(EARLY, "");
        assert_eq!(read.ram, [(0x4000_0000, 0x4000_0000)]);
        assert_eq!(read.modules[0], ("Xen".into(), (0x4020_0000, 0x17_4000)));
        assert_eq!(read.modules[1].0, "Device Tree");
        assert_eq!(read.reserved, [(0x6000_0000, 0x200_0000)]);
        assert_eq!(read.shared, [(0x7000_0000, 0x1000)]);
    }

    #[test]
    fn domains_and_their_banks_are_read_from_a_boot() {
        let log = include_str!("logs/two-guests.log");
        let read = read("", log);
        assert_eq!(read.domains.len(), 2);
        assert_eq!(read.domains[&1].memory_kib, 0x8000);
        assert_eq!(read.domains[&2].banks, [(0x4000_0000, 0x200_0000)]);
        let fixed = "(XEN) d1: STATIC BANK[0] 0x60000000-0x62000000\n";
        let read = super::read("", fixed);
        assert_eq!(read.domains[&1].host_banks, [(0x6000_0000, 0x200_0000)]);
    }

    #[test]
    fn debug_keys_tell_vcpus_pools_and_colours() {
        let read = read("", KEYS);
        let domain = &read.domains[&2];
        assert_eq!(domain.affinity, [vec![0, 1], vec![3]]);
        assert_eq!(domain.colours, [0, 1, 2, 9]);
        assert_eq!((domain.pages, domain.pool), (Some(8192), Some(1)));
        assert_eq!(read.pools[&1].cpus, [2, 3]);
        assert_eq!(read.pools[&1].scheduler, "null");
        assert_eq!(read.domains.len(), 1);
    }

    #[test]
    fn a_guests_lines_are_not_xens() {
        let disturbed = KEYS.replace(
            "(XEN) CPUs info:",
            "(XEN) DOM3: [    7.031000] nr_pages=1 \n(XEN) DOM3: Cpupool 0:\n(XEN) CPUs info:",
        );
        assert_ne!(disturbed, KEYS);
        assert_eq!(read("", &disturbed), read("", KEYS));
    }
}
