//! Devices of the machine that are a domain's own.

use std::collections::HashMap;

use super::Index;
use super::places::{PAGE, hex};
use crate::finding::Finding;
use crate::plan::{
    Console, DeviceDma, DevicePassthrough, DomainPlan, Iommu, MachineDevice, Plan, Range,
    RegisterWindow,
};
use crate::rules;

/// First and last interrupt that Xen passes on (Xen: `NR_LOCAL_IRQS`; GIC architecture: SPIs end at 1019).
const SHARED_INTERRUPTS: std::ops::RangeInclusive<u32> = 32..=1019;
/// The interrupt of Xen's emulated console (Xen: `GUEST_VPL011_SPI`).
const VPL011_INTERRUPT: u32 = 32;
/// What Xen drives itself, by the beginning of what it is compatible with (Xen: `handle_node`, and its drivers).
const XENS_OWN: [(&str, &str); 11] = [
    ("arm,gic", "the interrupt controller"),
    ("arm,cortex-a7-gic", "the interrupt controller"),
    ("arm,cortex-a15-gic", "the interrupt controller"),
    ("arm,cortex-a9-gic", "the interrupt controller"),
    ("arm,armv7-timer", "the timer"),
    ("arm,armv8-timer", "the timer"),
    ("arm,psci", "the power control of the CPUs"),
    ("arm,mmu-", "the IOMMU"),
    ("arm,smmu-", "the IOMMU"),
    ("renesas,ipmmu-", "the IOMMU"),
    ("xen,", "Xen's own"),
];

/// What the device tree says of devices, by path.
pub(super) struct Known<'a> {
    devices: HashMap<&'a str, &'a MachineDevice>,
    /// A device tree is named, and nothing of it is known: whoever could not read it has said so.
    is_unread: bool,
}

impl<'a> Known<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let devices = plan.machine.devices.iter();
        Known {
            devices: devices
                .map(|device| (device.path.as_str(), device))
                .collect(),
            is_unread: plan.machine.device_tree.is_some() && plan.machine.devices.is_empty(),
        }
    }

    fn get(&self, path: &str) -> Option<&'a MachineDevice> {
        self.devices.get(path).copied()
    }

    /// The device's registers: those of the document, or else those of the device tree.
    pub(super) fn regions(&self, device: &DevicePassthrough) -> Vec<RegisterWindow> {
        if !device.regions.is_empty() {
            return device.regions.clone();
        }
        let known = self.get(&device.path).map(|known| known.regions.as_slice());
        let windows = known
            .unwrap_or_default()
            .iter()
            .map(|range| RegisterWindow {
                at: range.at,
                size_bytes: range.size_bytes,
                guest_at: range.at,
            });
        windows.collect()
    }

    /// The device's interrupts: those of the document, or else those of the device tree.
    fn interrupts(&self, device: &'a DevicePassthrough) -> &'a [u32] {
        if !device.interrupts.is_empty() {
            return &device.interrupts;
        }
        let known = self.get(&device.path);
        known.map_or(&[], |known| known.interrupts.as_slice())
    }
}

pub(super) fn check(plan: &Plan, index: &Index<'_>, findings: &mut Vec<Finding>) {
    let known = Known::new(plan);
    let mut owners: HashMap<&str, &DevicePassthrough> = HashMap::new();
    let mut lines: HashMap<u32, (usize, &DevicePassthrough)> = HashMap::new();
    let mut pages = Vec::new();
    for (number, domain) in plan.domains.iter().enumerate() {
        for device in &domain.devices {
            if let Some(earlier) = owners.insert(&device.path, device) {
                let message = format!("device {} has two owners", device.path);
                findings.push(
                    Finding::new(
                        &rules::DEVICE_TWICE,
                        format!("{}.path", device.from),
                        message,
                    )
                    .label("given away again")
                    .related(format!("{}.path", earlier.from), "first given here"),
                );
                continue;
            }
            if !identity(plan, &known, device, findings) {
                continue;
            }
            dma(plan, &known, device, findings);
            registers(index, &known, device, number, &mut pages, findings);
            for interrupt in known.interrupts(device) {
                interrupt_line(domain, number, device, *interrupt, &mut lines, findings);
            }
        }
    }
    shared_pages(plan, pages, &owners, findings);
}

