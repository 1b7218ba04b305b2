//! `avpsctl list` and `avpsctl info`.

use std::collections::BTreeSet;
use std::time::Duration;

use platform::emit::cmdline::ranges;
use platform::units::ByteSize;
use serde_json::{Value, json};

use super::Context;
use crate::cli::InfoArgs;
use crate::error::Result;
use crate::keys::{self, Device};
use crate::machine::{DomainInfo, Machine, PoolInfo, VcpuInfo};
use crate::start::backend_runs;

fn as_json(info: &DomainInfo, pool: &str, devices: &[Device]) -> Value {
    json!({
        "name": info.name,
        "domid": info.domid,
        "uuid": info.uuid,
        "state": info.state,
        "shutdown_reason": info.reason,
        "memory_bytes": info.memory_kib.saturating_mul(1024),
        "max_memory_bytes": info.max_memory_kib.saturating_mul(1024),
        "vcpus": info.vcpus,
        "cpu_time_ns": info.cpu_time_ns,
        "cpupool": pool,
        "devices": devices,
    })
}

fn seconds(info: &DomainInfo) -> String {
    format!(
        "{:.1}s",
        Duration::from_nanos(info.cpu_time_ns).as_secs_f64()
    )
}

fn memory(kib: u64) -> String {
    // Xen's own share makes the number odd; people think in MiB.
    format!("{}MiB", kib.div_ceil(1024))
}

/// The name of a domain's CPU pool.
fn pool_of(pools: &[PoolInfo], info: &DomainInfo) -> String {
    let pool = pools.iter().find(|pool| pool.id == info.cpupool);
    pool.map_or_else(|| info.cpupool.to_string(), |pool| pool.name.clone())
}

/// `avpsctl list`.
pub(super) async fn list(context: &Context) -> Result<()> {
    let machine = context.machine()?;
    let rows = machine
        .run(|machine| {
            let list = machine.domains.list()?;
            let pools = machine.domains.pools()?;
            list.into_iter()
                .map(|info| {
                    let devices = keys::devices(machine.store.as_ref(), info.domid)?;
                    let pool = pool_of(&pools, &info);
                    Ok((info, pool, devices))
                })
                .collect::<Result<Vec<_>>>()
        })
        .await?;
    let ui = &context.ui;
    if ui.json {
        let domains: Vec<Value> = rows
            .iter()
            .map(|(info, pool, devices)| as_json(info, pool, devices))
            .collect();
        ui.json(&json!({"schema": "avps-list/1", "domains": domains}));
        return Ok(());
    }
    let mut table = ui.table(&[
        "NAME", "ID", "STATE", "MEMORY", "VCPUS", "CPUPOOL", "CPU-TIME", "DEVICES",
    ]);
    for (info, pool, devices) in &rows {
        let devices: Vec<String> = devices
            .iter()
            .map(|device| format!("{} {}: {}", device.kind, device.index, state(device)))
            .collect();
        table.add_row([
            info.name.clone(),
            info.domid.to_string(),
            info.state.word().to_owned(),
            memory(info.memory_kib),
            info.vcpus.to_string(),
            pool.clone(),
            seconds(info),
            devices.join(", "),
        ]);
    }
    ui.show(&table);
    Ok(())
}

fn state(device: &Device) -> &'static str {
    if device.error.is_some() {
        "error"
    } else {
        device.state.word()
    }
}

/// `avpsctl info`.
pub(super) async fn info(context: &Context, args: &InfoArgs) -> Result<()> {
    let machine = context.machine()?;
    match args.domain.clone() {
        Some(name) => domain(context, &machine, name).await,
        None => host(context, &machine).await,
    }
}

async fn domain(context: &Context, machine: &Machine, name: String) -> Result<()> {
    let (info, pool, vcpus, devices, marks, console) = machine
        .run(move |machine| {
            let info = machine.find(&name)?;
            let pool = pool_of(&machine.domains.pools()?, &info);
            let vcpus = machine.domains.vcpus(info.domid)?;
            let devices = keys::devices(machine.store.as_ref(), info.domid)?;
            let marks = keys::read_marks(machine.store.as_ref(), info.domid)?;
            let tty = format!("/local/domain/{}/console/tty", info.domid);
            let console = machine.store.read(&tty)?;
            Ok((info, pool, vcpus, devices, marks, console))
        })
        .await?;
    let platform = marks.map(|(platform, _)| platform);
    let ui = &context.ui;
    if ui.json {
        let mut value = as_json(&info, &pool, &devices);
        value["affinity"] = json!(vcpus);
        value["schema"] = json!("avps-info/1");
        value["platform"] = json!(platform);
        value["console"] = json!(console);
        ui.json(&value);
        return Ok(());
    }
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
        let mut value = serde_json::to_value(&host).unwrap_or_default();
        value["schema"] = json!("avps-host/1");
        value["backends"] = json!(backends);
        value["supervisors"] = supervisors
            .iter()
            .map(|(platform, pid)| json!({"platform": platform, "pid": pid}))
            .collect();
        ui.json(&value);
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
