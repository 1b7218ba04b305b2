//! What a domain has beside memory and CPUs: Xen's own devices, and the board's.

use super::sketch::cells;
use super::{Case, Sign, Sketch, accepted, refused, unnoticed, wrong};
use crate::oracle::{Content, Module};

pub(super) fn cases() -> Vec<Case> {
    [own(), features(), passed(), shared()]
        .into_iter()
        .flatten()
        .collect()
}

fn with(source: &str) -> Sketch {
    let source = source.to_owned();
    Sketch::of(1).domain(1, move |domain| {
        domain.with(&source);
    })
}

fn own() -> Vec<Case> {
    vec![
        accepted("vpl011", "vpl011-one", with("vpl011;")),
        accepted(
            "vpl011",
            "vpl011-two",
            Sketch::of(2)
                .domain(1, |domain| {
                    domain.with("vpl011;");
                })
                .domain(2, |domain| {
                    domain.with("vpl011;");
                }),
        ),
        accepted("nr-spis", "nr-spis-0", with("nr_spis = <0>;")),
        refused(
            "nr-spis",
            "nr-spis-0-and-vpl011",
            with("nr_spis = <0>; vpl011;"),
        ),
        accepted(
            "nr-spis",
            "nr-spis-1-and-vpl011",
            with("nr_spis = <1>; vpl011;"),
        ),
        accepted("nr-spis", "nr-spis-960", with("nr_spis = <960>;")),
        refused("nr-spis", "nr-spis-988", with("nr_spis = <988>;")),
        refused("nr-spis", "nr-spis-989", with("nr_spis = <989>;")),
        refused("nr-spis", "nr-spis-992", with("nr_spis = <992>;")),
        refused("nr-spis", "nr-spis-2000", with("nr_spis = <2000>;")),
        refused(
            "grants",
            "grant-frames-all-ones",
            with("max_grant_frames = <0xffffffff>;"),
        ),
        refused(
            "grants",
            "maptrack-frames-all-ones",
            with("max_maptrack_frames = <0xffffffff>;"),
        ),
        refused(
            "grants",
            "grant-frames-many",
            with("max_grant_frames = <0x7fffffff>;"),
        ),
        accepted(
            "grants",
            "grant-frames-64",
            with("max_grant_frames = <64>;"),
        ),
        refused("grants", "grant-frames-0", with("max_grant_frames = <0>;")),
        refused(
            "grants",
            "grant-version-3",
            with("max_grant_version = <3>;"),
        ),
        accepted(
            "grants",
            "grant-version-1",
            with("max_grant_version = <1>;"),
        ),
        refused("p2m", "p2m-0-mib", with("xen,domain-p2m-mem-mb = <0>;")),
        accepted("p2m", "p2m-1-mib", with("xen,domain-p2m-mem-mb = <1>;")),
        refused("p2m", "p2m-2-gib", with("xen,domain-p2m-mem-mb = <2048>;")),
        refused("sve", "sve", with("sve;")),
        refused("sve", "sve-256", with("sve = <256>;")),
    ]
}

fn features() -> Vec<Case> {
    vec![
        refused(
            "enhanced",
            "enhanced-enabled",
            with("xen,enhanced = \"enabled\";"),
        ),
        refused("enhanced", "enhanced-empty", with("xen,enhanced;")),
        accepted(
            "enhanced",
            "enhanced-no-xenstore",
            with("xen,enhanced = \"no-xenstore\";"),
        ),
        accepted(
            "enhanced",
            "enhanced-disabled",
            with("xen,enhanced = \"disabled\";"),
        ),
        unnoticed(
            "enhanced-unknown",
            "enhanced-legacy-before-4.21",
            with("xen,enhanced = \"legacy\";"),
        ),
        unnoticed(
            "enhanced-unknown",
            "enhanced-unknown",
            with("xen,enhanced = \"yes\";"),
        ),
        unnoticed(
            "property-unknown",
            "property-unknown",
            with("xen,realtime = <1>;"),
        ),
        unnoticed(
            "property-unknown",
            "capabilities-before-4.21",
            with("capabilities = <4>;"),
        ),
        unnoticed(
            "property-unknown",
            "msa-before-4.23",
            with("v8r_el1_msa = \"mpu\";"),
        ),
        unnoticed(
            "iommu",
            "passthrough-enabled-without-iommu",
            with("passthrough = \"enabled\";"),
        ),
        unnoticed(
            "iommu",
            "passthrough-unknown",
            with("passthrough = \"perhaps\";"),
        ),
        accepted(
            "iommu",
            "passthrough-enabled-with-iommu",
            smmu(with("passthrough = \"enabled\";")),
        ),
        unnoticed(
            "tee",
            "tee-optee-without-optee",
            with("xen,tee = \"optee\";"),
        ),
        unnoticed("tee", "tee-ffa-without-ffa", with("xen,tee = \"ffa\";")),
        unnoticed(
            "compatible",
            "domain-with-other-words",
            with("xen,dom = \"x\"; status = \"disabled\";"),
        ),
        unnoticed(
            "compatible",
            "domain-disabled",
            with("status = \"disabled\";"),
        ),
    ]
}

