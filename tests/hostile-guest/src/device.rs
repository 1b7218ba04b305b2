//! The device in the guest's kernel: found in sysfs, taken from its driver, given back.
//!
//! The driver is the virtio one (`virtio_blk`). Taking the device from the platform's `virtio-mmio` as well would make
//! Linux free the backend's domain id and go on using it when that driver comes back (read in Linux 7.2's
//! drivers/xen/grant-dma-ops.c: `devm_kzalloc`, never removed from `xen_grant_dma_devices`; seen as a probe that fails
//! with ENOMEM now and then).

use std::path::{Path, PathBuf};

const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_blk";
const DEVICES: &str = "/sys/bus/platform/devices";

/// A virtio-mmio device of this guest.
pub(crate) struct Device {
    /// Guest physical address of its registers.
    pub(crate) address: u64,
    name: String,
}

/// The address in a platform device's name, as device trees give it: `2000000.virtio`.
fn address_of(name: &str) -> Option<u64> {
    let (digits, kind) = name.split_once('.')?;
    kind.starts_with("virtio")
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

impl Device {
    /// The device at `address`, or the first one.
    pub(crate) fn find(address: Option<u64>) -> Result<Self, String> {
        let entries = std::fs::read_dir(DEVICES)
            .map_err(|error| format!("cannot list {DEVICES}: {error}"))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut found: Vec<Device> = names
            .filter_map(|name| {
                let name = name.into_string().ok()?;
                let at = address_of(&name)?;
                address
                    .is_none_or(|address| address == at)
                    .then_some(Device { address: at, name })
            })
            .collect();
        found.sort_by_key(|device| device.address);
        found
            .into_iter()
            .next()
            .ok_or_else(|| "this guest has no such virtio-mmio device".to_owned())
    }

    /// Takes it from the kernel's driver, which resets it; false if no driver has it.
    pub(crate) fn unbind(&self) -> Result<bool, String> {
        let name = self.on_virtio_bus()?;
        let bound = Path::new(DRIVER).join(&name).exists();
        if bound {
            tell("unbind", &name)?;
        }
        Ok(bound)
    }

    /// Gives it back.
    pub(crate) fn bind(&self) -> Result<(), String> {
        tell("bind", &self.on_virtio_bus()?)
    }

    /// What the virtio bus calls it: `virtio0`.
    fn on_virtio_bus(&self) -> Result<String, String> {
        let folder = PathBuf::from(DEVICES).join(&self.name);
        let entries = std::fs::read_dir(&folder)
            .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .find(|name| is_virtio_name(name))
            .ok_or_else(|| format!("{} has no device on the virtio bus", self.name))
    }
}

fn is_virtio_name(name: &str) -> bool {
    let number = name.strip_prefix("virtio");
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn tell(file: &str, name: &str) -> Result<(), String> {
    let path = Path::new(DRIVER).join(file);
    std::fs::write(&path, name)
        .map_err(|error| format!("cannot write {name} to {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_name_tells_its_address() {
        assert_eq!(address_of("2000000.virtio"), Some(0x200_0000));
        assert_eq!(address_of("2000200.virtio_mmio"), Some(0x200_0200));
        assert_eq!(address_of("2000200.serial"), None);
        assert_eq!(address_of("virtio"), None);
    }

    #[test]
    fn only_a_number_makes_a_name_of_the_virtio_bus() {
        assert!(is_virtio_name("virtio0") && is_virtio_name("virtio12"));
        assert!(!is_virtio_name("virtio") && !is_virtio_name("virtio-mmio"));
        assert!(!is_virtio_name("driver"));
    }
}
