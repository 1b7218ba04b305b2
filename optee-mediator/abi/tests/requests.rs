//! Requests to a guest as Linux's driver reads them (drivers/tee/optee/rpc.c, smc_abi.c), and its answers.

use crate::common::driver::{NONCONTIG, TMEM_INPUT, TMEM_OUTPUT};
use optee_abi::message::rpc::{REQUEST_LEN, Reply, ReplyError, Request, RpcCommand, ShmKind};
use optee_abi::message::{Memory, ParamFault, Place};
use optee_abi::{Ipa, ShmRef, TeeResult};
use proptest::prelude::*;

const ALLOCATE: Request = Request::AllocateShm {
    kind: ShmKind::Kernel,
    size: 0x1800,
    align: 8,
};

/// Header words with the command, and the parameter.
fn expected(cmd: u32, param: [u64; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [cmd, 0, 0, 0, 0, 0xffff_0000, 0, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for word in param {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// A guest's answer to what it was asked.
fn guest(request: &Request, result: u32, param: [u64; 4]) -> Vec<u8> {
    let mut bytes = expected(request.command().0, param);
    bytes[20..24].copy_from_slice(&result.to_le_bytes());
    bytes
}

#[test]
fn requests_are_what_linux_takes() {
    let shm_ref = ShmRef(0xffff_0000_0123_4500);
    let free = Request::FreeShm {
        kind: ShmKind::Kernel,
        shm_ref,
    };
    let application = Request::AllocateShm {
        kind: ShmKind::Application,
        size: 1,
        align: 2,
    };
    for (request, cmd, param) in [
        (Request::Suspend { milliseconds: 20 }, 5, [1, 20, 0, 0]),
        (Request::Wait { key: 3, timeout: 9 }, 4, [1, 0, 3, 9]),
        (Request::Notify { key: 3 }, 4, [1, 1, 3, 0]),
        (ALLOCATE, 6, [1, 1, 0x1800, 8]),
        (application, 6, [1, 0, 1, 2]),
        (free, 7, [1, 1, shm_ref.0, 0]),
        (Request::GetTime, 3, [2, 0, 0, 0]),
    ] {
        assert_eq!(request.encode().to_vec(), expected(cmd, param));
        assert_eq!(request.command(), RpcCommand(cmd));
        assert!(request.command().name().is_some());
    }
}

#[test]
fn a_guest_that_never_looks_has_refused() {
    for request in [Request::Notify { key: 1 }, Request::GetTime, ALLOCATE] {
        let answer = request.answer(&request.encode());
        assert_eq!(answer, Err(ReplyError::Refused(TeeResult::GENERIC)));
    }
}

#[test]
fn a_guest_says_that_it_is_done_or_why_not() {
    let wait = Request::Wait { key: 1, timeout: 2 };
    let answer = |result| wait.answer(&guest(&wait, result, [1, 0, 1, 2]));
    assert_eq!(answer(0), Ok(Reply::Done));
    assert_eq!(
        answer(0xffff_3001),
        Err(ReplyError::Refused(TeeResult::TIMEOUT))
    );
}

#[test]
fn a_time_is_one() {
    let answer = |param| Request::GetTime.answer(&guest(&Request::GetTime, 0, param));
    assert_eq!(
        answer([2, 1_700_000_000, 999_999_999, 7]),
        Ok(Reply::Time {
            seconds: 1_700_000_000,
            nanoseconds: 999_999_999
        })
    );
    for wrong in [1_000_000_000, 1 << 32, u64::MAX] {
        assert_eq!(answer([2, 0, wrong, 0]), Err(ReplyError::Time(wrong)));
    }
    let refused = Err(ReplyError::Param(ParamFault::Attributes(1)));
    assert_eq!(answer([1, 0, 0, 0]), refused);
}

#[test]
fn memory_is_at_least_what_was_asked_for() {
    let answer = |param| ALLOCATE.answer(&guest(&ALLOCATE, 0, param));
    let memory = |place, size| {
        let shm_ref = ShmRef(5);
        Ok(Reply::Memory(Memory {
            place,
            size,
            shm_ref,
        }))
    };
    assert_eq!(
        answer([TMEM_OUTPUT, 0x1000, 0x1800, 5]),
        memory(Place::Contiguous(Ipa(0x1000)), 0x1800)
    );
    assert_eq!(
        answer([TMEM_OUTPUT | NONCONTIG, 0x1000, 0x2000, 5]),
        memory(Place::List(Ipa(0x1000)), 0x2000)
    );
    assert_eq!(
        answer([TMEM_OUTPUT | NONCONTIG, 0x1000, 0x17ff, 5]),
        Err(ReplyError::TooSmall {
            given: 0x17ff,
            wanted: 0x1800
        })
    );
    for attributes in [
        0,
        1,
        6,
        TMEM_INPUT,
        TMEM_OUTPUT | 0x100,
        TMEM_OUTPUT | 1 << 16,
    ] {
        let refused = Err(ReplyError::Param(ParamFault::Attributes(attributes)));
        assert_eq!(answer([attributes, 0x1000, 0x1800, 5]), refused);
    }
    assert!(matches!(
        answer([TMEM_OUTPUT, u64::MAX, 0x1800, 5]),
        Err(ReplyError::Param(ParamFault::Wraps { .. }))
    ));
}

#[test]
fn an_answer_has_one_parameter_and_all_of_it() {
    for count in [0, 2, u32::MAX] {
        let mut bytes = guest(&ALLOCATE, 0, [TMEM_OUTPUT, 0x1000, 0x1800, 5]);
        bytes[28..32].copy_from_slice(&count.to_le_bytes());
        assert_eq!(ALLOCATE.answer(&bytes), Err(ReplyError::ParamCount(count)));
    }
    let bytes = guest(&ALLOCATE, 0, [TMEM_OUTPUT, 0x1000, 0x1800, 5]);
    assert_eq!(bytes.len(), REQUEST_LEN);
    for len in 0..bytes.len() {
        assert_eq!(ALLOCATE.answer(&bytes[..len]), Err(ReplyError::Truncated));
    }
}

proptest! {
    #[test]
    fn numbers_of_a_request_arrive(a: u64, b: u64, key: u32, timeout: u32) {
        let kind = ShmKind::Kernel;
        let allocate = Request::AllocateShm { kind, size: a, align: b };
        prop_assert_eq!(allocate.encode().to_vec(), expected(6, [1, 1, a, b]));
        let wait = Request::Wait { key, timeout };
        prop_assert_eq!(wait.encode().to_vec(), expected(4, [1, 0, key.into(), timeout.into()]));
    }
}
