//! All integration tests of this crate as one program: linking each file apart would take longer than running them.

mod common;

#[path = "decoder.rs"]
mod decoder;
#[path = "faults.rs"]
mod faults;
#[path = "stall.rs"]
mod stall;
#[path = "tokio_client.rs"]
mod tokio_client;
#[path = "transactions.rs"]
mod transactions;
#[path = "verbs.rs"]
mod verbs;
#[path = "watches.rs"]
mod watches;
