//! What one guest reported.

use oracle_guest::frame::{self, Frame};
use std::collections::BTreeMap;

/// The report of the guest in one domain. Addresses are guest physical, sizes bytes, times timer ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuestReport {
    /// Its domain id.
    pub(crate) domain: u16,
    /// Memory banks: address and size.
    pub(crate) memory: Vec<(u64, u64)>,
    /// vCPUs in its device tree.
    pub(crate) cpus: u32,
    /// vCPUs that really run.
    pub(crate) running: u32,
    /// Nodes with addresses: name, address, size. Xen's interrupt controller, UART, shared memory, passed-through devices.
    pub(crate) nodes: Vec<(String, u64, u64)>,
    /// Ids of shared memory, by node.
    pub(crate) shared: BTreeMap<String, String>,
    /// Its boot arguments, as far as they fit into a line.
    pub(crate) arguments: String,
    /// What it was ordered to do and what came of it, and whatever is wrong: the words of each report.
    pub(crate) said: Vec<String>,
    /// Pages whose content did not stay, or could not be written.
    pub(crate) bad_pages: u32,
    /// It has done everything.
    pub(crate) done: bool,
    /// Lines that were lost or torn.
    pub(crate) torn: u32,
    next: u32,
}

impl GuestReport {
    /// It has the vCPUs and the memory that its device tree promises.
    pub(crate) fn is_content(&self) -> bool {
        self.running == self.cpus && self.bad_pages == 0
    }

    /// That, and all that it has said has come.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_content() && self.torn == 0
    }

    /// Takes a report.
    fn take(&mut self, frame: Frame<'_>) {
        self.torn += frame.sequence.saturating_sub(self.next);
        self.next = frame.sequence + 1;
        let (kind, rest) = frame.words.split_once(' ').unwrap_or((frame.words, ""));
        match kind {
            "memory" => self.memory.extend(range(rest)),
            "cpus" => self.cpus = rest.parse().unwrap_or_default(),
            "running" => self.running = rest.parse().unwrap_or_default(),
            "node" => {
                if let Some((name, place)) = rest.rsplit_once(' ')
                    && let Some((start, size)) = range(place)
                {
                    self.nodes.push((name.to_owned(), start, size));
                }
            }
            "shm-id" => {
                if let Some((node, id)) = rest.split_once(' ') {
                    self.shared.insert(node.to_owned(), id.to_owned());
                }
            }
            "bootargs" => self.arguments = rest.to_owned(),
            "bank" => self.bad_pages += field(rest, "bad"),
            "kept" => self.bad_pages += field(rest, "lost"),
            "done" => self.done = true,
            "hello" | "compatible" => {}
            _ => self.said.push(frame.words.to_owned()),
        }
    }
}

/// All guests' reports, by domain id.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(BTreeMap<u16, GuestReport>);

impl Reports {
    /// Takes a line of the console. True if it was a guest's report.
    pub(super) fn take(&mut self, line: &str) -> bool {
        let Some(read) = frame::read(line) else {
            return false;
        };
        // `(d1) @og …`; without Xen's mark nobody knows whose line it was.
        let domain = line
            .split_once("(d")
            .and_then(|(_, rest)| rest.split_once(')'))
            .and_then(|(id, _)| id.parse().ok());
        if let Some(domain) = domain {
            let report = self.0.entry(domain).or_insert_with(|| GuestReport {
                domain,
                ..GuestReport::default()
            });
            match read {
                Ok(frame) => report.take(frame),
                Err(_) => report.torn += 1,
            }
        }
        true
    }

    /// Domains from 1 to `count` that have not done everything.
    pub(super) fn missing(&self, count: usize) -> Vec<u16> {
        let last = u16::try_from(count).unwrap_or(u16::MAX);
        (1..=last)
            .filter(|domain| self.0.get(domain).is_none_or(|report| !report.done))
            .collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<GuestReport> {
        self.0.values().cloned().collect()
    }
}

/// `0x40000000+0x1000`.
fn range(text: &str) -> Option<(u64, u64)> {
    let (start, size) = text.split_once('+')?;
    Some((
        oracle_guest::orders::number(start)?,
        oracle_guest::orders::number(size)?,
    ))
}

/// The number behind `name=`.
fn field(text: &str, name: &str) -> u32 {
    text.split(' ')
        .filter_map(|word| word.split_once('='))
        .find(|(found, _)| *found == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = include_str!("logs/two-guests.log");

    fn reports(log: &str) -> Reports {
        let mut reports = Reports::default();
        for line in log.lines() {
            reports.take(line);
        }
        reports
    }

    #[test]
    fn two_guests_that_report_at_once_are_told_apart() {
        let reports = reports(TWO);
        assert_eq!(reports.missing(3), [3]);
        let all = reports.all();
        assert_eq!(all[0].memory, [(0x4000_0000, 0x200_0000)]);
        assert_eq!((all[0].cpus, all[0].running), (1, 1));
        assert_eq!((all[1].cpus, all[1].running), (2, 2));
        assert!(all.iter().all(|guest| guest.torn == 0 && guest.done));
        let controller = ("interrupt-controller@3001000".into(), 0x300_1000, 0x1_0000);
        assert_eq!(all[1].nodes[0], controller);
        assert_eq!(all[1].arguments, "hello");
    }

    #[test]
    fn a_lost_and_a_torn_line_and_a_changed_page_are_counted() {
        let log: Vec<&str> = TWO
            .lines()
            .filter(|line| !line.contains("@og 7 "))
            .collect();
        let lost = reports(&log.join("\n")).all();
        assert_eq!((lost[0].torn, lost[1].torn), (1, 1));
        let torn = reports(&TWO.replace("cpus 2", "cpus 3")).all();
        assert_eq!((torn[1].torn, torn[1].cpus), (2, 0));
        assert_eq!(reports(TWO).all()[0].bad_pages, 1);
    }
}
