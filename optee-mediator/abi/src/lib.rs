//! OP-TEE's SMC ABI and message protocol, as a mediator sees them: it stands between a guest's stock Linux `optee`
//! driver and a TEE, takes the guest's calls apart, and answers them in OP-TEE's place.
//!
//! Principles:
//! - The guest is hostile. Registers and bytes become validated types once, at this edge; inside, values are valid.
//! - This crate never reads a guest's memory. It is given private *copies*: whoever calls it copies a message, a list
//!   of pages or an answer out of the guest exactly once, and judges, uses and answers that copy. What the guest
//!   writes meanwhile changes nothing.
//! - Nothing a guest does panics or allocates, nor takes longer than the sizes in [`limits`] and the caller's bounds say.
//! - A refusal is one of OP-TEE's: each error knows the code OP-TEE has for such a mistake. More is refused than by
//!   OP-TEE, which ignores what it does not know (attribute bits of parameters, parameters of commands without any).
//!
//! A call goes through it like this: registers → [`smc::Call`]; a call with a message → [`message::Message`] from a
//! copy of at most [`limits::MAX_MESSAGE`] bytes; memory that comes as a list → [`pages::PageList`]; then
//! [`message::Outcome`] back into the copy, and an [`smc::Answer`] into the registers. When the mediator needs the
//! guest's help in the middle of a call, it returns an [`smc::Rpc`], with a [`message::rpc::Request`] if that is a
//! command, and the guest resumes with [`smc::Resume`].
//!
//! Numbers are those of OP-TEE (`core/arch/arm/include/sm/optee_smc.h`, `core/include/optee_msg.h`,
//! `core/include/optee_rpc_cmd.h`; as of 4.10) and Linux (`drivers/tee/optee/`, as of 7.2), both little-endian. Header
//! files are named without their folders below. Only the SMC conduit is spoken here, not FF-A.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

mod named;

pub mod ids;
pub mod limits;
pub mod login;
pub mod message;
pub mod pages;
pub mod result;
pub mod smc;
pub mod uuid;

pub use ids::{Ipa, SessionId, ShmRef};
pub use login::Login;
pub use message::{Command, Message, Outcome, Output, Param};
pub use pages::PageList;
pub use result::{Origin, TeeResult};
pub use smc::{Answer, Call, Registers};
pub use uuid::Uuid;
