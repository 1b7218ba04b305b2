//! What libxl says of the machine and its domains, compared with Xen's own tool.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;

use crate::libxl_guest::{Guest, Outcome, Test, Tiny, open, tiny};

/// Name and body of each test.
pub(crate) const TESTS: &[Test] = &[
    (
        "libxl: the library of the running hypervisor's release is chosen",
        the_library_of_the_running_release_is_chosen,
    ),
    (
        "libxl: what is told of the machine equals xl info",
        the_machine_equals_xl_info,
    ),
    (
        "libxl: the list of domains equals xl list",
        the_list_equals_xl_list,
    ),
    (
        "libxl: a domain is found by name, and one that is not there is not",
        a_domain_is_found_by_name,
    ),
];

fn xl(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new("xl").args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// `xl info` as keys and values.
fn xl_info() -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    Ok(xl(&["info"])?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Outcome {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}: {ours:?} here, {theirs:?} in xl").into())
    }
}

fn the_library_of_the_running_release_is_chosen() -> Outcome {
    let info = xl_info()?;
    let running = format!("{}.{}", info["xen_major"], info["xen_minor"]);
    same("release", &open()?.release().to_owned(), &running)
}

fn the_machine_equals_xl_info() -> Outcome {
    let ours = open()?.version_info()?;
    let theirs = xl_info()?;
    let number = |key: &str| -> Result<u64, Box<dyn Error>> { Ok(theirs[key].parse()?) };
    same("version", &ours.xen_version, &theirs["xen_version"])?;
    same("cpus", &u64::from(ours.cpus), &number("nr_cpus")?)?;
    same(
        "command line",
        &ours.command_line,
        &theirs["xen_commandline"],
    )?;
    same(
        "guest types",
        &ours.capabilities.trim_end(),
        &theirs["xen_caps"].as_str(),
    )?;
    same(
        "memory in MiB",
        &(ours.total_memory_kib / 1024),
        &number("total_memory")?,
    )?;
    same(
        "free memory in MiB",
        &(ours.free_memory_kib / 1024),
        &number("free_memory")?,
    )
}

/// `xl list`'s lines: name, number, MiB, vCPUs, state.
type Row = (String, u32, u64, u32, String);

fn rows() -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for line in xl(&["list"])?.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, domid, memory, vcpus, state, _time] = fields[..] else {
            return Err(format!("xl list has another form: {line}").into());
        };
        rows.push((
            name.to_owned(),
            domid.parse()?,
            memory.parse()?,
            vcpus.parse()?,
            // Whether a vCPU runs or waits changes between two calls.
            state.chars().skip(2).collect(),
        ));
    }
    rows.sort_by_key(|row| row.1);
    Ok(rows)
}

fn the_list_equals_xl_list() -> Outcome {
    let libxl = open()?;
    let _guest = Guest::create(&libxl, &tiny("libxl-list", Tiny::Idle)?)?;
    let ours: Vec<Row> = libxl
        .list()?
        .into_iter()
        .map(|domain| {
            let flag = |set, letter: char| if set { letter } else { '-' };
            let state = [
                flag(domain.paused, 'p'),
                flag(domain.shutdown, 's'),
                flag(
                    domain.shutdown_reason == Some(libxl::ShutdownReason::Crash),
                    'c',
                ),
                flag(domain.dying, 'd'),
            ];
            (
                domain.name.unwrap_or_default(),
                domain.domid,
                (domain.memory_kib + domain.outstanding_memory_kib) / 1024,
                domain.vcpus_online,
                state.iter().collect(),
            )
        })
        .collect();
    same("domains", &ours, &rows()?)?;
    same("number of domains", &ours.len(), &2)
}

fn a_domain_is_found_by_name() -> Outcome {
    let libxl = open()?;
    let config = tiny("libxl-by-name", Tiny::Idle)?;
    let guest = Guest::create(&libxl, &config)?;
    let found = libxl.domain_by_name("libxl-by-name")?.ok_or("not found")?;
    same("number", &found.domid, &guest.domid)?;
    same("uuid", &found.uuid, &config.uuid)?;
    same(
        "uuid in xl",
        &found.uuid.to_string(),
        &xl(&["domid", "libxl-by-name"])
            .and_then(|domid| xl(&["list", "-v", domid.trim()]))?
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().find(|word| word.len() == 36))
            .unwrap_or_default()
            .to_owned(),
    )?;
    same("a name nobody has", &libxl.domain_by_name("nobody")?, &None)
}
