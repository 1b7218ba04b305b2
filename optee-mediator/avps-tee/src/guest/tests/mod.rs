//! A guest's dispatcher without Xen and without a secure world: memory and applications are made up, all between is what the daemon
//! runs.

mod calls;
mod cancel;
mod clients;
mod driver;
mod ending;
mod hostile;
mod memory;
mod sharing;
mod world;
