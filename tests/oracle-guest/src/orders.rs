//! What the guest is told to do beyond its report: words of its boot arguments, in any order, each at most once.
//!
//! | word | meaning |
//! |---|---|
//! | `touch=ADDR:r,ADDR:w…` | access these addresses, and tell what came of it |
//! | `heartbeat=N[,PERIOD_US]` | N beats of the virtual timer, 10 ms apart unless told otherwise |
//! | `shm=ADDR,SIZE,write` or `…,read` | fill shared memory with a pattern, or tell what it holds |
//! | `evtchn=send:PORT` or `evtchn=wait:PORT` | use an event channel |
//! | `flood=hvc`, `mmio`, `sgi` or `evtchn` | at last, hammer on Xen for ever |
//! | `flood=smc:UUID` | the same on the secure world, with calls for this trusted application among them |
//! | `flood-after=MS` | sleep that many milliseconds before |

use optee_abi::Uuid;

/// Parses the decimal or (with `0x`) hexadecimal number.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Direction of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
}

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// The list, for [`touches`].
    Touch(&'a str),
    /// Beats of the timer.
    Heartbeat {
        /// How many.
        beats: u64,
        /// Microseconds between two.
        period_us: u64,
    },
    /// Use shared memory.
    Shared {
        /// Guest physical address.
        address: u64,
        /// Bytes.
        size: u64,
        /// What to do with it.
        access: Access,
    },
    /// Notify through a port.
    Send(u32),
    /// Wait for a port.
    Wait(u32),
    /// Hammer for ever.
    Flood(Flood),
    /// Sleep so many milliseconds before.
    FloodAfter(u64),
    /// A word that looks like an order and is none.
    Wrong(&'a str),
}

/// How to be hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Hypercalls that do nothing.
    Hypercalls,
    /// Accesses to an emulated device.
    Mmio,
    /// Interrupts to itself.
    Sgi,
    /// Notifications of ports it does not have.
    Events,
    /// Calls of the secure world, for this application among them.
    Smc(Uuid),
}

/// The orders among these boot arguments. Words without `=` are somebody else's.
pub fn read(arguments: &str) -> impl Iterator<Item = Order<'_>> {
    arguments
        .split_ascii_whitespace()
        .filter_map(|word| Some((word, word.split_once('=')?)))
        .map(|(word, (name, value))| order(name, value).unwrap_or(Order::Wrong(word)))
}

fn order<'a>(name: &str, value: &'a str) -> Option<Order<'a>> {
    Some(match name {
        "touch" => {
            touches(value).all(|touch| touch.is_some()).then_some(())?;
            Order::Touch(value)
        }
        "heartbeat" => {
            let (beats, period) = value.split_once(',').unwrap_or((value, "10000"));
            Order::Heartbeat {
                beats: number(beats)?,
                period_us: number(period).filter(|period| *period > 0)?,
            }
        }
        "shm" => {
            let mut parts = value.splitn(3, ',');
            Order::Shared {
                address: number(parts.next()?)?,
                size: number(parts.next()?)?,
                access: match parts.next()? {
                    "write" => Access::Write,
                    "read" => Access::Read,
                    _ => return None,
                },
            }
        }
        "evtchn" => match value.split_once(':')? {
            ("send", port) => Order::Send(port.parse().ok()?),
            ("wait", port) => Order::Wait(port.parse().ok()?),
            _ => return None,
        },
        "flood" => Order::Flood(match value {
            "hvc" => Flood::Hypercalls,
            "mmio" => Flood::Mmio,
            "sgi" => Flood::Sgi,
            "evtchn" => Flood::Events,
            _ => Flood::Smc(value.strip_prefix("smc:")?.parse().ok()?),
        }),
        "flood-after" => Order::FloodAfter(number(value)?),
        _ => return None,
    })
}

/// The accesses in a list; `None` for one that is not understood.
pub fn touches(list: &str) -> impl Iterator<Item = Option<(u64, Access)>> {
    list.split(',').map(|touch| {
        let (address, access) = touch.split_once(':')?;
        let access = match access {
            "r" => Access::Read,
            "w" => Access::Write,
            _ => return None,
        };
        Some((number(address)?, access))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn orders(text: &str) -> Vec<Order<'_>> {
        read(text).collect()
    }

    #[test]
    fn every_order_is_understood() {
        let text = "console=x quiet touch=0x9000000:r,4096:w heartbeat=500 shm=0x50000000,0x1000,write \
                    evtchn=send:10 evtchn=wait:11 flood=sgi flood-after=500";
        assert_eq!(
            orders(text),
            [
                Order::Wrong("console=x"),
                Order::Touch("0x9000000:r,4096:w"),
                Order::Heartbeat {
                    beats: 500,
                    period_us: 10_000
                },
                Order::Shared {
                    address: 0x5000_0000,
                    size: 0x1000,
                    access: Access::Write
                },
                Order::Send(10),
                Order::Wait(11),
                Order::Flood(Flood::Sgi),
                Order::FloodAfter(500),
            ]
        );
        let touches: Vec<_> = touches("0x9000000:r,4096:w").collect();
        assert_eq!(
            touches,
            [
                Some((0x900_0000, Access::Read)),
                Some((4096, Access::Write))
            ]
        );
    }

    #[test]
    fn an_application_is_named_by_its_uuid() {
        let all = orders("flood=smc:cb3e5ba0-adf1-11e0-998b-0002a5d5c51b");
        let [Order::Flood(Flood::Smc(uuid))] = all[..] else {
            panic!("{all:?}");
        };
        assert_eq!(uuid.0[..4], [0xcb, 0x3e, 0x5b, 0xa0]);
    }

    #[test]
    fn what_is_not_understood_is_told_and_not_guessed() {
        for word in [
            "touch=0x10",
            "touch=0x10:x",
            "heartbeat=x",
            "heartbeat=5,0",
            "shm=1,2",
            "shm=1,2,both",
            "evtchn=send",
            "evtchn=kick:1",
            "flood=all",
            "flood=smc",
            "flood=smc:cb3e5ba0",
            "flood-after=soon",
            "flod=hvc",
        ] {
            assert_eq!(orders(word), [Order::Wrong(word)]);
        }
    }
}
