//! One seed: a fresh guest, trials, chaos, and what must hold afterwards.

use transport_xen::MemoryModel;
use transport_xen::fake::{holds_secret, registers as reg};

use crate::chaos::{self, Scribbler};
use crate::choices::Choices;
use crate::counts::Counts;
use crate::lab::{BYSTANDER, Lab};
use crate::machine::Machine;
use crate::trials::{self, Where, works};

/// Trials of one seed.
const TRIALS: u64 = 6;
/// Operations of chaos in one seed.
const CHAOS: u64 = 2000;

/// What went wrong, by kind, with words for a person.
#[derive(Debug, Default)]
pub struct Findings {
    /// A trial ended otherwise than it must.
    pub verdicts: Vec<String>,
    /// Memory beyond what was granted was read or written, or asked for.
    pub escapes: Vec<String>,
    /// Pages were mapped when nothing may be.
    pub leaks: Vec<String>,
    /// After a reset the device did not work.
    pub dead: Vec<String>,
    /// An access was never answered.
    pub stuck: Vec<String>,
    /// The engine said that a thread of it panicked, or that it cannot go on.
    pub defects: Vec<String>,
}

impl Findings {
    /// Name and list of each kind.
    pub fn kinds(&self) -> [(&'static str, &Vec<String>); 6] {
        [
            ("wrong_verdicts", &self.verdicts),
            ("escapes", &self.escapes),
            ("left_mapped", &self.leaks),
            ("dead_devices", &self.dead),
            ("stuck_vcpus", &self.stuck),
            ("defects", &self.defects),
        ]
    }

    /// Adds what a seed found.
    pub fn take(&mut self, seed: u64, from: Findings) {
        for (list, more) in [
            (&mut self.verdicts, from.verdicts),
            (&mut self.escapes, from.escapes),
            (&mut self.leaks, from.leaks),
            (&mut self.dead, from.dead),
            (&mut self.stuck, from.stuck),
            (&mut self.defects, from.defects),
        ] {
            list.extend(
                more.into_iter()
                    .map(|words| format!("seed {seed}: {words}")),
            );
        }
    }

    /// How much is wrong.
    pub fn total(&self) -> usize {
        self.kinds().iter().map(|(_, list)| list.len()).sum()
    }

    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(_, list)| list.is_empty())
    }
}

/// What a seed did.
#[derive(Debug, Default)]
pub struct Episode {
    /// Operations.
    pub counts: Counts,
    /// Writes of the second thread.
    pub scribbles: u64,
    /// What went wrong.
    pub findings: Findings,
}

/// Makes trials and chaos.
pub fn of_seed(seed: u64) -> Episode {
    let mut choices = Choices::of_seed(seed);
    let model = if seed.is_multiple_of(2) {
        MemoryModel::Grant
    } else {
        MemoryModel::Foreign
    };
    let fits = match model {
        MemoryModel::Grant => Where::Grants,
        MemoryModel::Foreign => Where::Foreign,
    };
    let trials: Vec<_> = trials::all()
        .filter(|trial| trial.at == fits || trial.at == Where::Everywhere)
        .collect();
    attack(model, |lab, findings| {
        // In turn, so that a few seeds make all of them.
        let first = (seed / 2).wrapping_mul(TRIALS);
        for number in 0..TRIALS {
            let trial = trials[(first.wrapping_add(number) % trials.len() as u64) as usize];
            if let Err(seen) = trial.run(lab, &mut choices) {
                findings.verdicts.push(seen);
            }
            if lab.stuck {
                return 0;
            }
        }
        let scribbler = (!choices.once_in(4)).then(|| Scribbler::start(lab.machine, choices.any()));
        let end = lab.counts.total() + CHAOS;
        while lab.counts.total() < end && !lab.stuck {
            chaos::step(lab, &mut choices);
        }
        scribbler.map_or(0, Scribbler::stop)
    })
}

/// Chaos as a fuzzer's bytes say.
pub fn of_bytes(bytes: &[u8]) -> Episode {
    let mut choices = Choices::of_bytes(bytes);
    let model = choices.pick(&[MemoryModel::Grant, MemoryModel::Foreign]);
    attack(model, |lab, _| {
        while !choices.ended() && !lab.stuck {
            chaos::step(lab, &mut choices);
        }
        0
    })
}

fn attack(model: MemoryModel, body: impl FnOnce(&mut Lab<'_>, &mut Findings) -> u64) -> Episode {
    let machine = Machine::start(model);
    let mut lab = Lab::new(&machine);
    let mut episode = Episode::default();
    lab.settle_in();
    let untouched = vec![0xb5; (BYSTANDER.end - BYSTANDER.start) as usize];
    machine.guest.write(&untouched, BYSTANDER.start);
    episode.scribbles = body(&mut lab, &mut episode.findings);
    lab.flush();
    let findings = &mut episode.findings;
    afterwards(&mut lab, findings);
    if machine.guest.read(BYSTANDER.start, untouched.len()) != untouched {
        findings
            .escapes
            .push("a page that was never named was written".into());
    }
    let (escapes, words) = machine.guest.escapes();
    if escapes > 0 {
        findings.escapes.extend(words);
    }
    if machine.guest.knows_the_secret() || holds_secret(&machine.image) {
        let words = "what lies beside a mapping was read";
        findings.escapes.push(words.into());
    }
    episode.counts = lab.counts;
    if lab.stuck {
        let words = "an access was never answered";
        findings.stuck.push(words.into());
        // Whoever never answers will not end either.
        std::mem::forget(machine);
    } else {
        for wrong in machine.stop() {
            let list = if wrong.contains("mapped") {
                &mut findings.leaks
            } else {
                &mut findings.defects
            };
            list.push(wrong);
        }
    }
    episode
}

/// A reset mends everything: nothing is mapped, and a driver that behaves is served.
fn afterwards(lab: &mut Lab<'_>, findings: &mut Findings) {
    lab.write(reg::STATUS, 0);
    let status = lab.status();
    lab.forget();
    if lab.stuck {
        return;
    }
    if status != 0 {
        findings
            .dead
            .push(format!("status {status:#x} after a reset"));
    }
    let mapped = lab.guest().mapped_pages();
    if mapped > 0 {
        findings
            .leaks
            .push(format!("{mapped} pages are mapped after a reset"));
    }
    lab.guest().restore();
    let mut choices = Choices::of_seed(1);
    let served = lab
        .bring_up(0, crate::lab::Layout::of_size(64))
        .and_then(|()| works(lab, &mut choices))
        .and_then(|()| works(lab, &mut choices));
    if let Err(seen) = served {
        findings.dead.push(seen);
    }
    lab.write(reg::STATUS, 0);
    lab.flush();
}
