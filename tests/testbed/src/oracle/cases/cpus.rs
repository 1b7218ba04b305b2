//! vCPUs, pools of CPUs, schedulers.

use super::{Case, Sign, Sketch, accepted, refused, stuck, wrong};

pub(super) fn cases() -> Vec<Case> {
    [vcpus(), pools(), schedulers()]
        .into_iter()
        .flatten()
        .collect()
}

fn with_cpus(source: &str) -> Sketch {
    let source = source.to_owned();
    Sketch::of(1).domain(1, move |domain| domain.cpus = source)
}

fn vcpus() -> Vec<Case> {
    let affinity = |cpus: &str| {
        let node = format!(
            "vcpu0 {{ compatible = \"xen,vcpu\"; id = <0>; hard-affinity = \"{cpus}\"; }};"
        );
        Sketch::of(1).domain(1, move |domain| {
            domain.with(&node);
        })
    };
    let second =
        |source: &'static str| Sketch::of(2).domain(2, move |domain| domain.cpus = source.into());
    vec![
        accepted("vcpus", "vcpus-2", with_cpus("cpus = <2>;")),
        accepted("vcpus", "vcpus-8-on-2", with_cpus("cpus = <8>;")),
        refused("guest-tree-size", "vcpus-128", with_cpus("cpus = <128>;")),
        refused("vcpus", "vcpus-129", with_cpus("cpus = <129>;")),
        refused("vcpus", "vcpus-200", with_cpus("cpus = <200>;")),
        refused("vcpus", "vcpus-all-ones", with_cpus("cpus = <0xffffffff>;")),
        refused("vcpus", "vcpus-0", with_cpus("cpus = <0>;")),
        refused("vcpus", "vcpus-0-in-second", second("cpus = <0>;")),
        refused("vcpus-missing", "vcpus-missing", with_cpus("")),
        refused("vcpus-missing", "vcpus-missing-in-second", second("")),
        refused("vcpus-cells", "vcpus-empty", with_cpus("cpus;")),
        refused("vcpus-cells", "vcpus-two-cells", with_cpus("cpus = <0 2>;")),
        wrong(
            "vcpus-cells",
            "vcpus-two-cells-reversed",
            with_cpus("cpus = <2 0>;"),
            Sign::new("it has as many vCPUs as the first cell says", |seen| {
                seen.guest(1, |guest| guest.cpus == 2)
            }),
        ),
        wrong(
            "vcpu-affinity",
            "vcpu-affinity-before-4.21",
            affinity("1"),
            Sign::new("its vCPU runs on any CPU", |seen| seen.runs_anywhere(1)),
        ),
        wrong(
            "vcpu-affinity",
            "vcpu-affinity-to-nowhere",
            affinity("9"),
            Sign::new("its vCPU runs on any CPU", |seen| seen.runs_anywhere(1)),
        ),
    ]
}

/// A pool of these CPUs (by number) with more source.
fn pool(label: &str, cpus: &[u8], source: &str) -> String {
    let cpus: Vec<String> = cpus
        .iter()
        .map(|cpu| format!("&{{/cpus/cpu@{cpu}}}"))
        .collect();
    format!(
        "{label}: pool-{label} {{ compatible = \"xen,cpupool\"; cpupool-cpus = <{}>; {source} }};",
        cpus.join(" ")
    )
}

/// A machine of four CPUs with these pools, and two domains in pools by label.
fn pooled(pools: &[String], first: &str, second: &str) -> Sketch {
    let place = |label: &str| {
        if label.is_empty() {
            String::new()
        } else {
            format!("domain-cpupool = <&{label}>;")
        }
    };
    Sketch::of(2)
        .cpus(4)
        .chosen(&pools.concat())
        .domain(1, |domain| {
            domain.with(&place(first));
        })
        .domain(2, |domain| {
            domain.with(&place(second));
        })
}

