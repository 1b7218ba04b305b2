//! A steady beat of the virtual timer, and how steady it really was.

use super::console::report;
use super::cpu::{self, read_register, write_register};
use super::memory::store_word;
use oracle_guest::fdt::Tree;
use oracle_guest::gaps::{Gaps, Recent};

/// The virtual timer's interrupt; the architecture's and Xen's number for it.
const TIMER: u32 = 27;
const NOTHING: u64 = 1023;
/// Beats between two lines.
const LINE: u64 = 100;

/// Beats, and reports: on the way what the last beats were like, at the end what all were.
pub(super) fn run(tree: &Tree<'_>, beats: u64, period_us: u64) {
    if let Err(what) = enable(tree) {
        report!("heartbeat impossible: {what}");
        return;
    }
    let period = (cpu::frequency() * period_us / 1_000_000).max(1);
    let (mut gaps, mut recent) = (Gaps::new(), Recent::new());
    let (mut missed, mut latest) = (0, 0);
    let mut last = cpu::now();
    let mut next = last + period;
    for beat in 1..=beats {
        let now = wait_until(next);
        gaps.add(now - last);
        recent.add(now - last);
        latest = latest.max(now.saturating_sub(next));
        last = now;
        next += period;
        while next <= now {
            missed += 1;
            next += period;
        }
        if beat % LINE == 0 {
            let ((max, most), of) = (recent.largest(), recent.count());
            report!("beat {beat} missed={missed} of={of} max={max} p99.9={most} period={period}");
        }
    }
    write_register!("cntv_ctl_el0", 0);
    let (min, max) = (gaps.min.min(gaps.max), gaps.max);
    report!("heartbeat beats={beats} period={period} missed={missed} late={latest}");
    let [p50, p99, p999] = [5000, 9900, 9990].map(|part| gaps.percentile(part));
    report!("gaps min={min} p50={p50} p99={p99} p99.9={p999} max={max}");
}

/// Sleeps for so long.
pub(super) fn sleep(tree: &Tree<'_>, milliseconds: u64) -> Result<(), &'static str> {
    enable(tree)?;
    wait_until(cpu::now() + milliseconds.saturating_mul(cpu::frequency()) / 1000);
    write_register!("cntv_ctl_el0", 0);
    Ok(())
}

/// Sleeps until this tick; gives the tick at which this vCPU ran again.
fn wait_until(tick: u64) -> u64 {
    write_register!("cntv_cval_el0", tick);
    write_register!("cntv_ctl_el0", 1);
    loop {
        cpu::wait_for_interrupt();
        let now = cpu::now();
        let interrupt = read_register!("S3_0_C12_C12_0");
        if interrupt & 0xff_ffff == NOTHING {
            continue;
        }
        write_register!("cntv_ctl_el0", 3);
        write_register!("S3_0_C12_C12_1", interrupt);
        if now >= tick {
            return now;
        }
        write_register!("cntv_ctl_el0", 1);
    }
}

/// Lets the timer's interrupt through to this vCPU, where it stays masked: it only has to wake.
fn enable(tree: &Tree<'_>) -> Result<(), &'static str> {
    let [distributor, redistributor] = registers(tree).ok_or("no GICv3 in the device tree")?;
    let private = redistributor + 0x1_0000;
    store_word(distributor, 0x12);
    store_word(redistributor + 0x14, 0);
    store_word(private + 0x80, u32::MAX);
    store_word(private + 0x400 + u64::from(TIMER / 4 * 4), 0x8080_8080);
    store_word(private + 0x100, 1 << TIMER);
    write_register!("S3_0_C4_C6_0", 0xff);
    write_register!("S3_0_C12_C12_7", 1);
    Ok(())
}

/// Addresses of distributor and first redistributor.
pub(super) fn registers(tree: &Tree<'_>) -> Option<[u64; 2]> {
    let compatible = tree
        .properties()
        .find(|property| property.name == "compatible" && property.lists("arm,gic-v3"))?;
    let reg = tree
        .properties()
        .find(|property| property.name == "reg" && property.node() == compatible.node())?;
    let mut ranges = reg.ranges().map(|(start, _)| start);
    Some([ranges.next()?, ranges.next()?])
}
