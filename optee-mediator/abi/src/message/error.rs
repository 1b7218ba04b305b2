use crate::message::command::MessageCommand;
use crate::result::TeeResult;
use crate::smc::ReturnCode;

/// Why a message says nothing that can be done. [`MessageError::verdict`] is what the guest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The copy ends before the message does: the guest's memory does.
    #[error("a message that does not fit where it lies")]
    Truncated,
    /// More parameters than a page holds.
    #[error("a message with {0} parameters, more than a page holds")]
    TooLong(u32),
    /// Not one of the eight commands, among them those for protected memory.
    #[error("a message with the command {0}, which is not offered")]
    Unknown(MessageCommand),
    /// More or fewer parameters than the command has.
    #[error("{command} with {count} parameters")]
    ParamCount {
        /// The command.
        command: MessageCommand,
        /// How many there are.
        count: u32,
    },
    /// The first two parameters of opening a session are not the two values that are for the TEE.
    #[error("a session to open without saying for whom and with what")]
    NoMeta,
    /// Somebody a guest cannot be.
    #[error("a session to open by a client with login {0:#x}")]
    Login(u64),
    /// A parameter that cannot be.
    #[error("{command}, parameter {index}: {fault}", index = .0.index, command = .1, fault = .0.fault)]
    Param(ParamError, MessageCommand),
}

/// A parameter that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// Which one, from 0, with those for the TEE.
    pub index: usize,
    /// Why.
    pub fault: ParamFault,
}

/// Why a parameter cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamFault {
    /// Unknown bits, bits that this kind does not have, or another kind than the command's.
    #[error("attributes {0:#x} are not possible here")]
    Attributes(u64),
    /// Its end overflows.
    #[error("{size} bytes at {start:#x} wrap around")]
    Wraps {
        /// Address or offset.
        start: u64,
        /// Size in bytes.
        size: u64,
    },
    /// As [`ParamFault::Wraps`], of registered memory.
    #[error("{size} bytes at offset {offset:#x} of registered memory wrap around")]
    OffsetWraps {
        /// Offset in bytes.
        offset: u64,
        /// Size in bytes.
        size: u64,
    },
    /// A list of pages of no bytes.
    #[error("a list of pages for no bytes")]
    Empty,
    /// The reference FF-A has for "no memory": that is another conduit.
    #[error("memory shared by FF-A, which is not spoken here")]
    Ffa,
}

/// What a guest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This in x0, and nothing in the message.
    Call(ReturnCode),
    /// `Ok` in x0, and this in the message: [`crate::message::refuse`].
    Message(TeeResult),
}

impl MessageError {
    /// What OP-TEE would say (core/arch/arm/kernel/thread_optee_smc.c, core/tee/entry_std.c).
    pub const fn verdict(&self) -> Verdict {
        match self {
            MessageError::Truncated | MessageError::TooLong(_) => {
                Verdict::Call(ReturnCode::BadAddress)
            }
            MessageError::Unknown(_) => Verdict::Call(ReturnCode::BadCommand),
            MessageError::Param(
                ParamError {
                    fault: ParamFault::OffsetWraps { .. },
                    ..
                },
                _,
            ) => Verdict::Message(TeeResult::SECURITY),
            MessageError::ParamCount { .. }
            | MessageError::NoMeta
            | MessageError::Login(_)
            | MessageError::Param(..) => Verdict::Message(TeeResult::BAD_PARAMETERS),
        }
    }
}
