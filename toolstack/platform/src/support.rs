//! What Xen's project stands behind: the support statement of each feature that a platform uses.
//!
//! Taken from SUPPORT.md of Xen 4.20. A later release may say more; the report names the release it quotes.

use crate::plan::{DomainKind, DomainPlan, Iommu, Plan, Protection, Scheduler, TeeMode};
use crate::units::XenVersion;

use crate::check::parties::place;

/// The release whose SUPPORT.md is quoted.
pub const QUOTED: XenVersion = XenVersion::new(4, 20);

/// What SUPPORT.md says about a feature, in the order from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Support {
    /// "Supported", with security support.
    Supported,
    /// "Supported, with caveats".
    Caveats,
    /// "Supported, not security supported".
    NotSecurity,
    /// "Tech Preview".
    TechPreview,
    /// "Experimental".
    Experimental,
    /// SUPPORT.md does not mention it for Arm.
    Unlisted,
}

impl Support {
    /// The words of SUPPORT.md.
    pub fn words(self) -> &'static str {
        match self {
            Support::Supported => "Supported",
            Support::Caveats => "Supported, with caveats",
            Support::NotSecurity => "Supported, not security supported",
            Support::TechPreview => "Tech Preview",
            Support::Experimental => "Experimental",
            Support::Unlisted => "not listed for Arm",
        }
    }
}

/// A feature of Xen that a platform uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// What people call it.
    pub name: &'static str,
    /// The heading in SUPPORT.md.
    pub section: &'static str,
    /// What stands there.
    pub support: Support,
    /// The key of the domain that asks for it, with a dot in front; empty for the domain itself.
    pub key: &'static str,
    /// What could be used instead.
    pub instead: &'static str,
}

macro_rules! features {
    ($($ident:ident = $name:literal, $section:literal, $support:ident $(at $key:literal)? $(instead $instead:literal)?;)*) => {
        $(const $ident: Feature = Feature {
            name: $name, section: $section, support: Support::$support,
            key: concat!($($key)?),
            instead: concat!($($instead)?),
        };)*
    };
}

features! {
    DOM0LESS = "dom0less", "Dom0less", Supported at ".boot";
    STATIC_MEMORY = "static memory", "Static Allocation", TechPreview at ".static_memory";
    STATIC_HEAP = "static heap", "Static Heap", TechPreview;
    STATIC_SHM = "static shared memory", "Static Memory Sharing", TechPreview;
    STATIC_EVENT_CHANNEL = "static event channels", "Static Event Channel", TechPreview;
    COLORS = "cache colouring", "Cache coloring", Experimental at ".colors"
        instead "without it the last-level cache is shared: CPUs in clusters with separate caches do without colours. If it is \
                 needed, waive this and say who tests and maintains it";
    POOLS = "CPU pools", "CPU Pools", Supported at ".cpupool";
    CREDIT = "the credit scheduler", "Credit Scheduler", Supported at ".cpupool";
    CREDIT2 = "the credit2 scheduler", "Credit2 Scheduler", Supported at ".cpupool";
    RTDS = "the RTDS scheduler", "RTDS based Scheduler", Experimental at ".cpupool"
        instead "use a pool of its own with a CPU for each vCPU, or arinc653 (supported, one vCPU per domain); or waive this and say \
                 who tests and maintains it";
    ARINC653 = "the ARINC653 scheduler", "ARINC653 Scheduler", Supported at ".cpupool";
    NULL = "the null scheduler", "Null Scheduler", Experimental at ".cpupool"
        instead "a pool in which no other domain runs and which has a CPU for each vCPU gives the same isolation with credit2, which is \
                 supported; if null's shorter interrupt path is needed, waive this and say who tests and maintains it";
    SMMU = "SMMUv1/v2", "IOMMU", NotSecurity;
    SMMU_V3 = "SMMUv3", "IOMMU", TechPreview;
    IPMMU = "Renesas IPMMU-VMSA", "IOMMU", NotSecurity;
    PASSTHROUGH = "device passthrough", "ARM/Non-PCI device passthrough", NotSecurity at ".device";
    IOREQ = "IOREQ servers (virtio)", "ARM/IOREQ servers", TechPreview at ".block";
    DRIVER_DOMAIN = "driver domains", "Driver Domains", Caveats at ".kind";
    OPTEE = "OP-TEE mediator in Xen", "Arm: OP-TEE Mediator", TechPreview at ".tee";
    FFA = "FF-A mediator in Xen", "ARM: Firmware Framework for Arm A-profile (FF-A) Mediator", TechPreview at ".tee";
    VM_EVENT = "vm_event (mediated TEE)", "Virtual Machine Introspection", Unlisted at ".tee";
    MPU = "Armv8-R (MPU)", "ARM v8, Xen in Armv8-R", Experimental
        instead "no other protection exists on Armv8-R; waive this and say who tests and maintains it";
    FLASK = "FLASK", "FLASK XSM Module", Experimental;
}

/// Features that a domain relies on, in a fixed order.
pub fn features_of(plan: &Plan, domain: &DomainPlan) -> Vec<Feature> {
    let place = place(plan, domain);
    let scheduler = match place.scheduler {
        Scheduler::Credit => CREDIT,
        Scheduler::Credit2 => CREDIT2,
        Scheduler::Null => NULL,
        Scheduler::Rtds => RTDS,
        Scheduler::Arinc653 => ARINC653,
    };
    let tee = domain.tee.as_ref().map(|tee| tee.mode);
    let shared = plan.shared_memory.iter().flat_map(|memory| &memory.users);
    let channels = plan.event_channels.iter().flat_map(|channel| &channel.ends);
    let of_xen = domain.is_dom0less();
    let used = [
        (plan.machine.protection == Some(Protection::Mpu), MPU),
        (of_xen, DOM0LESS),
        (!domain.static_memory.is_empty(), STATIC_MEMORY),
        (!domain.colors.is_empty(), COLORS),
        (domain.cpupool.is_some(), POOLS),
        (true, scheduler),
        (
            shared.into_iter().any(|user| user.domain == domain.name),
            STATIC_SHM,
        ),
        (
            channels.into_iter().any(|end| end.domain == domain.name),
            STATIC_EVENT_CHANNEL,
        ),
        (!domain.devices.is_empty(), PASSTHROUGH),
        (!domain.virtio.is_empty(), IOREQ),
        (domain.kind == DomainKind::Driver, DRIVER_DOMAIN),
        (tee == Some(TeeMode::Hypervisor), OPTEE),
        (tee == Some(TeeMode::Ffa), FFA),
        (tee == Some(TeeMode::Mediated), VM_EVENT),
    ];
    let used = used.into_iter().filter(|(used, _)| *used);
    used.map(|(_, feature)| feature).collect()
}

/// Features of the whole platform, whoever uses them.
pub fn features_of_platform(plan: &Plan) -> Vec<Feature> {
    let iommu = match plan.machine.iommu {
        None | Some(Iommu::None) => None,
        Some(Iommu::SmmuV2) => Some(SMMU),
        Some(Iommu::SmmuV3) => Some(SMMU_V3),
        Some(Iommu::Ipmmu) => Some(IPMMU),
    };
    let asked = |word: &str| word.starts_with("flask=");
    let flask = plan.xen.flask.is_some() || plan.xen.cmdline.split_ascii_whitespace().any(asked);
    let heap = (!plan.xen.static_heap.is_empty()).then_some(STATIC_HEAP);
    iommu
        .into_iter()
        .chain(heap)
        .chain(flask.then_some(FLASK))
        .collect()
}
