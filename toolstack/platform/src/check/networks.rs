//! Networks between domains.

use std::collections::{HashMap, HashSet};

use super::{Index, roles};
use crate::finding::Finding;
use crate::plan::{Network, NetworkPort, Plan};
use crate::rules;

/// Bytes on the wire that are in no frame: preamble, start of frame, and the gap behind it (IEEE 802.3, 3.1 and 4.4.2).
const FRAME_OVERHEAD: u128 = 20;
/// Part of the rate that may be reserved, in percent (IEEE 802.1Q, 34.3.1).
const RESERVABLE: u128 = 75;

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    let mut names: HashMap<&str, &Network> = HashMap::new();
    let mut addresses: HashMap<String, &NetworkPort> = HashMap::new();
    for network in &plan.networks {
        if let Some(earlier) = names.get(network.name.as_str()) {
            let message = format!("two networks are named \"{}\"", network.name);
            findings.push(
                Finding::new(
                    &rules::NETWORK_NAME,
                    format!("{}.name", network.from),
                    message,
                )
                .label("the same name again")
                .related(format!("{}.name", earlier.from), "first used here"),
            );
        } else {
            names.insert(&network.name, network);
        }
        let mut members = HashSet::new();
        for port in &network.ports {
            if !index.domains.contains_key(port.domain.as_str()) {
                let at = format!("{}.domain", port.from);
                findings.push(roles::unknown(at, &port.domain));
                continue;
            }
            tag(port, findings);
            if !members.insert((port.domain.as_str(), port.vlan)) {
                let message = format!(
                    "domain \"{}\" is on network \"{}\" twice",
                    port.domain, network.name
                );
                let at = format!("{}.domain", port.from);
                findings.push(Finding::new(&rules::NETWORK_PORT_TWICE, at, message).label("again"));
                continue;
            }
            address(port, &mut addresses, findings);
        }
        bandwidth(network, findings);
    }
}

fn tag(port: &NetworkPort, findings: &mut Vec<Finding>) {
    let mut wrong = |key: &str, value: u32, label: &str| {
        let message = format!("there is no {key} {value}");
        let at = format!("{}.{key}", port.from);
        findings.push(Finding::new(&rules::VLAN_TAG, at, message).label(label));
    };
    if let Some(vlan) = port.vlan.filter(|vlan| !(1..=4094).contains(vlan)) {
        wrong("vlan", vlan, "1 to 4094");
    }
    if port.priority > 7 {
        wrong("priority", port.priority, "0 to 7");
    }
}

/// The bytes of a MAC address as it is written: `02:00:00:00:00:01`.
fn mac_bytes(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next()?;
        let is_hex = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_hex)?;
    }
    parts.next().is_none().then_some(bytes)
}

fn address<'a>(
    port: &'a NetworkPort,
    addresses: &mut HashMap<String, &'a NetworkPort>,
    findings: &mut Vec<Finding>,
) {
    let at = format!("{}.mac", port.from);
    let label = match mac_bytes(&port.mac) {
        None => "not six bytes with colons",
        Some([0, 0, 0, 0, 0, 0]) => "all zero",
        Some([first, ..]) if first & 1 != 0 => "the address of a group",
        Some(_) => {
            let key = port.mac.to_ascii_lowercase();
            if let Some(earlier) = addresses.get(&key) {
                let message = format!(
                    "domains \"{}\" and \"{}\" have the same MAC address",
                    earlier.domain, port.domain
                );
                findings.push(
                    Finding::new(&rules::MAC_TWICE, at, message)
                        .label("the same address again")
                        .related(format!("{}.mac", earlier.from), "first used here"),
                );
            } else {
                addresses.insert(key, port);
            }
            return;
        }
    };
    let message = format!("\"{}\" cannot be the address of a domain", port.mac);
    findings.push(Finding::new(&rules::MAC_ADDRESS, at, message).label(label));
}

fn bandwidth(network: &Network, findings: &mut Vec<Finding>) {
    let mut sum = 0_u128;
    let mut last: Option<&NetworkPort> = None;
    for port in &network.ports {
        let missing = match (port.frame_bytes, port.interval_us) {
            (None, None) => continue,
            (Some(0), _) => Some(("frame", "zero")),
            (_, Some(0)) => Some(("interval", "zero")),
            (None, Some(_)) => Some(("frame", "\"frame\" is missing here")),
            (Some(_), None) => Some(("interval", "\"interval\" is missing here")),
            (Some(frame), Some(interval)) => {
                let bits = (u128::from(frame) + FRAME_OVERHEAD) * 8;
                sum = sum.saturating_add(bits.saturating_mul(1_000_000) / u128::from(interval));
                last = Some(port);
                None
            }
        };
        if let Some((key, label)) = missing {
            let message = format!(
                "the reservation of domain \"{}\" is no amount of data per time",
                port.domain
            );
            let at = format!("{}.{key}", port.from);
            findings.push(Finding::new(&rules::RESERVED_FRAMES, at, message).label(label));
        }
    }
    let Some(port) = last else { return };
    let at = format!("{}.rate", network.from);
    let Some(rate) = network.rate_bps.map(u128::from) else {
        let message = format!(
            "frames are reserved on network \"{}\", and its rate is not known",
            network.name
        );
        findings.push(
            Finding::new(&rules::RATE_UNKNOWN, at, message).label("\"rate\" is missing here"),
        );
        return;
    };
    let room = rate.saturating_mul(RESERVABLE) / 100;
    if sum > room {
        let message = format!(
            "{sum} bits per second are reserved on network \"{}\", and {room} can be",
            network.name
        );
        findings.push(
            Finding::new(&rules::RESERVED_BANDWIDTH, at, message)
                .label(format!("{RESERVABLE} % are {room}"))
                .related(format!("{}.frame", port.from), "the last reservation"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::mac_bytes;

    #[test]
    fn a_mac_address_is_six_bytes_in_base_16() {
        assert_eq!(mac_bytes("02:00:00:00:00:fF"), Some([2, 0, 0, 0, 0, 255]));
        for wrong in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "2:0:0:0:0:0",
            "+2:00:00:00:00:00",
        ] {
            assert_eq!(mac_bytes(wrong), None, "{wrong}");
        }
    }
}
