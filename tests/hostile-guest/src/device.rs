//! The device in the guest's kernel: found in sysfs, taken from its driver, given back.

use std::path::PathBuf;

const DRIVER: &str = "/sys/bus/platform/drivers/virtio-mmio";
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
        let bound = PathBuf::from(DRIVER).join(&self.name).exists();
        if bound {
            self.tell("unbind")?;
        }
        Ok(bound)
    }

    /// Gives it back.
    pub(crate) fn bind(&self) -> Result<(), String> {
        self.tell("bind")
    }

    fn tell(&self, file: &str) -> Result<(), String> {
        let path = PathBuf::from(DRIVER).join(file);
        std::fs::write(&path, &self.name)
            .map_err(|error| format!("cannot write {} to {}: {error}", self.name, path.display()))
    }
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
}
