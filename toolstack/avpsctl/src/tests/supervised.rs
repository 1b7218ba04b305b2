//! What a supervisor is told to know.

use super::{plan, plan_with, start};
use crate::compare::compare;
use crate::machine::model::Model;
use crate::rundir::RunDir;
use crate::supervised;

#[tokio::test(start_paused = true)]
async fn a_domain_that_runs_otherwise_is_supervised_as_it_runs() {
    let model = Model::new();
    let machine = model.machine();
    start(&model, &plan().domains).await.expect("starts");
    let edited = plan_with("cmdline = \"edited\"");
    let statuses = compare(&machine, &edited).expect("a model");
    let store = machine.store.as_ref();
    let known = supervised::as_it_runs(store, edited.clone(), &statuses, &[]).expect("a model");
    assert_eq!(
        known.domains[1],
        plan().domains[1],
        "nobody has applied the edit"
    );
    let fresh = ["b".to_owned()];
    let known = supervised::as_it_runs(store, edited.clone(), &statuses, &fresh).expect("a model");
    assert_eq!(known, edited);
}

#[tokio::test(start_paused = true)]
async fn creating_one_domain_leaves_what_is_known_of_the_others() {
    let model = Model::new();
    let machine = model.machine();
    let known = plan();
    let mut edited = plan_with("cmdline = \"edited\"");
    edited.domains[0].cmdline = "edited too".into();
    // "a" is created from a document that was edited for both.
    let now = supervised::after_create(&machine, Some(known.clone()), &edited, &edited.domains[0]);
    let now = now.expect("a model");
    assert_eq!(now.domains[0], edited.domains[0]);
    assert_eq!(now.domains[1], known.domains[1]);
    // One that was not known.
    let mut less = known.clone();
    less.domains.remove(0);
    let now = supervised::after_create(&machine, Some(less), &edited, &edited.domains[0]);
    let names: Vec<_> = now
        .expect("a model")
        .domains
        .into_iter()
        .map(|domain| domain.name)
        .collect();
    assert_eq!(names, ["b", "a"]);
    // Nobody supervised, and the other one runs as it was.
    start(&model, &known.domains[1..]).await.expect("starts");
    let now = supervised::after_create(&machine, None, &edited, &edited.domains[0]);
    assert_eq!(now.expect("a model").domains[1], known.domains[1]);
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let run = RunDir::new(dir.path().join("deep/er"));
    let path = supervised::path(&run, "test");
    supervised::read(&path).expect_err("there is none");
    supervised::write(&run, &plan()).expect("written");
    assert_eq!(supervised::read(&path).expect("written"), plan());
    supervised::forget(&run, "test");
    supervised::read(&path).expect_err("there is none");
}
