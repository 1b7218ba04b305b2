//! What goes back into a message, and what never does.

use crate::common::driver::{self, Words};
use optee_abi::message::{OutcomeError, refuse};
use optee_abi::{Message, Origin, Outcome, Output, SessionId, TeeResult};
use proptest::prelude::*;

const TA: [u8; 16] = [0x8a; 16];
const VALUE: Output = Output::Value { a: 1, b: 2, c: 3 };

fn words(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks(8);
    words
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight")))
        .collect()
}

/// The message's bytes after the answer.
fn answered(bytes: &[u8], outcome: &Outcome) -> Result<Vec<u8>, OutcomeError> {
    let mut copy = bytes.to_vec();
    let message = Message::parse(bytes).expect("it says something");
    message.answer(outcome, &mut copy)?;
    Ok(copy)
}

#[test]
fn a_session_that_was_opened_is_where_linux_looks() {
    let bytes = driver::open_session(TA, 1, [7; 16], 9, &[[3, 4, 5, 6], [6, 0, 64, 8]]);
    let mut outcome = Outcome::only(TeeResult::SUCCESS, Origin::TRUSTED_APP);
    outcome.session = Some(SessionId(0x1122_3344));
    outcome.outputs[..2].copy_from_slice(&[VALUE, Output::Size(32)]);
    let after = answered(&bytes, &outcome).expect("it is its answer");
    let mut expected = bytes;
    expected[8..12].copy_from_slice(&0x1122_3344_u32.to_le_bytes());
    expected[24..28].copy_from_slice(&4_u32.to_le_bytes());
    expected.truncate(96);
    for word in [3_u64, 1, 2, 3, 6, 0, 32, 8] {
        expected.extend(word.to_le_bytes());
    }
    assert_eq!(after, expected);
}

#[test]
fn a_session_that_was_not_opened_is_none() {
    let mut bytes = driver::open_session(TA, 0, [0; 16], 9, &[]);
    bytes[8..12].copy_from_slice(&[0xff; 4]);
    let denied = Outcome::only(TeeResult::ACCESS_DENIED, Origin::TEE);
    let after = answered(&bytes, &denied).expect("it is its answer");
    assert_eq!(after[8..12], [0; 4]);
    assert_eq!(after[20..28], [0x01, 0, 0xff, 0xff, 3, 0, 0, 0]);
    let mut both = denied;
    both.session = Some(SessionId(1));
    assert_eq!(answered(&bytes, &both), Err(OutcomeError::Session));
}

#[test]
fn only_opening_gives_a_session() {
    let bytes = driver::invoke(5, 0, 0, &[]);
    let mut outcome = Outcome::only(TeeResult::SUCCESS, Origin::TEE);
    let after = answered(&bytes, &outcome).expect("it is its answer");
    assert_eq!(after[8..12], [5, 0, 0, 0], "the guest's own");
    outcome.session = Some(SessionId(6));
    assert_eq!(answered(&bytes, &outcome), Err(OutcomeError::Session));
}

#[test]
fn nothing_is_given_back_of_what_only_goes_to_the_tee() {
    for (words, allowed) in [
        ([0; 4], None),
        ([1, 7, 7, 7], None),
        ([2, 7, 7, 7], Some(VALUE)),
        ([3, 7, 7, 7], Some(VALUE)),
        ([5, 7, 7, 7], None),
        ([6, 7, 7, 7], Some(Output::Size(1))),
        ([7, 7, 7, 7], Some(Output::Size(1))),
        ([9, 7, 7, 7], None),
        ([10, 7, 7, 7], Some(Output::Size(1))),
        ([11, 7, 7, 7], Some(Output::Size(1))),
        ([9, 0, 7, 7], None),
        ([10, 0, 7, 7], Some(Output::Size(1))),
        ([0x20b, 7, 7, 7], Some(Output::Size(1))),
    ] {
        let words: Words = words;
        for output in [VALUE, Output::Size(1)] {
            let bytes = driver::invoke(5, 0, 0, &[[0; 4], words]);
            let mut outcome = Outcome::only(TeeResult::SUCCESS, Origin::TEE);
            outcome.outputs[1] = output;
            let after = answered(&bytes, &outcome);
            if allowed == Some(output) {
                assert_ne!(after.expect("it is its answer")[64..], bytes[64..]);
            } else {
                assert_eq!(after, Err(OutcomeError::Output(1)), "{words:x?}");
            }
        }
    }
}