/// Whether the device is one that can be given away.
fn identity(
    plan: &Plan,
    known: &Known<'_>,
    device: &DevicePassthrough,
    findings: &mut Vec<Finding>,
) -> bool {
    let at = format!("{}.path", device.from);
    let path = &device.path;
    let fact = known.get(path);
    let is_path = path.starts_with('/') && path.len() > 1 && !path.contains("//");
    if !is_path || (fact.is_none() && !plan.machine.devices.is_empty()) {
        let message = format!("there is no device \"{path}\"");
        let label = match is_path {
            true => "not in the machine's device tree",
            false => "a path begins with /",
        };
        findings.push(Finding::new(&rules::DEVICE_PATH, at, message).label(label));
        return false;
    }
    let console = plan.xen.console.as_deref();
    let console = console.and_then(|console| console.split(':').next());
    let compatible = fact.into_iter().flat_map(|fact| &fact.compatible);
    let by_driver = compatible
        .filter_map(|name| XENS_OWN.iter().find(|(start, _)| name.starts_with(start)))
        .map(|(_, what)| *what)
        .next();
    let own = match console == Some(path.as_str()) {
        true => Some("its console"),
        false => by_driver,
    };
    if let Some(what) = own {
        let message = format!("Xen drives {path} itself");
        findings.push(Finding::new(&rules::DEVICE_OF_XEN, at, message).label(what));
        return false;
    }
    if fact.is_some_and(|fact| fact.disabled) {
        let message = format!("device {path} is disabled");
        findings.push(
            Finding::new(&rules::DEVICE_DISABLED, at, message)
                .label("status is \"disabled\" in the device tree"),
        );
    }
    true
}

fn dma(plan: &Plan, known: &Known<'_>, device: &DevicePassthrough, findings: &mut Vec<Finding>) {
    if device.dma != DeviceDma::Iommu {
        return;
    }
    let has_iommu = !matches!(plan.machine.iommu, None | Some(Iommu::None));
    let fact = known.get(&device.path);
    if known.is_unread && plan.machine.iommu.is_none() {
        return;
    }
    let label = match (has_iommu, fact) {
        (false, _) => "the machine has no IOMMU",
        (true, Some(fact)) if !fact.behind_iommu => "not behind the IOMMU",
        (true, _) => return,
    };
    let message = format!("nothing keeps the DMA of {} in bounds", device.path);
    findings.push(
        Finding::new(
            &rules::DEVICE_WITHOUT_IOMMU,
            format!("{}.dma", device.from),
            message,
        )
        .label(label),
    );
}

/// Pages of registers, and who has them; no domain for those that stay with the control domain.
struct Pages {
    range: Range,
    domain: Option<usize>,
    /// Document path, or the path in the device tree.
    at: String,
    device: String,
}

impl Pages {
    fn new(at: u64, size: u64, domain: Option<usize>, path: String, device: &str) -> Self {
        let begin = at / PAGE * PAGE;
        let end = at.saturating_add(size);
        let end = end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        Pages {
            range: Range {
                at: begin,
                size_bytes: end.saturating_sub(begin),
            },
            domain,
            at: path,
            device: device.to_owned(),
        }
    }
}

fn registers(
    index: &Index<'_>,
    known: &Known<'_>,
    device: &DevicePassthrough,
    domain: usize,
    pages: &mut Vec<Pages>,
    findings: &mut Vec<Finding>,
) {
    let regions = known.regions(device);
    if regions.is_empty() && !known.is_unread {
        let message = format!("it is not known where the registers of {} are", device.path);
        findings.push(
            Finding::new(&rules::DEVICE_REGISTERS, device.from.clone(), message)
                .label("has no region"),
        );
    }
    for (number, window) in regions.iter().enumerate() {
        let at = format!("{}.region[{number}]", device.from);
        let parts = [
            ("at", window.at, false),
            ("size", window.size_bytes, true),
            ("guest_at", window.guest_at, false),
        ];
        let wrong = parts
            .iter()
            .find(|(_, value, is_size)| !value.is_multiple_of(PAGE) || (*is_size && *value == 0));
        if let Some((key, value, _)) = wrong {
            let (message, label) = match value {
                0 => (
                    format!("a region of {} has no bytes", device.path),
                    "nothing is mapped".to_owned(),
                ),
                value => (
                    format!("registers of {} are no whole pages", device.path),
                    format!("{} is no multiple of 4KiB", hex(*value)),
                ),
            };
            let finding = Finding::new(&rules::DEVICE_PAGES, format!("{at}.{key}"), message);
            findings.push(finding.label(label));
            continue;
        }
        let range = Range {
            at: window.at,
            size_bytes: window.size_bytes,
        };
        if index.ram.touches(&range) {
            let message = format!("registers of {} are where RAM is", device.path);
            findings.push(
                Finding::new(&rules::DEVICE_IN_RAM, format!("{at}.at"), message).label("RAM"),
            );
            continue;
        }
        let at = format!("{at}.at");
        pages.push(Pages::new(
            window.at,
            window.size_bytes,
            Some(domain),
            at,
            &device.path,
        ));
    }
}

