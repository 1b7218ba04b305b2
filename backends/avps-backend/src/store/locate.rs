//! From a watch event's path to what has to be looked at.

use xen::DomId;

use super::folder::{Class, DeviceKey};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Located {
    /// One device's folder, or something in it.
    Device(DeviceKey),
    /// Something above the devices: look at all of them.
    Everything,
    /// Nothing of ours.
    Nothing,
}

/// Finds the device an event's path belongs to. `own` is the domain we run in; the path may be absolute, or
/// relative to its home.
pub(crate) fn locate(own: DomId, path: &str) -> Located {
    let home = format!("/local/domain/{own}/");
    let relative = path.strip_prefix(&home).unwrap_or(path);
    let mut parts = relative.split('/');
    if parts.next() != Some("backend") {
        return Located::Nothing;
    }
    let Some(folder) = parts.next() else {
        return Located::Everything;
    };
    let Some(class) = Class::ALL
        .into_iter()
        .find(|class| class.folder() == folder)
    else {
        return Located::Nothing;
    };
    let (Some(guest), Some(device)) = (parts.next(), parts.next()) else {
        return Located::Everything;
    };
    match (guest.parse(), device.parse()) {
        (Ok(guest), Ok(device)) => Located::Device(DeviceKey {
            guest,
            class,
            device,
        }),
        _ => Located::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Located {
        locate(DomId::DOM0, path)
    }

    fn device(class: Class, guest: u16, device: u32) -> Located {
        Located::Device(DeviceKey {
            guest: DomId::new(guest).unwrap(),
            class,
            device,
        })
    }

    #[test]
    fn an_event_in_a_folder_leads_to_its_device() {
        assert_eq!(
            at("/local/domain/0/backend/virtio/3/1/avps/version"),
            device(Class::Virtio, 3, 1)
        );
        assert_eq!(
            at("backend/virtio_disk/7/51712/state"),
            device(Class::VirtioDisk, 7, 51712)
        );
        assert_eq!(
            at("/local/domain/0/backend/virtio/3/1"),
            device(Class::Virtio, 3, 1)
        );
    }

    #[test]
    fn an_event_above_the_devices_looks_at_all_of_them() {
        for path in [
            "/local/domain/0/backend",
            "/local/domain/0/backend/virtio",
            "/local/domain/0/backend/virtio/3",
            "backend/virtio_disk",
        ] {
            assert_eq!(at(path), Located::Everything, "{path}");
        }
    }

    #[test]
    fn other_peoples_nodes_are_left_alone() {
        for path in [
            "",
            "/",
            "/local/domain/1/backend/virtio/3/0",
            "/local/domain/0/backend/vbd/3/51712/state",
            "/local/domain/0/backend/virtio/x/0",
            "/local/domain/0/backend/virtio/3/x",
            "/local/domain/0/data",
            "@releaseDomain",
        ] {
            assert_eq!(at(path), Located::Nothing, "{path}");
        }
    }
}