fn smmu(mut sketch: Sketch) -> Sketch {
    sketch.machine.options = ",iommu=smmuv3".into();
    sketch
}

/// The real-time clock of QEMU's board: nobody needs it, it makes no accesses of its own, and its page is its own.
const RTC: &str = "xen,path = \"/pl031@9010000\"; interrupt-parent = <0xfde8>; interrupts = <0 2 4>; \
                   compatible = \"arm,pl031\", \"arm,primecell\";";
const RTC_PAGE: &str = "xen,reg = <0 0x9010000 0 0x1000 0 0x9010000>;";
const FORCE: &str = "xen,force-assign-without-iommu;";

/// A tree of passed-through devices, compiled by hand: `/passthrough/device` with this source. `dtc` is not called while
/// a case is written, so the text is kept for when the layout is made.
fn device(source: &str) -> String {
    format!(
        "/dts-v1/; / {{ #address-cells = <2>; #size-cells = <2>; \
         gic: gic {{ #interrupt-cells = <3>; interrupt-controller; phandle = <0xfde8>; }}; \
         passthrough {{ compatible = \"simple-bus\"; ranges; #address-cells = <2>; #size-cells = <2>; \
         device {{ {source} }}; }}; }};"
    )
}

/// The n-th domain (from 1) of a layout is given this.
fn give(mut sketch: Sketch, number: usize, source: &str) -> Sketch {
    let at = 0x5800_0000 + number as u64 * 0x10_0000;
    let node = format!(
        "module@{at:x} {{ compatible = \"multiboot,device-tree\", \"multiboot,module\"; reg = <{} 0 0x1000>; }};",
        cells(at)
    );
    sketch.modules.push(Module {
        content: Content::Source(device(source)),
        address: at,
    });
    sketch.domain(number, |domain| {
        domain.with(&node);
    })
}

