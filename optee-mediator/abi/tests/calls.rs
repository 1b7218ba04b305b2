//! Registers as Linux's driver sets them, and as it expects to find them (drivers/tee/optee/smc_abi.c).

use crate::common::driver;
use optee_abi::smc::{
    API_REVISION, API_UID, Allocation, FunctionId, NormalCapabilities, OS_UUID, Resume, ReturnCode,
    Rpc, SecureCapabilities,
};
use optee_abi::{Answer, Call, Ipa, Registers, ShmRef};
use proptest::prelude::*;

/// What a guest had in its registers.
const OWN: [u64; 8] = [0xbf00_ff01, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];

fn answered(answer: Answer) -> [u64; 8] {
    let mut registers = Registers(OWN);
    answer.apply(&mut registers);
    registers.0
}

fn simple(function: u32) -> Call {
    Call::parse(&Registers(driver::call(function, 0, 0)))
}

#[test]
fn every_function_linux_calls_is_known() {
    assert_eq!(simple(0xbf00_ff00), Call::CallsCount);
    assert_eq!(simple(0xbf00_ff01), Call::CallsUid);
    assert_eq!(simple(0xbf00_ff03), Call::CallsRevision);
    assert_eq!(simple(0xb200_0000), Call::OsUuid);
    assert_eq!(simple(0xb200_0001), Call::OsRevision);
    assert_eq!(simple(0xb200_0007), Call::GetShmConfig);
    assert_eq!(simple(0xb200_000a), Call::DisableShmCache);
    assert_eq!(simple(0xb200_000b), Call::EnableShmCache);
    assert_eq!(simple(0xb200_000f), Call::ThreadCount);
    assert_eq!(simple(0xb200_0010), Call::EnableAsyncNotif);
    assert_eq!(simple(0xb200_0011), Call::GetAsyncNotifValue);
    let Call::ExchangeCapabilities { normal_world } =
        Call::parse(&Registers([0xb200_0009, 1, 0, 0, 0, 0, 0, 0]))
    else {
        panic!("it is");
    };
    assert_eq!(normal_world, NormalCapabilities::UNIPROCESSOR);
    assert!(!normal_world.has_unknown());
    assert!(NormalCapabilities(3).has_unknown());
}

#[test]
fn a_message_is_where_two_registers_say() {
    let at = |function| Call::parse(&Registers(driver::call(function, 0x1_4321_7000, 0x20)));
    let arg = Ipa(0x1_4321_7000);
    assert_eq!(at(0x3200_0004), Call::WithArg { arg });
    assert_eq!(at(0x3200_0012), Call::WithRpcArg { arg });
    assert_eq!(
        at(0x3200_0013),
        Call::WithRegisteredArg {
            shm_ref: ShmRef(0x1_4321_7000),
            offset: 0x20
        }
    );
}

#[test]
fn a_guest_that_plays_hypervisor_is_seen() {
    let call = |x0| Call::parse(&Registers([x0, 3, 0, 0, 0, 0, 0, 0]));
    assert_eq!(call(0xb200_000d), Call::VmCreated { client: 3 });
    assert_eq!(call(0xb200_000e), Call::VmDestroyed { client: 3 });
}

#[test]
fn what_is_not_offered_is_unknown_and_has_a_name_if_any() {
    for (function, name) in [
        (0xb200_0008, Some("OPTEE_SMC_L2CC_MUTEX")),
        (0xb200_000c, Some("OPTEE_SMC_BOOT_SECONDARY")),
        (0xb200_0014, Some("OPTEE_SMC_GET_PROTMEM_CONFIG")),
        // PSCI_VERSION, and OP-TEE's functions with the wrong convention, the wrong speed, the wrong owner.
        (0x8400_0000, None),
        (0xf200_0009, None),
        (0x3200_0009, None),
        (0xb200_0004, None),
        (0xb100_0009, None),
        (0x7200_0004, None),
    ] {
        assert_eq!(simple(function), Call::Unknown(FunctionId(function)));
        assert_eq!(FunctionId(function).name(), name, "{function:#x}");
    }
}

