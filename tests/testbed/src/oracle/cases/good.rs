//! What Xen accepts, and what its guests then do.

use super::{Case, Sketch, accepted};

pub(super) fn cases() -> Vec<Case> {
    let order = |name, order: &str| {
        let order = order.to_owned();
        accepted(
            "orders",
            name,
            Sketch::of(1).domain(1, move |domain| domain.arguments = order),
        )
    };
    vec![
        accepted("plain", "one-domain", Sketch::of(1)),
        accepted("plain", "two-domains", Sketch::of(2)),
        accepted("plain", "four-cpus", Sketch::of(2).cpus(4)),
        order("touch-outside", "touch=0x9000000:r,0x42000000:w,0x1000:r"),
        order("touch-own-memory", "touch=0x41000008:r,0x41000010:w"),
        order("heartbeat", "heartbeat=100,5000"),
        accepted(
            "orders",
            "heartbeat-beside-a-flood",
            Sketch::of(2)
                .domain(1, |domain| domain.arguments = "heartbeat=100".into())
                .domain(2, |domain| domain.arguments = "flood=hvc".into()),
        ),
        accepted(
            "orders",
            "heartbeat-beside-interrupts",
            Sketch::of(2)
                .domain(1, |domain| domain.arguments = "heartbeat=50".into())
                .domain(2, |domain| domain.arguments = "flood=sgi".into()),
        ),
        accepted("orders", "heartbeat-counted", {
            let mut sketch =
                Sketch::of(1).domain(1, |domain| domain.arguments = "heartbeat=100".into());
            sketch.machine.counted = true;
            sketch
        }),
    ]
}
