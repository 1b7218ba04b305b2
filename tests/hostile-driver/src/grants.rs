//! Attempts on grants (`xen/include/public/grant_table.h`): references that were not given, other domains' tables, and grants
//! written into a guest's table by somebody else.

use std::io;
use std::sync::atomic::Ordering;

use xen::{Access, CopySegment, GrantDevice, GrantRef};
use xen_sys::domain::DOMID_SELF;
use xen_sys::grant_table as status;
use xen_sys::hypercall::GRANT_TABLE_OP;
use xen_sys::memory as resource;

use crate::attacker::{Attacker, SCRATCH_FRAME, domid};
use crate::attempt::{Attempt, EVERYBODY, Expected, HERE_CONTROL, STRANGERS, Target, Verdict};
use crate::memory::forget_scratch;
use crate::raw::{PAGE, Page};

const MAP_GRANT_REF: u64 = 0;
const UNMAP_GRANT_REF: u64 = 1;
const SETUP_TABLE: u64 = 2;
const COPY: u64 = 5;
const QUERY_SIZE: u64 = 6;
const GET_STATUS_FRAMES: u64 = 9;
const GET_VERSION: u64 = 10;

/// `GNTMAP_host_map | GNTMAP_readonly`.
const HOST_MAP_READ_ONLY: u32 = 2 | 4;
/// Bytes of `gnttab_map_grant_ref`, the longer one of the two structures that are used in turns.
const MAP_BYTES: usize = 32;
/// References that a guest's kernel never gives away: console, XenStore, and what else is granted to the control domain.
const RESERVED: u32 = 8;
/// References looked at: those of the first frame of a table.
const REFERENCES: u32 = 512;
/// `GTF_permit_access`.
const PERMIT: u16 = 1;
/// Low bits of an entry's flags that are its type.
const TYPE: u16 = 3;
/// `GTF_reading` and `GTF_writing`: somebody has it mapped.
const IN_USE: u16 = 8 | 16;
/// Bytes of an entry of version 1: flags, domain, frame.
const ENTRY: usize = 8;

/// The catalogue's part.
pub(crate) const TABLE: &[Attempt] = &[
    Attempt {
        name: "grant-map-reserved",
        aim: "map the pages of console and XenStore, granted to the control domain",
        on: EVERYBODY,
        harm: false,
        how: |a, d| scan_maps(a, d, 0, RESERVED),
    },
    Attempt {
        name: "grant-map",
        aim: "map any page that is granted to somebody else",
        on: STRANGERS,
        harm: false,
        how: |a, d| scan_maps(a, d, 0, REFERENCES),
    },
    Attempt {
        name: "grant-map",
        aim: "map what the guest granted to this domain: its rings",
        on: &[(Target::Own, Expected::Any)],
        harm: false,
        how: |a, d| scan_maps(a, d, RESERVED, REFERENCES),
    },
    Attempt {
        name: "grant-copy-reserved",
        aim: "copy from the pages of console and XenStore",
        on: EVERYBODY,
        harm: false,
        how: |_, d| scan_copies(d, 0, RESERVED),
    },
    Attempt {
        name: "grant-copy",
        aim: "copy from any page that is granted to somebody else",
        on: STRANGERS,
        harm: false,
        how: |_, d| scan_copies(d, 0, REFERENCES),
    },
    Attempt {
        name: "grant-copy-frame",
        aim: "copy from a page by its frame number, without a grant",
        on: EVERYBODY,
        harm: false,
        how: copy_frame,
    },
    Attempt {
        name: "grant-forge",
        aim: "write a grant into the domain's own table, and map a page by it",
        on: EVERYBODY,
        harm: false,
        how: forge,
    },
    Attempt {
        name: "grant-query-size",
        aim: "learn the size of a domain's grant table",
        on: EVERYBODY,
        harm: false,
        how: |a, d| query(a, QUERY_SIZE, d, 0, 12),
    },
    Attempt {
        name: "grant-query-size",
        aim: "learn the size of the own grant table",
        on: HERE_CONTROL,
        harm: false,
        how: |a, _| query(a, QUERY_SIZE, DOMID_SELF, 0, 12),
    },
    Attempt {
        name: "grant-setup-table",
        aim: "let a domain's grant table grow, and learn its frames",
        on: EVERYBODY,
        harm: false,
        how: |a, d| query(a, SETUP_TABLE, d, 0, 8),
    },
    Attempt {
        name: "grant-status-frames",
        aim: "learn the status frames of a domain's grant table",
        on: EVERYBODY,
        harm: false,
        how: |a, d| query(a, GET_STATUS_FRAMES, d, 4, 6),
    },
    Attempt {
        name: "grant-version",
        aim: "learn the version of a domain's grant table",
        on: EVERYBODY,
        harm: false,
        how: version,
    },
];

