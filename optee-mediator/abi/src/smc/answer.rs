use crate::ids::{Ipa, ShmRef};
use crate::smc::capabilities::SecureCapabilities;
use crate::smc::rpc::Rpc;
use crate::smc::{Registers, halves};
use crate::uuid::Uuid;

/// What became of a call, in x0 (`OPTEE_SMC_RETURN_*`, optee_smc.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ReturnCode {
    /// Done. Of a call with a message: what became of the message stands in it.
    Ok = 0x0,
    /// Too many calls are running. Linux calls again when another of its calls ends, and only then
    /// (drivers/tee/optee/call.c, `optee_cq_wait_for_completion`): to a guest without one this must not be said.
    ThreadLimit = 0x1,
    /// Not while calls are running.
    Busy = 0x2,
    /// There is nothing to resume.
    BadResume = 0x3,
    /// The message is in no usable place.
    BadAddress = 0x4,
    /// The message's command, or a parameter of a fast call, is unknown.
    BadCommand = 0x5,
    /// No memory to look at the message.
    NoMemory = 0x6,
    /// Not available, or not to this caller.
    NotAvailable = 0x7,
    /// There is no such function (also of the calling convention).
    UnknownFunction = 0xffff_ffff,
}

/// What goes into a guest's registers. Registers it does not name keep what the guest had in them, so nothing of
/// somebody else's is ever in them; for a4 to a7 that is the protocol's rule, with the rest it agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Only a code.
    Code(ReturnCode),
    /// The number of functions, a0.
    CallsCount(u32),
    /// A UUID, a0 to a3.
    Uid(Uuid),
    /// The message protocol's revision, a0 and a1; usually [`crate::smc::API_REVISION`].
    ApiRevision {
        /// Major.
        major: u32,
        /// Minor.
        minor: u32,
    },
    /// The trusted operating system's revision, a0 to a2.
    OsRevision {
        /// Major.
        major: u32,
        /// Minor.
        minor: u32,
        /// Commit it was built of, or 0.
        build: u32,
    },
    /// Reserved shared memory, a1 to a3. The one answer whose address takes a whole register.
    ShmConfig {
        /// First byte.
        start: Ipa,
        /// Size in bytes.
        size: u64,
        /// Normal, write-back cached memory (`OPTEE_SMC_SHM_CACHED`).
        cached: bool,
    },
    /// What the TEE can do, a1 to a3.
    Capabilities {
        /// That.
        secure: SecureCapabilities,
        /// With [`SecureCapabilities::ASYNC_NOTIF`]: the highest notification.
        max_notification: u32,
        /// With [`SecureCapabilities::RPC_ARG`]: parameters to leave room for behind messages; OP-TEE says
        /// [`crate::limits::RPC_PARAMS`].
        rpc_params: u8,
    },
    /// What the TEE can do, and that it cannot with this guest ([`crate::smc::NormalCapabilities::has_unknown`]).
    CapabilitiesRefused {
        /// What it could do, a1.
        secure: SecureCapabilities,
    },
    /// Memory that was cached and is the guest's again, a1 and a2.
    CachedShm(ShmRef),
    /// How many calls can run at once, a1. A Linux that is told starts no more, so `ThreadLimit` is never needed.
    ThreadCount(u32),
    /// A notification, a1 and a2.
    Notification {
        /// The notification; `None` if there are none. 0 asks for [`crate::Command::DoBottomHalf`]
        /// (`OPTEE_SMC_ASYNC_NOTIF_VALUE_DO_BOTTOM_HALF`).
        value: Option<u32>,
        /// There is another one.
        more: bool,
    },
    /// The call is suspended until the guest did something, a0 to a3.
    Rpc {
        /// What to do.
        rpc: Rpc,
        /// Which call is suspended: comes back in [`crate::smc::Resume`].
        thread: u32,
    },
}

impl From<ReturnCode> for Answer {
    fn from(code: ReturnCode) -> Answer {
        Answer::Code(code)
    }
}

impl Answer {
    /// Puts it into the registers the call came in. The caller steps over the instruction.
    pub fn apply(self, registers: &mut Registers) {
        const OK: u64 = ReturnCode::Ok as u64;
        let wide = registers.function().is_64bit();
        let [x0, x1, x2, x3, ..] = &mut registers.0;
        match self {
            // "Unknown" is -1 of the register's size.
            Answer::Code(ReturnCode::UnknownFunction) if wide => *x0 = u64::MAX,
            Answer::Code(code) => *x0 = code as u64,
            Answer::CallsCount(count) => *x0 = count.into(),
            Answer::Uid(uuid) => {
                let [a, b, c, d] = uuid.words();
                (*x0, *x1, *x2, *x3) = (a.into(), b.into(), c.into(), d.into());
            }
            Answer::ApiRevision { major, minor } => (*x0, *x1) = (major.into(), minor.into()),
            Answer::OsRevision {
                major,
                minor,
                build,
            } => (*x0, *x1, *x2) = (major.into(), minor.into(), build.into()),
            Answer::ShmConfig {
                start,
                size,
                cached,
            } => (*x0, *x1, *x2, *x3) = (OK, start.0, size, cached.into()),
            Answer::Capabilities {
                secure,
                max_notification,
                rpc_params,
            } => {
                (*x0, *x1) = (OK, secure.0.into());
                (*x2, *x3) = (max_notification.into(), rpc_params.into());
            }
            Answer::CapabilitiesRefused { secure } => {
                (*x0, *x1) = (ReturnCode::NotAvailable as u64, secure.0.into());
            }
            Answer::CachedShm(shm_ref) => {
                let (upper, lower) = halves(shm_ref.0);
                (*x0, *x1, *x2) = (OK, upper, lower);
            }
            Answer::ThreadCount(count) => (*x0, *x1) = (OK, count.into()),
            Answer::Notification { value, more } => {
                let flags = u64::from(value.is_some()) | (u64::from(more) << 1);
                (*x0, *x1, *x2) = (OK, value.unwrap_or(0).into(), flags);
            }
            Answer::Rpc { rpc, thread } => {
                (*x0, *x1, *x2) = rpc.words();
                *x3 = thread.into();
            }
        }
    }
}
