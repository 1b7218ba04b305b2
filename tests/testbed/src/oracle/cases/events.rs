//! Static event channels.

use super::{Case, Sign, Sketch, accepted, refused, wrong};

pub(super) fn cases() -> Vec<Case> {
    [good(), ports(), ends()].into_iter().flatten().collect()
}

/// A node of an event channel: the label, the port, the label of the other end.
fn end(label: &str, port: u32, other: &str) -> String {
    format!(
        "{label}: channel-{label} {{ compatible = \"xen,evtchn-v1\"; xen,evtchn = <{port} &{other}>; }};"
    )
}

fn pair(first: u32, second: u32) -> Sketch {
    with(&[&end("a", first, "b")], &[&end("b", second, "a")])
}

fn with(first: &[&str], second: &[&str]) -> Sketch {
    Sketch::of(2)
        .domain(1, |domain| {
            domain.with(&first.concat());
        })
        .domain(2, |domain| {
            domain.with(&second.concat());
        })
}

/// The first domain notifies the second.
fn used(sketch: Sketch, first: u32, second: u32) -> Sketch {
    sketch
        .domain(1, |domain| {
            domain.arguments = format!("evtchn=send:{first}")
        })
        .domain(2, |domain| {
            domain.arguments = format!("evtchn=wait:{second}")
        })
}

fn good() -> Vec<Case> {
    vec![
        accepted("evtchn", "evtchn-10-11", used(pair(10, 11), 10, 11)),
        accepted("evtchn", "evtchn-same-port", used(pair(10, 10), 10, 10)),
        accepted(
            "evtchn",
            "evtchn-enhanced",
            used(
                pair(10, 11).domain(2, |domain| {
                    domain.with("xen,enhanced = \"no-xenstore\";");
                }),
                10,
                11,
            ),
        ),
        accepted(
            "evtchn",
            "evtchn-two-channels",
            with(
                &[&end("a", 10, "b"), &end("c", 12, "d")],
                &[&end("b", 11, "a"), &end("d", 13, "c")],
            ),
        ),
        accepted(
            "evtchn",
            "evtchn-to-itself",
            Sketch::of(1).domain(1, |domain| {
                domain.with(&[end("a", 10, "b"), end("b", 11, "a")].concat());
                domain.arguments = "evtchn=send:10 evtchn=wait:11".into();
            }),
        ),
    ]
}

fn ports() -> Vec<Case> {
    vec![
        accepted("evtchn-port", "evtchn-1023", pair(1023, 11)),
        refused("evtchn-port", "evtchn-1024", pair(1024, 11)),
        refused("evtchn-port", "evtchn-1024-at-other-end", pair(11, 1024)),
        refused("evtchn-port", "evtchn-4096", pair(4096, 11)),
        refused("evtchn-port-0", "evtchn-0", pair(0, 11)),
        wrong(
            "evtchn-port-0",
            "evtchn-0-at-other-end",
            used(pair(11, 0), 11, 0),
            Sign::new("nothing arrives", |seen| seen.said(2, "got 0 false")),
        ),
        accepted("evtchn-port", "evtchn-1", used(pair(1, 1), 1, 1)),
        accepted("evtchn-port", "evtchn-64", used(pair(64, 128), 64, 128)),
        refused(
            "evtchn-port-twice",
            "evtchn-port-twice-in-first",
            with(
                &[&end("a", 10, "b"), &end("c", 10, "d")],
                &[&end("b", 11, "a"), &end("d", 13, "c")],
            ),
        ),
        refused(
            "evtchn-port-twice",
            "evtchn-port-twice-in-second",
            with(
                &[&end("a", 10, "b"), &end("c", 12, "d")],
                &[&end("b", 11, "a"), &end("d", 11, "c")],
            ),
        ),
        refused(
            "evtchn-port-twice",
            "evtchn-to-own-port",
            Sketch::of(1).domain(1, |domain| {
                domain.with(&[end("a", 10, "b"), end("b", 10, "a")].concat());
            }),
        ),
    ]
}