#[test]
fn nothing_is_given_back_of_parameters_that_are_not_there() {
    for bytes in [
        driver::invoke(5, 0, 0, &[[3, 0, 0, 0]]),
        driver::simple(2, 5, 0),
        driver::register_shm(0x1000, 0, 1, 1),
    ] {
        let mut outcome = Outcome::only(TeeResult::SUCCESS, Origin::TEE);
        outcome.outputs[1] = VALUE;
        assert_eq!(answered(&bytes, &outcome), Err(OutcomeError::Output(1)));
    }
}

#[test]
fn an_answer_needs_the_whole_message() {
    let bytes = driver::invoke(5, 0, 0, &[[3, 0, 0, 0]]);
    let message = Message::parse(&bytes).expect("it says something");
    let outcome = Outcome::only(TeeResult::SUCCESS, Origin::TEE);
    for len in 0..bytes.len() {
        let mut copy = bytes[..len].to_vec();
        assert_eq!(
            message.answer(&outcome, &mut copy),
            Err(OutcomeError::Truncated)
        );
        assert_eq!(copy, bytes[..len]);
    }
}

#[test]
fn a_message_that_says_nothing_is_refused_in_its_header() {
    let mut bytes = driver::open_session(TA, 3, [7; 16], 9, &[]);
    bytes[8..12].copy_from_slice(&[0xff; 4]);
    let before = bytes.clone();
    refuse(&mut bytes, TeeResult::BAD_PARAMETERS, Origin::TEE);
    assert_eq!(bytes[8..12], [0; 4]);
    assert_eq!(bytes[20..28], [0x06, 0, 0xff, 0xff, 3, 0, 0, 0]);
    assert_eq!(bytes[28..], before[28..]);
    let mut short = before[..31].to_vec();
    refuse(&mut short, TeeResult::BAD_PARAMETERS, Origin::TEE);
    assert_eq!(short, before[..31]);
}

proptest! {
    /// Values of every kind at every place; what goes to the TEE only keeps every bit.
    #[test]
    fn an_answer_changes_what_it_gives_and_nothing_else(
        opens: bool, kinds in prop::collection::vec(0..4_u64, 0..=4), own: [u64; 3], given: [u64; 3],
        result: u32, origin: u32,
    ) {
        let params: Vec<Words> = kinds.iter().map(|kind| [*kind, own[0], own[1], own[2]]).collect();
        let bytes = if opens {
            driver::open_session(TA, 0, [0; 16], 1, &params)
        } else {
            driver::invoke(5, 6, 7, &params)
        };
        let [a, b, c] = given;
        let mut outcome = Outcome::only(TeeResult(result), Origin(origin));
        for (output, kind) in outcome.outputs.iter_mut().zip(&kinds) {
            if *kind >= 2 {
                *output = Output::Value { a, b, c };
            }
        }
        let after = answered(&bytes, &outcome).expect("it is its answer");
        prop_assert_eq!(&after[20..24], result.to_le_bytes());
        prop_assert_eq!(&after[24..28], origin.to_le_bytes());
        prop_assert_eq!(&after[..20], &bytes[..20]);
        prop_assert_eq!(&after[28..32], &bytes[28..32]);
        let first = bytes.len() - 32 * kinds.len();
        prop_assert_eq!(&after[32..first], &bytes[32..first]);
        for (words, kind) in words(&after[first..]).chunks(4).zip(kinds) {
            let [x, y, z] = if kind >= 2 { given } else { own };
            prop_assert_eq!(words, [kind, x, y, z]);
        }
    }
}
