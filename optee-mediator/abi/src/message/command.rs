use crate::ids::{SessionId, ShmRef};
use crate::limits::{META_PARAMS, TA_PARAMS};
use crate::login::Login;
use crate::message::error::{MessageError, ParamError, ParamFault};
use crate::message::param::{Memory, Params};
use crate::message::raw::{RawHeader, RawParam, attr};
use crate::named::named;
use crate::uuid::Uuid;

named! {
    /// The command of a message from a guest (`OPTEE_MSG_CMD_*`, optee_msg.h).
    MessageCommand {
        /// Open a session.
        OPEN_SESSION = 0, "OPTEE_MSG_CMD_OPEN_SESSION";
        /// Use a session.
        INVOKE_COMMAND = 1, "OPTEE_MSG_CMD_INVOKE_COMMAND";
        /// Close a session.
        CLOSE_SESSION = 2, "OPTEE_MSG_CMD_CLOSE_SESSION";
        /// Cancel what runs in a session.
        CANCEL = 3, "OPTEE_MSG_CMD_CANCEL";
        /// Register memory.
        REGISTER_SHM = 4, "OPTEE_MSG_CMD_REGISTER_SHM";
        /// Forget it.
        UNREGISTER_SHM = 5, "OPTEE_MSG_CMD_UNREGISTER_SHM";
        /// A notification asked for this.
        DO_BOTTOM_HALF = 6, "OPTEE_MSG_CMD_DO_BOTTOM_HALF";
        /// No more notifications.
        STOP_ASYNC_NOTIF = 7, "OPTEE_MSG_CMD_STOP_ASYNC_NOTIF";
        /// Make protected memory of normal memory. Not offered here.
        LEND_PROTMEM = 8, "OPTEE_MSG_CMD_LEND_PROTMEM";
        /// Take it back. Not offered here.
        RECLAIM_PROTMEM = 9, "OPTEE_MSG_CMD_RECLAIM_PROTMEM";
        /// What is protected memory like? Not offered here.
        GET_PROTMEM_CONFIG = 10, "OPTEE_MSG_CMD_GET_PROTMEM_CONFIG";
        /// Use FF-A's memory as protected memory. Not offered here.
        ASSIGN_PROTMEM = 11, "OPTEE_MSG_CMD_ASSIGN_PROTMEM";
    }
}

impl MessageCommand {
    /// There is a [`Command`] for it.
    pub const fn is_known(self) -> bool {
        self.0 <= Self::STOP_ASYNC_NOTIF.0
    }
}

/// What a message says. Whether sessions and references exist, and are this guest's, is for the mediator to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a session.
    OpenSession {
        /// The trusted application, the octets of the first parameter's a and b.
        ta: Uuid,
        /// How the client says who it is, the second parameter's c.
        login: Login,
        /// Who it is, the octets of the second parameter's a and b; nil where the login has none.
        client: Uuid,
        /// What [`Command::Cancel`] would say to cancel this.
        cancel_id: u32,
        /// What the trusted application is given.
        params: Params,
    },
    /// Use a session.
    Invoke {
        /// The session.
        session: SessionId,
        /// Which function of the trusted application.
        function: u32,
        /// What [`Command::Cancel`] would say to cancel this.
        cancel_id: u32,
        /// What the trusted application is given.
        params: Params,
    },
    /// Close a session.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// Cancel what runs in a session. OP-TEE looks at the session only, not at `cancel_id` (core/tee/entry_std.c,
    /// `entry_cancel`); the ioctl wants both (include/uapi/linux/tee.h, `struct tee_ioctl_cancel_arg`).
    Cancel {
        /// The session.
        session: SessionId,
        /// What is to be cancelled.
        cancel_id: u32,
    },
    /// Register memory; it is always a list of pages. A reference that is taken is `BAD_PARAMETERS`.
    RegisterShm {
        /// The memory.
        memory: Memory,
    },
    /// Forget memory. An unknown reference, or one that is in use, is `BAD_PARAMETERS`.
    UnregisterShm {
        /// Its reference.
        shm_ref: ShmRef,
    },
    /// A notification asked for this.
    DoBottomHalf,
    /// No more notifications.
    StopAsyncNotif,
}

