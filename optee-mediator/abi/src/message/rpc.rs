//! Requests to a guest in the middle of its call, and its answers (optee_rpc_cmd.h).
//!
//! A request goes into memory of the guest's, behind its message or allocated by [`crate::smc::Rpc::Allocate`], and
//! then [`crate::smc::Rpc::Command`] into its registers. When the guest resumes, the caller copies the
//! [`REQUEST_LEN`] bytes out *once*, and [`Request::answer`] takes the copy apart. A hostile guest answers nonsense, or
//! never.

use zerocopy::FromBytes;

use crate::ids::ShmRef;
use crate::limits::{HEADER_LEN, PARAM_LEN};
use crate::message::error::ParamFault;
use crate::message::param::Memory;
use crate::message::raw::{RawHeader, RawParam, RawRequest, attr};
use crate::named::named;
use crate::result::TeeResult;

named! {
    /// The command of a request to a guest (`OPTEE_RPC_CMD_*`, optee_rpc_cmd.h).
    ///
    /// Linux's driver does those named in its own optee_rpc_cmd.h; the others it hands to the guest's `tee-supplicant`,
    /// and waits until there is one (drivers/tee/optee/rpc.c).
    RpcCommand {
        /// Load a trusted application.
        LOAD_TA = 0, "OPTEE_RPC_CMD_LOAD_TA";
        /// Access to a replay protected memory block.
        RPMB = 1, "OPTEE_RPC_CMD_RPMB";
        /// Files.
        FS = 2, "OPTEE_RPC_CMD_FS";
        /// The time.
        GET_TIME = 3, "OPTEE_RPC_CMD_GET_TIME";
        /// Wait for somebody, or wake somebody up.
        NOTIFICATION = 4, "OPTEE_RPC_CMD_NOTIFICATION";
        /// Wait a while.
        SUSPEND = 5, "OPTEE_RPC_CMD_SUSPEND";
        /// Allocate memory.
        SHM_ALLOC = 6, "OPTEE_RPC_CMD_SHM_ALLOC";
        /// Free it.
        SHM_FREE = 7, "OPTEE_RPC_CMD_SHM_FREE";
        /// A trusted application's profile.
        GPROF = 9, "OPTEE_RPC_CMD_GPROF";
        /// Sockets.
        SOCKET = 10, "OPTEE_RPC_CMD_SOCKET";
        /// A trusted application's call graph.
        FTRACE = 11, "OPTEE_RPC_CMD_FTRACE";
        /// Plugins of the supplicant.
        SUPP_PLUGIN = 12, "OPTEE_RPC_CMD_SUPP_PLUGIN";
        /// Register a buffer of timestamps.
        BENCH_REG = 20, "OPTEE_RPC_CMD_BENCH_REG";
        /// A transfer on an I2C bus.
        I2C_TRANSFER = 21, "OPTEE_RPC_CMD_I2C_TRANSFER";
        /// Look for replay protected memory blocks from the start.
        RPMB_PROBE_RESET = 22, "OPTEE_RPC_CMD_RPMB_PROBE_RESET";
        /// Look for the next one.
        RPMB_PROBE_NEXT = 23, "OPTEE_RPC_CMD_RPMB_PROBE_NEXT";
        /// Access to the one found.
        RPMB_FRAMES = 24, "OPTEE_RPC_CMD_RPMB_FRAMES";
    }
}

/// Bytes of a request and of its answer: each has one parameter.
pub const REQUEST_LEN: usize = HEADER_LEN + PARAM_LEN;

/// Who is to be able to use memory (`OPTEE_RPC_SHM_TYPE_*`, optee_rpc_cmd.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum ShmKind {
    /// Programs. Comes from the supplicant, and only when there is one.
    Application = 0,
    /// The kernel. Comes from Linux's driver.
    Kernel = 1,
    /// The kernel, exported to programs. Linux's driver has none.
    Global = 2,
}

/// What a guest is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Wait. A signal to the waiting program ends it early (drivers/tee/optee/rpc.c, `handle_rpc_func_cmd_wait`).
    Suspend {
        /// How many milliseconds.
        milliseconds: u32,
    },
    /// Wait until [`Request::Notify`] in another call, or a notification by interrupt, has this key. Only one call can
    /// wait for a key. Keys are below [`crate::limits::NOTIFICATION_KEYS`], or below the number that
    /// [`crate::Answer::Capabilities`] said.
    Wait {
        /// The key.
        key: u32,
        /// How long at most, or 0: for ever. The protocol has milliseconds; Linux 7.2 takes it for jiffies
        /// (drivers/tee/optee/notif.c, `optee_notif_wait`). It is refused with `TIMEOUT` then.
        timeout: u32,
    },
    /// Let the call go on that waits for this key, or the next one that will.
    Notify {
        /// The key.
        key: u32,
    },
    /// Allocate memory.
    AllocateShm {
        /// For whom.
        kind: ShmKind,
        /// How many bytes at least.
        size: u64,
        /// At a multiple of so many bytes. Linux ignores it.
        align: u64,
    },
    /// Free it.
    FreeShm {
        /// For whom it was.
        kind: ShmKind,
        /// The guest's name for it.
        shm_ref: ShmRef,
    },
    /// Tell the time.
    GetTime,
}

