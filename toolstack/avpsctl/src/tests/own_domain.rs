//! A toolstack that runs in a domain beside dom0: what it calls the control domain is its own.

use std::collections::BTreeMap;

use super::{plan, plan_of, start};
use crate::machine::model::Model;
use crate::machine::{Machine, Write};
use crate::rights;
use crate::start::{backend_runs, require_backends};
use crate::{bound, error::Error};

const OWN: u16 = 7;

fn machine() -> Machine {
    let mut machine = Model::new().machine();
    machine.own = OWN;
    machine
}

#[test]
fn a_device_without_a_backend_is_served_by_the_own_domain() {
    let plan = plan();
    let bound = bound::with_backends(&plan.domains[0], &plan.domains, &[], OWN).expect("bound");
    assert!(
        bound
            .virtio
            .iter()
            .all(|device| device.backend_domid == OWN)
    );
    let config = bound::config(&bound, &BTreeMap::new());
    assert_eq!(config["virtios"][0]["backend_domid"], OWN);
}

#[test]
fn a_device_of_a_named_backend_keeps_it() {
    let text = "schema = \"avps/1\"\n[platform]\nname = \"p\"\n[xen]\nflask = \"enforcing\"\n\
                [[domain]]\nname = \"d\"\nkind = \"driver\"\nkernel = \"/k\"\nmemory = \"64MiB\"\n\
                [[domain]]\nname = \"g\"\nkernel = \"/k\"\nmemory = \"64MiB\"\n\
                [[domain.block]]\nimage = \"/i\"\nbackend = \"d\"\n";
    let plan = plan_of(text);
    // Before it runs, nobody knows its number, and the own domain does not stand in for it.
    let error = bound::with_backends(&plan.domains[1], &plan.domains, &[], OWN);
    assert!(
        matches!(error, Err(Error::NoBackendDomain { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_daemon_is_looked_for_in_the_own_domain() {
    let machine = machine();
    let plan = plan();
    // The model's backend runs in domain 0.
    let error = require_backends(&machine, &plan, &plan.domains).await;
    assert!(
        matches!(error, Err(Error::BackendNotRunning { domid: OWN, .. })),
        "{error:?}"
    );
    let folder = format!("/local/domain/{OWN}/data/avps-backend");
    let keys = [("ready", "1"), ("pid", "77")]
        .map(|(key, value)| Write::value(format!("{folder}/{key}"), value));
    machine.store.write_all(&keys).expect("written");
    require_backends(&machine, &plan, &plan.domains)
        .await
        .expect("it runs");
    // A process of this domain is looked for, as far as there is one.
    let other = [Write::value(format!("{folder}/pid"), "78")];
    machine.store.write_all(&other).expect("written");
    assert!(!backend_runs(&machine, u32::from(OWN)).expect("a model"));
}

#[tokio::test]
async fn the_own_domain_needs_no_rights_and_any_other_gets_them() {
    let model = Model::new();
    let plan = plan();
    start(&model, &plan.domains).await.expect("starts");
    let mut bound = plan.domains[0].clone();
    for (device, backend) in bound.virtio.iter_mut().zip([OWN, 3]) {
        device.backend_domid = backend;
    }
    rights::give(model.as_ref(), &bound, 1, OWN).expect("given");
    // Domain 1 reads its own name, as libxl lets it.
    assert_eq!(model.readers("/local/domain/1/name"), [1, 3]);
}
