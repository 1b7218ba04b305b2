//! Domain management for Xen-based vehicle computers: the parts of the command `avpsctl`.
//!
//! The command line is in [`cli`], one module per command in [`commands`]. What they do to the
//! machine is in modules of its own, which know no command line: [`start`] (create paused, tell the
//! backends, wait for them, unpause, or take back what never ran), [`serve`] (devices of guests that Xen
//! itself started), [`remove`] (destroy and leave
//! nothing behind), [`compare`] (what runs against the plan) and [`supervise`] (what follows when a
//! guest ends; a daemon can take this one over as it is).
//!
//! All of that sees the machine through [`machine::Domains`] and [`machine::Store`]; libxl and
//! XenStore stand behind them on dom0, a model in memory in tests.
//!
//! What it must never do: leave a domain it created behind when it fails (or else say what
//! remains), unpause a guest whose backend is not ready, or change a running domain unasked.

pub mod action;
pub mod applied;
pub mod bound;
pub mod cancel;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod error;
pub mod keys;
pub mod machine;
pub mod manual;
mod mediation;
pub mod observe;
pub mod order;
pub mod policy;
pub mod pools;
pub mod ramdisks;
pub mod remove;
pub mod rights;
pub mod rundir;
pub mod serve;
pub mod start;
pub mod stop;
pub mod supervise;
pub mod supervised;
pub mod terminal;
pub mod ui;
pub mod work;

#[cfg(test)]
mod tests;

pub use error::{Error, Exit, Result};
