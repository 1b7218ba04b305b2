//! libxl, as far as this program relies on it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use platform::plan::{Cpupool, VIRTIO_IRQ_FIRST, VIRTIO_MMIO_BASE, VIRTIO_MMIO_STRIDE};
use serde_json::Value;

use super::super::{
    DomainInfo, DomainState, Domains, HostInfo, PoolInfo, ShutdownReason, VcpuInfo,
};
use super::{Model, NoList, info, remove, store};
use crate::error::{Error, Result};

impl Domains for Model {
    fn host(&self) -> Result<HostInfo> {
        Ok(HostInfo {
            xen_version: "4.20.3".into(),
            libxl_release: "4.20".into(),
            total_memory_kib: 1 << 20,
            free_memory_kib: 1 << 19,
            cpus: 2,
        })
    }

    fn list(&self) -> Result<Vec<DomainInfo>> {
        let no_list = self.inner().no_list;
        match no_list {
            Some(NoList::Refused) => Err(Error::Xen("could not list the domains".into())),
            Some(NoList::Defect) => panic!("a defect, put in by the test"),
            None => Ok(self.inner().domains.clone()),
        }
    }

    fn create(&self, config: &Value) -> Result<u32> {
        let mut inner = self.inner();
        let about = &config["c_info"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let name = text(&about["name"]);
        if inner.fail_create.as_ref() == Some(&name) {
            return Err(Error::Xen("could not create: too little memory".into()));
        }
        let ramdisk = config["b_info"]["ramdisk"].as_str().unwrap_or_default();
        if ramdisk.starts_with(&*self.files.path().to_string_lossy()) {
            // Others are only names here.
            std::fs::read(ramdisk).map_err(|_| Error::Xen(format!("cannot read {ramdisk}")))?;
            inner.log.push(format!("read the ramdisk of {name}"));
        }
        let domid = inner.next;
        inner.next += 1;
        inner.log.push(format!("create {name}"));
        let vcpus = number(&config["b_info"]["max_vcpus"]).unwrap_or(1);
        let mut guest = info(domid, &name, &text(&about["uuid"]), vcpus);
        guest.state = DomainState::Paused;
        guest.cpu_time_ns = 0;
        guest.cpupool = number(&about["poolid"]).unwrap_or(0);
        inner.domains.push(guest);
        inner.nodes.insert(
            format!("/local/domain/{domid}/vm"),
            format!("/vm/{}", text(&about["uuid"])),
        );
        for key in ["name", "vm"] {
            let owners = store::owners(domid);
            let path = format!("/local/domain/{domid}/{key}");
            inner.permissions.insert(path, owners);
        }
        inner
            .nodes
            .insert(format!("/local/domain/{domid}/name"), name);
        inner
            .nodes
            .insert(format!("/libxl/{domid}/type"), "pvh".into());
        for device in config["virtios"].as_array().into_iter().flatten() {
            let index = number(&device["devid"]).unwrap_or(0);
            let backend = number(&device["backend_domid"]).unwrap_or(0);
            let base = VIRTIO_MMIO_BASE + VIRTIO_MMIO_STRIDE * u64::from(index);
            let folder = format!("/local/domain/{backend}/backend/virtio/{domid}/{index}");
            for (key, value) in [
                ("frontend-id", domid.to_string()),
                ("online", "1".into()),
                ("state", "1".into()),
                ("type", text(&device["type"])),
                ("base", format!("{base:#x}")),
                ("irq", (VIRTIO_IRQ_FIRST + index).to_string()),
            ] {
                inner.nodes.insert(format!("{folder}/{key}"), value);
            }
            let note = format!("/libxl/{domid}/device/virtio/{index}/backend");
            inner.nodes.insert(note, folder);
        }
        let hook = inner.on_create.take();
        drop(inner);
        if let Some(mut hook) = hook {
            hook(domid);
            self.inner().on_create = Some(hook);
        }
        self.bump();
        Ok(domid)
    }

    fn destroy(&self, domid: u32) -> Result<()> {
        let mut inner = self.inner();
        if inner.fail_destroy {
            return Err(Error::Xen(format!("could not destroy domain {domid}")));
        }
        inner.log.push(format!("destroy {domid}"));
        let backends: BTreeSet<u32> = inner
            .domains
            .iter()
            .filter(|info| info.domid == 0 || info.is_alive())
            .map(|info| info.domid)
            .filter(|domid| inner.serves(*domid))
            .collect();
        inner.leave(domid);
        remove(&mut inner.nodes, &format!("/local/domain/{domid}"));
        remove(&mut inner.nodes, &format!("/libxl/{domid}"));
        remove(&mut inner.permissions, &format!("/local/domain/{domid}"));
        let cleans = inner.cleans;
        for backend in backends.into_iter().filter(|_| cleans) {
            let folder = format!("/local/domain/{backend}/backend/virtio/{domid}");
            remove(&mut inner.nodes, &folder);
        }
        drop(inner);
        self.bump();
        Ok(())
    }

    fn shutdown(&self, domid: u32) -> Result<()> {
        let mut inner = self.inner();
        if inner.fail_shutdown == Some(domid) {
            return Err(Error::Xen("cannot ask it".into()));
        }
        inner.log.push(format!("shutdown {domid}"));
        if inner.obeys_shutdown {
            for info in inner.domains.iter_mut().filter(|info| info.domid == domid) {
                info.state = DomainState::Shutdown;
                info.reason = Some(ShutdownReason::Poweroff);
            }
            inner.driver.lets_go(domid);
        }
        drop(inner);
        self.bump();
        Ok(())
    }

    fn reboot(&self, domid: u32) -> Result<()> {
        self.inner().log.push(format!("reboot {domid}"));
        Ok(())
    }

    fn pause(&self, domid: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("pause {domid}"));
        for info in inner.domains.iter_mut().filter(|info| info.domid == domid) {
            info.state = DomainState::Paused;
        }
        Ok(())
    }

