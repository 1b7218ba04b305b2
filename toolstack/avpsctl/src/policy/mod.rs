//! FLASK policies: made with Xen's source and the compiler of policies, and compared with what the running Xen allows.

mod compare;
mod compile;

pub use compare::{Difference, compare};
pub use compile::compile;