fn interrupt_line<'a>(
    domain: &DomainPlan,
    number: usize,
    device: &'a DevicePassthrough,
    interrupt: u32,
    lines: &mut HashMap<u32, (usize, &'a DevicePassthrough)>,
    findings: &mut Vec<Finding>,
) {
    let at = format!("{}.interrupts", device.from);
    let path = &device.path;
    if !SHARED_INTERRUPTS.contains(&interrupt) {
        let message = format!("interrupt {interrupt} of {path} cannot be passed on");
        findings.push(Finding::new(&rules::INTERRUPT_RANGE, at, message).label("not 32 to 1019"));
        return;
    }
    let console = domain.console == Console::Vpl011 && !domain.direct_map;
    let taken = if interrupt == VPL011_INTERRUPT && console {
        Some("its console".to_owned())
    } else {
        let mut devices = domain.virtio.iter();
        let virtio = devices.find(|virtio| virtio.irq == interrupt);
        virtio.map(|virtio| format!("virtio device {}", virtio.index))
    };
    if let Some(what) = taken {
        let message = format!(
            "domain \"{}\" has {what} on interrupt {interrupt} of {path}",
            domain.name
        );
        findings.push(Finding::new(&rules::INTERRUPT_CLASH, at, message).label(what));
        return;
    }
    let (owner, earlier) = *lines.entry(interrupt).or_insert((number, device));
    if owner != number {
        let message = format!(
            "{path} and {} of another domain share interrupt {interrupt}",
            earlier.path
        );
        findings.push(
            Finding::new(&rules::INTERRUPT_SHARED, at, message)
                .label(format!("interrupt {interrupt}"))
                .related(format!("{}.interrupts", earlier.from), "the same interrupt"),
        );
    }
}

/// One sweep over all pages, with the two owners whose registers reach farthest.
fn shared_pages(
    plan: &Plan,
    mut pages: Vec<Pages>,
    owners: &HashMap<&str, &DevicePassthrough>,
    findings: &mut Vec<Finding>,
) {
    for device in &plan.machine.devices {
        if device.disabled || owners.contains_key(device.path.as_str()) {
            continue;
        }
        for range in device.regions.iter().filter(|range| range.size_bytes != 0) {
            let (at, size) = (range.at, range.size_bytes);
            pages.push(Pages::new(at, size, None, String::new(), &device.path));
        }
    }
    pages.sort_by_key(|pages| (pages.range.at, pages.domain));
    let mut farthest: [Option<usize>; 2] = [None, None];
    for current in 0..pages.len() {
        let this = &pages[current];
        let mut others = farthest.iter().flatten().map(|other| &pages[*other]);
        let other = others.find(|other| other.domain != this.domain);
        if let Some(other) = other.filter(|other| this.range.at < other.range.end()) {
            findings.push(shared_page(this, other));
        }
        let [first, second] = farthest;
        let end = |index: Option<usize>| index.map_or(0, |index| pages[index].range.end());
        let owner = |index: Option<usize>| index.map(|index| pages[index].domain);
        farthest = if owner(first) == Some(this.domain) {
            match this.range.end() > end(first) {
                true => [Some(current), second],
                false => [first, second],
            }
        } else if this.range.end() > end(first) {
            [Some(current), first]
        } else if owner(second) != Some(this.domain) || this.range.end() > end(second) {
            match this.range.end() > end(second) {
                true => [first, Some(current)],
                false => [first, second],
            }
        } else {
            [first, second]
        };
    }
}

fn shared_page(this: &Pages, other: &Pages) -> Finding {
    let (mine, other) = match this.domain {
        Some(_) => (this, other),
        None => (other, this),
    };
    let message = format!(
        "{} and {} of another owner share the page at {}",
        mine.device,
        other.device,
        hex(mine.range.at.max(other.range.at))
    );
    let finding = Finding::new(&rules::DEVICE_PAGE_SHARED, mine.at.clone(), message);
    match other.domain {
        Some(_) => finding
            .label("shares a page")
            .related(other.at.clone(), "with this"),
        None => finding.label("shares a page with a device that stays with the control domain"),
    }
}
