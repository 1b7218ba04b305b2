//! From what the console says, and when, to a verdict.

use super::guest::{GuestReport, Reports};
use super::layout::Stranger;
use std::time::Duration;

/// After this long without a byte a Xen that has spoken will not go on. Under a loaded host a boot's longest pause is
/// below a second.
const QUIET: Duration = Duration::from_secs(3);
/// After this long without the first byte nothing will come.
const SILENCE: Duration = Duration::from_secs(8);
/// No layout takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// What Xen makes of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every domain's guest has reported and done what it was told.
    Boots {
        /// By domain id.
        guests: Vec<GuestReport>,
    },
    /// Xen stopped, and said why on its console.
    Panics {
        /// The panic's words.
        message: String,
        /// Errors and warnings that Xen printed just before, if any.
        before: Vec<String>,
    },
    /// Not a byte on the console.
    Silent {
        /// What Xen would have said, from its memory; empty if it cannot be read.
        message: String,
        /// What came before it there.
        before: Vec<String>,
    },
    /// Xen spoke, did not panic, and never came to an end of its boot.
    Hangs {
        /// The last line.
        last: String,
    },
    /// Xen runs, but some guests did not do all they should.
    Missing {
        /// Their domain ids.
        domains: Vec<u16>,
        /// What all have reported.
        guests: Vec<GuestReport>,
    },
}

impl Verdict {
    /// One word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Boots { .. } => "boots",
            Self::Panics { .. } => "panics",
            Self::Silent { .. } => "silent",
            Self::Hangs { .. } => "hangs",
            Self::Missing { .. } => "missing",
        }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let said = |message: &str, before: &[String]| match before.last() {
            Some(cause) => format!("{cause} | {message}"),
            None => message.to_owned(),
        };
        match self {
            Self::Boots { guests } => format!("{} guests", guests.len()),
            Self::Panics { message, before } | Self::Silent { message, before } => {
                said(message, before)
            }
            Self::Hangs { last } => format!("after: {last}"),
            Self::Missing { domains, .. } => format!("domains {domains:?}"),
        }
    }
}

/// Watches one boot.
#[derive(Debug, Default)]
pub(super) struct Judge {
    domains: usize,
    strangers: Vec<Stranger>,
    /// Strangers that have spoken.
    heard: Vec<u16>,
    reports: Reports,
    panic: Panic,
    spoke: bool,
    /// Xen ended its boot.
    up: bool,
    last: String,
}

impl Judge {
    /// The guests of that many domains are expected to report, but for strangers.
    pub(super) fn new(domains: usize, strangers: &[Stranger]) -> Self {
        Self {
            domains,
            strangers: strangers.to_vec(),
            ..Self::default()
        }
    }

    /// Takes a line.
    pub(super) fn line(&mut self, line: &str) {
        self.spoke = true;
        if self.reports.take(line) {
            return;
        }
        let speaks = |stranger: &&Stranger| stranger.speaks(line);
        let speaker = self.strangers.iter().find(speaks);
        self.heard.extend(speaker.map(|stranger| stranger.domain));
        self.up |= line.contains("init memory.");
        self.panic.line(line);
        if !line.trim().is_empty() {
            self.last = line.to_owned();
        }
    }

    /// Whether anything was said.
    pub(super) fn spoke(&self) -> bool {
        self.spoke
    }

    /// The verdict, if it is certain: `quiet` has gone by since the last byte, `total` since the start.
    pub(super) fn verdict(&self, quiet: Duration, total: Duration) -> Option<Verdict> {
        if let Some(message) = self.panic.message() {
            return Some(Verdict::Panics {
                message,
                before: self.panic.before(),
            });
        }
        if self.domains > 0 && self.missing().is_empty() {
            return Some(Verdict::Boots {
                guests: self.reports.all(),
            });
        }
        let over = quiet >= if self.spoke { QUIET } else { SILENCE } || total >= LIMIT;
        over.then(|| self.given_up())
    }

    fn given_up(&self) -> Verdict {
        if !self.spoke {
            return Verdict::Silent {
                message: String::new(),
                before: Vec::new(),
            };
        }
        if !self.up {
            return Verdict::Hangs {
                last: self.last.clone(),
            };
        }
        Verdict::Missing {
            domains: self.missing(),
            guests: self.reports.all(),
        }
    }

