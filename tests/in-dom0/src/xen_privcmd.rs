//! The privileged command device against a real Xen, as far as no guest is needed.

use std::error::Error;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use xen::{
    Access, DomId, IoreqPage, IoservId, IrqFd, Pfn, PrivCmd, XenVersion, device_model as dm,
};

type Outcome = Result<(), Box<dyn Error>>;
type Test = (&'static str, fn() -> Outcome);

/// Name and body of each test.
pub(crate) const TESTS: &[Test] = &[
    (
        "xen: the hypercall and sysfs tell the same version",
        the_hypercall_and_sysfs_tell_the_same_version,
    ),
    (
        "xen: a restricted handle refuses every other domain and all raw hypercalls",
        a_restricted_handle_refuses_every_other_domain,
    ),
    (
        "xen: a domain that does not exist is told as such by every call",
        a_domain_that_does_not_exist_is_told_as_such,
    ),
    (
        "xen: an eventfd is tied to one interrupt at a time",
        an_eventfd_is_tied_to_one_interrupt_at_a_time,
    ),
];

fn check(condition: bool, broken: &str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(broken.into())
    }
}

/// Domains that no test creates.
fn absent() -> Result<(DomId, DomId), Box<dyn Error>> {
    Ok((
        DomId::new(32_000).ok_or("domain 32000")?,
        DomId::new(32_001).ok_or("domain 32001")?,
    ))
}

fn the_hypercall_and_sysfs_tell_the_same_version() -> Outcome {
    let asked = PrivCmd::open()?.xen_version()?;
    let read = XenVersion::from_sysfs()?;
    check(
        asked == read,
        &format!("the hypercall says {asked}, sysfs says {read}"),
    )?;
    check(
        asked.major == 4,
        &format!("{asked} is no Xen this project knows"),
    )
}

fn a_restricted_handle_refuses_every_other_domain() -> Outcome {
    let (mine, other) = absent()?;
    let privcmd = PrivCmd::open()?;
    privcmd.restrict(mine)?;
    privcmd.restrict(mine)?;
    check(
        privcmd.restrict(other).is_err(),
        "a restriction was replaced",
    )?;

    let refusals = [
        ("a raw hypercall", privcmd.xen_version().map(drop)),
        (
            "a device-model call",
            dm::vcpu_count(&privcmd, other).map(drop),
        ),
        ("an interrupt", dm::set_irq_level(&privcmd, other, 33, true)),
        (
            "a foreign mapping",
            privcmd
                .map_foreign(other, &[Pfn(0x40000)], Access::ReadOnly)
                .map(drop),
        ),
        (
            "an ioreq page",
            IoreqPage::map(&privcmd, other, IoservId(0), 1).map(drop),
        ),
    ];
    for (what, result) in refusals {
        let errno = result.as_ref().err().and_then(xen::Error::errno);
        check(
            errno == Some(libc::EPERM),
            &format!("{what} of another domain: {result:?}"),
        )?;
    }
    // Its own domain is let through, to Xen, which does not know it. A clone is the same file.
    check(
        !dm::domain_exists(&privcmd.clone(), mine)?,
        "domain 32000 exists",
    )
}

fn a_domain_that_does_not_exist_is_told_as_such() -> Outcome {
    let (absent, _) = absent()?;
    let privcmd = PrivCmd::open()?;
    check(!dm::domain_exists(&privcmd, absent)?, "domain 32000 exists")?;
    let results = [
        (
            "create an ioreq server",
            dm::create_ioreq_server(&privcmd, absent).map(drop),
        ),
        (
            "map a range",
            dm::map_mmio_range(&privcmd, absent, IoservId(0), 0x200_0000, 0x200_01ff),
        ),
        (
            "set an interrupt",
            dm::set_irq_level(&privcmd, absent, 33, true),
        ),
        (
            "map an ioreq page",
            IoreqPage::map(&privcmd, absent, IoservId(0), 1).map(drop),
        ),
        (
            "map its memory",
            privcmd
                .map_foreign(absent, &[Pfn(0x40000), Pfn(0x40001)], Access::ReadOnly)
                .map(drop),
        ),
    ];
    for (what, result) in results {
        let gone = result
            .as_ref()
            .err()
            .is_some_and(xen::Error::is_no_such_domain);
        check(gone, &format!("{what}: {result:?}"))?;
    }
    Ok(())
}

fn an_eventfd_is_tied_to_one_interrupt_at_a_time() -> Outcome {
    let (absent, _) = absent()?;
    let privcmd = PrivCmd::open()?;
    // SAFETY: takes plain values.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    check(fd >= 0, "eventfd() failed")?;
    // SAFETY: just created, and nobody else's.
    let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
    let first = IrqFd::assign(&privcmd, absent, 33, eventfd.as_fd())?;
    let second = IrqFd::assign(&privcmd, absent, 34, eventfd.as_fd());
    let errno = second.as_ref().err().and_then(xen::Error::errno);
    check(errno == Some(libc::EBUSY), &format!("{second:?}"))?;
    first.deassign()?;
    drop(IrqFd::assign(&privcmd, absent, 34, eventfd.as_fd())?);
    IrqFd::assign(&privcmd, absent, 35, eventfd.as_fd())?.deassign()?;
    Ok(())
}
