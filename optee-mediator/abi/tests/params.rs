//! Parameters for a trusted application, one at a time: what they say, and what they cannot be.

use crate::common::driver::{self, META, NONCONTIG, RMEM_INPUT, TMEM_INPUT, VALUE_INPUT, Words};
use optee_abi::message::{
    Direction, Memory, MessageError, ParamError, ParamFault, Place, Registered, Verdict,
};
use optee_abi::{Ipa, Message, Param, ShmRef, TeeResult};

/// Of an invocation with this one parameter.
fn param(words: Words) -> Result<Param, ParamFault> {
    match Message::parse(&driver::invoke(1, 0, 0, &[[0; 4], words])) {
        Ok(message) => Ok(message.command.params().expect("an invocation").all()[1]),
        Err(MessageError::Param(ParamError { index: 1, fault }, _)) => Err(fault),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn unknown_attributes_are_refused() {
    for attributes in [
        4,
        8,
        12,
        0xff,
        // Flags that the kind does not have.
        NONCONTIG,
        NONCONTIG | VALUE_INPUT,
        NONCONTIG | RMEM_INPUT,
        1 << 16 | VALUE_INPUT,
        1 << 16 | RMEM_INPUT,
        META | VALUE_INPUT,
        META | TMEM_INPUT,
        META | RMEM_INPUT,
        // Bits that nothing has, and caching that is none.
        1 << 10 | TMEM_INPUT,
        1 << 17 | TMEM_INPUT,
        7 << 16 | TMEM_INPUT,
        1 << 19 | TMEM_INPUT,
        1 << 32 | TMEM_INPUT,
        1 << 63,
        1 << 63 | VALUE_INPUT,
    ] {
        let refused = param([attributes, 0x1000, 1, 1]);
        assert_eq!(refused, Err(ParamFault::Attributes(attributes)));
    }
}

#[test]
fn temporary_memory_is_in_one_piece_or_a_list_or_none() {
    let (direction, size, shm_ref) = (Direction::Input, 0x100, ShmRef(5));
    let memory = |place| {
        let memory = Memory {
            place,
            size,
            shm_ref,
        };
        Ok(Param::Temporary { direction, memory })
    };
    for caching in [0, 1 << 16] {
        assert_eq!(
            param([TMEM_INPUT | caching, 0x4321_7123, size, 5]),
            memory(Place::Contiguous(Ipa(0x4321_7123)))
        );
    }
    assert_eq!(
        param([TMEM_INPUT | NONCONTIG, 0x4321_7123, size, 5]),
        memory(Place::List(Ipa(0x4321_7123)))
    );
    for flags in [0, NONCONTIG] {
        let null = param([TMEM_INPUT | flags, 0, size, 0]);
        assert_eq!(null, Ok(Param::Null { direction, size }));
    }
    assert!(param([TMEM_INPUT, u64::MAX - 7, 7, 0]).is_ok());
    assert!(matches!(
        param([TMEM_INPUT, u64::MAX - 7, 8, 0]),
        Err(ParamFault::Wraps { .. })
    ));
    assert_eq!(
        param([TMEM_INPUT | NONCONTIG, 0x1000, 0, 0]),
        Err(ParamFault::Empty)
    );
}

#[test]
fn a_piece_of_registered_memory_lies_in_it() {
    let Ok(Param::Registered { direction, memory }) = param([7, 0x10, 0x20, 5]) else {
        panic!("it is");
    };
    assert_eq!(direction, Direction::Inout);
    assert_eq!(
        memory,
        Registered {
            offset: 0x10,
            size: 0x20,
            shm_ref: ShmRef(5)
        }
    );
    assert!(memory.fits(0x30) && !memory.fits(0x2f));
    let Ok(Param::Registered { memory, .. }) = param([6, u64::MAX, 0, 5]) else {
        panic!("it is");
    };
    assert!(memory.fits(u64::MAX) && !memory.fits(0x1000));
    let bytes = driver::invoke(1, 0, 0, &[[RMEM_INPUT, u64::MAX, 1, 5]]);
    let error = Message::parse(&bytes).expect_err("it wraps");
    assert_eq!(error.verdict(), Verdict::Message(TeeResult::SECURITY));
}

#[test]
fn memory_of_the_other_conduit_is_refused() {
    assert_eq!(param([RMEM_INPUT, 0, 0, u64::MAX]), Err(ParamFault::Ffa));
}