    /// Domains that have not done all they should.
    fn missing(&self) -> Vec<u16> {
        let mut missing = self.reports.missing(self.domains);
        missing.retain(|domain| !self.heard.contains(domain));
        missing
    }
}

/// Verdict on what Xen's memory holds of its console while nothing has come out of it.
pub(super) fn of_ring(text: &str) -> Option<Verdict> {
    let mut panic = Panic::default();
    text.lines().for_each(|line| panic.line(line));
    Some(Verdict::Silent {
        message: panic.message()?,
        before: panic.before(),
    })
}

/// Xen's panic: a line of stars, `Panic on CPU n:`, the words, a line of stars.
#[derive(Debug, Default)]
struct Panic {
    lines: Vec<String>,
    /// `None` until the panic, then the number of lines before it.
    at: Option<usize>,
    complete: bool,
    /// Inside a trap's dump.
    dump: bool,
}

impl Panic {
    fn line(&mut self, line: &str) {
        if self.complete {
            return;
        }
        let text = line.strip_prefix("(XEN)").unwrap_or(line).trim();
        let stars = text.starts_with("****") && text.chars().all(|character| character == '*');
        let dump = self.is_dump(text);
        match self.at {
            None if text.starts_with("Panic on CPU") => self.at = Some(self.lines.len()),
            Some(at) if stars => self.complete = self.lines.len() > at,
            _ if text.is_empty() || stars || dump => {}
            _ => self.lines.push(text.to_owned()),
        }
    }

    /// Registers, stack and page tables of a trap.
    fn is_dump(&mut self, text: &str) -> bool {
        if text.starts_with("----[ Xen") {
            self.dump = true;
        } else if text == "Xen call trace:" {
            self.dump = false;
            return true;
        }
        self.dump
            || text.starts_with("Walking ")
            || text
                .get(1..4)
                .is_some_and(|level| matches!(level, "TH[" | "ST[" | "ND[" | "RD["))
    }

    fn message(&self) -> Option<String> {
        let at = self.at.filter(|_| self.complete)?;
        Some(self.lines.get(at..)?.join(" "))
    }

    /// Lines before the panic that are not a boot's usual ones; of a trap only what it was and where.
    fn before(&self) -> Vec<String> {
        let end = self.at.unwrap_or(self.lines.len());
        let start = self.lines[..end]
            .iter()
            .rposition(|line| {
                USUAL.iter().any(|usual| line.starts_with(usual)) || line.contains(" BANK[")
            })
            .map_or(end.saturating_sub(KEPT), |at| at + 1);
        self.lines[start..end].to_vec()
    }
}

/// Lines told before a panic when none of them is a usual one.
const KEPT: usize = 4;

