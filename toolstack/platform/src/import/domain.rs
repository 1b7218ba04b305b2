//! One configuration, one domain.

use super::Mapping;
use super::devices::{block, disk, passthrough};
use super::xl::{Assignment, Value};
use crate::document::{DomainTable, RtdsTable, TeeTable};
use crate::plan::{Action, Console, DomainKind, TeeMode};
use crate::resolve::NO_RAMDISK;
use crate::units::{ByteSize, MIB, Numbers, TimeSpan};

/// Makes a domain of a configuration.
pub(super) fn domain(mapping: &mut Mapping<'_>, assignments: &[Assignment]) -> DomainTable {
    let mut domain = DomainTable::default();
    let mut words: [Option<&Assignment>; 4] = [None; 4];
    for (index, assignment) in assignments.iter().enumerate() {
        let mut later = assignments.iter().skip(index + 1);
        if later.any(|other| other.key == assignment.key && !other.add) {
            mapping.keep(assignment, "a later line replaces it");
            continue;
        }
        let done = take(mapping, &mut domain, assignment);
        match (done, assignment.key.as_str()) {
            (Taken::Yes, _) => {}
            (Taken::No(why), _) => mapping.keep(assignment, why),
            (Taken::Later, "root") => words[0] = Some(assignment),
            (Taken::Later, "extra") => words[1] = Some(assignment),
            (Taken::Later, "cmdline") => words[2] = Some(assignment),
            (Taken::Later, "maxmem") => words[3] = Some(assignment),
            (Taken::Later, _) => {}
        }
    }
    let [root, extra, cmdline, maxmem] = words;
    command_line(mapping, &mut domain, root, extra, cmdline);
    if let Some(maxmem) = maxmem {
        let wanted = size(&maxmem.value);
        match (wanted, domain.memory) {
            (Some(_), None) => domain.memory = wanted,
            (Some(most), Some(memory)) if most == memory => {}
            _ => mapping.keep(maxmem, "a domain of the document has one amount of memory"),
        }
    }
    passthrough(mapping, &mut domain, assignments);
    complete(mapping, &mut domain);
    domain
}

