//! A domain's configuration, and its form in libxl's JSON.
//!
//! The JSON's keys are those of `libxl_domain_config` in Xen's `libxl_types.idl`. What is set here
//! is what `xl create` sets for a guest of the same description; all else is libxl's default.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::{Error, Result};

/// What a domain is to be built from.
///
/// It is always a PVH domain: the only kind on Arm, and the only one without an emulator on x86.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainConfig {
    /// Name; at most one running domain may have it.
    pub name: String,
    /// Identity; a new one where it is not given.
    #[serde(default = "Uuid::new_v4")]
    pub uuid: Uuid,
    /// Kernel image; on Arm an `Image`, best uncompressed.
    pub kernel: PathBuf,
    /// Initial RAM file system.
    #[serde(default)]
    pub ramdisk: Option<PathBuf>,
    /// Kernel command line.
    #[serde(default)]
    pub cmdline: Option<String>,
    /// Memory, in KiB.
    pub memory_kib: u64,
    /// vCPUs, all of them online.
    pub vcpus: u32,
    /// An emulated UART besides the PV console.
    #[serde(default)]
    pub vuart: Option<Vuart>,
    /// Xen's own mediator to a trusted execution environment.
    #[serde(default)]
    pub tee: Option<Tee>,
    /// Virtio devices whose backends are programs that watch XenStore. libxl numbers them, and
    /// their registers and interrupts, in this order.
    #[serde(default)]
    pub virtio: Vec<VirtioDevice>,
    /// Xen PV disks served by the backend domain's kernel.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// What the toolstack is to do when the domain powers off. libxl only remembers it.
    #[serde(default)]
    pub on_poweroff: Action,
    /// The same when it wants to be started again.
    #[serde(default = "Action::restart")]
    pub on_reboot: Action,
    /// The same when its watchdog expires.
    #[serde(default)]
    pub on_watchdog: Action,
    /// The same when it crashes.
    #[serde(default)]
    pub on_crash: Action,
    /// More of libxl's JSON, laid over what the fields above give: objects are merged, anything
    /// else replaces.
    #[serde(default)]
    pub extra: Value,
}

impl DomainConfig {
    /// A domain with nothing but these; the other fields can be set afterwards.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        kernel: impl Into<PathBuf>,
        memory_kib: u64,
        vcpus: u32,
    ) -> Self {
        Self {
            name: name.into(),
            uuid: Uuid::new_v4(),
            kernel: kernel.into(),
            ramdisk: None,
            cmdline: None,
            memory_kib,
            vcpus,
            vuart: None,
            tee: None,
            virtio: Vec::new(),
            disks: Vec::new(),
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_watchdog: Action::Destroy,
            on_crash: Action::Destroy,
            extra: Value::Null,
        }
    }

    /// The whole as libxl's JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a path that is not UTF-8, or numbers out of range.
    pub fn to_json(&self) -> Result<Value> {
        if self.vcpus == 0 {
            return Err(Error::Invalid(
                "a domain needs at least one vCPU".to_owned(),
            ));
        }
        let mut build = Map::new();
        build.insert("max_vcpus".to_owned(), json!(self.vcpus));
        build.insert(
            "avail_vcpus".to_owned(),
            (0..self.vcpus).collect::<Vec<_>>().into(),
        );
        build.insert("max_memkb".to_owned(), json!(self.memory_kib));
        build.insert("target_memkb".to_owned(), json!(self.memory_kib));
        // As xl does: memory is claimed first, so that too little of it fails at once.
        build.insert("claim_mode".to_owned(), json!("True"));
        build.insert("kernel".to_owned(), text(&self.kernel)?);
        if let Some(ramdisk) = &self.ramdisk {
            build.insert("ramdisk".to_owned(), text(ramdisk)?);
        }
        if let Some(cmdline) = &self.cmdline {
            build.insert("cmdline".to_owned(), json!(cmdline));
        }
        build.insert("type.pvh".to_owned(), json!({}));
        if cfg!(target_arch = "aarch64") {
            // The default, but not told: libxl 4.20's libxl_set_memory_target reads the stored
            // configuration, in which defaults are not filled in, and asserts that this is.
            build.insert("acpi".to_owned(), json!("False"));
        }
        if let Some(tee) = self.tee {
            build.insert("tee".to_owned(), json!(tee));
        }
        if let Some(vuart) = self.vuart {
            build.insert("arch_arm".to_owned(), json!({ "vuart": vuart }));
        }
        let mut whole = json!({
            "c_info": {
                "type": "pvh",
                "name": self.name,
                "uuid": self.uuid,
            },
            "b_info": build,
        });
        let actions = [
            ("on_poweroff", self.on_poweroff),
            ("on_reboot", self.on_reboot),
            ("on_watchdog", self.on_watchdog),
            ("on_crash", self.on_crash),
        ];
        // Destroying is libxl's default.
        for (event, action) in actions
            .iter()
            .filter(|(_, action)| *action != Action::Destroy)
        {
            whole[event] = json!(action);
        }
        if !self.virtio.is_empty() {
            let devices = self.virtio.iter().zip(0_u32..);
            whole["virtios"] = devices.map(|(one, devid)| one.to_json(devid)).collect();
        }
        if !self.disks.is_empty() {
            whole["disks"] = self
                .disks
                .iter()
                .map(Disk::to_json)
                .collect::<Result<_>>()?;
        }
        merge(&mut whole, &self.extra);
        Ok(whole)
    }
}