    fn unpause(&self, domid: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("unpause {domid}"));
        for info in inner.domains.iter_mut().filter(|info| info.domid == domid) {
            if info.state == DomainState::Paused {
                info.state = DomainState::Running;
                info.cpu_time_ns = 1;
            }
        }
        inner.boots(domid);
        drop(inner);
        self.bump();
        Ok(())
    }

    fn console(&self, _: u32) -> Result<PathBuf> {
        Err(Error::Xen("no console".into()))
    }

    fn pools(&self) -> Result<Vec<PoolInfo>> {
        let inner = self.inner();
        let mut pools = inner.pools.clone();
        for pool in &mut pools {
            let members = inner.domains.iter().filter(|info| info.cpupool == pool.id);
            pool.domains = u32::try_from(members.count()).unwrap_or(u32::MAX);
        }
        Ok(pools)
    }

    fn create_pool(&self, pool: &Cpupool, uuid: &str) -> Result<u32> {
        let mut inner = self.inner();
        if inner.fail_create.as_ref() == Some(&pool.name) {
            return Err(Error::Xen("could not create the pool".into()));
        }
        inner
            .log
            .push(format!("pool {} of {:?}", pool.name, pool.cpus));
        let taken = inner.pools.iter().flat_map(|pool| &pool.cpus);
        assert!(
            !taken.clone().any(|cpu| pool.cpus.contains(cpu)),
            "a CPU of two pools"
        );
        let id = inner.pools.last().map_or(0, |pool| pool.id + 1);
        inner
            .nodes
            .insert(format!("/local/pool/{id}/uuid"), uuid.to_owned());
        inner.pools.push(PoolInfo {
            id,
            name: pool.name.clone(),
            scheduler: Some(pool.scheduler),
            cpus: pool.cpus.clone(),
            domains: 0,
        });
        Ok(id)
    }

    fn destroy_pool(&self, pool: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("destroy pool {pool}"));
        inner.pools.retain(|known| known.id != pool);
        remove(&mut inner.nodes, &format!("/local/pool/{pool}"));
        Ok(())
    }

    fn add_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("CPU {cpu} into pool {pool}"));
        for known in inner.pools.iter_mut().filter(|known| known.id == pool) {
            known.cpus.push(cpu);
            known.cpus.sort_unstable();
        }
        Ok(())
    }

    fn remove_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        let mut inner = self.inner();
        inner.log.push(format!("CPU {cpu} out of pool {pool}"));
        for known in inner.pools.iter_mut().filter(|known| known.id == pool) {
            known.cpus.retain(|known| *known != cpu);
        }
        Ok(())
    }

    fn vcpus(&self, _: u32) -> Result<Vec<VcpuInfo>> {
        Ok(Vec::new())
    }

    fn process_exists(&self, pid: u32) -> bool {
        pid == 77
    }

    /// What is done stands in the order in which it was asked for.
    fn blocks(&self) -> bool {
        false
    }
}
