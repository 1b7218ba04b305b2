//! CPU pools, and where vCPUs may run.

use std::ffi::CString;

use serde::Serialize;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::{Libxl, api};

/// A scheduler (`libxl_scheduler`; its numbers are Xen's `XEN_SCHEDULER_*`, the same in every release).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Credit.
    Credit,
    /// Credit2, Xen's default.
    Credit2,
    /// ARINC653.
    Arinc653,
    /// RTDS.
    Rtds,
    /// A CPU for each vCPU.
    Null,
    /// One this crate does not know.
    Unknown,
}

impl Scheduler {
    const NUMBERS: [(Self, u32); 5] = [
        (Self::Credit, 5),
        (Self::Credit2, 6),
        (Self::Arinc653, 7),
        (Self::Rtds, 8),
        (Self::Null, 9),
    ];

    pub(crate) fn from_number(number: u32) -> Self {
        let known = Self::NUMBERS
            .into_iter()
            .find(|(_, known)| *known == number);
        known.map_or(Self::Unknown, |(scheduler, _)| scheduler)
    }

    fn number(self) -> Option<u32> {
        let known = Self::NUMBERS.into_iter().find(|(known, _)| *known == self);
        known.map(|(_, number)| number)
    }
}

/// A group of CPUs with a scheduler of its own (`libxl_cpupoolinfo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CpuPool {
    /// Number; 0 is the one that dom0 runs in.
    pub id: u32,
    /// Name in XenStore.
    pub name: String,
    /// Scheduler.
    pub scheduler: Scheduler,
    /// Its CPUs, in ascending order.
    pub cpus: Vec<u32>,
    /// How many domains run in it.
    pub domains: u32,
}

/// A virtual CPU (`libxl_vcpuinfo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vcpu {
    /// Number in its domain.
    pub id: u32,
    /// It is online.
    pub online: bool,
    /// The CPU it runs on, or ran on last.
    pub cpu: Option<u32>,
    /// CPUs it may run on (hard affinity), in ascending order; its pool decides too.
    pub affinity: Vec<u32>,
}

impl Libxl {
    /// All CPU pools, by rising number.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when the hypervisor or XenStore does not tell.
    pub fn pools(&self) -> Result<Vec<CpuPool>> {
        self.call("list the CPU pools", |context| context.pools())
    }

    /// Makes a pool of CPUs that are in no pool; returns its number. When it fails there is no such pool.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name or a scheduler libxl cannot take; [`Error::Failed`].
    pub fn create_pool(
        &self,
        name: &str,
        scheduler: Scheduler,
        cpus: &[u32],
        uuid: Uuid,
    ) -> Result<u32> {
        let text = CString::new(name)
            .map_err(|_| Error::Invalid("the name of the CPU pool contains a NUL".to_owned()))?;
        let number = scheduler
            .number()
            .ok_or_else(|| Error::Invalid("a CPU pool needs a known scheduler".to_owned()))?;
        self.call(&format!("create CPU pool \"{name}\""), |context| {
            context.create_pool(&text, number, cpus, uuid)
        })
    }

    /// Removes a pool in which no domain runs; its CPUs are in no pool then.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], also while domains run in it.
    pub fn destroy_pool(&self, pool: u32) -> Result<()> {
        self.call(&format!("destroy CPU pool {pool}"), |context| {
            context.destroy_pool(pool)
        })
    }

    /// Puts a CPU that is in no pool into this one.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn add_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        self.move_cpu(
            &format!("put CPU {cpu} into CPU pool {pool}"),
            cpu,
            |context, cpu| context.add_cpu(pool, cpu),
        )
    }

    /// Takes a CPU out of a pool; vCPUs move to the pool's other CPUs.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], also for the last CPU of a pool with domains.
    pub fn remove_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        self.move_cpu(
            &format!("take CPU {cpu} out of CPU pool {pool}"),
            cpu,
            |context, cpu| context.remove_cpu(pool, cpu),
        )
    }

    /// The vCPUs of a domain, by rising number.
    ///
    /// # Errors
    ///
    /// [`Error::NoDomain`]; [`Error::Failed`].
    pub fn vcpus(&self, domid: u32) -> Result<Vec<Vcpu>> {
        self.on(domid, "ask about the vCPUs of", |context| {
            context.vcpus(domid)
        })
    }

    fn move_cpu(
        &self,
        what: &str,
        cpu: u32,
        call: impl FnOnce(&dyn api::Context, i32) -> std::result::Result<(), api::Code>,
    ) -> Result<()> {
        let cpu =
            i32::try_from(cpu).map_err(|_| Error::Invalid(format!("there is no CPU {cpu}")))?;
        self.call(what, |context| call(context, cpu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_schedulers_are_those_of_every_release() {
        use libxl_sys::{v4_17, v4_20};
        let numbers = Scheduler::NUMBERS.map(|(_, number)| number);
        assert_eq!(
            numbers,
            [
                v4_20::LIBXL_SCHEDULER_CREDIT,
                v4_20::LIBXL_SCHEDULER_CREDIT2,
                v4_20::LIBXL_SCHEDULER_ARINC653,
                v4_20::LIBXL_SCHEDULER_RTDS,
                v4_20::LIBXL_SCHEDULER_NULL,
            ]
        );
        assert_eq!(
            numbers,
            [
                v4_17::LIBXL_SCHEDULER_CREDIT,
                v4_17::LIBXL_SCHEDULER_CREDIT2,
                v4_17::LIBXL_SCHEDULER_ARINC653,
                v4_17::LIBXL_SCHEDULER_RTDS,
                v4_17::LIBXL_SCHEDULER_NULL,
            ]
        );
        assert_eq!(Scheduler::from_number(8), Scheduler::Rtds);
        assert_eq!(Scheduler::from_number(4), Scheduler::Unknown);
    }
}