/// How often each status was seen.
#[derive(Default)]
struct Seen {
    okay: Vec<u32>,
    denied: u32,
    bad_reference: u32,
    other: Vec<i16>,
}

impl Seen {
    fn note(&mut self, reference: u32, status: i16) {
        match status {
            status::GNTST_OKAY => self.okay.push(reference),
            status::GNTST_PERMISSION_DENIED => self.denied += 1,
            status::GNTST_BAD_GNTREF => self.bad_reference += 1,
            // A reference that is granted to another domain, or to nobody (`_set_status_v1`).
            status::GNTST_GENERAL_ERROR => self.bad_reference += 1,
            other => self.other.push(other),
        }
    }

    fn verdict(&self) -> Verdict {
        let detail = format!(
            "{} done {:?}, {} GNTST_permission_denied, {} no grant for this domain, others {:?}",
            self.okay.len(),
            self.okay.iter().take(8).collect::<Vec<_>>(),
            self.denied,
            self.bad_reference,
            self.other.iter().take(4).collect::<Vec<_>>(),
        );
        if !self.okay.is_empty() {
            Verdict::allowed(detail)
        } else if self.other.is_empty() {
            Verdict::refused(detail)
        } else {
            Verdict::failed(detail)
        }
    }
}

/// Maps each reference at the scratch address, and unmaps it at once.
fn scan_maps(attacker: &Attacker, domain: u16, from: u32, to: u32) -> Verdict {
    let seen = Page::new().and_then(|page| {
        let mut seen = Seen::default();
        for reference in from..to {
            seen.note(reference, map_once(attacker, &page, domain, reference)?);
        }
        Ok(seen)
    });
    match seen {
        Ok(seen) => seen.verdict(),
        Err(error) => Verdict::from_errno(error.raw_os_error(), error.to_string()),
    }
}

fn map_once(attacker: &Attacker, page: &Page, domain: u16, reference: u32) -> io::Result<i16> {
    page.put(0, &[0; MAP_BYTES]);
    page.put64(0, SCRATCH_FRAME << 12);
    page.put32(8, HOST_MAP_READ_ONLY);
    page.put32(12, reference);
    page.put16(16, domain);
    attacker
        .raw
        .hypercall(GRANT_TABLE_OP, &[MAP_GRANT_REF, page.address(0), 1])?;
    let status = page.status(18);
    if status == status::GNTST_OKAY {
        let handle = page.get32(20);
        page.put(0, &[0; MAP_BYTES]);
        page.put64(0, SCRATCH_FRAME << 12);
        page.put32(16, handle);
        attacker
            .raw
            .hypercall(GRANT_TABLE_OP, &[UNMAP_GRANT_REF, page.address(0), 1])?;
        if page.status(20) != status::GNTST_OKAY {
            forget_scratch(attacker);
        }
    }
    Ok(status)
}

