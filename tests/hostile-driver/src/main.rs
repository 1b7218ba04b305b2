//! A driver domain that was taken over: root in its Linux, `/dev/xen/privcmd` unrestricted, and Xen's source at hand.
//!
//! It runs inside the driver domain and tries what such an attacker would: reach other domains' memory, command Xen, stand in
//! for devices that are not its own, read and write XenStore. It prints one JSON object. A refusal counts only where Xen or
//! XenStore refused by permission, and `passed` says that every attempt came out as the catalogue expects.
//!
//! It must not harm the domain it runs in nor leave anything behind, whatever comes of an attempt; what would harm a target is
//! not tried where nothing would refuse it.

mod attacker;
mod attempt;
mod catalogue;
mod control;
mod device_model;
mod events;
mod grants;
mod limits;
mod memory;
mod raw;
mod store;

use std::process::ExitCode;
use std::time::Duration;

use attacker::{Attacker, Domains};
use catalogue::{Case, Report};
use clap::{Args, Parser, Subcommand};

/// Attacks out of a driver domain.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Try everything that a driver domain must not be able to do.
    Attack {
        #[command(flatten)]
        who: Who,
        /// Only attempts whose name holds this.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Try one attempt in this process.
    One {
        /// Its name, as `list` tells.
        name: String,
        #[command(flatten)]
        who: Who,
    },
    /// List the attempts.
    List,
    /// Show what the right to be a guest's device model does not confine.
    Limits {
        /// A guest that this domain serves, and others as well.
        #[arg(long)]
        own: u16,
        /// First address of another's register window in the guest, hexadecimal.
        #[arg(long, default_value = "0x2000200", value_parser = hexadecimal)]
        window: u64,
        /// Interrupt line of another's device.
        #[arg(long, default_value_t = 34)]
        line: u32,
        /// Milliseconds to answer for the window.
        #[arg(long, default_value_t = 2000)]
        seize: u64,
        /// Milliseconds that each access waits.
        #[arg(long, default_value_t = 100)]
        hold: u64,
    },
    /// Be a backend of a guest that answers every access with 0: what others attack, and what lets a guest's drivers give up.
    Hold {
        /// The guest.
        #[arg(long)]
        own: u16,
        /// First address of the window, hexadecimal.
        #[arg(long, value_parser = hexadecimal)]
        window: u64,
        /// Seconds until it ends.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Count what a guest has granted, and how much of it is mapped. Works where its grant table may be mapped.
    Grants {
        /// The guest.
        #[arg(long)]
        own: u16,
        /// The domain it granted to; this one without it.
        #[arg(long)]
        to: Option<u16>,
    },
}

#[derive(Args, Clone, Copy)]
struct Who {
    /// A guest that this driver domain serves.
    #[arg(long)]
    own: u16,
    /// A guest that it does not serve.
    #[arg(long)]
    foreign: u16,
    /// Another driver domain.
    #[arg(long)]
    other_driver: Option<u16>,
    /// This domain's number; asked of XenStore without it.
    #[arg(long)]
    me: Option<u16>,
}

impl Who {
    fn domains(self) -> Result<Domains, String> {
        Ok(Domains {
            me: self.me.map_or_else(own_number, Ok)?,
            own: self.own,
            foreign: self.foreign,
            other: self.other_driver,
        })
    }
}

fn hexadecimal(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| format!("{text} is no hexadecimal number"))
}

/// This domain's number.
fn own_number() -> Result<u16, String> {
    let read = || xenstore::Client::open()?.read_string("domid");
    let text = read().map_err(|error| error.to_string())?;
    text.parse()
        .map_err(|_| format!("XenStore calls this domain {text:?}"))
}

