//! The parts of `cargo xtask test` and the time each may take when everything is warm.

use std::time::Duration;

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// rustfmt, clippy, licences, unit tests.
    Skeleton,
    /// What the bed boots, when something had to be made.
    Build,
    /// Tests in the bed.
    VirtioCore,
    /// Driver domains, in a boot of their own.
    DriverDomain,
    /// OP-TEE in the secure world, in a boot of its own.
    OpTee,
    /// The checker of documents against Xen.
    Oracle,
}

impl Part {
    /// Its name.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Skeleton => "skeleton",
            Self::Build => "build",
            Self::VirtioCore => "virtio core",
            Self::DriverDomain => "driver domain",
            Self::OpTee => "OP-TEE",
            Self::Oracle => "document and oracle",
        }
    }

    /// The time it may take, where a warm run says something about it.
    pub(super) fn budget(self) -> Option<Duration> {
        match self {
            Self::Skeleton => Some(Duration::from_secs(180)),
            Self::Build => None,
            Self::VirtioCore => Some(Duration::from_secs(300)),
            Self::DriverDomain => Some(Duration::from_secs(540)),
            Self::OpTee => Some(Duration::from_secs(300)),
            Self::Oracle => Some(Duration::from_secs(300)),
        }
    }
}