fn passed() -> Vec<Case> {
    let one = |source: &str| give(Sketch::of(1), 1, source);
    let touched =
        |sketch: Sketch| sketch.domain(1, |domain| domain.arguments = "touch=0x9010fe0:r".into());
    let forced = format!("{RTC} {RTC_PAGE} {FORCE}");
    vec![
        accepted("passthrough", "passthrough-forced", touched(one(&forced))),
        accepted(
            "passthrough",
            "passthrough-forced-elsewhere",
            one(&format!(
                "{RTC} {FORCE} xen,reg = <0 0x9010000 0 0x1000 0 0x10000000>;"
            ))
            .domain(1, |domain| domain.arguments = "touch=0x10000fe0:r".into()),
        ),
        refused(
            "passthrough-iommu",
            "passthrough-without-iommu",
            one(&format!("{RTC} {RTC_PAGE}")),
        ),
        refused(
            "passthrough-iommu",
            "passthrough-not-behind-the-iommu",
            smmu(one(&format!("{RTC} {RTC_PAGE}"))),
        ),
        accepted(
            "passthrough-iommu",
            "passthrough-forced-with-iommu",
            smmu(touched(one(&forced))),
        ),
        refused(
            "passthrough-aligned",
            "passthrough-size-unaligned",
            one(&format!(
                "{RTC} {FORCE} xen,reg = <0 0x9010000 0 0x800 0 0x9010000>;"
            )),
        ),
        refused(
            "passthrough-aligned",
            "passthrough-address-unaligned",
            one(&format!(
                "{RTC} {FORCE} xen,reg = <0 0x9010800 0 0x1000 0 0x9010000>;"
            )),
        ),
        refused(
            "passthrough-aligned",
            "passthrough-guest-unaligned",
            one(&format!(
                "{RTC} {FORCE} xen,reg = <0 0x9010000 0 0x1000 0 0x9010800>;"
            )),
        ),
        refused(
            "passthrough-path",
            "passthrough-unknown-path",
            one(&format!("xen,path = \"/nothing\"; {RTC_PAGE} {FORCE}")),
        ),
        refused(
            "passthrough-path",
            "passthrough-path-alone",
            one(&format!("{RTC} {FORCE}")),
        ),
        refused("passthrough-path", "passthrough-reg-alone", one(RTC_PAGE)),
        accepted(
            "passthrough-path",
            "passthrough-reg-and-force",
            touched(one(&format!("{RTC_PAGE} {FORCE}"))),
        ),
        wrong(
            "passthrough-region",
            "passthrough-ram-of-the-machine",
            one(&format!(
                "{FORCE} xen,reg = <0 0x70000000 0 0x1000 0 0x70000000>;"
            ))
            .domain(1, |domain| domain.arguments = "touch=0x70000000:r".into()),
            Sign::new("the guest reads RAM that is nobody's", |seen| {
                seen.said(1, "touch 0x70000000 r ok")
            }),
        ),
        wrong(
            "passthrough-region",
            "passthrough-over-guest-ram",
            one(&format!(
                "{FORCE} xen,reg = <0 0x9010000 0 0x1000 0 0x40000000>;"
            )),
            Sign::new("a page of the guest's memory is gone", |seen| {
                seen.guest(1, |guest| guest.bad_pages > 0)
            }),
        ),
        wrong(
            "passthrough-region",
            "passthrough-of-xens-console",
            one(&format!(
                "{FORCE} xen,reg = <0 0x9000000 0 0x1000 0 0x9000000>;"
            ))
            .domain(1, |domain| domain.arguments = "touch=0x9000fe0:r".into()),
            Sign::new("the guest reads Xen's UART", |seen| {
                seen.said(1, "touch 0x9000fe0 r ok")
            }),
        ),
        wrong(
            "passthrough-region",
            "passthrough-of-the-distributor",
            one(&format!(
                "{FORCE} xen,reg = <0 0x8000000 0 0x1000 0 0x8000000>;"
            ))
            .domain(1, |domain| domain.arguments = "touch=0x8000008:r".into()),
            Sign::new("the guest reads Xen's interrupt controller", |seen| {
                seen.said(1, "touch 0x8000008 r ok")
            }),
        ),
        wrong(
            "passthrough-region",
            "passthrough-over-vgic",
            one(&format!(
                "{FORCE} xen,reg = <0 0x9010000 0 0x1000 0 0x3001000>;"
            ))
            .domain(1, |domain| domain.arguments = "touch=0x3001fe0:r".into()),
            Sign::new(
                "the guest reads the clock where its interrupt controller is",
                |seen| seen.said(1, "touch 0x3001fe0 r ok"),
            ),
        ),
        wrong(
            "passthrough-region",
            "passthrough-size-0",
            one(&format!("{FORCE} xen,reg = <0 0x9010000 0 0 0 0x9010000>;"))
                .domain(1, |domain| domain.arguments = "touch=0x9010fe0:r".into()),
            Sign::new("there is nothing at its address", |seen| {
                seen.said(1, "touch 0x9010fe0 r fault")
            }),
        ),
        refused(
            "passthrough-irq",
            "passthrough-of-xens-console-by-path",
            one(&format!(
                "xen,path = \"/pl011@9000000\"; {FORCE} xen,reg = <0 0x9000000 0 0x1000 0 0x9000000>;"
            )),
        ),
        refused(
            "passthrough-irq",
            "passthrough-of-a-timers-interrupt",
            one(&format!(
                "xen,path = \"/timer\"; {FORCE} xen,reg = <0 0x9020000 0 0x1000 0 0x9020000>;"
            )),
        ),
    ]
}

