//! Xen's version.

use std::fmt;
use std::io;
use std::path::Path;

use xen_sys::hypercall::XEN_VERSION;
use xen_sys::version as abi;

use crate::error::{Error, Result};
use crate::hypercall_buffer::HypercallBuffer;
use crate::privcmd::PrivCmd;

/// Version of the running hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenVersion {
    /// Major number: the 4 of 4.20.
    pub major: u16,
    /// Minor number: the 20 of 4.20.
    pub minor: u16,
    /// What follows, as Xen gives it: `.3`, `-rc1`, `.3-pre`.
    pub extra: String,
}

impl fmt::Display for XenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{}", self.major, self.minor, self.extra)
    }
}

impl PrivCmd {
    /// Asks Xen for its version.
    ///
    /// # Errors
    /// [`Error::Hypercall`]; `EPERM` once the handle is restricted
    /// ([`XenVersion::from_sysfs`] works still).
    pub fn xen_version(&self) -> Result<XenVersion> {
        let failed = |source| Error::Hypercall {
            what: "ask for Xen's version",
            source,
        };
        // SAFETY: XENVER_version takes no argument.
        let number = unsafe { self.hypercall(XEN_VERSION, [abi::XENVER_VERSION, 0, 0, 0, 0]) }
            .map_err(failed)?;
        let (major, minor) = split(number);
        let buffer = HypercallBuffer::new().map_err(failed)?;
        // SAFETY: XENVER_extraversion writes 16 bytes; the buffer is a page.
        unsafe {
            self.hypercall(
                XEN_VERSION,
                [abi::XENVER_EXTRAVERSION, buffer.address(), 0, 0, 0],
            )
        }
        .map_err(failed)?;
        let extra: abi::ExtraVersion = buffer.read().map_err(failed)?;
        Ok(XenVersion {
            major,
            minor,
            extra: text(&extra),
        })
    }
}

impl XenVersion {
    /// Reads the version from `/sys/hypervisor`, which needs no privilege.
    ///
    /// # Errors
    /// [`Error::Open`] where there is no hypervisor or it is not Xen.
    pub fn from_sysfs() -> Result<Self> {
        Self::from_folder(Path::new("/sys/hypervisor")).map_err(|source| Error::Open {
            device: "/sys/hypervisor",
            module: "xen-privcmd",
            source,
        })
    }

    fn from_folder(folder: &Path) -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name));
        if read("type")?.trim_end() != "xen" {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let number = |name: &str| {
            read(name)?
                .trim_end()
                .parse()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        Ok(Self {
            major: number("version/major")?,
            minor: number("version/minor")?,
            extra: read("version/extra")?.trim_end_matches('\n').into(),
        })
    }
}

/// Major and minor number out of Xen's answer.
fn split(number: i32) -> (u16, u16) {
    let [high, low, ..] = {
        let [a, b, c, d] = number.to_be_bytes();
        [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
    };
    (high, low)
}

/// Zero-terminated text.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    let bytes = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_number_is_split_in_halves() {
        assert_eq!(split(0x0004_0014), (4, 20));
        assert_eq!(split(0x0004_0011), (4, 17));
    }

    #[test]
    fn extra_text_ends_at_its_zero_or_at_the_end_of_the_field() {
        assert_eq!(text(b".3\0garbage"), ".3");
        assert_eq!(text(b"0123456789abcdef"), "0123456789abcdef");
        assert_eq!(text(b""), "");
    }

    #[test]
    fn sysfs_tells_the_same_version_in_files() {
        let folder = std::env::temp_dir().join(format!("xen-version-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("version")).unwrap();
        for (name, value) in [
            ("type", "xen\n"),
            ("version/major", "4\n"),
            ("version/minor", "20\n"),
            ("version/extra", ".3-pre\n"),
        ] {
            std::fs::write(folder.join(name), value).unwrap();
        }
        let version = XenVersion::from_folder(&folder).unwrap();
        std::fs::write(folder.join("type"), "kvm\n").unwrap();
        let other = XenVersion::from_folder(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(version.to_string(), "4.20.3-pre");
        assert_eq!(other.unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
