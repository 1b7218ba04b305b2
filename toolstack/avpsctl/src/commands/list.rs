//! `avpsctl list`: what runs, once or as it changes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Context, signals};
use crate::cli::ListArgs;
use crate::error::{Error, Result};
use crate::keys::{self, Device};
use crate::machine::{DomainInfo, Machine, PoolInfo};
use crate::ui::{Table, Ui};

/// A domain as it is shown.
pub(super) struct Row {
    pub(super) info: DomainInfo,
    /// Name of its CPU pool.
    pub(super) pool: String,
    /// The platform it was created for; none for one that avpsctl did not create.
    pub(super) platform: Option<String>,
    pub(super) devices: Vec<Device>,
}

impl Row {
    /// Reads what XenStore tells of a domain.
    pub(super) fn read(machine: &Machine, info: DomainInfo, pools: &[PoolInfo]) -> Result<Row> {
        let store = machine.store.as_ref();
        let pool = pools.iter().find(|pool| pool.id == info.cpupool);
        Ok(Row {
            pool: pool.map_or_else(|| info.cpupool.to_string(), |pool| pool.name.clone()),
            platform: keys::platform_of(store, info.domid)?,
            devices: keys::devices(store, info.domid)?,
            info,
        })
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let info = &self.info;
        json!({
            "name": info.name,
            "domid": info.domid,
            "uuid": info.uuid,
            "platform": self.platform,
            "state": info.state,
            "shutdown_reason": info.reason,
            "memory_bytes": info.memory_kib.saturating_mul(1024),
            "max_memory_bytes": info.max_memory_kib.saturating_mul(1024),
            "vcpus": info.vcpus,
            "cpu_time_seconds": Duration::from_nanos(info.cpu_time_ns).as_secs_f64(),
            "cpupool": self.pool,
            "devices": self.devices,
        })
    }

    /// What has to differ for a domain to count as changed: everything but the CPU time.
    fn lasting(&self) -> Value {
        let mut value = self.json();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("cpu_time_seconds");
        }
        value
    }
}

pub(super) fn seconds(info: &DomainInfo) -> String {
    format!(
        "{:.1}s",
        Duration::from_nanos(info.cpu_time_ns).as_secs_f64()
    )
}

pub(super) fn memory(kib: u64) -> String {
    // Xen's own share makes the number odd; people think in MiB.
    format!("{}MiB", kib.div_ceil(1024))
}

pub(super) fn state(device: &Device) -> &'static str {
    if device.error.is_some() {
        "error"
    } else {
        device.state.word()
    }
}

/// The domains that are asked for.
fn rows(machine: &Machine, wanted: &[String]) -> Result<Vec<Row>> {
    let is_wanted = |info: &DomainInfo| {
        let number = info.domid.to_string();
        wanted.is_empty()
            || wanted
                .iter()
                .any(|name| *name == info.name || *name == number)
    };
    let list = machine.domains.list()?;
    let pools = machine.domains.pools()?;
    list.into_iter()
        .filter(is_wanted)
        .map(|info| Row::read(machine, info, &pools))
        .collect()
}

/// `avpsctl list`.
pub(super) async fn list(context: &Context, args: &ListArgs) -> Result<()> {
    let machine = context.machine()?;
    let wanted = args.domains.clone();
    // A name that is wrong is said at once; a domain that goes while it is watched only leaves the list.
    let names = wanted.clone();
    let first = machine
        .run(move |machine| {
            for name in &names {
                machine.find(name)?;
            }
            rows(machine, &names)
        })
        .await?;
    let ui = &context.ui;
    if !args.watch {
        show(ui, &first);
        return Ok(());
    }
    let cancel = signals()?;
    let interval = Duration::from_secs(args.interval);
    let mut seen = None;
    let mut rows_now = first;
    loop {
        let lasting: Vec<Value> = rows_now.iter().map(Row::lasting).collect();
        let changed = seen.as_ref() != Some(&lasting);
        if ui.is_screen() {
            ui.clear_screen();
            show(ui, &rows_now);
        } else if changed {
            if ui.json {
                ui.json_line(&as_json(&rows_now));
            } else {
                if seen.is_some() {
                    ui.line("");
                }
                show(ui, &rows_now);
            }
        }
        seen = Some(lasting);
        tokio::select! {
            () = cancel.cancelled() => return Err(Error::Interrupted),
            () = tokio::time::sleep(interval) => {}
        }
        let wanted = wanted.clone();
        rows_now = machine.run(move |machine| rows(machine, &wanted)).await?;
    }
}

