//! A domain of the plan on this machine: what is only known once others run.

use platform::emit::libxl_json::{self, Pool};
use platform::plan::{
    Console, DeviceDma, DevicePassthrough, DomainPlan, FIRST_SPI, TeeMode, VirtioPlan,
};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::machine::{DomainInfo, by_uuid};
use crate::pools::Numbers;
use crate::ramdisks::Ramdisk;

/// The domain with the numbers of the domains that serve its devices; `own` is this program's domain.
///
/// # Errors
/// [`Error::NoBackendDomain`] when one of them does not run.
pub fn with_backends(
    plan: &DomainPlan,
    domains: &[DomainPlan],
    running: &[DomainInfo],
    own: u16,
) -> Result<DomainPlan> {
    let mut bound = plan.clone();
    for device in &mut bound.virtio {
        let Some(backend) = started_by_us(device, domains) else {
            device.backend_domid = known_backend(device, own);
            continue;
        };
        let runs = by_uuid(running, &backend.uuid).filter(|info| info.is_alive());
        device.backend_domid = runs
            .map(|info| info.domid)
            .and_then(|domid| u16::try_from(domid).ok())
            .ok_or_else(|| Error::NoBackendDomain {
                backend: backend.name.clone(),
                needed_by: plan.name.clone(),
            })?;
    }
    Ok(bound)
}

/// The domain that serves a device, when it is one of these; others have known numbers.
pub fn started_by_us<'a>(device: &VirtioPlan, domains: &'a [DomainPlan]) -> Option<&'a DomainPlan> {
    let backend = device.backend.as_deref()?;
    domains.iter().find(|domain| domain.name == backend)
}

/// The domain that serves a device which none of the domains to start serves. A plan counts the control domain as number 0; it is the one
/// that this program runs in.
pub fn known_backend(device: &VirtioPlan, own: u16) -> u16 {
    match device.backend {
        None => own,
        Some(_) => device.backend_domid,
    }
}

/// What libxl is given: exactly what `avpsctl emit libxl-json` writes, with the pool's number; see also [`with_ramdisk`].
pub fn config(bound: &DomainPlan, pools: &Numbers) -> Value {
    let pool = bound.cpupool.as_ref().and_then(|name| pools.get(name));
    libxl_json::config(bound, pool.copied().map(Pool::Number))
}

/// The same, with a ramdisk that was made for it.
pub fn with_ramdisk(mut config: Value, ramdisk: Option<&Ramdisk>) -> Value {
    if let Some(ramdisk) = ramdisk {
        config["b_info"]["ramdisk"] = Value::from(ramdisk.path().to_string_lossy());
    }
    config
}

/// The same, with a partial device tree that was made for it, and the interrupt that stands there.
pub fn with_tree(mut config: Value, tree: Option<&Ramdisk>, interrupt: Option<u32>) -> Value {
    if let Some(tree) = tree {
        config["b_info"]["device_tree"] = Value::from(tree.path().to_string_lossy());
    }
    if let Some(spis) = interrupt.and_then(|interrupt| interrupt.checked_sub(FIRST_SPI)) {
        config["b_info"]["arch_arm"]["nr_spis"] = Value::from(spis + 1);
    }
    config
}

/// Tells what a domain asks for that not every Xen and not every machine has: libxl only says that it failed.
pub fn explain(plan: &DomainPlan, cause: Error) -> Error {
    if !matches!(cause, Error::Xen(_)) {
        return cause;
    }
    let tee = plan.tee.as_ref().map(|tee| tee.mode);
    let behind_iommu = |device: &DevicePassthrough| device.dma == DeviceDma::Iommu;
    let asked = [
        (
            tee == Some(TeeMode::Hypervisor),
            "tee.mode = \"hypervisor\": a Xen with CONFIG_TEE and CONFIG_OPTEE, and an OP-TEE with support for \
             virtualization that Xen found when it booted and that has a partition left",
        ),
        (
            tee == Some(TeeMode::Ffa),
            "tee.mode = \"ffa\": a Xen with CONFIG_TEE and CONFIG_FFA, and an OP-TEE with support for virtualization that is \
             the Secure Partition Manager, that Xen found when it booted and that has a partition left",
        ),
        (
            !plan.colors.is_empty(),
            "colors: a Xen with CONFIG_LLC_COLORING, booted with llc-coloring=on, whose cache has these colours",
        ),
        (
            !plan.devices.is_empty(),
            "device: registers and interrupts that no other domain has; the device's node needs xen,passthrough in the \
             device tree that Xen is booted with",
        ),
        (
            plan.devices.iter().any(behind_iommu),
            "device.dma = \"iommu\": an IOMMU that Xen drives, and that is named in the device's node",
        ),
        (
            plan.console == Console::Vpl011,
            "console = \"vpl011\": a Xen with CONFIG_SBSA_VUART_CONSOLE",
        ),
    ];
    let needs: Vec<_> = asked
        .into_iter()
        .filter(|(asked, _)| *asked)
        .map(|(_, needs)| needs)
        .collect();
    if needs.is_empty() {
        return cause;
    }
    Error::NotBuilt {
        domain: plan.name.clone(),
        cause: Box::new(cause),
        needs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_with_an_interrupt_for_its_calls_has_room_for_it_and_keeps_the_rest() {
        let config = || serde_json::json!({"b_info": {"arch_arm": {"vuart": "sbsa_uart"}}});
        let changed = with_tree(config(), None, Some(44));
        assert_eq!(changed["b_info"]["arch_arm"]["nr_spis"], 13);
        assert_eq!(changed["b_info"]["arch_arm"]["vuart"], "sbsa_uart");
        assert_eq!(with_tree(config(), None, None), config());
    }
}