fn main() -> ExitCode {
    match run(Options::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostile-driver: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(command: What) -> Result<bool, String> {
    match command {
        What::Attack { who, only } => attack(who.domains()?, &only),
        What::One { name, who } => one(&name, who.domains()?),
        What::List => {
            for case in catalogue::cases() {
                println!("{:32} {:?}: {}", case.name(), case.expected(), case.aim());
            }
            Ok(true)
        }
        What::Limits {
            own,
            window,
            line,
            seize,
            hold,
        } => show_limits(
            own,
            limits::Claim {
                window,
                line,
                seize: Duration::from_millis(seize),
                hold: Duration::from_millis(hold),
            },
        ),
        What::Hold {
            own,
            window,
            seconds,
        } => hold(own, window, Duration::from_secs(seconds)),
        What::Grants { own, to } => count_grants(own, to),
    }
}

fn attack(domains: Domains, only: &str) -> Result<bool, String> {
    let arguments = arguments(domains);
    let mut reports = Vec::new();
    for case in catalogue::cases() {
        if !case.name().contains(only) {
            continue;
        }
        if let Some(report) = catalogue::run_apart(case, &arguments) {
            tell(&report);
            reports.push(report);
        }
    }
    print(&reports)
}

/// The arguments that name the domains, for a process of one attempt.
fn arguments(domains: Domains) -> Vec<String> {
    let mut arguments = vec![
        format!("--me={}", domains.me),
        format!("--own={}", domains.own),
        format!("--foreign={}", domains.foreign),
    ];
    arguments.extend(domains.other.map(|other| format!("--other-driver={other}")));
    arguments
}

fn one(name: &str, domains: Domains) -> Result<bool, String> {
    let case = catalogue::cases()
        .into_iter()
        .find(|case: &Case| case.name() == name)
        .ok_or_else(|| format!("there is no attempt called {name}"))?;
    let verdict = case.run(domains)?;
    let text = serde_json::to_string(&verdict).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(true)
}

fn show_limits(own: u16, claim: limits::Claim) -> Result<bool, String> {
    let attacker = on_guest(own)?;
    let reports = limits::show(&attacker, own, claim);
    reports.iter().for_each(tell);
    print(&reports)
}

fn hold(own: u16, window: u64, seize: Duration) -> Result<bool, String> {
    let claim = limits::Claim {
        window,
        line: 0,
        seize,
        hold: Duration::ZERO,
    };
    let seen = limits::seize(&on_guest(own)?, own, claim).map_err(|error| error.to_string())?;
    println!("{seen}");
    Ok(true)
}

/// The doors, where only one guest matters.
fn on_guest(own: u16) -> Result<Attacker, String> {
    Attacker::open(Domains {
        me: own_number()?,
        own,
        foreign: own,
        other: None,
    })
}

fn count_grants(own: u16, to: Option<u16>) -> Result<bool, String> {
    let attacker = on_guest(own)?;
    let me = attacker.domains.me;
    let granted = grants::count(&attacker, own, to.unwrap_or(me))
        .map_err(|error| format!("cannot map the grant table of domain {own}: {error}"))?;
    let text = serde_json::to_string(&granted).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(true)
}

/// A line for people.
fn tell(report: &Report) {
    let as_expected = if report.verdict.is(report.expected) {
        ' '
    } else {
        '!'
    };
    eprintln!(
        "{as_expected} {:32} {:8} {}",
        report.name,
        format!("{:?}", report.verdict.outcome).to_lowercase(),
        report.verdict.detail
    );
}

fn print(reports: &[Report]) -> Result<bool, String> {
    let (figures, notes) = catalogue::judge(reports);
    let passed = notes.is_empty() && !reports.is_empty();
    let object = serde_json::json!({
        "name": "hostile-driver", "passed": passed, "figures": figures, "notes": notes, "attempts": reports,
    });
    println!("{object}");
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_one_attempt_is_told_the_same_domains() {
        let domains = Domains {
            me: 3,
            own: 4,
            foreign: 5,
            other: Some(6),
        };
        let line = ["hostile-driver", "one", "x"]
            .map(str::to_owned)
            .into_iter()
            .chain(arguments(domains));
        let options = Options::try_parse_from(line).unwrap();
        let What::One { who, .. } = options.command else {
            panic!("another command");
        };
        assert_eq!(
            (who.me, who.own, who.foreign, who.other_driver),
            (Some(3), 4, 5, Some(6))
        );
    }
}