fn as_json(rows: &[Row]) -> Value {
    let domains: Vec<Value> = rows.iter().map(Row::json).collect();
    json!({"schema": "avps-list/2", "domains": domains})
}

fn show(ui: &Ui, rows: &[Row]) {
    if ui.json {
        ui.json(&as_json(rows));
    } else {
        ui.show(&table(ui, rows));
    }
}

fn table(ui: &Ui, rows: &[Row]) -> Table {
    let mut table = ui.table(&[
        "NAME", "ID", "STATE", "MEMORY", "VCPUS", "CPUPOOL", "CPU-TIME", "PLATFORM", "DEVICES",
    ]);
    for row in rows {
        let info = &row.info;
        let devices: Vec<String> = row
            .devices
            .iter()
            .map(|device| format!("{} {}: {}", device.kind, device.index, state(device)))
            .collect();
        table.add_row([
            info.name.clone(),
            info.domid.to_string(),
            info.state.word().to_owned(),
            memory(info.memory_kib),
            info.vcpus.to_string(),
            row.pool.clone(),
            seconds(info),
            row.platform.clone().unwrap_or_else(|| "-".to_owned()),
            devices.join(", "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Write;
    use crate::tests::drivers::{model, plan, start};

    fn ui() -> Ui {
        Ui {
            json: false,
            quiet: false,
            verbose: 0,
            color_out: false,
            color_err: false,
        }
    }

    #[tokio::test]
    async fn a_domain_is_listed_with_its_platform_by_name_or_number() {
        let model = model();
        let plan = plan();
        start(&model, &plan).await.expect("starts");
        let all = rows(&model.machine(), &[]).expect("a model");
        let platforms: Vec<_> = all
            .iter()
            .map(|row| (row.info.name.as_str(), row.platform.as_deref()))
            .collect();
        let ours = Some(plan.platform.as_str());
        assert_eq!(
            platforms,
            [
                ("Domain-0", None),
                ("storage", ours),
                ("archive", ours),
                ("a", ours),
                ("b", ours)
            ]
        );
        let some = rows(&model.machine(), &["b".into(), "1".into()]).expect("a model");
        let names: Vec<_> = some.iter().map(|row| row.info.name.as_str()).collect();
        assert_eq!(names, ["storage", "b"]);
        let text = table(&ui(), &some).to_string();
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with("storage"));
        assert!(
            line.is_some_and(|line| line.contains(&plan.platform)),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_a_driver_domain_writes_is_one_harmless_cell() {
        let model = model();
        start(&model, &plan()).await.expect("starts");
        let store = model.machine().store;
        let folder = "/local/domain/1/backend/virtio/2/0";
        let hostile = "block\u{1b}[2J\u{9b}31m\u{202e}\nforged";
        store
            .write_all(&[Write::value(format!("{folder}/avps/kind"), hostile)])
            .expect("written");
        let all = rows(&model.machine(), &[]).expect("a model");
        assert_eq!(all[2].devices[0].kind, hostile, "programs get it as it is");
        let text = table(&ui(), &all).to_string();
        assert!(text.contains("block?[2J??31m??? forged 0:"), "{text}");
        assert!(
            !text.contains(|c| c != '\n' && printable::is_control(c)),
            "{text:?}"
        );
    }

    #[tokio::test]
    async fn cpu_time_alone_is_no_change() {
        let model = model();
        start(&model, &plan()).await.expect("starts");
        let mut row = rows(&model.machine(), &["a".into()])
            .expect("a model")
            .remove(0);
        let before = row.lasting();
        row.info.cpu_time_ns = 1_500_000_000;
        assert_eq!(row.lasting(), before);
        assert_eq!(row.json()["cpu_time_seconds"], 1.5);
        row.info.vcpus += 1;
        assert_ne!(row.lasting(), before);
    }
}