/// Copies the first bytes of each reference.
fn scan_copies(domain: u16, from: u32, to: u32) -> Verdict {
    let references: Vec<u32> = (from..to).collect();
    let seen = GrantDevice::open().and_then(|device| {
        let mut seen = Seen::default();
        for some in references.chunks(64) {
            copy_some(&device, domain, some, &mut seen)?;
        }
        Ok(seen)
    });
    match seen {
        Ok(seen) => seen.verdict(),
        Err(error) => Verdict::from_errno(error.errno(), error.to_string()),
    }
}

fn copy_some(
    device: &GrantDevice,
    domain: u16,
    references: &[u32],
    seen: &mut Seen,
) -> xen::Result<()> {
    let mut buffers = vec![[0_u8; 8]; references.len()];
    let mut segments = references
        .iter()
        .zip(&mut buffers)
        .map(|(reference, buffer)| {
            CopySegment::from_grant(domid(domain), GrantRef(*reference), 0, buffer)
        })
        .collect::<xen::Result<Vec<_>>>()?;
    device.copy(&mut segments)?;
    for (reference, segment) in references.iter().zip(&segments) {
        seen.note(*reference, segment.status().raw());
    }
    Ok(())
}

/// `GNTTABOP_copy` whose source is a frame of `domain`: Xen looks at both domains before it looks at pages.
fn copy_frame(attacker: &Attacker, domain: u16) -> Verdict {
    let result = Attacker::page(|page| {
        page.put64(0, 0x41000);
        page.put16(8, domain);
        page.put64(16, 0x41000);
        page.put16(24, DOMID_SELF);
        page.put16(32, 8);
    })
    .and_then(|page| {
        attacker
            .raw
            .hypercall(GRANT_TABLE_OP, &[COPY, page.address(0), 1])?;
        Ok(page.status(36))
    });
    by_status(result)
}

fn by_status(result: io::Result<i16>) -> Verdict {
    match result {
        Ok(status::GNTST_OKAY) => Verdict::allowed("done"),
        Ok(status::GNTST_PERMISSION_DENIED) => Verdict::refused("GNTST_permission_denied"),
        Ok(other) => Verdict::failed(format!("grant status {other}")),
        Err(error) => Verdict::from_errno(error.raw_os_error(), error.to_string()),
    }
}

/// An operation on the table of `domain`, whose number and status stand at these bytes.
fn query(
    attacker: &Attacker,
    operation: u64,
    domain: u16,
    domain_at: usize,
    status_at: usize,
) -> Verdict {
    let result = Attacker::page(|page| page.put16(domain_at, domain)).and_then(|page| {
        attacker
            .raw
            .hypercall(GRANT_TABLE_OP, &[operation, page.address(0), 1])?;
        Ok(page.status(status_at))
    });
    by_status(result)
}

fn version(attacker: &Attacker, domain: u16) -> Verdict {
    let result = Attacker::page(|page| page.put16(0, domain)).and_then(|page| {
        attacker
            .raw
            .hypercall(GRANT_TABLE_OP, &[GET_VERSION, page.address(0), 1])?;
        Ok(page.get32(4))
    });
    Verdict::from_io(result, &[], |version| format!("version {version}"))
}

/// A guest's grant table, mapped by `XENMEM_acquire_resource`.
fn table(attacker: &Attacker, domain: u16, frame: u32) -> io::Result<Page> {
    attacker.raw.map_resource(
        domain,
        resource::RESOURCE_GRANT_TABLE,
        resource::RESOURCE_GRANT_TABLE_ID_SHARED,
        frame,
    )
}

