//! The Xen of a [`FakeGuest`]: refuses what the guest did not grant, and notes what should never have been asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress};
use xen::{Access, GrantRef, PAGE_SIZE, Pfn};

use super::guest::{FIRST_FRAME, FakeGuest, PAGES};
use super::pages::{EINVAL, FakePages};
use crate::xen_side::{Foreign, Grants, HostPages, Local, Piece, Platform};

/// Most grants of one mapping: a guest must not make its backend map without bounds.
const MOST_GRANTS: usize = 2048;

struct FakeGrants(Arc<FakeGuest>);

fn refused() -> xen::Error {
    xen::Error::GrantMap {
        domid: xen::DomId::DOM0,
        count: 1,
        first_bad: None,
        source: std::io::Error::from_raw_os_error(EINVAL),
    }
}

impl Grants for FakeGrants {
    fn map(&self, grants: &[GrantRef], access: Access) -> xen::Result<Box<dyn HostPages>> {
        let Self(guest) = self;
        if grants.len() > MOST_GRANTS {
            guest.escape(|| format!("a mapping of {} grants was asked for", grants.len()));
            return Err(refused());
        }
        if grants.len() > 1 && guest.state.lock().unwrap().small_pages_only {
            return Err(xen::Error::PageSize {
                what: "mapping several grants",
                page_size: 65536,
            });
        }
        guest.map_calls.fetch_add(1, Ordering::SeqCst);
        let write = access == Access::ReadWrite;
        let pages: Option<Vec<_>> = grants
            .iter()
            .map(|&grant| guest.page_of(grant, write))
            .collect();
        let pages: Vec<_> = pages.ok_or_else(refused)?.into_iter().map(Some).collect();
        Ok(FakePages::map(guest, &pages, access))
    }

    fn copy(&self, pieces: Vec<Piece<'_>>) -> xen::Result<Vec<Option<String>>> {
        let Self(guest) = self;
        guest.copy_calls.fetch_add(1, Ordering::SeqCst);
        let verdicts = pieces.into_iter().map(
            |Piece {
                 grant,
                 offset,
                 local,
             }| {
                let (write, len) = match &local {
                    Local::In(buffer) => (false, buffer.len()),
                    Local::Out(buffer) => (true, buffer.len()),
                };
                if usize::from(offset) + len > PAGE_SIZE {
                    guest.escape(|| format!("a copy of {len} bytes at {offset} leaves its page"));
                    return Some("beyond the page".to_owned());
                }
                let Some(page) = guest.page_of(grant, write) else {
                    return Some("bad grant".to_owned());
                };
                let at = GuestAddress((page * PAGE_SIZE + usize::from(offset)) as u64);
                match local {
                    Local::In(buffer) => guest.memory.read_slice(buffer, at).unwrap(),
                    Local::Out(buffer) => guest.memory.write_slice(buffer, at).unwrap(),
                }
                None
            },
        );
        Ok(verdicts.collect())
    }
}

struct FakeForeign(Arc<FakeGuest>);

impl Foreign for FakeForeign {
    fn map(&self, frames: &[Pfn]) -> xen::Result<Box<dyn HostPages>> {
        let Self(guest) = self;
        guest.map_calls.fetch_add(1, Ordering::SeqCst);
        let outside = |frame: &&Pfn| !(FIRST_FRAME..FIRST_FRAME + PAGES as u64).contains(&frame.0);
        if let Some(frame) = frames.iter().find(outside) {
            guest.escape(|| format!("frame {:#x} is not the guest's memory", frame.0));
        }
        let pages: Vec<_> = {
            let state = guest.state.lock().unwrap();
            let page = |frame: &Pfn| {
                let page = frame.0.checked_sub(FIRST_FRAME)? as usize;
                (page < PAGES && !state.ballooned.contains(&frame.0)).then_some(page)
            };
            frames.iter().map(page).collect()
        };
        if pages.iter().all(Option::is_none) {
            return Err(xen::Error::ForeignMap {
                domid: xen::DomId::DOM0,
                pages: pages.len(),
                source: std::io::Error::from_raw_os_error(EINVAL),
            });
        }
        Ok(FakePages::map(guest, &pages, Access::ReadWrite))
    }
}

/// The Xen of a [`FakeGuest`].
pub struct FakePlatform(pub Arc<FakeGuest>);

impl Platform for FakePlatform {
    fn grants(&self) -> xen::Result<Arc<dyn Grants>> {
        Ok(Arc::new(FakeGrants(Arc::clone(&self.0))))
    }

    fn foreign(&self) -> Arc<dyn Foreign> {
        Arc::new(FakeForeign(Arc::clone(&self.0)))
    }

    fn raise(&self, irq: u32) -> xen::Result<()> {
        *self
            .0
            .state
            .lock()
            .unwrap()
            .interrupts
            .entry(irq)
            .or_default() += 1;
        self.0.changed.notify_all();
        Ok(())
    }
}