#[test]
fn a_guest_resumes_with_what_it_allocated_or_with_nothing() {
    let resumed = |registers| match Call::parse(&Registers(registers)) {
        Call::ReturnFromRpc(resume) => resume,
        other => panic!("{other:?}"),
    };
    let resume = resumed([
        0x3200_0003,
        0x1,
        0x4321_7000,
        9,
        0xffff_0000,
        0x0123_4500,
        0,
        0,
    ]);
    assert_eq!(
        resume,
        Resume {
            thread: 9,
            first: 0x1_4321_7000,
            second: 0xffff_0000_0123_4500
        }
    );
    assert_eq!(
        resume.allocation(),
        Some(Allocation {
            address: Ipa(0x1_4321_7000),
            shm_ref: ShmRef(0xffff_0000_0123_4500)
        })
    );
    let resume = resumed([0x3200_0003, 0, 0, 9, 0, 0, 0, 0]);
    assert_eq!(resume.allocation(), None);
}

#[test]
fn answers_are_where_linux_looks() {
    assert_eq!(
        answered(Answer::Uid(API_UID))[..5],
        [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b, 0x44]
    );
    assert_eq!(answered(Answer::Uid(OS_UUID))[0], 0x4861_78e0);
    let (major, minor) = API_REVISION;
    assert_eq!(
        answered(Answer::ApiRevision { major, minor })[..3],
        [2, 0, 0x22]
    );
    assert_eq!(
        answered(Answer::OsRevision {
            major: 4,
            minor: 10,
            build: 0xdead_beef
        })[..4],
        [4, 10, 0xdead_beef, 0x33]
    );
    assert_eq!(answered(Answer::CallsCount(12))[..2], [12, 0x11]);
    assert_eq!(answered(Answer::ThreadCount(4))[..3], [0, 4, 0x22]);
    let secure = SecureCapabilities::DYNAMIC_SHM
        .with(SecureCapabilities::MEMREF_NULL)
        .with(SecureCapabilities::RPC_ARG);
    assert!(secure.contains(SecureCapabilities::RPC_ARG));
    assert!(!secure.contains(SecureCapabilities::ASYNC_NOTIF));
    assert_eq!(
        answered(Answer::Capabilities {
            secure,
            max_notification: 0,
            rpc_params: 4
        })[..5],
        [0, 0b101_0100, 0, 4, 0x44]
    );
    assert_eq!(
        answered(Answer::CapabilitiesRefused { secure })[..3],
        [7, 0b101_0100, 0x22]
    );
    assert_eq!(
        answered(Answer::CachedShm(ShmRef(0xffff_0000_0123_4500)))[..4],
        [0, 0xffff_0000, 0x0123_4500, 0x33]
    );
    assert_eq!(
        answered(Answer::ShmConfig {
            start: Ipa(0x1_0000_0000),
            size: 0x20_0000,
            cached: true
        })[..5],
        [0, 0x1_0000_0000, 0x20_0000, 1, 0x44]
    );
    let notification = |value, more| answered(Answer::Notification { value, more });
    assert_eq!(notification(Some(64), true)[..4], [0, 64, 3, 0x33]);
    assert_eq!(notification(Some(0), false)[..4], [0, 0, 1, 0x33]);
    assert_eq!(notification(None, false)[..4], [0, 0, 0, 0x33]);
}

