//! Bytes of every kind: nothing panics, and every promise about every guest is kept.

use crate::common::driver::{self, Words};
use crate::common::exercise::exercise;
use optee_abi::Message;
use optee_abi::smc::FunctionId;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// What stands before the message in the bytes of a trial.
const REGISTERS: usize = 64;

/// A number that is interesting to a parser.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(0x1000),
        0..0x3000_u64,
        any::<u64>().prop_map(|number| number & !0xfff),
        any::<u64>().prop_map(|number| number >> 40),
        any::<u64>(),
    ]
}

/// Attributes, mostly almost right.
fn attributes() -> impl Strategy<Value = u64> {
    let flags = prop_oneof![
        4 => Just(0),
        2 => Just(0x200),
        1 => Just(0x100),
        1 => Just(0x1_0000),
        1 => any::<u64>(),
    ];
    (0..13_u64, flags).prop_map(|(kind, flags)| kind | flags)
}

fn param() -> impl Strategy<Value = Words> {
    (attributes(), number(), number(), number())
        .prop_map(|(attributes, a, b, c)| [attributes, a, b, c])
}

/// Registers and a message as [`exercise`] takes them apart.
fn almost_right() -> impl Strategy<Value = Vec<u8>> {
    let function = prop_oneof![
        Just(FunctionId::CALL_WITH_ARG),
        any::<u32>().prop_map(FunctionId)
    ];
    let registers = prop::collection::vec(number(), 7);
    let params = prop::collection::vec(param(), 0..6);
    let kind = (0..9_u32, any::<u32>(), 0..8_u64, any::<bool>());
    let rest = (0..40_usize, any::<Vec<u8>>());
    (function, registers, kind, params, rest).prop_map(
        |(function, registers, (cmd, session, login, meta), params, (cut, behind))| {
            let message = if cmd == 0 && meta {
                driver::open_session([1; 16], login, [2; 16], 3, &params)
            } else {
                let header = driver::Header {
                    cmd,
                    session,
                    ..Default::default()
                };
                driver::message(header, &params)
            };
            let mut bytes = Vec::from(u64::from(function.0).to_le_bytes());
            for register in registers {
                bytes.extend(register.to_le_bytes());
            }
            // One in ten is cut short.
            bytes.extend(&message[..message.len() - if cut < 4 { cut } else { 0 }]);
            bytes.extend(behind);
            bytes
        },
    )
}

#[test]
fn of_almost_right_messages_many_are_right_and_many_are_wrong() {
    let mut runner = TestRunner::deterministic();
    let mut right = 0;
    for _ in 0..1000 {
        let bytes = almost_right()
            .new_tree(&mut runner)
            .expect("nothing is filtered out")
            .current();
        right += usize::from(Message::parse(&bytes[REGISTERS..]).is_ok());
    }
    println!("{right} of 1000 are right");
    assert!((50..950).contains(&right), "{right} of 1000 are right");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_bytes_break_a_promise(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise(&bytes);
    }

    #[test]
    fn no_almost_right_message_breaks_a_promise(bytes in almost_right()) {
        exercise(&bytes);
    }

    /// An answer to a request, as [`exercise`] takes one apart.
    #[test]
    fn no_almost_right_reply_breaks_a_promise(
        result in prop_oneof![Just(0_u32), any::<u32>()], param in param(),
        list in prop::collection::vec(any::<u64>(), 0..600), aligned in prop::bool::weighted(0.8),
    ) {
        let mut message = driver::message(driver::Header::default(), &[param]);
        message[20..24].copy_from_slice(&result.to_le_bytes());
        let mut bytes = vec![0; REGISTERS];
        bytes.extend(message);
        let mask = if aligned { !0xfff } else { u64::MAX };
        bytes.extend(list.iter().flat_map(|entry| (entry & mask).to_le_bytes()));
        exercise(&bytes);
    }
}
