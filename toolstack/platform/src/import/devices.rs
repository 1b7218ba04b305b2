//! Disks, virtio devices and the machine's own devices.

use super::Mapping;
use super::domain::{number, numbers, text};
use super::xl::{Assignment, Value};
use crate::document::{BlockTable, DeviceRegionTable, DeviceTable, DomainTable};
use crate::plan::MemoryModel;
use crate::units::{Address, ByteSize, KIB};

const PAGE: u64 = 4 * KIB;

/// `type=virtio,device2,transport=mmio,grant_usage=1,backend=DomD` (xl.cfg(5), VIRTIO).
pub(super) fn block(
    mapping: &mut Mapping<'_>,
    domain: &mut DomainTable,
    from: &Assignment,
    spec: &str,
) {
    let mut table = BlockTable {
        memory: Some(MemoryModel::Foreign),
        ..BlockTable::default()
    };
    let mut is_block = false;
    let mut unknown = Vec::new();
    for part in spec
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match part.split_once('=') {
            Some(("type", "virtio")) => {}
            Some(("backend", name)) => table.backend = backend(name),
            Some(("transport", "mmio")) => {}
            Some(("grant_usage", usage)) => {
                table.memory = Some(grant_usage(usage));
            }
            None if part == "device2" => is_block = true,
            _ => unknown.push(part),
        }
    }
    if !is_block || !unknown.is_empty() {
        let (file, line) = (mapping.file, from.line);
        let text = format!("Not carried over ({file}, line {line}): virtio device {spec:?}");
        mapping.comment("", text);
        let why = match is_block {
            true => format!("it says {}", unknown.join(", ")),
            false => "it is no disk".into(),
        };
        mapping.warn(
            from,
            format!("virtio device not carried over, kept as a comment: {why}"),
        );
        return;
    }
    // libxl: grants unless the backend is dom0 and nothing else is said.
    if !spec.contains("grant_usage") && table.backend.is_some() {
        table.memory = Some(MemoryModel::Grant);
    }
    let number = domain.block.len();
    let name = domain.name.as_deref().unwrap_or("guest");
    let image = format!("/var/lib/avps/images/{name}-{number}.img");
    mapping.comment(
        &format!(".block[{number}].image"),
        "TODO: xl does not say what is behind a virtio device.".into(),
    );
    mapping.warn(
        from,
        format!("xl does not say what is behind the device: correct the path {image}"),
    );
    table.image = Some(image);
    domain.block.push(table);
}

fn grant_usage(word: &str) -> MemoryModel {
    match word {
        "0" | "false" | "disabled" => MemoryModel::Foreign,
        _ => MemoryModel::Grant,
    }
}

/// The control domain is what a document means when it names nobody.
fn backend(name: &str) -> Option<String> {
    let control = matches!(name, "0" | "dom0" | "Dom0" | "Domain-0");
    (!control).then(|| name.to_owned())
}

/// `target=…,format=…,vdev=…,access=…` or the same by place (xl-disk-configuration(5)).
pub(super) fn disk(
    mapping: &mut Mapping<'_>,
    domain: &mut DomainTable,
    from: &Assignment,
    spec: &str,
) {
    let mut table = BlockTable::default();
    let mut lost = Vec::new();
    let mut virtio = false;
    let mut vdev = String::new();
    let mut place = 0;
    let mut rest = spec;
    while !rest.is_empty() {
        let (part, behind) = rest.split_once(',').unwrap_or((rest, ""));
        let (whole, part) = (rest, part.trim());
        rest = behind;
        match part.split_once('=') {
            // A path may have commas: target= goes to the end.
            Some(("target", _)) => {
                let path = whole.trim_start().strip_prefix("target=");
                table.image = path.map(|path| path.trim().to_owned());
                rest = "";
            }
            Some(("format", "raw")) | Some(("devtype", "disk")) => {}
            Some(("vdev", name)) => vdev = name.to_owned(),
            Some(("access", access)) => table.readonly = Some(readonly(access)),
            Some(("specification", "virtio")) => virtio = true,
            Some(("specification", "xen")) => {}
            Some(("backend", name)) => table.backend = backend(name),
            Some(("backendtype", "standalone")) => {}
            Some(("transport", "mmio")) => {}
            Some(("grant_usage", usage)) => table.memory = Some(grant_usage(usage)),
            Some(_) => lost.push(part.to_owned()),
            None => {
                positional(&mut table, &mut vdev, &mut lost, place, part);
                place += 1;
            }
        }
    }
    let Some(image) = table.image.take().filter(|path| !path.is_empty()) else {
        mapping.comment("", format!("Not carried over: disk {spec:?}"));
        mapping.warn(
            from,
            "disk not carried over, kept as a comment: it has no target",
        );
        return;
    };
    table.image = Some(image);
    let number = domain.block.len();
    let at = format!(".block[{number}]");
    if !lost.is_empty() {
        let lost = lost.join(", ");
        mapping.comment(&at, format!("Not carried over: {lost}"));
        mapping.warn(from, format!("of this disk not carried over: {lost}"));
    }
    if !virtio {
        mapping.comment(
            &at,
            format!("Was Xen's own disk {vdev}; the guest sees a virtio disk instead."),
        );
        mapping.warn(
            from,
            format!("{vdev} was Xen's own disk and is a virtio disk now: /dev/vd… in the guest"),
        );
    }
    domain.block.push(table);
}