#[test]
fn a_code_alone_changes_one_register() {
    for (code, number) in [
        (ReturnCode::Ok, 0),
        (ReturnCode::ThreadLimit, 1),
        (ReturnCode::Busy, 2),
        (ReturnCode::BadResume, 3),
        (ReturnCode::BadAddress, 4),
        (ReturnCode::BadCommand, 5),
        (ReturnCode::NoMemory, 6),
        (ReturnCode::NotAvailable, 7),
        (ReturnCode::UnknownFunction, 0xffff_ffff),
    ] {
        let after = answered(code.into());
        assert_eq!(after[0], number);
        assert_eq!(after[1..], OWN[1..]);
    }
    let mut wide = Registers([0xc400_0003, 0, 0, 0, 0, 0, 0, 0]);
    Answer::Code(ReturnCode::UnknownFunction).apply(&mut wide);
    assert_eq!(wide.0[0], u64::MAX, "-1 of a 64-bit function");
}

#[test]
fn a_request_is_where_linux_looks() {
    let asked = |rpc| answered(Answer::Rpc { rpc, thread: 9 });
    let shm_ref = ShmRef(0xffff_0000_0123_4500);
    let rest = &OWN[4..];
    for (after, first) in [
        (asked(Rpc::Allocate { size: 64 }), [0xffff_0000, 64, 0, 9]),
        (
            asked(Rpc::Free { shm_ref }),
            [0xffff_0002, 0xffff_0000, 0x0123_4500, 9],
        ),
        (asked(Rpc::ForeignInterrupt), [0xffff_0004, 0, 0, 9]),
        (
            asked(Rpc::Command {
                shm_ref: Some(shm_ref),
            }),
            [0xffff_0005, 0xffff_0000, 0x0123_4500, 9],
        ),
        (
            asked(Rpc::Command { shm_ref: None }),
            [0xffff_0005, 0, 0, 9],
        ),
    ] {
        assert_eq!(after[..4], first);
        assert_eq!(after[4..], *rest);
    }
}

proptest! {
    #[test]
    fn every_number_in_registers_arrives(
        pair: u64, second: u64, a3: u32, upper: [u32; 8], client: u32,
    ) {
        let dirty = |mut registers: [u64; 8]| {
            for (register, upper) in registers.iter_mut().zip(upper) {
                *register |= u64::from(upper) << 32;
            }
            registers[7] |= u64::from(client);
            Registers(registers)
        };
        let parse = |function| Call::parse(&dirty(driver::call(function, pair, a3.into())));
        let arg = Ipa(pair);
        prop_assert_eq!(parse(0x3200_0004), Call::WithArg { arg });
        prop_assert_eq!(parse(0x3200_0012), Call::WithRpcArg { arg });
        prop_assert_eq!(
            parse(0x3200_0013),
            Call::WithRegisteredArg { shm_ref: ShmRef(pair), offset: a3 }
        );
        let mut registers = driver::call(0x3200_0003, pair, a3.into());
        (registers[4], registers[5]) = (second >> 32, second & 0xffff_ffff);
        prop_assert_eq!(dirty(registers).client_id(), client);
        prop_assert_eq!(
            Call::parse(&dirty(registers)),
            Call::ReturnFromRpc(Resume { thread: a3, first: pair, second })
        );
    }

    /// What a guest does with a request and its memory: resumes with the reference it was given.
    #[test]
    fn a_request_comes_back_as_it_went(reference: u64, thread: u32) {
        let mut registers = Registers([0x3200_0004, 0, 0, 0, 0, 0, 0, 0]);
        let rpc = Rpc::Free { shm_ref: ShmRef(reference) };
        Answer::Rpc { rpc, thread }.apply(&mut registers);
        registers.0[0] = 0x3200_0003;
        let Call::ReturnFromRpc(resume) = Call::parse(&registers) else {
            panic!("it is");
        };
        prop_assert_eq!((resume.thread, resume.first), (thread, reference));
    }

    #[test]
    fn no_function_is_taken_for_another(x0: u64) {
        let call = Call::parse(&Registers([x0, 0, 0, 0, 0, 0, 0, 0]));
        let function = FunctionId::from_register(x0);
        if function.is_64bit() || ![50, 63].contains(&function.owner()) {
            prop_assert_eq!(call, Call::Unknown(function));
        }
    }
}