/// A generic virtio device (Xen ≥ 4.18), known to its backend through XenStore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtioDevice {
    /// Domain the backend runs in.
    #[serde(default)]
    pub backend_domid: u32,
    /// Device type: "virtio,device" and the virtio device id in hexadecimal, as "virtio,device2".
    pub kind: String,
    /// How the guest reaches it.
    #[serde(default)]
    pub transport: VirtioTransport,
    /// Whether the guest gives its buffers as grants, rather than as its own addresses.
    pub grant_usage: bool,
}

impl VirtioDevice {
    fn to_json(&self, devid: u32) -> Value {
        json!({
            "backend_domid": self.backend_domid,
            "type": self.kind,
            "transport": self.transport,
            "grant_usage": defbool(self.grant_usage),
            "devid": devid,
        })
    }
}

/// `libxl_virtio_transport`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtioTransport {
    /// Registers in the guest's address space, trapped by Xen.
    #[default]
    Mmio,
}

/// A Xen PV disk on a block device of the backend domain (xen-blkback).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Block device in the backend domain.
    pub path: PathBuf,
    /// Name in the guest, as "xvda".
    pub vdev: String,
    /// What the guest may do with it.
    #[serde(default)]
    pub access: DiskAccess,
    /// Domain the backend runs in.
    #[serde(default)]
    pub backend_domid: u32,
}

impl Disk {
    fn to_json(&self) -> Result<Value> {
        Ok(json!({
            "backend_domid": self.backend_domid,
            "pdev_path": text(&self.path)?,
            "vdev": self.vdev,
            "backend": "phy",
            "format": "raw",
            "readwrite": u8::from(self.access == DiskAccess::ReadWrite),
        }))
    }
}

/// What a guest may do with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskAccess {
    /// Read only.
    ReadOnly,
    /// Read and write.
    #[default]
    ReadWrite,
}

/// `libxl_vuart_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vuart {
    /// The Arm server base system architecture's UART: a PL011 at 0x22000000, interrupt 32.
    SbsaUart,
}

/// `libxl_tee_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tee {
    /// OP-TEE.
    Optee,
    /// Firmware framework for Arm A-profile (Xen ≥ 4.18).
    Ffa,
}

/// `libxl_action_on_shutdown`: what the toolstack is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Destroy the domain.
    #[default]
    Destroy,
    /// Destroy it and build it again.
    Restart,
    /// Keep it under another name and build it again.
    RestartRename,
    /// Keep it.
    Preserve,
    /// Write its memory to a file, then destroy it.
    CoredumpDestroy,
    /// Write its memory to a file, then build it again.
    CoredumpRestart,
    /// Build it again around its memory.
    SoftReset,
}

impl Action {
    fn restart() -> Self {
        Self::Restart
    }
}

/// `libxl_defbool` in JSON.
fn defbool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn text(path: &Path) -> Result<Value> {
    path.to_str()
        .map(Value::from)
        .ok_or_else(|| Error::Invalid(format!("the path {} is not UTF-8", path.display())))
}

/// Lays `over` over `base`.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// Paths of what is in `wanted` and not in `understood`.
///
/// libxl leaves out of its JSON whatever has its default value, so what looks like one (nothing,
/// zero, an empty list, "<default>", an enumeration's neutral name) is not missed.
pub(crate) fn dropped(wanted: &Value, understood: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    compare(wanted, understood, "", &mut missing);
    missing
}

