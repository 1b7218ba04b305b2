//! Bytes of every kind: nothing panics, and every promise about every guest is kept.

use crate::common::driver::{self, Words};
use crate::common::exercise::exercise;
use optee_abi::smc::FunctionId;
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_bytes_break_a_promise(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise(&bytes);
    }

    #[test]
    fn no_almost_right_message_breaks_a_promise(
        function in prop_oneof![Just(FunctionId::CALL_WITH_ARG), any::<u32>().prop_map(FunctionId)],
        registers in prop::collection::vec(number(), 7),
        cmd in 0..9_u32, session: u32, login in 0..8_u64, meta: bool,
        params in prop::collection::vec(param(), 0..6), cut in 0..40_usize, behind: Vec<u8>,
    ) {
        let message = if cmd == 0 && meta {
            driver::open_session([1; 16], login, [2; 16], 3, &params)
        } else {
            driver::message(driver::Header { cmd, session, ..Default::default() }, &params)
        };
        let mut bytes = Vec::from(u64::from(function.0).to_le_bytes());
        for register in registers {
            bytes.extend(register.to_le_bytes());
        }
        // One in ten is cut short.
        bytes.extend(&message[..message.len() - if cut < 4 { cut } else { 0 }]);
        bytes.extend(behind);
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
        let mut bytes = vec![0; 64];
        bytes.extend(message);
        let mask = if aligned { !0xfff } else { u64::MAX };
        bytes.extend(list.iter().flat_map(|entry| (entry & mask).to_le_bytes()));
        exercise(&bytes);
    }
}
