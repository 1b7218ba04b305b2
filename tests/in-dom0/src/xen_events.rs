//! Event channels against a real Xen: both ends of each channel lie in dom0.

use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use xen::{DomId, EventChannels, EventPort};

type Outcome = Result<(), Box<dyn Error>>;
type Test = (&'static str, fn() -> Outcome);

/// Name and body of each test.
pub(crate) const TESTS: &[Test] = &[
    (
        "xen: an event crosses a channel within dom0, both ways",
        an_event_crosses_a_channel_both_ways,
    ),
    (
        "xen: a port stays silent until it is unmasked, and the event is not lost",
        a_port_stays_silent_until_unmasked,
    ),
    (
        "xen: looking for events never waits",
        looking_for_events_never_waits,
    ),
    (
        "xen: more ports than one read returns are all delivered and unmasked",
        more_ports_than_one_read_returns,
    ),
    (
        "xen: a closed port can no longer be notified",
        a_closed_port_can_no_longer_be_notified,
    ),
    (
        "xen: a port that nobody offers cannot be bound",
        a_port_that_nobody_offers_cannot_be_bound,
    ),
    (
        "xen: a restricted event channel handle binds no other domain",
        a_restricted_handle_binds_no_other_domain,
    ),
];

/// A channel from dom0 to dom0, with nothing pending and both ends unmasked.
pub(crate) struct Loopback {
    /// The handle both ends belong to.
    pub(crate) channels: EventChannels,
    /// One end.
    pub(crate) near: EventPort,
    /// The other end.
    pub(crate) far: EventPort,
}

impl Loopback {
    pub(crate) fn new() -> xen::Result<Self> {
        let channels = EventChannels::open()?;
        let (near, far) = pair(&channels)?;
        drain(&channels)?;
        Ok(Self {
            channels,
            near,
            far,
        })
    }

    /// Waits for an event at `port`; true if it came.
    pub(crate) fn wait_for(&self, port: EventPort) -> xen::Result<bool> {
        Ok(self.heard_until(port)?.contains(&port))
    }

    /// The ports of all events up to one at `port`; that one is missing where it does not come in time.
    fn heard_until(&self, port: EventPort) -> xen::Result<Vec<EventPort>> {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut ports = Vec::new();
        while Instant::now() < deadline {
            self.channels.pending(&mut ports)?;
            if ports.contains(&port) {
                break;
            }
            sleep(Duration::from_millis(1));
        }
        Ok(ports)
    }
}

/// Swallows the events that fresh bindings of these ports start with, and leaves all other ports as they are.
fn drain_fresh(loopback: &Loopback, fresh: &[EventPort]) -> Outcome {
    let mut quiet = 0;
    while quiet < 20 {
        let mut ports = Vec::new();
        loopback.channels.pending(&mut ports)?;
        let known = ports.iter().all(|port| fresh.contains(port));
        check(
            known,
            "a port that is masked, or silent, delivered an event",
        )?;
        quiet = if ports.is_empty() { quiet + 1 } else { 0 };
        loopback.channels.unmask(&ports)?;
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn pair(channels: &EventChannels) -> xen::Result<(EventPort, EventPort)> {
    let near = channels.bind_unbound(DomId::DOM0)?;
    let far = channels.bind_interdomain(DomId::DOM0, near)?;
    Ok((near, far))
}

/// Swallows the events that fresh bindings start with.
fn drain(channels: &EventChannels) -> xen::Result<()> {
    let mut quiet = 0;
    while quiet < 20 {
        let mut ports = Vec::new();
        if channels.pending(&mut ports)? == 0 {
            quiet += 1;
        } else {
            quiet = 0;
            channels.unmask(&ports)?;
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn check(condition: bool, broken: &str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(broken.into())
    }
}

fn an_event_crosses_a_channel_both_ways() -> Outcome {
    let loopback = Loopback::new()?;
    let before = loopback.channels.counters().snapshot();
    loopback.channels.notify(loopback.near)?;
    check(
        loopback.wait_for(loopback.far)?,
        "the far end heard nothing",
    )?;
    loopback.channels.notify(loopback.far)?;
    check(
        loopback.wait_for(loopback.near)?,
        "the near end heard nothing",
    )?;
    let delta = loopback.channels.counters().snapshot().since(&before);
    check(delta.notifies == 2, "two notifications were not counted")
}

fn a_port_stays_silent_until_unmasked() -> Outcome {
    let loopback = Loopback::new()?;
    loopback.channels.notify(loopback.near)?;
    check(
        loopback.wait_for(loopback.far)?,
        "the first event is missing",
    )?;
    let (other_near, other_far) = pair(&loopback.channels)?;
    drain_fresh(&loopback, &[other_near, other_far])?;
    loopback.channels.notify(loopback.near)?;
    // What was sent later has come, and the masked port's event has not.
    loopback.channels.notify(other_near)?;
    let seen = loopback.heard_until(other_far)?;
    check(seen.contains(&other_far), "the later event is missing")?;
    check(
        !seen.contains(&loopback.far),
        "a masked port delivered an event",
    )?;
    loopback.channels.unmask(&[loopback.far])?;
    check(
        loopback.wait_for(loopback.far)?,
        "the event sent while the port was masked is lost",
    )
}

fn looking_for_events_never_waits() -> Outcome {
    let loopback = Loopback::new()?;
    let start = Instant::now();
    for _ in 0..10 {
        loopback.channels.pending(&mut Vec::new())?;
    }
    check(start.elapsed() < Duration::from_secs(1), "pending() waited")
}

fn more_ports_than_one_read_returns() -> Outcome {
    const PAIRS: usize = 600;
    let channels = EventChannels::open()?;
    let mut ports = Vec::new();
    for _ in 0..PAIRS {
        let (near, far) = pair(&channels)?;
        ports.extend([near, far]);
    }
    drain(&channels)?;
    let before = channels.counters().snapshot();
    for round in 0..2 {
        for &port in &ports {
            channels.notify(port)?;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut heard = Vec::new();
        while heard.len() < ports.len() && Instant::now() < deadline {
            let number = channels.pending(&mut heard)?;
            check(number <= 1024, "one read returned more than it may")?;
        }
        heard.sort();
        heard.dedup();
        check(
            heard.len() == ports.len(),
            &format!(
                "round {round}: {} of {} ports delivered",
                heard.len(),
                ports.len()
            ),
        )?;
        channels.unmask(&ports)?;
    }
    let delta = channels.counters().snapshot().since(&before);
    check(
        delta.unmasks == 4,
        "1200 ports are two writes in each of two rounds",
    )
}

fn a_closed_port_can_no_longer_be_notified() -> Outcome {
    let loopback = Loopback::new()?;
    loopback.channels.unbind(loopback.far)?;
    let error = loopback.channels.notify(loopback.far).unwrap_err();
    check(
        error.errno() == Some(libc::ENOTCONN),
        &format!("closed port: {error}"),
    )?;
    // The other end is still there: its events go nowhere, which is no error.
    loopback.channels.notify(loopback.near)?;
    let again = loopback
        .channels
        .bind_interdomain(DomId::DOM0, loopback.near);
    check(
        again.is_ok(),
        "an end whose peer was closed cannot be bound again",
    )
}

fn a_port_that_nobody_offers_cannot_be_bound() -> Outcome {
    let channels = EventChannels::open()?;
    let nobody = EventPort::new(100_000).ok_or("port 100000")?;
    let error = channels.bind_interdomain(DomId::DOM0, nobody).unwrap_err();
    let text = error.to_string();
    check(
        error.errno() == Some(libc::EINVAL) && text.contains("100000"),
        &text,
    )
}

fn a_restricted_handle_binds_no_other_domain() -> Outcome {
    let loopback = Loopback::new()?;
    let other = DomId::new(32_000).ok_or("domain 32000")?;
    check(
        loopback.channels.restrict(DomId::DOM0).is_err(),
        "a restriction to dom0 means nothing and must be refused",
    )?;
    loopback.channels.restrict(other)?;
    let refused = loopback
        .channels
        .bind_interdomain(DomId::DOM0, loopback.near)
        .unwrap_err();
    check(
        refused.errno() == Some(libc::EACCES),
        &format!("binding dom0: {refused}"),
    )?;
    let refused = loopback.channels.bind_unbound(DomId::DOM0).unwrap_err();
    check(
        refused.errno() == Some(libc::EACCES),
        &format!("allocating a port: {refused}"),
    )?;
    check(
        loopback.channels.restrict(other).is_err(),
        "a restriction was replaced",
    )?;
    // What was bound before goes on.
    loopback.channels.notify(loopback.near)?;
    check(
        loopback.wait_for(loopback.far)?,
        "a channel bound before the restriction is dead",
    )
}
