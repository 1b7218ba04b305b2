//! Driver domains: their rights, and the order in which they and their guests come and go.

mod bringing;
mod outages;

use std::sync::Arc;

use platform::plan::{DomainPlan, Plan};

use super::{OPTIONS, Recorder, plan_of};
use crate::cancel::Cancel;
use crate::compare::{Status, compare};
use crate::error::Result;
use crate::machine::DOMAIN_ENDED;
use crate::machine::model::Model;
use crate::start::{self, Started};
use crate::work::{Work, carry_out};

/// Two driver domains; "a" and "b" have a disk of "storage", "b" one of "archive", too. The guests stand first.
fn plan_with(storage: &str, a: &str, b: &str) -> Plan {
    let driver = |name: &str, keys: &str| {
        format!(
            "[[domain]]\nname = \"{name}\"\nkind = \"driver\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n{keys}\n"
        )
    };
    let guest = |name: &str, keys: &str, backends: &[&str]| {
        let disks = backends.iter().map(|backend| {
            format!("[[domain.block]]\nimage = \"/{name}.img\"\nbackend = \"{backend}\"\n")
        });
        format!(
            "[[domain]]\nname = \"{name}\"\nkernel = \"/Image\"\nmemory = \"64MiB\"\n{keys}\n{}",
            disks.collect::<String>()
        )
    };
    plan_of(&format!(
        "schema = \"avps/1\"\n[platform]\nname = \"test\"\n[xen]\nflask = \"enforcing\"\n{}{}{}{}",
        guest("a", a, &["storage"]),
        guest("b", b, &["storage", "archive"]),
        driver("storage", storage),
        driver("archive", RESTART),
    ))
}

pub(crate) const RESTART: &str = "on_crash = \"restart\"";

pub(crate) fn plan() -> Plan {
    plan_with(RESTART, RESTART, RESTART)
}

pub(crate) fn model() -> Arc<Model> {
    let model = Model::new();
    model.backend_starts_in("storage");
    model.backend_starts_in("archive");
    model
}

pub(crate) async fn start(model: &Arc<Model>, plan: &Plan) -> Result<Vec<Started>> {
    let (machine, recorder) = (model.machine(), Recorder::default());
    let cancel = Cancel::never();
    start::start(&machine, plan, &plan.domains, OPTIONS, &recorder, &cancel).await
}

/// What was done to domains, in order, from an earlier length of the log.
pub(crate) fn steps(model: &Model, from: usize) -> Vec<String> {
    let verbs = ["create", "destroy", "shutdown", "unpause"];
    let mut log = model.log().split_off(from);
    log.retain(|line| verbs.iter().any(|verb| line.starts_with(verb)));
    log
}

fn statuses(model: &Arc<Model>, plan: &Plan) -> Vec<(DomainPlan, Status)> {
    compare(&model.machine(), plan).expect("a model")
}

/// What `avpsctl up` does.
pub(crate) async fn up(
    model: &Arc<Model>,
    plan: &Plan,
    replace: bool,
) -> Result<(Vec<Started>, Vec<String>)> {
    let work = Work::of(&statuses(model, plan), replace)?;
    let (machine, recorder) = (model.machine(), Recorder::default());
    let cancel = Cancel::never();
    let report = carry_out(&machine, plan, work, OPTIONS, &recorder, &cancel).await?;
    let started = report.complete()?;
    Ok((started, recorder.lines()))
}

pub(crate) fn matches(model: &Arc<Model>, plan: &Plan) -> bool {
    let statuses = statuses(model, plan);
    let mut statuses = statuses.iter();
    statuses.all(|(_, status)| matches!(status, Status::Matches { .. }))
}

/// Only dom0 is left, and nothing in XenStore of anybody else.
pub(crate) fn nothing_is_left(model: &Model) {
    assert_eq!(model.nodes(), Model::new().nodes());
    assert_eq!(model.names(), [""; 0]);
    assert_eq!(model.readers(DOMAIN_ENDED), [0; 0]);
}
