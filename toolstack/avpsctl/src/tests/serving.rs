//! Guests that Xen started are shown their devices when these are served, and not before.

use std::sync::Arc;
use std::time::Duration;

use platform::Plan;

use super::{Recorder, plan_of};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::machine::model::{Backend, Model};
use crate::serve::{Served, serve};

const BACK: &str = "/local/domain/0/backend/virtio/1";
const FRONT: &str = "/local/domain/1/device/virtio";

/// A control domain, a guest of Xen's own boot with two disks, and one of the toolstack's.
fn plan(image: &str) -> Plan {
    let text = format!(
        r#"
schema = "avps/1"
[platform]
name = "test"
[[domain]]
name = "control"
kind = "control"
kernel = "/Image"
memory = "256MiB"
[[domain]]
name = "cockpit"
boot = "dom0less"
kernel = "/Image"
memory = "64MiB"
[[domain.block]]
image = "{image}"
[[domain.block]]
image = "/second.img"
memory = "foreign"
[[domain]]
name = "later"
kernel = "/Image"
memory = "64MiB"
[[domain.block]]
image = "/later.img"
"#
    );
    plan_of(&text)
}

async fn served(model: &Arc<Model>) -> Result<Vec<Served>> {
    serve(
        &model.machine(),
        &plan("/first.img"),
        Duration::from_secs(30),
        &Recorder::default(),
        &Cancel::never(),
    )
    .await
}

fn nothing_written(model: &Model) {
    assert_eq!(model.log(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_guest_is_shown_its_devices_after_the_backend_serves_them() {
    let model = Model::new();
    model.started_by_xen(Some("dom0less-1"));
    let served = served(&model).await.expect("serves");
    assert_eq!(served.len(), 1, "{served:?}");
    assert_eq!((served[0].name.as_str(), served[0].domid), ("cockpit", 1));
    assert!(served[0].after.is_some());
    let nodes = model.nodes();
    for (path, value) in [
        (format!("{BACK}/0/base"), "0x2000000"),
        (format!("{BACK}/0/irq"), "33"),
        (format!("{BACK}/0/frontend-id"), "1"),
        (format!("{BACK}/0/grant_usage"), "1"),
        (format!("{BACK}/0/avps/image"), "/first.img"),
        (format!("{BACK}/1/base"), "0x2000200"),
        (format!("{BACK}/1/grant_usage"), "0"),
        (
            format!("{FRONT}/0/backend"),
            "/local/domain/0/backend/virtio/1/0",
        ),
        (format!("{FRONT}/1/state"), "1"),
        ("/local/domain/1/name".to_owned(), "cockpit"),
    ] {
        assert_eq!(nodes.get(&path).map(String::as_str), Some(value), "{path}");
    }
    let log = model.log();
    let place = |what: &str| log.iter().position(|line| line.contains(what));
    assert!(place("/1/avps/version") < place(FRONT), "{log:?}");
    assert!(place("later").is_none(), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_sees_its_devices_is_left_alone() {
    let model = Model::new();
    model.started_by_xen(Some("dom0less-1"));
    served(&model).await.expect("serves");
    model.set(&format!("{BACK}/0/state"), "4");
    let before = model.nodes();
    let again = served(&model).await.expect("serves");
    assert_eq!(again[0].after, None);
    assert_eq!(model.nodes(), before);
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_is_finished() {
    let model = Model::new();
    model.started_by_xen(Some("dom0less-1"));
    served(&model).await.expect("serves");
    model.unset(FRONT);
    let again = served(&model).await.expect("serves");
    assert!(again[0].after.is_some());
    assert!(model.nodes().contains_key(&format!("{FRONT}/1/state")));
}

#[tokio::test(start_paused = true)]
async fn a_guest_without_xenstore_is_named_before_anything_is_written() {
    let model = Model::new();
    let error = served(&model).await.expect_err("nothing runs");
    assert!(matches!(error, Error::NoSuchDomain(_)), "{error}");
    model.started_by_xen(None);
    let error = served(&model).await.expect_err("not introduced");
    assert!(
        matches!(error, Error::NoXenStore { domid: 1, .. }),
        "{error}"
    );
    assert!(
        error
            .help()
            .is_some_and(|help| help.contains("init-dom0less"))
    );
    nothing_written(&model);
}

#[tokio::test(start_paused = true)]
async fn a_domain_of_somebody_else_is_given_no_disk() {
    let model = Model::new();
    model.started_by_xen(Some("stranger"));
    let error = served(&model).await.expect_err("another domain");
    assert!(matches!(error, Error::AnotherDomain { .. }), "{error}");
    nothing_written(&model);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_not_served_is_taken_back_and_never_shown() {
    for backend in [Backend::Refuses("no such image"), Backend::Silent] {
        let model = Model::new();
        model.started_by_xen(Some("dom0less-1"));
        model.backend(backend);
        served(&model).await.expect_err("not served");
        let nodes = model.nodes();
        let left = nodes
            .keys()
            .find(|path| path.starts_with(BACK) || path.starts_with(FRONT));
        assert_eq!(left, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_served_is_not_changed_under_its_guest() {
    let model = Model::new();
    model.started_by_xen(Some("dom0less-1"));
    served(&model).await.expect("serves");
    let before = model.nodes();
    let other = plan("/other.img");
    let result = serve(
        &model.machine(),
        &other,
        Duration::from_secs(30),
        &Recorder::default(),
        &Cancel::never(),
    )
    .await;
    let error = result.expect_err("differs");
    assert!(
        matches!(&error, Error::Drift(what) if what[0].contains("/other.img")),
        "{error}"
    );
    assert_eq!(model.nodes(), before);
}
