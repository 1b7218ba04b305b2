use crate::ids::{Ipa, ShmRef};
use crate::smc::capabilities::NormalCapabilities;
use crate::smc::function::FunctionId;
use crate::smc::rpc::Resume;
use crate::smc::{Registers, low, pair};

/// What a guest calls for. Each variant names the answers it may get, beside [`crate::smc::ReturnCode::UnknownFunction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// How many functions there are: [`crate::Answer::CallsCount`].
    CallsCount,
    /// Which API is spoken: [`crate::Answer::Uid`]. Anything but [`crate::smc::API_UID`] is no OP-TEE to Linux.
    CallsUid,
    /// Which revision of it: [`crate::Answer::ApiRevision`]. Linux wants the major one of [`crate::smc::API_REVISION`]
    /// and at least the minor one.
    CallsRevision,
    /// Which trusted operating system runs: [`crate::Answer::Uid`].
    OsUuid,
    /// Which revision of it: [`crate::Answer::OsRevision`].
    OsRevision,
    /// Where reserved shared memory is: [`crate::Answer::ShmConfig`], or `NotAvailable`.
    GetShmConfig,
    /// What each side can do: [`crate::Answer::Capabilities`] or [`crate::Answer::CapabilitiesRefused`].
    ExchangeCapabilities {
        /// What the guest can do, a1.
        normal_world: NormalCapabilities,
    },
    /// Give back cached memory, one piece a call: [`crate::Answer::CachedShm`]; `NotAvailable` when there is no more,
    /// `Busy` while any call is running. Linux asks until it is `NotAvailable` (drivers/tee/optee/smc_abi.c).
    DisableShmCache,
    /// Cache memory: `Ok`, or `Busy` while any call is running. Linux waits for ever if it is neither.
    EnableShmCache,
    /// How many calls can run at once: [`crate::Answer::ThreadCount`].
    ThreadCount,
    /// Send notifications: `Ok` or `NotAvailable`.
    EnableAsyncNotif,
    /// Fetch one: [`crate::Answer::Notification`] or `NotAvailable`.
    GetAsyncNotifValue,
    /// A virtual machine appeared. Only a hypervisor says this; a guest gets `NotAvailable`, as OP-TEE gives to clients
    /// other than 0 (core/arch/arm/tee/entry_fast.c).
    VmCreated {
        /// Which one, a1.
        client: u32,
    },
    /// A virtual machine is gone; as [`Call::VmCreated`].
    VmDestroyed {
        /// Which one, a1.
        client: u32,
    },
    /// Do what a message says. Answers: `Ok` once the answer is in the message, `ThreadLimit`, `BadAddress`,
    /// `BadCommand`, or [`crate::Answer::Rpc`].
    ///
    /// A message outside of reserved memory is at the start of a page, and not longer than that page; otherwise it is a
    /// `BadAddress` (core/arch/arm/kernel/thread_optee_smc.c, `std_entry_with_parg`).
    WithArg {
        /// Where the message is, a1 and a2.
        arg: Ipa,
    },
    /// As [`Call::WithArg`], with room for the TEE's own requests behind the message: for as many parameters as
    /// [`crate::Answer::Capabilities`] said. Without that room it is a `BadAddress`.
    WithRpcArg {
        /// Where the message is, a1 and a2.
        arg: Ipa,
    },
    /// As [`Call::WithRpcArg`], with the message in memory registered before. `BadAddress` if there is none, if the
    /// message leaves it, or if its place is no multiple of [`crate::limits::MESSAGE_ALIGN`] (`get_msg_arg`, as above).
    WithRegisteredArg {
        /// The memory, a1 and a2.
        shm_ref: ShmRef,
        /// Where in it the message is, in bytes, a3. Linux puts several into a page.
        offset: u32,
    },
    /// Continue the call that asked for something. Answers as to [`Call::WithArg`], or `BadResume`.
    ReturnFromRpc(Resume),
    /// Anything else, also of the trusted operating system: `UnknownFunction`.
    Unknown(FunctionId),
}

impl Call {
    /// What these registers call for. There are no wrong registers, only unknown functions.
    pub const fn parse(registers: &Registers) -> Call {
        let [_, x1, x2, x3, ..] = registers.0;
        match registers.function() {
            FunctionId::CALLS_COUNT => Call::CallsCount,
            FunctionId::CALLS_UID => Call::CallsUid,
            FunctionId::CALLS_REVISION => Call::CallsRevision,
            FunctionId::GET_OS_UUID => Call::OsUuid,
            FunctionId::GET_OS_REVISION => Call::OsRevision,
            FunctionId::GET_SHM_CONFIG => Call::GetShmConfig,
            FunctionId::EXCHANGE_CAPABILITIES => Call::ExchangeCapabilities {
                normal_world: NormalCapabilities(low(x1)),
            },
            FunctionId::DISABLE_SHM_CACHE => Call::DisableShmCache,
            FunctionId::ENABLE_SHM_CACHE => Call::EnableShmCache,
            FunctionId::GET_THREAD_COUNT => Call::ThreadCount,
            FunctionId::ENABLE_ASYNC_NOTIF => Call::EnableAsyncNotif,
            FunctionId::GET_ASYNC_NOTIF_VALUE => Call::GetAsyncNotifValue,
            FunctionId::VM_CREATED => Call::VmCreated { client: low(x1) },
            FunctionId::VM_DESTROYED => Call::VmDestroyed { client: low(x1) },
            FunctionId::CALL_WITH_ARG => Call::WithArg {
                arg: Ipa(pair(x1, x2)),
            },
            FunctionId::CALL_WITH_RPC_ARG => Call::WithRpcArg {
                arg: Ipa(pair(x1, x2)),
            },
            FunctionId::CALL_WITH_REGD_ARG => Call::WithRegisteredArg {
                shm_ref: ShmRef(pair(x1, x2)),
                offset: low(x3),
            },
            FunctionId::RETURN_FROM_RPC => Call::ReturnFromRpc(Resume::from_registers(registers)),
            unknown => Call::Unknown(unknown),
        }
    }
}