fn shared() -> Vec<Case> {
    let forced = format!("{RTC} {RTC_PAGE} {FORCE}");
    let region = format!("{RTC_PAGE} {FORCE}");
    let two = |first: &str, second: &str| give(give(Sketch::of(2), 1, first), 2, second);
    vec![
        refused(
            "passthrough-twice",
            "passthrough-to-two-domains",
            two(&forced, &forced),
        ),
        wrong(
            "passthrough-twice",
            "passthrough-region-to-two-domains",
            two(&region, &region).domain(1, |domain| domain.arguments = "touch=0x9010fe0:r".into()).domain(2, |domain| domain.arguments = "touch=0x9010fe0:r".into()), Sign::new("both read it", |seen| seen.said(1, "touch 0x9010fe0 r ok") && seen.said(2, "touch 0x9010fe0 r ok"))),
        wrong(
            "passthrough-twice",
            "passthrough-device-and-region",
            two(&forced, &region).domain(1, |domain| domain.arguments = "touch=0x9010fe0:r".into()).domain(2, |domain| domain.arguments = "touch=0x9010fe0:r".into()), Sign::new("both read it", |seen| seen.said(1, "touch 0x9010fe0 r ok") && seen.said(2, "touch 0x9010fe0 r ok"))),
        wrong(
            "passthrough-parts",
            "passthrough-virtio-neighbours-in-one-page",
            two(
                &format!("{FORCE} xen,reg = <0 0xa000000 0 0x1000 0 0xa000000>;"),
                &format!("{FORCE} xen,reg = <0 0xa000000 0 0x1000 0 0xa000000>;"),
            ).domain(1, |domain| domain.arguments = "touch=0xa000000:r".into()).domain(2, |domain| domain.arguments = "touch=0xa000000:r".into()), Sign::new("both read it", |seen| seen.said(1, "touch 0xa000000 r ok") && seen.said(2, "touch 0xa000000 r ok"))),
        wrong(
            "passthrough-parts",
            "passthrough-virtio-neighbours-by-path",
            two(
                &format!(
                    "xen,path = \"/virtio_mmio@a000000\"; {FORCE} xen,reg = <0 0xa000000 0 0x1000 0 0xa000000>;"
                ),
                &format!(
                    "xen,path = \"/virtio_mmio@a000200\"; {FORCE} xen,reg = <0 0xa000000 0 0x1000 0 0xa000000>;"
                ),
            ).domain(1, |domain| domain.arguments = "touch=0xa000000:r".into()).domain(2, |domain| domain.arguments = "touch=0xa000000:r".into()), Sign::new("both read it", |seen| seen.said(1, "touch 0xa000000 r ok") && seen.said(2, "touch 0xa000000 r ok"))),
        unnoticed(
            "irq-clash",
            "passthrough-irq-of-vpl011",
            interrupted("vpl011;")),
        accepted(
            "irq-clash",
            "passthrough-irq-without-vpl011",
            interrupted(""),
        ),
        refused(
            "nr-spis",
            "nr-spis-below-passed-interrupt-32",
            virtio("nr_spis = <1>;"),
        ),
        accepted(
            "nr-spis",
            "nr-spis-above-passed-interrupt-32",
            virtio("nr_spis = <33>;"),
        ),
        accepted(
            "nr-spis",
            "nr-spis-below-passed-interrupt",
            give(Sketch::of(1), 1, &forced).domain(1, |domain| {
                domain.with("nr_spis = <2>;");
            }),
        ),
    ]
}

/// A domain with a device of the board's whose interrupt is SPI 0, as vpl011's is. QEMU has none there, so one is made up.
fn interrupted(properties: &str) -> Sketch {
    let mut sketch = give(
        Sketch::of(1),
        1,
        &format!(
            "xen,path = \"/counter@9050000\"; {FORCE} xen,reg = <0 0x9050000 0 0x1000 0 0x9050000>;"
        ),
    );
    sketch.root =
        "counter@9050000 { compatible = \"example,counter\"; reg = <0 0x9050000 0 0x1000>; \
                   interrupts = <0 0 4>; };"
            .into();
    sketch.domain(1, |domain| {
        if !properties.is_empty() {
            domain.with(properties);
        }
    })
}

/// A domain with the board's first virtio device of a second page, whose interrupt is SPI 32.
fn virtio(properties: &str) -> Sketch {
    let source = format!(
        "xen,path = \"/virtio_mmio@a002000\"; {FORCE} xen,reg = <0 0xa002000 0 0x1000 0 0xa002000>;"
    );
    give(Sketch::of(1), 1, &source).domain(1, |domain| {
        domain.with(properties);
    })
}
