//! All integration tests of this crate as one program: linking each file apart would take longer than running them.

mod common;

#[path = "answers.rs"]
mod answers;
#[path = "calls.rs"]
mod calls;
#[path = "hostile.rs"]
mod hostile;
#[path = "lists.rs"]
mod lists;
#[path = "messages.rs"]
mod messages;
#[path = "params.rs"]
mod params;
#[path = "requests.rs"]
mod requests;
