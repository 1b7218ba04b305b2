//! The secure world of a machine: what it boots from, and what programs of the normal world need to call it.

pub(crate) mod firmware;
pub(crate) mod userland;