/// What a guest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// That.
    Done,
    /// It told the time, [`Request::GetTime`]. It may be any time.
    Time {
        /// Seconds since 1970.
        seconds: u64,
        /// Nanoseconds, less than 10⁹.
        nanoseconds: u32,
    },
    /// It allocated memory, [`Request::AllocateShm`], of at least the size asked for.
    Memory(Memory),
}

/// Why a guest's answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The request or the answer has no room in these bytes.
    #[error("fewer bytes than a request has")]
    Truncated,
    /// The guest would not, or could not. A guest that has never looked at it leaves `GENERIC`.
    #[error("the guest refused it: {0}")]
    Refused(TeeResult),
    /// Another number of parameters.
    #[error("an answer with {0} parameters")]
    ParamCount(u32),
    /// A parameter that is no answer to this.
    #[error("the answer's parameter: {0}")]
    Param(ParamFault),
    /// A second of more than 10⁹ nanoseconds.
    #[error("a time with {0} nanoseconds")]
    Time(u64),
    /// Less memory than asked for.
    #[error("{given} bytes of memory instead of {wanted}")]
    TooSmall {
        /// Bytes there are.
        given: u64,
        /// Bytes asked for.
        wanted: u64,
    },
}

impl Request {
    /// Its command.
    pub const fn command(&self) -> RpcCommand {
        match self {
            Request::Suspend { .. } => RpcCommand::SUSPEND,
            Request::Wait { .. } | Request::Notify { .. } => RpcCommand::NOTIFICATION,
            Request::AllocateShm { .. } => RpcCommand::SHM_ALLOC,
            Request::FreeShm { .. } => RpcCommand::SHM_FREE,
            Request::GetTime => RpcCommand::GET_TIME,
        }
    }

    /// The bytes to put into the guest's memory, all of them.
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        /// `OPTEE_RPC_NOTIFICATION_WAIT` and `_SEND` (optee_rpc_cmd.h).
        const WAIT: u64 = 0;
        const SEND: u64 = 1;
        let (attributes, a, b, c) = match *self {
            Request::Suspend { milliseconds } => (attr::VALUE_INPUT, milliseconds.into(), 0, 0),
            Request::Wait { key, timeout } => (attr::VALUE_INPUT, WAIT, key.into(), timeout.into()),
            Request::Notify { key } => (attr::VALUE_INPUT, SEND, key.into(), 0),
            Request::AllocateShm { kind, size, align } => {
                (attr::VALUE_INPUT, kind as u64, size, align)
            }
            Request::FreeShm { kind, shm_ref } => (attr::VALUE_INPUT, kind as u64, shm_ref.0, 0),
            Request::GetTime => (attr::VALUE_OUTPUT, 0, 0, 0),
        };
        let header = RawHeader {
            cmd: self.command().0.into(),
            // What OP-TEE has there too, in case nobody looks at it.
            ret: TeeResult::GENERIC.0.into(),
            num_params: 1.into(),
            ..RawHeader::default()
        };
        let param = RawParam {
            attr: attributes.into(),
            a: a.into(),
            b: b.into(),
            c: c.into(),
        };
        zerocopy::transmute!(RawRequest { header, param })
    }

    /// Takes a private copy of the guest's answer to this request apart.
    pub fn answer(&self, copy: &[u8]) -> Result<Reply, ReplyError> {
        let (RawRequest { header, param }, _) =
            RawRequest::ref_from_prefix(copy).map_err(|_| ReplyError::Truncated)?;
        let result = TeeResult(header.ret.get());
        if result != TeeResult::SUCCESS {
            return Err(ReplyError::Refused(result));
        }
        let count = header.num_params.get();
        if count != 1 {
            return Err(ReplyError::ParamCount(count));
        }
        let attributes = param.attr.get();
        let impossible = ReplyError::Param(ParamFault::Attributes(attributes));
        match *self {
            Request::GetTime => {
                if attributes != attr::VALUE_OUTPUT {
                    return Err(impossible);
                }
                let nanoseconds = param.b.get();
                match u32::try_from(nanoseconds) {
                    Ok(nanoseconds) if nanoseconds < 1_000_000_000 => Ok(Reply::Time {
                        seconds: param.a.get(),
                        nanoseconds,
                    }),
                    _ => Err(ReplyError::Time(nanoseconds)),
                }
            }
            Request::AllocateShm { size: wanted, .. } => {
                let list = attributes == attr::TMEM_OUTPUT | attr::NONCONTIG;
                if !list && attributes != attr::TMEM_OUTPUT {
                    return Err(impossible);
                }
                let memory = Memory::parse(param, list).map_err(ReplyError::Param)?;
                let given = memory.size;
                if given < wanted {
                    return Err(ReplyError::TooSmall { given, wanted });
                }
                Ok(Reply::Memory(memory))
            }
            Request::Suspend { .. }
            | Request::Wait { .. }
            | Request::Notify { .. }
            | Request::FreeShm { .. } => Ok(Reply::Done),
        }
    }
}
