//! Calls that need nobody: what the guest's driver asks to find out with whom it speaks.

use optee_abi::limits::RPC_PARAMS;
use optee_abi::smc::{
    API_REVISION, API_UID, Answer, Call, OS_UUID, ReturnCode, SecureCapabilities,
};

use super::calls::KEYS;

/// What this OP-TEE can do: any memory of the guest's, references to none, messages with room for our requests.
const CAPABILITIES: SecureCapabilities = SecureCapabilities::DYNAMIC_SHM
    .with(SecureCapabilities::MEMREF_NULL)
    .with(SecureCapabilities::RPC_ARG);
/// Functions of the API and of the operating system that are answered.
const CALLS: u32 = 13;
/// The revision of OP-TEE whose protocol is spoken.
const REVISION: (u32, u32) = (4, 10);

/// The answer; none for calls that need somebody. `concurrency`: calls that the guest may have under way. `notifies`: there is an
/// interrupt for notifications.
pub(super) fn answer(call: &Call, concurrency: u32, notifies: bool) -> Option<Answer> {
    let secure = if notifies {
        CAPABILITIES.with(SecureCapabilities::ASYNC_NOTIF)
    } else {
        CAPABILITIES
    };
    Some(match call {
        Call::CallsCount => Answer::CallsCount(CALLS),
        Call::CallsUid => Answer::Uid(API_UID),
        Call::CallsRevision => Answer::ApiRevision {
            major: API_REVISION.0,
            minor: API_REVISION.1,
        },
        Call::OsUuid => Answer::Uid(OS_UUID),
        Call::OsRevision => Answer::OsRevision {
            major: REVISION.0,
            minor: REVISION.1,
            build: 0,
        },
        Call::ExchangeCapabilities { normal_world } if normal_world.has_unknown() => {
            Answer::CapabilitiesRefused { secure }
        }
        Call::ExchangeCapabilities { .. } => Answer::Capabilities {
            secure,
            max_notification: if notifies { KEYS } else { 0 },
            rpc_params: RPC_PARAMS,
        },
        Call::ThreadCount => Answer::ThreadCount(concurrency),
        Call::EnableShmCache => ReturnCode::Ok.into(),
        Call::EnableAsyncNotif | Call::GetAsyncNotifValue if notifies => return None,
        Call::GetShmConfig
        | Call::EnableAsyncNotif
        | Call::GetAsyncNotifValue
        | Call::VmCreated { .. }
        | Call::VmDestroyed { .. } => ReturnCode::NotAvailable.into(),
        Call::Unknown(_) => ReturnCode::UnknownFunction.into(),
        Call::DisableShmCache
        | Call::WithArg { .. }
        | Call::WithRpcArg { .. }
        | Call::WithRegisteredArg { .. }
        | Call::ReturnFromRpc(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use optee_abi::Registers;
    use optee_abi::smc::FunctionId;

    fn ask(function: FunctionId) -> [u64; 8] {
        ask_of(function, false)
    }

    fn ask_of(function: FunctionId, notifies: bool) -> [u64; 8] {
        let mut registers = Registers([function.0.into(), 0, 0, 0, 0, 0, 0, 0]);
        let answer = answer(&Call::parse(&registers), 5, notifies).unwrap();
        answer.apply(&mut registers);
        registers.0
    }

    #[test]
    fn linux_finds_the_op_tee_it_looks_for() {
        let [a, b, c, d, ..] = ask(FunctionId::CALLS_UID);
        assert_eq!(
            [a, b, c, d],
            [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b]
        );
        assert_eq!(ask(FunctionId::CALLS_REVISION)[..2], [2, 0]);
        let [result, capabilities, notifications, params, ..] =
            ask(FunctionId::EXCHANGE_CAPABILITIES);
        assert_eq!((result, notifications, params), (0, 0, 4));
        // Linux needs one of reserved and dynamic memory.
        assert_eq!(capabilities, 1 << 2 | 1 << 4 | 1 << 6);
        assert_eq!(ask(FunctionId::GET_THREAD_COUNT)[..2], [0, 5]);
    }

    #[test]
    fn notifications_are_offered_where_there_is_an_interrupt_for_them() {
        let [result, capabilities, notifications, ..] =
            ask_of(FunctionId::EXCHANGE_CAPABILITIES, true);
        assert_eq!((result, notifications), (0, KEYS.into()));
        assert_eq!(capabilities, 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6);
        let unavailable = ReturnCode::NotAvailable as u64;
        assert_eq!(ask(FunctionId::ENABLE_ASYNC_NOTIF)[0], unavailable);
    }

    #[test]
    fn what_only_a_hypervisor_says_is_not_for_a_guest() {
        assert_eq!(ask(FunctionId::VM_DESTROYED)[0], 7);
        assert_eq!(ask(FunctionId(0x8400_0000))[0], 0xffff_ffff);
    }
}