/// Whether an assignment found its place.
enum Taken {
    Yes,
    /// It is looked at together with others.
    Later,
    No(&'static str),
}

fn take(mapping: &mut Mapping<'_>, domain: &mut DomainTable, from: &Assignment) -> Taken {
    const FORM: &str = "its value has a form that has no place in a document";
    let value = &from.value;
    macro_rules! place {
        ($place:expr, $value:expr) => {
            match $value {
                Some(value) => {
                    $place = Some(value);
                    Taken::Yes
                }
                None => Taken::No(FORM),
            }
        };
    }
    if from.add && matches!(value, Value::Text(_)) {
        return Taken::No("texts are not added up");
    }
    match from.key.as_str() {
        "name" => place!(domain.name, text(value)),
        "kernel" => place!(domain.kernel, text(value)),
        "ramdisk" => place!(domain.ramdisk, text(value)),
        "device_tree" => place!(domain.device_tree, text(value)),
        "memory" => place!(domain.memory, size(value)),
        "vcpus" => place!(domain.vcpus, number(value)),
        "maxvcpus" if number(value) == domain.vcpus && domain.vcpus.is_some() => Taken::Yes,
        "maxvcpus" => Taken::No("a domain of the document has all of its vCPUs from the start"),
        "cpus" => match text(value).as_deref() {
            Some("all") => Taken::Yes,
            _ => place!(domain.cpus, numbers(value)),
        },
        "pool" => match text(value).as_deref() {
            Some("Pool-0") => Taken::Yes,
            Some(_) => {
                domain.cpupool = text(value);
                mapping.warn(from, "the pool itself is to be added as [[cpupool]]");
                Taken::Yes
            }
            None => Taken::No(FORM),
        },
        "llc_colors" => place!(domain.colors, numbers(value)),
        "on_poweroff" => place!(domain.on_poweroff, action(value)),
        "on_reboot" => place!(domain.on_reboot, action(value)),
        "on_crash" => place!(domain.on_crash, action(value)),
        "root" | "extra" | "cmdline" | "maxmem" if text(value).is_some() => Taken::Later,
        "period" | "budget" => rtds(domain, from),
        "tee" => match text(value).as_deref() {
            Some("none") => Taken::Yes,
            Some("optee") => tee(domain, TeeMode::Hypervisor),
            Some("ffa") => tee(domain, TeeMode::Ffa),
            _ => Taken::No("a document has OP-TEE, by its own calls or by FF-A"),
        },
        "driver_domain" if number(value) == Some(1) => {
            domain.kind = Some(DomainKind::Driver);
            Taken::Yes
        }
        "vuart" if text(value).as_deref() == Some("sbsa_uart") => {
            domain.console = Some(Console::Vpl011);
            Taken::Yes
        }
        "virtio" => list(value, |text| block(mapping, domain, from, text)),
        "disk" => list(value, |text| disk(mapping, domain, from, text)),
        "dtdev" | "iomem" | "irqs" if matches!(value, Value::List(_)) => Taken::Later,
        "type" | "builder" if matches!(text(value).as_deref(), Some("pvh" | "generic")) => {
            Taken::No("Arm has one kind of guest only")
        }
        "uuid" => Taken::No("a domain's UUID is made from the names of platform and domain"),
        "seclabel" => Taken::No("a document cannot set a label of its own"),
        "vif" => Taken::No("networks are to be written as [[network]]"),
        _ => Taken::No("the document has no such thing"),
    }
}

/// Hands on every text of a list; whatever is no text makes it a list without a place.
fn list(value: &Value, mut each: impl FnMut(&str)) -> Taken {
    let texts = match value {
        Value::Text(text) => vec![text.as_str()],
        Value::List(values) => {
            let texts = values.iter().map(|value| match value {
                Value::Text(text) => Some(text.as_str()),
                Value::List(_) => None,
            });
            match texts.collect::<Option<Vec<_>>>() {
                Some(texts) => texts,
                None => return Taken::No("a list of texts is expected"),
            }
        }
    };
    texts.into_iter().for_each(&mut each);
    Taken::Yes
}

/// `cmdline` is the whole; without it, `root` and `extra` make it (Xen: tools/xl/xl_parse.c, parse_cmdline).
fn command_line(
    mapping: &mut Mapping<'_>,
    domain: &mut DomainTable,
    root: Option<&Assignment>,
    extra: Option<&Assignment>,
    cmdline: Option<&Assignment>,
) {
    if let Some(cmdline) = cmdline {
        domain.cmdline = text(&cmdline.value);
        for ignored in [root, extra].into_iter().flatten() {
            mapping.keep(ignored, "xl ignores it beside cmdline");
        }
        return;
    }
    let root = root.and_then(|root| text(&root.value));
    let root = root.map(|root| format!("root={root}"));
    let extra = extra.and_then(|extra| text(&extra.value));
    let words: Vec<_> = [root, extra].into_iter().flatten().collect();
    if !words.is_empty() {
        domain.cmdline = Some(words.join(" "));
    }
}

/// What a document has to have and a configuration need not.
fn complete(mapping: &mut Mapping<'_>, domain: &mut DomainTable) {
    if domain.kind == Some(DomainKind::Driver) && domain.ramdisk.is_none() {
        // The document has a default there, xl has none.
        domain.ramdisk = Some(NO_RAMDISK.to_owned());
    }
    let whole = Assignment {
        key: String::new(),
        value: Value::Text(String::new()),
        add: false,
        line: 1,
    };
    let mut missing = |key: &str, message: &str| {
        let from = Assignment {
            key: key.to_owned(),
            ..whole.clone()
        };
        mapping.comment("", format!("TODO: {key}: {message}"));
        mapping.warn(&from, message.to_owned());
    };
    if domain.name.is_none() {
        missing("name", "the configuration has no name; give the domain one");
        domain.name = Some("unnamed".into());
    }
    if domain.kernel.is_none() {
        missing(
            "kernel",
            "the configuration has no kernel; correct the path",
        );
        domain.kernel = Some("/boot/Image".into());
    }
    if domain.memory.is_none() {
        missing(
            "memory",
            "the configuration has no memory; xl's default stands here",
        );
        domain.memory = Some(ByteSize(32 * MIB));
    }
}

fn tee(domain: &mut DomainTable, mode: TeeMode) -> Taken {
    domain.tee = Some(TeeTable {
        mode: Some(mode),
        ..TeeTable::default()
    });
    Taken::Yes
}

fn rtds(domain: &mut DomainTable, from: &Assignment) -> Taken {
    let Some(span) = number(&from.value).map(TimeSpan) else {
        return Taken::No("a number of microseconds is expected");
    };
    let share = domain.rtds.get_or_insert_with(RtdsTable::default);
    match from.key.as_str() {
        "period" => share.period = Some(span),
        _ => share.budget = Some(span),
    }
    Taken::Yes
}

pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::List(_) => None,
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    let text = text(value)?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A number of MiB.
fn size(value: &Value) -> Option<ByteSize> {
    number(value)?.checked_mul(MIB).map(ByteSize)
}

/// `"0-3,6"`, a number, or a list of either.
pub(super) fn numbers(value: &Value) -> Option<Numbers> {
    let texts = match value {
        Value::Text(text) => vec![text.clone()],
        Value::List(values) => values.iter().map(text).collect::<Option<Vec<_>>>()?,
    };
    let mut numbers: Numbers = texts.join(",").parse().ok()?;
    numbers.0.sort_unstable();
    numbers.0.dedup();
    (!numbers.0.is_empty()).then_some(numbers)
}

fn action(value: &Value) -> Option<Action> {
    match text(value)?.as_str() {
        "destroy" => Some(Action::Destroy),
        "restart" => Some(Action::Restart),
        "preserve" => Some(Action::Preserve),
        _ => None,
    }
}
