//! Device-model operations: how a backend tells Xen which guest addresses it emulates, and raises
//! the guest's interrupts.
//!
//! An ioreq server belongs to the guest and to this domain, not to a process: it survives a backend
//! that dies, and a restarted one goes on with the same [`IoservId`]. Xen allows eight for each
//! guest and 256 ranges for each server. Arm needs a Xen built with `IOREQ_SERVER`.
//!
//! A domain that is not dom0 needs Xen's policy to allow these calls on the guest.

use xen_sys::dm_op as abi;

use crate::error::{Error, Result};
use crate::ids::{DomId, IoservId};
use crate::privcmd::PrivCmd;

/// Creates an ioreq server, without the buffered ring (which Arm does not have). It is disabled and
/// has no range.
///
/// # Errors
/// [`Error::DeviceModel`]; `ENOSPC` when the guest has eight already, see [`Error::is_unsupported`].
pub fn create_ioreq_server(privcmd: &PrivCmd, domid: DomId) -> Result<IoservId> {
    let mut operation = build(
        abi::CREATE_IOREQ_SERVER,
        abi::Parameters {
            create_ioreq_server: abi::CreateIoreqServer {
                handle_bufioreq: abi::BUFIOREQ_OFF,
                ..Default::default()
            },
        },
    );
    privcmd.dm_op(domid, &mut operation, "create an ioreq server")?;
    // SAFETY: the operation wrote this member; its fields are plain integers.
    Ok(IoservId(unsafe { operation.u.create_ioreq_server.id }))
}

/// Destroys an ioreq server with all its ranges. Whatever the guest accesses there afterwards is an
/// abort in the guest; a vCPU that waits for an answer goes on.
///
/// # Errors
/// [`Error::DeviceModel`]; `ENOENT` if there is no such server.
pub fn destroy_ioreq_server(privcmd: &PrivCmd, domid: DomId, server: IoservId) -> Result<()> {
    let mut operation = build(
        abi::DESTROY_IOREQ_SERVER,
        abi::Parameters {
            destroy_ioreq_server: abi::DestroyIoreqServer {
                id: server.0,
                pad: 0,
            },
        },
    );
    privcmd.dm_op(domid, &mut operation, "destroy an ioreq server")
}

/// Gives the server the guest's accesses from `start` to `end_inclusive` (intermediate physical
/// addresses in bytes). An access reaches the server only if it lies within one range as a whole.
///
/// # Errors
/// [`Error::DeviceModel`]; `EEXIST` if the range overlaps one of the same server.
pub fn map_mmio_range(
    privcmd: &PrivCmd,
    domid: DomId,
    server: IoservId,
    start: u64,
    end_inclusive: u64,
) -> Result<()> {
    let mut operation = range(abi::MAP_IO_RANGE, server, start, end_inclusive)?;
    privcmd.dm_op(
        domid,
        &mut operation,
        "give a register range to an ioreq server",
    )
}

/// Takes a range back, as it was given.
///
/// # Errors
/// [`Error::DeviceModel`]; `ENOENT` if the server has no such range.
pub fn unmap_mmio_range(
    privcmd: &PrivCmd,
    domid: DomId,
    server: IoservId,
    start: u64,
    end_inclusive: u64,
) -> Result<()> {
    let mut operation = range(abi::UNMAP_IO_RANGE, server, start, end_inclusive)?;
    privcmd.dm_op(
        domid,
        &mut operation,
        "take a register range from an ioreq server",
    )
}

/// Enables or disables a server. Only while it is enabled does it get requests.
///
/// Map the server's slots ([`crate::IoreqPage::map`]) before enabling it for the first time: Xen
/// allocates them when they are mapped and enters the event channel ports when the server is enabled.
/// The other way round the ports stay 0 and every access of the guest is an abort.
///
/// # Errors
/// [`Error::DeviceModel`].
pub fn set_enabled(privcmd: &PrivCmd, domid: DomId, server: IoservId, enabled: bool) -> Result<()> {
    let mut operation = build(
        abi::SET_IOREQ_SERVER_STATE,
        abi::Parameters {
            set_ioreq_server_state: abi::SetIoreqServerState {
                id: server.0,
                enabled: u8::from(enabled),
                pad: 0,
            },
        },
    );
    privcmd.dm_op(domid, &mut operation, "enable or disable an ioreq server")
}