impl Command {
    /// What the trusted application is given, if it is called at all.
    pub const fn params(&self) -> Option<&Params> {
        match self {
            Command::OpenSession { params, .. } | Command::Invoke { params, .. } => Some(params),
            _ => None,
        }
    }

    /// `command` is known.
    pub(super) fn parse(
        command: MessageCommand,
        header: &RawHeader,
        raw: &[RawParam],
    ) -> Result<Command, MessageError> {
        let session = SessionId(header.session.get());
        let cancel_id = header.cancel_id.get();
        let count = header.num_params.get();
        let wrong_count = MessageError::ParamCount { command, count };
        let params = |raw: &[RawParam], skipped: usize| {
            if raw.len() > TA_PARAMS {
                return Err(wrong_count);
            }
            Params::parse(raw).map_err(|(index, fault)| {
                let index = index.saturating_add(skipped);
                MessageError::Param(ParamError { index, fault }, command)
            })
        };
        let fault = |fault| MessageError::Param(ParamError { index: 0, fault }, command);
        match (command, raw) {
            (MessageCommand::OPEN_SESSION, [ta, client, rest @ ..]) => {
                let meta = attr::META | attr::VALUE_INPUT;
                if ta.attr.get() != meta || client.attr.get() != meta {
                    return Err(MessageError::NoMeta);
                }
                let login = client.c.get();
                let login = Login::from_raw(login).ok_or(MessageError::Login(login))?;
                Ok(Command::OpenSession {
                    ta: octets(ta),
                    login,
                    client: if login.identifies() {
                        octets(client)
                    } else {
                        Uuid::NIL
                    },
                    cancel_id,
                    params: params(rest, META_PARAMS)?,
                })
            }
            (MessageCommand::OPEN_SESSION, _) => Err(MessageError::NoMeta),
            (MessageCommand::INVOKE_COMMAND, raw) => Ok(Command::Invoke {
                session,
                function: header.func.get(),
                cancel_id,
                params: params(raw, 0)?,
            }),
            (MessageCommand::CLOSE_SESSION, []) => Ok(Command::CloseSession { session }),
            (MessageCommand::CANCEL, []) => Ok(Command::Cancel { session, cancel_id }),
            // Its direction is "output", by Linux and OP-TEE (core/tee/entry_std.c, `register_shm`), though optee_msg.h
            // says "input".
            (MessageCommand::REGISTER_SHM, [raw]) => match raw.attr.get() {
                attributes if attributes == attr::TMEM_OUTPUT | attr::NONCONTIG => {
                    let memory = Memory::parse(raw, true).map_err(fault)?;
                    Ok(Command::RegisterShm { memory })
                }
                attributes => Err(fault(ParamFault::Attributes(attributes))),
            },
            // The rest of the parameter is to be 0; nobody looks.
            (MessageCommand::UNREGISTER_SHM, [raw]) => match raw.attr.get() {
                attr::RMEM_INPUT => Ok(Command::UnregisterShm {
                    shm_ref: ShmRef(raw.c.get()),
                }),
                attributes => Err(fault(ParamFault::Attributes(attributes))),
            },
            (MessageCommand::DO_BOTTOM_HALF, []) => Ok(Command::DoBottomHalf),
            (MessageCommand::STOP_ASYNC_NOTIF, []) => Ok(Command::StopAsyncNotif),
            _ => Err(wrong_count),
        }
    }
}

/// The UUID whose octets lie in a value's a and b.
fn octets(raw: &RawParam) -> Uuid {
    Uuid::from_octet_words(raw.a.get(), raw.b.get())
}