fn pools() -> Vec<Case> {
    let bare = |cpus: &str| format!("a: pool-a {{ compatible = \"xen,cpupool\"; {cpus} }};");
    let scheduled = |scheduler: &str| {
        let scheduler = format!("cpupool-sched = \"{scheduler}\";");
        pooled(
            &[pool("a", &[0, 1], ""), pool("b", &[2, 3], &scheduler)],
            "a",
            "b",
        )
    };
    let misspelt = pool("b", &[2, 3], "cpupool-sched = \"null\";");
    let misspelt = misspelt.replace("xen,cpupool", "xen,cpu-pool");
    let two = || [pool("a", &[0, 1], ""), pool("b", &[2, 3], "")];
    vec![
        accepted("cpupool", "cpupool-two", pooled(&two(), "a", "b")),
        accepted(
            "cpupool",
            "cpupool-one-and-the-rest",
            pooled(&[pool("a", &[0, 1], "")], "a", ""),
        ),
        accepted(
            "cpupool",
            "cpupool-other-order",
            pooled(&[pool("b", &[2, 3], ""), pool("a", &[0, 1], "")], "a", "b"),
        ),
        accepted("cpupool", "cpupool-domain-in-none", pooled(&two(), "", "b")),
        accepted("cpupool", "cpupool-null", scheduled("null")),
        accepted(
            "cpupool",
            "cpupool-boot-cpu-in-second",
            pooled(
                &[
                    pool("a", &[2, 3], ""),
                    pool("b", &[0, 1], "cpupool-sched = \"null\";"),
                ],
                "a",
                "b",
            ),
        ),
        accepted(
            "cpupool-boot-cpu",
            "cpupool-boot-cpu-left-over",
            pooled(&[pool("a", &[2, 3], "")], "a", ""),
        ),
        accepted(
            "cpupool-boot-cpu",
            "cpupool-without-boot-cpu-in-the-middle",
            pooled(&[pool("a", &[1], ""), pool("b", &[2], "")], "a", "b"),
        ),
        refused(
            "cpupool-twice",
            "cpupool-cpu-in-two",
            pooled(&[pool("a", &[0, 1], ""), pool("b", &[1, 2], "")], "a", "b"),
        ),
        refused(
            "cpupool-twice",
            "cpupool-cpu-twice-in-one",
            pooled(&[pool("a", &[1, 1], "")], "a", ""),
        ),
        refused(
            "cpupool-empty",
            "cpupool-without-cpus",
            pooled(&[bare("")], "a", ""),
        ),
        refused(
            "cpupool-empty",
            "cpupool-with-empty-list",
            pooled(&[bare("cpupool-cpus;")], "a", ""),
        ),
        refused(
            "cpupool-unknown-cpu",
            "cpupool-of-a-uart",
            pooled(&[bare("cpupool-cpus = <&{/pl011@9000000}>;")], "a", ""),
        ),
        refused(
            "cpupool-unknown-cpu",
            "cpupool-unknown-phandle",
            pooled(&[bare("cpupool-cpus = <0x4321>;")], "a", ""),
        ),
        refused("cpupool-unknown-cpu", "cpupool-offline-cpu", {
            pooled(&[pool("a", &[2, 3], "")], "a", "").xen("maxcpus=2")
        }),
        refused(
            "cpupool-scheduler",
            "cpupool-scheduler-unknown",
            scheduled("fair"),
        ),
        refused(
            "cpupool-scheduler",
            "cpupool-scheduler-in-capitals",
            scheduled("NULL"),
        ),
        accepted("cpupool-scheduler", "cpupool-rtds", scheduled("rtds")),
        stuck("sched-arinc653", "cpupool-arinc653", scheduled("arinc653")),
        accepted("cpupool-scheduler", "cpupool-credit", scheduled("credit")),
        wrong(
            "cpupool-phandle",
            "cpupool-phandle-unknown",
            pooled(&two(), "a", "").domain(2, |domain| {
                domain.with("domain-cpupool = <0x4321>;");
            }),
            Sign::new("the second domain is in the first pool", |seen| {
                seen.is_in_pool(2, 0)
            }),
        ),
        refused(
            "cpupool-phandle",
            "cpupool-phandle-of-a-cpu",
            pooled(&two(), "a", "").domain(2, |domain| {
                domain.with("domain-cpupool = <&{/cpus/cpu@2}>;");
            }),
        ),
        refused(
            "cpupool-phandle",
            "cpupool-phandle-of-a-domain",
            pooled(&two(), "a", "").domain(2, |domain| {
                domain.with("domain-cpupool = <&{/chosen/domain-1}>;");
            }),
        ),
        wrong(
            "cpupool-disabled",
            "cpupool-compatible-misspelt",
            pooled(&[pool("a", &[0, 1], ""), misspelt], "a", ""),
            // Xen makes a pool of its own of CPUs that are in none.
            Sign::new("the CPUs have not this pool's scheduler", |seen| {
                seen.schedules(&[2, 3], "credit2")
            }),
        ),
        wrong(
            "cpupool-disabled",
            "cpupool-in-a-domains-node",
            pooled(&[], "", "").domain(1, |domain| {
                domain.with(&pool("a", &[2, 3], ""));
            }),
            Sign::new("there is no such pool", |seen| seen.has_no_pool_of(&[2, 3])),
        ),
        wrong(
            "cpupool-share",
            "cpupool-of-one-cpu-for-two-domains",
            pooled(&[pool("a", &[0, 1, 2], ""), pool("b", &[3], "")], "b", "b"),
            Sign::new("both domains are in the second pool", |seen| {
                seen.is_in_pool(1, 1) && seen.is_in_pool(2, 1)
            }),
        ),
        wrong(
            "cpupool-share",
            "cpupool-of-two-cpus-for-two-domains",
            pooled(&two(), "b", "b"),
            Sign::new("both domains are in the second pool", |seen| {
                seen.is_in_pool(1, 1) && seen.is_in_pool(2, 1)
            }),
        ),
    ]
}

