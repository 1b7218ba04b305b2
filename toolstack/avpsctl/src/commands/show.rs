//! `avpsctl info`.

use std::collections::BTreeSet;

use platform::emit::cmdline::ranges;
use platform::units::ByteSize;
use serde_json::{Value, json};

use super::Context;
use super::list::{Row, memory, seconds, state};
use crate::cli::InfoArgs;
use crate::error::Result;
use crate::keys;
use crate::machine::{Machine, VcpuInfo};
use crate::start::backend_runs;

/// `avpsctl info`.
pub(super) async fn info(context: &Context, args: &InfoArgs) -> Result<()> {
    let machine = context.machine()?;
    match args.domain.clone() {
        Some(name) => domain(context, &machine, name).await,
        None => host(context, &machine).await,
    }
}

async fn domain(context: &Context, machine: &Machine, name: String) -> Result<()> {
    let (row, vcpus, console) = machine
        .run(move |machine| {
            let info = machine.find(&name)?;
            let vcpus = machine.domains.vcpus(info.domid)?;
            let tty = format!("/local/domain/{}/console/tty", info.domid);
            let console = machine.store.read(&tty)?;
            let row = Row::read(machine, info, &machine.domains.pools()?)?;
            Ok((row, vcpus, console))
        })
        .await?;
    let ui = &context.ui;
    if ui.json {
        let mut value = row.json();
        value["affinity"] = json!(vcpus);
        value["schema"] = json!("avps-info/2");
        value["console"] = json!(console);
        ui.json(&value);
        return Ok(());
    }
    let Row {
        info,
        pool,
        platform,
        devices,
    } = row;
    let mut lines = vec![
        ("name", info.name.clone()),
        ("number", info.domid.to_string()),
        ("uuid", info.uuid.clone()),
        ("state", info.state.word().to_owned()),
    ];
    if let Some(reason) = info.reason {
        let word = serde_json::to_value(reason).unwrap_or_default();
        lines.push(("ended by", word.as_str().unwrap_or_default().to_owned()));
    }
    lines.extend([
        (
            "memory",
            format!(
                "{} (at most {})",
                memory(info.memory_kib),
                memory(info.max_memory_kib)
            ),
        ),
        ("vcpus", info.vcpus.to_string()),
        ("cpupool", pool),
        ("affinity", affinity(&vcpus)),
        ("cpu time", seconds(&info)),
        (
            "platform",
            platform.unwrap_or_else(|| "not started by avpsctl".into()),
        ),
        ("console", console.unwrap_or_else(|| "none".into())),
    ]);
    for (key, value) in lines {
        ui.line(&format!("{key:<10} {value}"));
    }
    for device in &devices {
        ui.line("");
        ui.line(&format!(
            "{} {} ({})",
            device.kind, device.index, device.class
        ));
        let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
        for (key, value) in [
            ("state", state(device).to_owned()),
            ("error", device.error.clone().unwrap_or_default()),
            ("backend", format!("domain {}", device.backend_domid)),
            ("image", optional(&device.image)),
            ("memory", optional(&device.memory)),
            ("registers", optional(&device.base)),
            ("interrupt", optional(&device.irq)),
            ("xenstore", device.folder.clone()),
        ] {
            if key != "error" || !value.is_empty() {
                ui.line(&format!("  {key:<10} {value}"));
            }
        }
    }
    Ok(())
}

/// The CPUs that vCPUs may run on: once, where it is the same for all.
fn affinity(vcpus: &[VcpuInfo]) -> String {
    let all: BTreeSet<&[u32]> = vcpus.iter().map(|vcpu| &vcpu.affinity[..]).collect();
    if let [same] = all.into_iter().collect::<Vec<_>>()[..] {
        return ranges(same);
    }
    let each = vcpus
        .iter()
        .map(|vcpu| format!("{}: {}", vcpu.vcpu, ranges(&vcpu.affinity)));
    each.collect::<Vec<_>>().join("; ")
}

/// What a backend domain's daemon says of itself.
fn backends(machine: &Machine) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for info in machine.domains.list()? {
        let folder = keys::backend_folder(info.domid);
        let key = |name: &str| machine.store.read(&format!("{folder}/{name}"));
        // Our own is shown always: that nobody serves there is worth knowing.
        if info.domid == u32::from(machine.own) || key("ready")?.is_some() {
            found.push(json!({
                "domid": info.domid,
                "running": backend_runs(machine, info.domid)?,
                "pid": key("pid")?.and_then(|pid| pid.parse::<u32>().ok()),
                "version": key("version")?,
            }));
        }
    }
    Ok(found)
}

async fn host(context: &Context, machine: &Machine) -> Result<()> {
    let (host, backends) = machine
        .run(|machine| Ok((machine.domains.host()?, backends(machine)?)))
        .await?;
    let supervisors = context.run.supervisors();
    let ui = &context.ui;
    if ui.json {
        let supervisors: Vec<Value> = supervisors
            .iter()
            .map(|(platform, pid)| json!({"platform": platform, "pid": pid}))
            .collect();
        ui.json(&json!({
            "schema": "avps-host/2",
            "xen_version": host.xen_version,
            "libxl_release": host.libxl_release,
            "total_memory_bytes": host.total_memory_kib.saturating_mul(1024),
            "free_memory_bytes": host.free_memory_kib.saturating_mul(1024),
            "cpus": host.cpus,
            "backends": backends,
            "supervisors": supervisors,
        }));
        return Ok(());
    }
    let mib = |kib: u64| ByteSize(kib.saturating_mul(1024) / (1 << 20) * (1 << 20));
    ui.line(&format!(
        "{:<12} {} (libxl {})",
        "xen", host.xen_version, host.libxl_release
    ));
    ui.line(&format!("{:<12} {}", "cpus", host.cpus));
    ui.line(&format!(
        "{:<12} {}, {} free",
        "memory",
        mib(host.total_memory_kib),
        mib(host.free_memory_kib)
    ));
    for backend in &backends {
        let version = backend["version"].as_str().unwrap_or("");
        let text = if backend["running"] == true {
            format!("avps-backend {version} runs in domain {}", backend["domid"])
        } else {
            format!("avps-backend does not run in domain {}", backend["domid"])
        };
        ui.line(&format!("{:<12} {text}", "backend"));
    }
    for (platform, pid) in &supervisors {
        ui.line(&format!("{:<12} {platform} (process {pid})", "supervised"));
    }
    Ok(())
}