/// Sets the level of one of the guest's interrupt lines. `irq` counts as the GIC does: shared
/// peripheral interrupts (the only ones allowed) start at 32.
///
/// # Errors
/// [`Error::DeviceModel`]; `EINVAL` for a line that is private, out of range, or belongs to a real
/// device.
pub fn set_irq_level(privcmd: &PrivCmd, domid: DomId, irq: u32, level: bool) -> Result<()> {
    let mut operation = irq_level(irq, level);
    privcmd.dm_op(domid, &mut operation, "set a guest's interrupt")
}

/// Number of vCPUs the domain was created with, online or not: the number of ioreq slots.
///
/// # Errors
/// [`Error::DeviceModel`]; see [`Error::is_no_such_domain`].
pub fn vcpu_count(privcmd: &PrivCmd, domid: DomId) -> Result<u32> {
    let mut operation = build(
        abi::NR_VCPUS,
        abi::Parameters {
            nr_vcpus: abi::NrVcpus::default(),
        },
    );
    privcmd.dm_op(domid, &mut operation, "count a domain's vCPUs")?;
    // SAFETY: the operation wrote this member, a plain integer.
    Ok(unsafe { operation.u.nr_vcpus.vcpus })
}

/// Whether Xen still knows the domain.
///
/// Weaker than it looks: a destroyed domain exists as long as anyone holds one of its pages (our
/// own mappings of its ioreq page do), and identifiers are reused. XenStore's `@releaseDomain`
/// watch tells of a death; this only confirms that a domain has gone.
///
/// # Errors
/// [`Error::DeviceModel`] for anything but a clear answer.
pub fn domain_exists(privcmd: &PrivCmd, domid: DomId) -> Result<bool> {
    match vcpu_count(privcmd, domid) {
        Ok(_) => Ok(true),
        Err(error) if error.is_no_such_domain() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The operation that sets an interrupt line, also for [`crate::eventfd`].
pub(crate) fn irq_level(irq: u32, level: bool) -> abi::DmOp {
    build(
        abi::SET_IRQ_LEVEL,
        abi::Parameters {
            set_irq_level: abi::SetIrqLevel {
                irq,
                level: u8::from(level),
                pad: [0; 3],
            },
        },
    )
}

fn range(op: u32, server: IoservId, start: u64, end_inclusive: u64) -> Result<abi::DmOp> {
    if end_inclusive < start {
        return Err(Error::Argument("a register range ends before it starts"));
    }
    Ok(build(
        op,
        abi::Parameters {
            io_range: abi::IoRange {
                id: server.0,
                pad: 0,
                kind: abi::IO_RANGE_MEMORY,
                start,
                end: end_inclusive,
            },
        },
    ))
}

/// Puts parameters into an operation all of whose other bytes are 0, as Xen demands of padding.
fn build(op: u32, u: abi::Parameters) -> abi::DmOp {
    abi::DmOp { op, pad: 0, u }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_passed_as_inclusive_memory() {
        let operation = range(abi::MAP_IO_RANGE, IoservId(2), 0x200_0000, 0x200_01ff).unwrap();
        assert_eq!((operation.op, operation.pad), (3, 0));
        // SAFETY: this member was written.
        let io_range = unsafe { operation.u.io_range };
        assert_eq!(
            (io_range.id, io_range.pad, io_range.kind),
            (2, 0, abi::IO_RANGE_MEMORY)
        );
        assert_eq!((io_range.start, io_range.end), (0x200_0000, 0x200_01ff));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_never_reaches_xen() {
        assert!(matches!(
            range(abi::MAP_IO_RANGE, IoservId(0), 0x1000, 0xfff),
            Err(Error::Argument(_))
        ));
    }

    #[test]
    fn an_interrupt_level_is_one_or_zero_with_clean_padding() {
        for level in [false, true] {
            let operation = irq_level(33, level);
            assert_eq!(operation.op, 19);
            // SAFETY: this member was written.
            let parameters = unsafe { operation.u.set_irq_level };
            assert_eq!(parameters.irq, 33);
            assert_eq!(parameters.level, u8::from(level));
            assert_eq!(parameters.pad, [0; 3]);
        }
    }
}