fn readonly(access: &str) -> bool {
    !matches!(access, "rw" | "w")
}

fn positional(
    table: &mut BlockTable,
    vdev: &mut String,
    lost: &mut Vec<String>,
    place: usize,
    part: &str,
) {
    match (place, part) {
        (0, path) => {
            // An old form: "phy:/dev/x", "file:/x".
            let path = path
                .strip_prefix("phy:")
                .or(path.strip_prefix("file:"))
                .unwrap_or(path);
            table.image = Some(path.to_owned());
        }
        (1, "" | "raw") => {}
        (2, name) | (1, name)
            if name.starts_with("xvd") || name.starts_with("hd") || name.starts_with("sd") =>
        {
            *vdev = name.to_owned();
        }
        (_, "r" | "ro" | "w" | "rw") => table.readonly = Some(readonly(part)),
        (_, "") => {}
        _ => lost.push(part.to_owned()),
    }
}

/// `dtdev`, `iomem` and `irqs` name devices, pages and interrupts apart; a document has them together.
pub(super) fn passthrough(mapping: &mut Mapping<'_>, domain: &mut DomainTable, all: &[Assignment]) {
    let of = |key: &'static str| {
        let fits = move |a: &&Assignment| a.key == key && matches!(a.value, Value::List(_));
        all.iter().filter(fits)
    };
    for from in of("dtdev") {
        for value in items(&from.value) {
            match text(value) {
                Some(path) => domain.device.push(DeviceTable {
                    path: Some(path),
                    ..DeviceTable::default()
                }),
                None => mapping.keep(from, "a list of paths is expected"),
            }
        }
    }
    for from in of("iomem") {
        for value in items(&from.value) {
            let spec = text(value).unwrap_or_default();
            let region = region(&spec);
            let found = region
                .as_ref()
                .and_then(|r| owner(domain, r.at.unwrap_or_default().0));
            match (region, found.and_then(|index| domain.device.get_mut(index))) {
                (Some(region), Some(device)) => device.region.push(region),
                _ => unplaced(mapping, from, &format!("iomem \"{spec}\"")),
            }
        }
    }
    for from in of("irqs") {
        let only_one = domain.device.len() == 1;
        match (numbers(&from.value), domain.device.first_mut()) {
            (Some(mut numbers), Some(device)) if only_one => {
                let known = device.interrupts.get_or_insert_default();
                known.0.append(&mut numbers.0);
                known.0.sort_unstable();
                known.0.dedup();
            }
            _ => unplaced(mapping, from, &format!("irqs = {}", from.value.source())),
        }
    }
}

fn unplaced(mapping: &mut Mapping<'_>, from: &Assignment, what: &str) {
    let (file, line) = (mapping.file, from.line);
    let text = format!("Not carried over ({file}, line {line}): {what}");
    mapping.comment("", text);
    let message = format!("{what} kept as a comment: xl does not say which device it belongs to");
    mapping.warn(from, message);
}

fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Text(_) => vec![value],
        Value::List(values) => values.iter().collect(),
    }
}

/// `fe9c0,1` or `fe9c0,1@10000`: page frames in base 16.
fn region(spec: &str) -> Option<DeviceRegionTable> {
    let (frames, guest) = match spec.split_once('@') {
        Some((frames, guest)) => (frames, Some(guest)),
        None => (spec, None),
    };
    let (first, count) = frames.split_once(',')?;
    let hex = |text: &str| {
        number(&Value::Text(format!(
            "0x{}",
            text.trim().trim_start_matches("0x")
        )))
    };
    let guest = match guest {
        Some(guest) => Some(hex(guest)?.checked_mul(PAGE).map(Address)?),
        None => None,
    };
    Some(DeviceRegionTable {
        at: hex(first)?.checked_mul(PAGE).map(Address),
        size: hex(count)?.checked_mul(PAGE).map(ByteSize),
        guest_at: guest,
    })
}

/// The device whose unit address (the digits behind "@") lies in the page; the only one, if there is one only.
fn owner(domain: &DomainTable, at: u64) -> Option<usize> {
    if domain.device.len() == 1 {
        return Some(0);
    }
    domain.device.iter().position(|device| {
        let path = device.path.as_deref().unwrap_or_default();
        let unit = path.rsplit_once('@').map(|(_, unit)| unit);
        let unit = unit.and_then(|unit| u64::from_str_radix(unit, 16).ok());
        unit.is_some_and(|unit| unit / PAGE == at / PAGE)
    })
}