fn compare(wanted: &Value, understood: &Value, path: &str, missing: &mut Vec<String>) {
    match (wanted, understood) {
        (Value::Object(wanted), Value::Object(understood)) => {
            for (key, value) in wanted {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match understood.get(key) {
                    Some(understood) => compare(value, understood, &path, missing),
                    None if is_default(value) => {}
                    None => missing.push(path),
                }
            }
        }
        (Value::Array(wanted), Value::Array(understood)) => {
            for (at, value) in wanted.iter().enumerate() {
                let path = format!("{path}[{at}]");
                match understood.get(at) {
                    Some(understood) => compare(value, understood, &path, missing),
                    None => missing.push(path),
                }
            }
        }
        _ => {}
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(value) => {
            ["", "<default>", "default", "none", "unknown", "disabled"].contains(&value.as_str())
        }
        Value::Array(value) => value.iter().all(is_default),
        Value::Object(value) => value.values().all(is_default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> DomainConfig {
        let mut config = DomainConfig::new("cluster", "/boot/Image", 131_072, 2);
        config.uuid = Uuid::from_u128(1);
        config
    }

    #[test]
    fn every_field_reaches_libxls_json_under_its_idl_name() {
        let mut config = guest();
        config.ramdisk = Some("/boot/initrd".into());
        config.cmdline = Some("console=hvc0".to_owned());
        config.vuart = Some(Vuart::SbsaUart);
        config.tee = Some(Tee::Optee);
        config.on_crash = Action::RestartRename;
        config.virtio.push(VirtioDevice {
            backend_domid: 3,
            kind: "virtio,device2".to_owned(),
            transport: VirtioTransport::Mmio,
            grant_usage: true,
        });
        config.disks.push(Disk {
            path: "/dev/loop0".into(),
            vdev: "xvda".to_owned(),
            access: DiskAccess::ReadOnly,
            backend_domid: 0,
        });
        let mut whole = config.to_json().expect("valid");
        if cfg!(target_arch = "aarch64") {
            assert_eq!(whole["b_info"]["acpi"].take(), "False");
        }
        if let Some(build) = whole["b_info"].as_object_mut() {
            build.remove("acpi");
        }
        assert_eq!(
            whole,
            json!({
                "c_info": {
                    "type": "pvh",
                    "name": "cluster",
                    "uuid": "00000000-0000-0000-0000-000000000001",
                },
                "b_info": {
                    "max_vcpus": 2,
                    "avail_vcpus": [0, 1],
                    "max_memkb": 131_072,
                    "target_memkb": 131_072,
                    "claim_mode": "True",
                    "kernel": "/boot/Image",
                    "ramdisk": "/boot/initrd",
                    "cmdline": "console=hvc0",
                    "type.pvh": {},
                    "tee": "optee",
                    "arch_arm": { "vuart": "sbsa_uart" },
                },
                "virtios": [{
                    "backend_domid": 3,
                    "type": "virtio,device2",
                    "transport": "mmio",
                    "grant_usage": "True",
                    "devid": 0,
                }],
                "disks": [{
                    "backend_domid": 0,
                    "pdev_path": "/dev/loop0",
                    "vdev": "xvda",
                    "backend": "phy",
                    "format": "raw",
                    "readwrite": 0,
                }],
                "on_reboot": "restart",
                "on_crash": "restart_rename",
            })
        );
    }

    #[test]
    fn extra_json_is_laid_over_and_leaves_the_rest() {
        let mut config = guest();
        config.extra = json!({ "b_info": { "arch_arm": { "nr_spis": 64 }, "max_vcpus": 4 } });
        let json = config.to_json().expect("valid");
        assert_eq!(json["b_info"]["arch_arm"]["nr_spis"], 64);
        assert_eq!(json["b_info"]["max_vcpus"], 4);
        assert_eq!(json["b_info"]["kernel"], "/boot/Image");
    }

    #[test]
    fn what_a_release_does_not_know_is_named_by_its_path() {
        let wanted = json!({
            "c_info": { "name": "a", "domid": 0 },
            "b_info": { "type.pvh": {}, "tee": "none", "arch_arm": { "nr_spis": 64 } },
            "virtios": [{ "type": "virtio,device2" }],
            "disks": [{ "vdev": "xvda", "grant_usage": "True" }],
        });
        let understood = json!({
            "c_info": { "name": "a" },
            "b_info": { "arch_arm": {} },
            "disks": [{ "vdev": "xvda" }],
        });
        let mut dropped = dropped(&wanted, &understood);
        dropped.sort();
        assert_eq!(
            dropped,
            ["b_info.arch_arm.nr_spis", "disks[0].grant_usage", "virtios"]
        );
    }

    #[test]
    fn a_description_needs_only_what_has_no_default_and_refuses_unknown_fields() {
        let text = r#"{"name": "a", "kernel": "/k", "memory_kib": 1024, "vcpus": 1}"#;
        let config: DomainConfig = serde_json::from_str(text).expect("complete");
        assert_eq!(config.on_reboot, Action::Restart);
        assert!(!config.uuid.is_nil());
        let text = r#"{"name": "a", "kernel": "/k", "memory_kib": 1, "vcpus": 1, "colour": 2}"#;
        assert!(serde_json::from_str::<DomainConfig>(text).is_err());
    }

    #[test]
    fn a_domain_without_vcpus_is_refused() {
        let mut config = guest();
        config.vcpus = 0;
        assert!(matches!(config.to_json(), Err(Error::Invalid(_))));
    }
}
