//! XenStore, with the permissions of nodes that somebody changes.

use xenstore::{Access, Permission};

use super::super::{Changes, Store, Write, permissions};
use super::{Backend, Inner, Model, READY, remove};
use crate::error::{Error, Result};

/// As libxl makes the nodes of a domain: the control domain's, and the domain may read.
pub(super) fn owners(domid: u32) -> Vec<Permission> {
    let mut all = vec![Permission::new(0, Access::None)];
    all.extend(
        number(domid)
            .filter(|domid| *domid != 0)
            .map(|domid| Permission::new(domid, Access::Read)),
    );
    all
}

fn number(domid: u32) -> Option<u16> {
    u16::try_from(domid).ok()
}

impl Inner {
    /// Whether a domain may read a node.
    pub(super) fn may_read(&self, domid: u32, path: &str) -> bool {
        let all = self.permissions.get(path);
        domid == 0
            || all.is_some_and(|all| {
                let mut own = all.iter().filter(|entry| u32::from(entry.domid) == domid);
                own.any(|entry| matches!(entry.access, Access::Read | Access::Both))
            })
    }
}

impl Model {
    /// The domains that may read a node, the control domain left out.
    pub(crate) fn readers(&self, path: &str) -> Vec<u32> {
        let inner = self.inner();
        let entries = inner.permissions.get(path).into_iter().flatten();
        let mut domids: Vec<u32> = entries.map(|entry| u32::from(entry.domid)).collect();
        domids.retain(|domid| *domid != 0 && inner.may_read(*domid, path));
        domids
    }

    fn refused(&self, path: &str) -> Result<()> {
        let inner = self.inner();
        let refused = inner
            .no_read
            .as_ref()
            .filter(|below| path.starts_with(*below));
        match refused {
            Some(_) => Err(Error::Store(format!("{path} cannot be read"))),
            None => Ok(()),
        }
    }

    fn change_readers(
        &self,
        path: &str,
        domid: u32,
        verb: &str,
        change: impl FnOnce(&mut Vec<Permission>, u16) -> bool,
    ) -> Result<()> {
        let mut inner = self.inner();
        let Some(all) = inner.permissions.get_mut(path) else {
            return Err(Error::Store(format!("{path} does not exist")));
        };
        if change(all, number(domid).expect("a domain")) {
            inner.log.push(format!("{verb} {path} to {domid}"));
        }
        Ok(())
    }
}

impl Store for Model {
    fn read(&self, path: &str) -> Result<Option<String>> {
        self.refused(path)?;
        Ok(self.inner().nodes.get(path).cloned())
    }

    fn children(&self, path: &str) -> Result<Vec<String>> {
        self.refused(path)?;
        let below = format!("{path}/");
        let mut names: Vec<String> = self
            .inner()
            .nodes
            .keys()
            .filter_map(|node| {
                node.strip_prefix(&below)?
                    .split('/')
                    .next()
                    .map(str::to_owned)
            })
            .collect();
        names.dedup();
        Ok(names)
    }

    fn write_all(&self, writes: &[Write]) -> Result<()> {
        let mut inner = self.inner();
        for write in writes {
            let (path, value) = match write {
                Write::Private { path, owner } => {
                    inner.log.push(format!("private {path} of {owner}"));
                    continue;
                }
                Write::Value { path, value } => (path, value),
            };
            inner.log.push(format!("write {path}"));
            inner.nodes.insert(path.clone(), value.clone());
            let Some(folder) = path.strip_suffix("/avps/version") else {
                continue;
            };
            if let Some(why) = inner.driver_refuses(folder) {
                inner.nodes.insert(format!("{folder}/avps/error"), why);
                continue;
            }
            let image = inner.nodes.get(&format!("{folder}/avps/image")).cloned();
            let behavior = match inner.backend.clone() {
                Backend::RefusesImage(bad) if image.as_deref() == Some(bad) => {
                    Backend::Refuses("cannot open its image")
                }
                Backend::SilentAbout(slow) if image.as_deref() == Some(slow) => Backend::Silent,
                Backend::RefusesImage(_) | Backend::SilentAbout(_) => Backend::Serves,
                all => all,
            };
            match behavior {
                Backend::RefusesImage(_) | Backend::SilentAbout(_) | Backend::Serves => {
                    inner.nodes.insert(format!("{folder}/state"), "2".into());
                    inner.becomes_server(folder);
                }
                Backend::Silent => {}
                Backend::Refuses(why) => {
                    inner
                        .nodes
                        .insert(format!("{folder}/avps/error"), why.into());
                }
                Backend::Dies => remove(&mut inner.nodes, READY),
            }
        }
        drop(inner);
        self.bump();
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.unset(path);
        Ok(())
    }

    fn permit(&self, path: &str, domid: u32) -> Result<()> {
        self.change_readers(path, domid, "permit", permissions::permit)
    }

    fn forbid(&self, path: &str, domid: u32) -> Result<()> {
        self.change_readers(path, domid, "forbid", |all, domid| {
            permissions::forbid(all, &[domid])
        })
    }

    fn watch(&self, _: &[String]) -> Result<Changes> {
        let changed = self.changed.lock().expect("no test panics inside");
        let mut receiver = changed.subscribe();
        // As XenStore does: each new watch fires at once.
        receiver.mark_changed();
        Ok(Changes::new(receiver))
    }
}
