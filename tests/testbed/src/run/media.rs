//! What is booted: the bed's own artefacts, or what a developer of Xen or Linux brings along.

use crate::artefacts::rust::Profile;
use crate::artefacts::{self, Workshop};
use crate::failure::Failure;
use std::path::PathBuf;

/// Files that a boot needs.
#[derive(Clone, Debug)]
pub(crate) struct Media {
    /// The hypervisor.
    pub(crate) xen: PathBuf,
    /// dom0's kernel.
    pub(crate) kernel: PathBuf,
    /// dom0's initial file system.
    pub(crate) initramfs: PathBuf,
    /// QEMU's program.
    pub(crate) qemu: PathBuf,
    /// What FLASK policies of this hypervisor are made of, as the folder of Xen's source, where it is known.
    pub(crate) policy_source: Option<PathBuf>,
}

impl Media {
    /// The same with the workspace's programs as shipped, for benchmarks.
    pub(crate) fn as_shipped() -> Result<Self, Failure> {
        Self::compiled(Profile::Release)
    }

    /// The bed's own, with a hypervisor that has the changes which ship in `configs/xen`.
    pub(crate) fn changed() -> Result<Self, Failure> {
        let xen = artefacts::xen::changed(&Workshop::open())?;
        Ok(Self {
            xen: xen.file(artefacts::xen::FILE),
            policy_source: Some(xen.file(artefacts::xen::POLICY_SOURCE)),
            ..Self::get()?
        })
    }

    /// The bed's own, got and built as far as they are missing; or, when the environment variables
    /// `AVPS_BED_XEN`, `AVPS_BED_KERNEL` and `AVPS_BED_INITRAMFS` are all set, those files; `AVPS_BED_XEN_SOURCE` then names the
    /// folder of that Xen's source.
    pub(crate) fn get() -> Result<Self, Failure> {
        Self::compiled(Profile::Bed)
    }

    fn compiled(profile: Profile) -> Result<Self, Failure> {
        let workshop = Workshop::open().compiling(profile);
        Self::brought_or(|| artefacts::bed(&workshop))
    }

    /// The same with no more programs than the demo runs.
    pub(crate) fn demo(workshop: &Workshop) -> Result<Self, Failure> {
        Self::brought_or(|| artefacts::demo(workshop))
    }

    fn brought_or(
        bed: impl FnOnce() -> Result<artefacts::Bed, artefacts::error::Error>,
    ) -> Result<Self, Failure> {
        let own = |name: &str| std::env::var_os(name).map(PathBuf::from);
        if let (Some(xen), Some(kernel), Some(initramfs)) = (
            own("AVPS_BED_XEN"),
            own("AVPS_BED_KERNEL"),
            own("AVPS_BED_INITRAMFS"),
        ) {
            return Ok(Self {
                xen,
                kernel,
                initramfs,
                qemu: "qemu-system-aarch64".into(),
                policy_source: own("AVPS_BED_XEN_SOURCE"),
            });
        }
        Ok(Self::of(bed()?))
    }

    /// The files of a bed.
    pub(super) fn of(bed: artefacts::Bed) -> Self {
        Self {
            xen: bed.hypervisor(),
            kernel: bed.kernel(),
            policy_source: bed.policy_source(),
            initramfs: bed.dom0,
            qemu: bed.qemu,
        }
    }
}
