//! Counters as a table for people.

use std::borrow::Cow;
use std::fmt::Write;

use printable::line;

use crate::{Counters, Report};

/// The report as lines of text, ending in a newline.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "avps-backend {}, process {}",
        line(&report.version),
        report.pid
    );
    if report.guests.is_empty() {
        text.push_str("\nNo guest has a device here.\n");
    }
    for guest in &report.guests {
        let name = line(guest.name.as_deref().unwrap_or("(unnamed)"));
        let worker = match guest.worker_pid {
            Some(pid) => format!("worker {pid}"),
            None => "no worker".to_owned(),
        };
        let stale = if guest.stale {
            ", does not answer: last known values"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "\n{name} (domain {}), {worker}, {} restarts{stale}",
            guest.domid, guest.restarts
        );
        if let Some(lacks) = guest
            .sandbox_lacks
            .as_ref()
            .filter(|lacks| !lacks.is_empty())
        {
            let lacks: Vec<_> = lacks.iter().map(|lack| line(lack)).collect();
            let _ = writeln!(text, "  sandbox lacks: {}", lacks.join(", "));
        }
        counters(&mut text, "  ", &guest.counters);
        for device in &guest.devices {
            let _ = writeln!(
                text,
                "  {}: {}, memory {}",
                line(&device.path),
                line(&device.state),
                line(device.memory.as_deref().unwrap_or("-"))
            );
            counters(&mut text, "    ", &device.counters);
        }
    }
    text
}

fn counters(text: &mut String, indent: &str, counters: &Counters) {
    let names: Vec<Cow<'_, str>> = counters.keys().map(|name| line(name)).collect();
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let values: Vec<String> = counters.values().map(|value| grouped(*value)).collect();
    let width = values.iter().map(String::len).max().unwrap_or(0);
    for (name, value) in names.iter().zip(&values) {
        let _ = writeln!(text, "{indent}{name:longest$}  {value:>width$}");
    }
}

/// A number with its digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn the_table_shows_each_device_with_aligned_counters() {
        let expected = "\
avps-backend 0.1.0, process 41

cluster (domain 3), worker 42, 0 restarts
  ioreqs  123
  virtio/3/0: connected, memory grant
    bytes_read      4 096
    errors              0
    requests    1 234 567
";
        assert_eq!(table(&example()), expected);
    }

    #[test]
    fn a_daemon_without_guests_says_so() {
        let mut report = example();
        report.guests.clear();
        assert!(table(&report).contains("No guest has a device here."));
    }

    #[test]
    fn a_worker_that_does_not_answer_is_visible() {
        let mut report = example();
        report.guests[0].stale = true;
        report.guests[0].worker_pid = None;
        assert!(table(&report).contains("no worker, 0 restarts, does not answer"));
    }

    #[test]
    fn what_a_sandbox_lacks_is_visible() {
        let mut report = example();
        report.guests[0].sandbox_lacks = Some(vec!["user namespace (refused)".into()]);
        assert!(table(&report).contains("\n  sandbox lacks: user namespace (refused)\n"));
    }

    #[test]
    fn no_text_of_a_guest_or_worker_commands_the_terminal_or_forges_a_line() {
        let hostile = || "\u{1b}[2J\u{9b}31m\u{202e}x\nforged".to_owned();
        let mut report = example();
        report.version = hostile();
        let guest = &mut report.guests[0];
        guest.name = Some(hostile());
        guest.sandbox_lacks = Some(vec![hostile()]);
        guest.counters.insert(hostile(), 1);
        let device = &mut guest.devices[0];
        (device.path, device.state) = (hostile(), hostile());
        device.memory = Some(hostile());
        device.counters.insert(hostile(), 2);
        let text = table(&report);
        assert!(!text.contains("\nforged"), "{text}");
        assert!(
            !text.contains(|c| c != '\n' && printable::is_control(c)),
            "{text:?}"
        );
        assert_eq!(text.matches("forged").count(), 8, "{text}");
    }

    #[test]
    fn big_numbers_stay_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1 000");
        assert_eq!(grouped(u64::MAX), "18 446 744 073 709 551 615");
    }
}