/// What Xen prints while everything goes well; what comes after the last of these led to a panic.
const USUAL: [&str; 18] = [
    "*** LOADING",
    "Adding cpu",
    "Allocating ",
    "Brought up ",
    "CMDLINE[",
    "Checking for ",
    "Command line:",
    "Domain heap init",
    "First cpu",
    "Loading ",
    "Logical CPU",
    "MODULE[",
    "RAM:",
    "RESVD[",
    "SCMI:",
    "SHMEM[",
    "Xen dom0less",
    "alternatives:",
];

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn judge(expected: usize, log: &str) -> Judge {
        let mut judge = Judge::new(expected, &[]);
        log.lines().for_each(|line| judge.line(line));
        judge
    }

    #[test]
    fn a_boot_is_certain_when_the_last_guest_is_done_and_not_before() {
        let log = include_str!("logs/two-guests.log");
        let verdict = judge(2, log).verdict(Duration::ZERO, SECOND);
        assert!(matches!(verdict, Some(Verdict::Boots { guests }) if guests.len() == 2));
        assert_eq!(judge(3, log).verdict(SECOND, SECOND), None);
        let stranger = Stranger {
            domain: 3,
            words: "Run /init",
        };
        for (line, boots) in [
            ("(XEN) DOM3: [ 1.0] Run /init as init process", true),
            ("(XEN) DOM4: [ 1.0] Run /init as init process", false),
            ("(XEN) DOM3: [ 1.0] Linux version", false),
        ] {
            let mut judge = Judge::new(3, std::slice::from_ref(&stranger));
            log.lines().chain([line]).for_each(|line| judge.line(line));
            assert_eq!(judge.verdict(SECOND, SECOND).is_some(), boots, "{line}");
        }
        let verdict = judge(3, log).verdict(QUIET, 5 * SECOND);
        assert!(matches!(verdict, Some(Verdict::Missing { domains, .. }) if domains == [3]));
    }

    const PANIC: &str = "\
(XEN) *** LOADING DOMU cpus=1 memory=0x8000KB ***
(XEN) Loading d1 kernel from boot module @ 0000000050000000
(XEN) d1: failed to acquire static memory: -22.
(XEN) 
(XEN) ****************************************
(XEN) Panic on CPU 0:
(XEN) Failed to allocate requested static memory for domain d1.
(XEN) ****************************************
(XEN) 
(XEN) Reboot in five seconds...
";

    #[test]
    fn a_panic_is_told_with_what_led_to_it() {
        let expected = Verdict::Panics {
            message: "Failed to allocate requested static memory for domain d1.".into(),
            before: vec!["d1: failed to acquire static memory: -22.".into()],
        };
        assert_eq!(
            judge(1, PANIC).verdict(Duration::ZERO, SECOND),
            Some(expected)
        );
        let half: String = PANIC.split_inclusive('\n').take(7).collect();
        assert_eq!(judge(1, &half).verdict(Duration::ZERO, SECOND), None);
    }

    #[test]
    fn of_a_trap_only_its_kind_and_place_are_told() {
        let ring = "\
(XEN) Command line: console=dtuart
(XEN) Data Abort Trap. Syndrome=0x6
(XEN) Walking Hypervisor VA 0xa0801180010 on CPU0 via TTBR 0x0000000040348000
(XEN) 0TH[0x014] = 0x40347f7f
(XEN) CPU0: Unexpected Trap: Data Abort
(XEN) ----[ Xen-4.20.4-pre  arm64  debug=n  Not tainted ]----
(XEN) CPU:    0
(XEN) PC:     00000a0000221e24 page_alloc.c#mark_page_free+0/0x8c
(XEN) Xen stack trace from sp=00000a0000327d50:
(XEN)    0000000000000001 00000a00002f8008 0000000000001820 0000000000000018
(XEN) Xen call trace:
(XEN)    [<00000a0000221e24>] page_alloc.c#mark_page_free+0/0x8c (PC)
(XEN) ****************************************
(XEN) Panic on CPU 0:
(XEN) CPU0: Unexpected Trap: Data Abort
(XEN) ****************************************
";
        let Some(Verdict::Silent { before, .. }) = of_ring(ring) else {
            panic!("no verdict");
        };
        assert_eq!(
            before,
            [
                "Data Abort Trap. Syndrome=0x6",
                "CPU0: Unexpected Trap: Data Abort",
                "[<00000a0000221e24>] page_alloc.c#mark_page_free+0/0x8c (PC)"
            ]
        );
    }

    #[test]
    fn what_xen_could_not_print_is_read_from_its_memory() {
        let ring = "\
(XEN) Checking for \"xen,static-mem\" in domain node
(XEN) Region: [0x61000000, 0x63000000) overlapping with bank[0]: [0x60000000, 0x62000000)
(XEN) fdt: node `two': parsing failed
(XEN) 
(XEN) ****************************************
(XEN) Panic on CPU 0:
(XEN) Early FDT parsing failed (-22)
(XEN) ****************************************
";
        let Some(Verdict::Silent { message, before }) = of_ring(ring) else {
            panic!("no verdict");
        };
        assert_eq!(message, "Early FDT parsing failed (-22)");
        assert!(
            before[0].starts_with("Region:") && before.len() == 2,
            "{before:?}"
        );
        assert_eq!(of_ring("(XEN) RAM: 40000000"), None);
    }

    #[test]
    fn silence_and_a_boot_that_stops_are_told_apart() {
        assert_eq!(judge(1, "").verdict(QUIET, QUIET), None);
        let silent = judge(1, "").verdict(SILENCE, SILENCE);
        assert!(matches!(silent, Some(Verdict::Silent { .. })));
        let hangs = judge(1, "(XEN) Bringing up CPU1\n").verdict(QUIET, QUIET);
        assert!(matches!(hangs, Some(Verdict::Hangs { last }) if last.contains("CPU1")));
    }
}