fn schedulers() -> Vec<Case> {
    let vcpus = |first: &'static str, second: &'static str| {
        Sketch::of(2)
            .xen("sched=null")
            .domain(1, move |domain| domain.cpus = first.into())
            .domain(2, move |domain| domain.cpus = second.into())
    };
    let in_pool = |vcpus: &'static str, scheduler: &str| {
        pooled(
            &[
                pool("a", &[0, 1], ""),
                pool("b", &[2, 3], &format!("cpupool-sched = \"{scheduler}\";")),
            ],
            "a",
            "b",
        )
        .domain(2, move |domain| domain.cpus = vcpus.into())
    };
    vec![
        accepted(
            "sched-null",
            "null-2-on-2",
            vcpus("cpus = <1>;", "cpus = <1>;"),
        ),
        wrong(
            "sched-null",
            "null-3-on-2",
            vcpus("cpus = <2>;", "cpus = <1>;"),
            Sign::new("a vCPU of the first domain never runs", |seen| {
                seen.guest(1, |guest| (guest.running, guest.cpus) == (1, 2))
            }),
        ),
        wrong(
            "sched-null",
            "null-3-on-2-in-second",
            vcpus("cpus = <1>;", "cpus = <2>;"),
            Sign::new("a vCPU of the second domain never runs", |seen| {
                seen.guest(2, |guest| (guest.running, guest.cpus) == (1, 2))
            }),
        ),
        accepted(
            "sched-null",
            "null-pool-2-on-2",
            in_pool("cpus = <2>;", "null"),
        ),
        wrong(
            "sched-null",
            "null-pool-3-on-2",
            in_pool("cpus = <3>;", "null"),
            Sign::new("a vCPU of the second domain never runs", |seen| {
                seen.guest(2, |guest| (guest.running, guest.cpus) == (2, 3))
            }),
        ),
        accepted(
            "sched-rtds",
            "rtds-pool-2-on-2",
            in_pool("cpus = <2>;", "rtds"),
        ),
        accepted(
            "sched-rtds",
            "rtds-pool-3-on-2",
            in_pool("cpus = <3>;", "rtds"),
        ),
        stuck(
            "sched-arinc653",
            "arinc653-pool-2-vcpus",
            in_pool("cpus = <2>;", "arinc653"),
        ),
        wrong(
            "sched-unknown",
            "sched-unknown",
            Sketch::of(1).xen("sched=fair"),
            Sign::new("it is credit2", |seen| seen.schedules(&[0, 1], "credit2")),
        ),
        wrong(
            "sched-unknown",
            "sched-misspelt",
            Sketch::of(1).xen("sched=credit3"),
            Sign::new("it is credit2", |seen| seen.schedules(&[0, 1], "credit2")),
        ),
        accepted("sched", "sched-credit", Sketch::of(2).xen("sched=credit")),
        accepted("sched", "sched-rtds", Sketch::of(2).xen("sched=rtds")),
        stuck(
            "sched-arinc653",
            "sched-arinc653",
            Sketch::of(2).xen("sched=arinc653"),
        ),
    ]
}