fn forge(attacker: &Attacker, domain: u16) -> Verdict {
    let table = match table(attacker, domain, 0) {
        Ok(table) => table,
        Err(error) => {
            return Verdict::from_errno(
                error.raw_os_error(),
                format!("its grant table cannot be mapped: {error}"),
            );
        }
    };
    let free = (1..PAGE / ENTRY)
        .rev()
        .find(|index| table.get64(index * ENTRY) == 0);
    let Some(index) = free else {
        return Verdict::failed("its grant table is mapped, but has no empty entry to write into");
    };
    let at = index * ENTRY;
    table.put16(at + 2, attacker.domains.me);
    table.put32(at + 4, 0x41000);
    table.atomic16(at).store(PERMIT, Ordering::Release);
    let reference = GrantRef(u32::try_from(index).unwrap_or(u32::MAX));
    let verdict = map_and_read(domain, reference);
    table.atomic16(at).store(0, Ordering::Release);
    table.put64(at, 0);
    verdict
}

fn map_and_read(domain: u16, reference: GrantRef) -> Verdict {
    let mapped = GrantDevice::open()
        .and_then(|device| device.map(domid(domain), &[reference], Access::ReadOnly));
    Verdict::from_xen(mapped, |mapping| {
        // SAFETY: the page is mapped whole, and 8 bytes at its start are aligned.
        let word = unsafe { mapping.as_ptr().cast::<u64>().read_volatile() };
        format!(
            "reference {} was forged; the page holds {word:#018x}",
            reference.0
        )
    })
}

/// What a guest's grant table holds for one domain.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Granted {
    /// Entries in use, for whomever.
    pub(crate) entries: u64,
    /// Those for the domain that was asked for.
    pub(crate) granted: u64,
    /// Those of them that are mapped at this moment.
    pub(crate) mapped: u64,
}

/// Counts what `domain` has granted to `to`, from its table.
///
/// # Errors
/// The system's: without the right to map the table, `EPERM` or `EACCES`.
pub(crate) fn count(attacker: &Attacker, domain: u16, to: u16) -> io::Result<Granted> {
    let frames = attacker.raw.resource_frames(
        domain,
        resource::RESOURCE_GRANT_TABLE,
        resource::RESOURCE_GRANT_TABLE_ID_SHARED,
    )?;
    let mut granted = Granted::default();
    for frame in 0..u32::try_from(frames).unwrap_or(0) {
        // Xen lets a table grow when a frame beyond its end is asked for; an empty one ends the count instead.
        let table = table(attacker, domain, frame)?;
        let before = granted.entries;
        for index in 0..PAGE / ENTRY {
            let entry = index * ENTRY;
            add(&mut granted, table.get16(entry), table.get16(entry + 2), to);
        }
        if granted.entries == before {
            break;
        }
    }
    Ok(granted)
}

fn add(granted: &mut Granted, flags: u16, domain: u16, to: u16) {
    if flags & TYPE != PERMIT {
        return;
    }
    granted.entries += 1;
    if domain == to {
        granted.granted += 1;
        granted.mapped += u64::from(flags & IN_USE != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Outcome;

    #[test]
    fn a_scan_is_refused_only_if_nothing_was_done_and_nothing_is_unclear() {
        let verdict = |statuses: &[i16]| {
            let mut seen = Seen::default();
            for status in statuses {
                seen.note(9, *status);
            }
            seen.verdict().outcome
        };
        let denied = status::GNTST_PERMISSION_DENIED;
        assert_eq!(
            verdict(&[denied, status::GNTST_BAD_GNTREF]),
            Outcome::Refused
        );
        assert_eq!(
            verdict(&[denied, status::GNTST_BAD_DOMAIN]),
            Outcome::Failed
        );
        assert_eq!(verdict(&[denied, status::GNTST_OKAY]), Outcome::Allowed);
    }

    #[test]
    fn grants_are_counted_by_type_domain_and_use() {
        let mut granted = Granted::default();
        add(&mut granted, 0, 3, 3);
        add(&mut granted, PERMIT, 0, 3);
        add(&mut granted, PERMIT, 3, 3);
        add(&mut granted, PERMIT | 8, 3, 3);
        let expected = Granted {
            entries: 3,
            granted: 2,
            mapped: 1,
        };
        assert_eq!(granted, expected);
    }
}