fn ends() -> Vec<Case> {
    let one = |source: &str| {
        let source = source.to_owned();
        Sketch::of(2).domain(1, move |domain| {
            domain.with(&source);
        })
    };
    vec![
        refused(
            "evtchn-ends",
            "evtchn-node-to-itself",
            one("a: channel-a { compatible = \"xen,evtchn-v1\"; xen,evtchn = <10 &a>; };"),
        ),
        refused(
            "evtchn-ends",
            "evtchn-unknown-phandle",
            one("channel-a { compatible = \"xen,evtchn-v1\"; xen,evtchn = <10 0x1234>; };"),
        ),
        refused(
            "evtchn-ends",
            "evtchn-three-nodes",
            with(
                &[&end("a", 10, "b"), &end("c", 12, "b")],
                &[&end("b", 11, "a")],
            ),
        ),
        refused(
            "evtchn-ends",
            "evtchn-ring-of-three",
            Sketch::of(3)
                .domain(1, |domain| {
                    domain.with(&end("a", 10, "b"));
                })
                .domain(2, |domain| {
                    domain.with(&end("b", 10, "c"));
                })
                .domain(3, |domain| {
                    domain.with(&end("c", 10, "a"));
                }),
        ),
        refused(
            "evtchn-ends",
            "evtchn-other-end-is-no-channel",
            one(
                "channel-a { compatible = \"xen,evtchn-v1\"; xen,evtchn = <10 &{/pl011@9000000}>; };",
            ),
        ),
        refused(
            "evtchn-ends",
            "evtchn-other-end-outside-domains",
            one(&end("a", 10, "b")).chosen(&end("b", 11, "a")),
        ),
        refused(
            "evtchn-cells",
            "evtchn-one-cell",
            one("a: channel-a { compatible = \"xen,evtchn-v1\"; xen,evtchn = <10>; };"),
        ),
        refused(
            "evtchn-cells",
            "evtchn-no-property",
            one("a: channel-a { compatible = \"xen,evtchn-v1\"; };"),
        ),
        wrong(
            "evtchn-compatible",
            "evtchn-compatible-of-the-documentation",
            used(
                with(
                    &[&end("a", 10, "b").replace("evtchn-v1", "evtchn")],
                    &[&end("b", 11, "a").replace("evtchn-v1", "evtchn")],
                ),
                10,
                11,
            ),
            Sign::new("the port cannot be used", |seen| {
                seen.said(1, "sent 10 result=-22")
            }),
        ),
        wrong(
            "evtchn-compatible",
            "evtchn-compatible-v2",
            used(
                with(
                    &[&end("a", 10, "b").replace("evtchn-v1", "evtchn-v2")],
                    &[&end("b", 11, "a").replace("evtchn-v1", "evtchn-v2")],
                ),
                10,
                11,
            ),
            Sign::new("the port cannot be used", |seen| {
                seen.said(1, "sent 10 result=-22")
            }),
        ),
        accepted(
            "evtchn-compatible",
            "evtchn-compatible-at-one-end",
            used(
                with(
                    &[&end("a", 10, "b")],
                    &[&end("b", 11, "a").replace("evtchn-v1", "evtchn")],
                ),
                10,
                11,
            ),
        ),
        wrong(
            "evtchn-depth",
            "evtchn-below-another-node",
            used(
                with(
                    &[&format!("channels {{ {} }};", end("a", 10, "b"))],
                    &[&format!("channels {{ {} }};", end("b", 11, "a"))],
                ),
                10,
                11,
            ),
            Sign::new("the port cannot be used", |seen| {
                seen.said(1, "sent 10 result=-22")
            }),
        ),
        wrong(
            "evtchn-depth",
            "evtchn-in-a-kernels-node",
            used(
                with(&[], &[]).chosen(&format!(
                    "channels {{ deep {{ {} {} }}; }};",
                    end("a", 10, "b"),
                    end("b", 11, "a")
                )),
                10,
                11,
            ),
            Sign::new("the port cannot be used", |seen| {
                seen.said(1, "sent 10 result=-22")
            }),
        ),
        wrong(
            "evtchn-dom0",
            "evtchn-of-dom0-that-does-not-exist",
            Sketch::of(1)
                .chosen(&[end("a", 10, "b"), end("b", 11, "a")].concat())
                .domain(1, |domain| domain.arguments = "evtchn=send:10".into()),
            Sign::new("the port cannot be used", |seen| {
                seen.said(1, "sent 10 result=-22")
            }),
        ),
        refused(
            "evtchn-dom0",
            "evtchn-between-a-domain-and-dom0-that-does-not-exist",
            one(&end("a", 10, "b")).chosen(&end("b", 10, "a")),
        ),
    ]
}
