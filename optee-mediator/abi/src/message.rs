//! Messages: what a call with an argument is about (`struct optee_msg_arg`, optee_msg.h).
//!
//! The caller copies up to [`MAX_MESSAGE`](crate::limits::MAX_MESSAGE) bytes from where the call says the message is
//! (fewer if its page or its registered memory ends before), *once*, and lets [`Message::parse`] take the copy apart.
//! A parsed message is a value of its own and refers to nothing. The answer goes into the copy by [`Message::answer`],
//! and the first [`Message::len`] bytes of the copy go back to the guest.

mod command;
mod error;
mod outcome;
mod param;
mod raw;
pub mod rpc;

use zerocopy::FromBytes;

pub use command::{Command, MessageCommand};
pub use error::{MessageError, ParamError, ParamFault, Verdict};
pub use outcome::{Outcome, OutcomeError, Output, refuse};
pub use param::{Direction, Memory, Param, Params, Place, Registered};

use crate::limits::{HEADER_LEN, MAX_PARAMS, PAGE_PARAMS, PARAM_LEN};
use raw::{RawHeader, RawParam};

/// A message that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub command: Command,
    /// At most [`MAX_PARAMS`].
    num_params: usize,
}

impl Message {
    /// Takes a private copy of a message apart. Bytes behind the message do not matter.
    pub fn parse(copy: &[u8]) -> Result<Message, MessageError> {
        let (header, rest) =
            RawHeader::ref_from_prefix(copy).map_err(|_| MessageError::Truncated)?;
        let count = header.num_params.get();
        // The order in which OP-TEE looks (core/arch/arm/kernel/thread_optee_smc.c, core/tee/entry_std.c).
        if count > PAGE_PARAMS {
            return Err(MessageError::TooLong(count));
        }
        let command = MessageCommand(header.cmd.get());
        if !command.is_known() {
            return Err(MessageError::Unknown(command));
        }
        let num_params = count as usize;
        if num_params > MAX_PARAMS {
            return Err(MessageError::ParamCount { command, count });
        }
        let (params, _) = <[RawParam]>::ref_from_prefix_with_elems(rest, num_params)
            .map_err(|_| MessageError::Truncated)?;
        Ok(Message {
            command: Command::parse(command, header, params)?,
            num_params,
        })
    }

    /// Bytes of the message. Behind it, if the call was one with room for requests, such a request has its place.
    #[allow(
        clippy::len_without_is_empty,
        reason = "there is no message of no bytes"
    )]
    pub const fn len(&self) -> usize {
        HEADER_LEN.saturating_add(self.num_params.saturating_mul(PARAM_LEN))
    }
}
