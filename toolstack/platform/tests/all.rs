//! All integration tests of this crate as one program: linking each file apart would take longer than running them.

mod common;

#[path = "cost.rs"]
mod cost;
#[path = "describe.rs"]
mod describe;
#[path = "device_trees.rs"]
mod device_trees;
#[path = "diff.rs"]
mod diff;
#[path = "documents.rs"]
mod documents;
#[path = "dom0less.rs"]
mod dom0less;
#[path = "emitters.rs"]
mod emitters;
#[path = "evidence.rs"]
mod evidence;
#[path = "fixtures.rs"]
mod fixtures;
#[path = "flask.rs"]
mod flask;
#[path = "host.rs"]
mod host;
#[path = "import.rs"]
mod import;
#[path = "interference.rs"]
mod interference;
#[path = "pictures.rs"]
mod pictures;
#[path = "safety.rs"]
mod safety;
