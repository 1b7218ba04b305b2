//! `avpsctl up` is killed before each single thing it does, and the next one brings about what the document wants.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use platform::plan::{Cpupool, Plan};
use serde_json::Value;

use super::drivers;
use super::{OPTIONS, Recorder, plan, plan_of};
use crate::cancel::Cancel;
use crate::compare::{Status, compare};
use crate::error::Result;
use crate::machine::model::Model;
use crate::machine::{
    Changes, DomainInfo, DomainState, Domains, HostInfo, Machine, PoolInfo, Store, VcpuInfo, Write,
};
use crate::work::{Work, carry_out};

/// A machine on which a program ends before it has changed so many things.
struct Mortal {
    model: Arc<Model>,
    left: AtomicUsize,
}

impl Mortal {
    fn machine(model: &Arc<Model>, steps: usize) -> Machine {
        let mortal = Arc::new(Mortal {
            model: model.clone(),
            left: AtomicUsize::new(steps),
        });
        Machine {
            domains: mortal.clone(),
            store: mortal,
            own: 0,
            ramdisks: model.machine().ramdisks,
        }
    }

    /// Ends the task as SIGKILL ends a process: nothing is cleaned up.
    fn step(&self) {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left.is_err() {
            std::panic::resume_unwind(Box::new("killed"));
        }
    }
}

impl Domains for Mortal {
    fn host(&self) -> Result<HostInfo> {
        self.model.host()
    }

    fn list(&self) -> Result<Vec<DomainInfo>> {
        self.model.list()
    }

    fn create(&self, config: &Value) -> Result<u32> {
        self.step();
        let domid = Domains::create(self.model.as_ref(), config)?;
        // libxl is not done: Xen has the domain, and XenStore not all of it.
        if self.left.load(Ordering::SeqCst) == 0 {
            self.model.unset(&format!("/libxl/{domid}/device"));
            self.model.unset(&format!("/local/domain/{domid}/name"));
            let name = config["c_info"]["name"].as_str().unwrap_or_default();
            self.model.change(name, |info| info.name = "(null)".into());
        }
        self.step();
        Ok(domid)
    }

    fn destroy(&self, domid: u32) -> Result<()> {
        self.step();
        self.model.destroy(domid)
    }

    fn shutdown(&self, domid: u32) -> Result<()> {
        self.step();
        self.model.shutdown(domid)
    }

    fn reboot(&self, domid: u32) -> Result<()> {
        self.step();
        self.model.reboot(domid)
    }

    fn pause(&self, domid: u32) -> Result<()> {
        self.step();
        self.model.pause(domid)
    }

    fn unpause(&self, domid: u32) -> Result<()> {
        self.step();
        self.model.unpause(domid)
    }

    fn console(&self, domid: u32) -> Result<PathBuf> {
        self.model.console(domid)
    }

    fn pools(&self) -> Result<Vec<PoolInfo>> {
        self.model.pools()
    }

    fn create_pool(&self, pool: &Cpupool, uuid: &str) -> Result<u32> {
        self.step();
        self.model.create_pool(pool, uuid)
    }

    fn destroy_pool(&self, pool: u32) -> Result<()> {
        self.step();
        self.model.destroy_pool(pool)
    }

    fn add_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        self.step();
        self.model.add_cpu(pool, cpu)
    }

    fn remove_cpu(&self, pool: u32, cpu: u32) -> Result<()> {
        self.step();
        self.model.remove_cpu(pool, cpu)
    }

    fn vcpus(&self, domid: u32) -> Result<Vec<VcpuInfo>> {
        self.model.vcpus(domid)
    }

    fn process_exists(&self, pid: u32) -> bool {
        self.model.process_exists(pid)
    }

    fn blocks(&self) -> bool {
        false
    }
}

impl Store for Mortal {
    fn read(&self, path: &str) -> Result<Option<String>> {
        self.model.read(path)
    }

    fn children(&self, path: &str) -> Result<Vec<String>> {
        self.model.children(path)
    }

    fn write_all(&self, writes: &[Write]) -> Result<()> {
        self.step();
        self.model.write_all(writes)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.step();
        Store::remove(self.model.as_ref(), path)
    }

    fn permit(&self, path: &str, domid: u32) -> Result<()> {
        self.step();
        self.model.permit(path, domid)
    }

    fn forbid(&self, path: &str, domid: u32) -> Result<()> {
        self.step();
        self.model.forbid(path, domid)
    }

    fn watch(&self, paths: &[String]) -> Result<Changes> {
        self.model.watch(paths)
    }
}

/// What `avpsctl up --replace` does.
async fn up(machine: Machine, plan: Plan) -> Result<()> {
    let (recorder, cancel) = (Recorder::default(), Cancel::never());
    let work = Work::of(&compare(&machine, &plan)?, true)?;
    let report = carry_out(&machine, &plan, work, OPTIONS, &recorder, &cancel).await?;
    report.complete().map(drop)
}

/// Kills `up` before every step, each time on a machine on which `before` runs. Tells how many steps there are.
async fn kill_at_every_step(new: fn() -> Arc<Model>, before: Option<&Plan>, plan: &Plan) -> usize {
    for steps in 0.. {
        let model = new();
        if let Some(before) = before {
            up(model.machine(), before.clone()).await.expect("starts");
        }
        let ended = tokio::spawn(up(Mortal::machine(&model, steps), plan.clone())).await;
        if let Ok(result) = ended {
            result.expect("nothing else fails");
            println!("killed before each of {steps} steps");
            return steps;
        }
        up(model.machine(), plan.clone())
            .await
            .unwrap_or_else(|error| panic!("killed before step {steps}: {error}"));
        for (domain, status) in compare(&model.machine(), plan).expect("a model") {
            let runs = matches!(status, Status::Matches { paused: false, .. });
            assert!(
                runs,
                "killed before step {steps}: {}: {status:?}",
                domain.name
            );
        }
        let list = model.machine().domains.list().expect("a model");
        assert_eq!(
            list.len(),
            1 + plan.domains.len(),
            "killed before step {steps}: {list:?}"
        );
        assert!(
            list.iter().all(|info| info.state == DomainState::Running),
            "{list:?}"
        );
    }
    unreachable!("it ends when nothing is left to do")
}

#[tokio::test(start_paused = true)]
async fn the_next_up_repairs_what_a_killed_one_left_wherever_it_was_killed() {
    let steps = kill_at_every_step(Model::new, None, &plan()).await;
    assert!(
        steps >= 8,
        "two domains, each created, told and let run: {steps}"
    );

    let driven = drivers::plan();
    let steps = kill_at_every_step(drivers::model, None, &driven).await;
    assert!(steps >= 24, "four domains, with their rights: {steps}");

    let pooled = plan_of(
        "schema = \"avps/1\"\n[platform]\nname = \"test\"\n[machine]\ncpus = 2\n\
         [[cpupool]]\nname = \"fast\"\ncpus = [1]\nscheduler = \"null\"\n\
         [[domain]]\nname = \"a\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\ncpupool = \"fast\"\ncpus = [1]\n",
    );
    let steps = kill_at_every_step(Model::new, None, &pooled).await;
    assert!(steps >= 6, "a pool and a domain: {steps}");
}

#[tokio::test(start_paused = true)]
async fn the_next_up_goes_on_with_a_replacement_wherever_it_was_killed() {
    let before = drivers::plan();
    let mut after = before.clone();
    after.domains.iter_mut().for_each(|domain| domain.vcpus = 2);
    let steps = kill_at_every_step(drivers::model, Some(&before), &after).await;
    assert!(
        steps >= 36,
        "four domains end, and four are started: {steps}"
    );
}
