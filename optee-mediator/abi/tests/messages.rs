//! Messages as Linux's driver writes them, what they say, and what is refused with which code.

use crate::common::driver::{
    self, Header, META, NONCONTIG, RMEM_INPUT, TMEM_INPUT, TMEM_OUTPUT, VALUE_INPUT, Words,
};
use optee_abi::limits::{MAX_MESSAGE, MAX_PARAMS};
use optee_abi::message::{
    Direction, Memory, MessageCommand, MessageError, ParamError, ParamFault, Place, Registered,
    Verdict,
};
use optee_abi::smc::ReturnCode;
use optee_abi::{Command, Ipa, Login, Message, Param, SessionId, ShmRef, TeeResult, Uuid};
use proptest::prelude::*;

/// The example trusted application "hello world" of OP-TEE's documentation.
const TA: &str = "8aaaf200-2450-11e4-abe2-0002a5d5c51b";

const REFUSED: Verdict = Verdict::Message(TeeResult::BAD_PARAMETERS);

fn ta() -> Uuid {
    TA.parse().expect("it is one")
}

fn command(bytes: &[u8]) -> Command {
    Message::parse(bytes).expect("it says something").command
}

#[test]
fn a_session_is_opened_as_linux_asks_for_it() {
    // One word a field: nothing here comes from an encoder.
    #[rustfmt::skip]
    let bytes: Vec<u8> = [
        [0x00, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0x77, 0, 0, 0],
        [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 0],
        // Attributes: a value to the TEE, for the TEE. The application's UUID.
        [0x01, 0x01, 0, 0], [0, 0, 0, 0],
        [0x8a, 0xaa, 0xf2, 0x00], [0x24, 0x50, 0x11, 0xe4], [0xab, 0xe2, 0x00, 0x02], [0xa5, 0xd5, 0xc5, 0x1b],
        [0, 0, 0, 0], [0, 0, 0, 0],
        // The client's UUID, and that it is a user.
        [0x01, 0x01, 0, 0], [0, 0, 0, 0],
        [0x10, 0x11, 0x12, 0x13], [0x14, 0x15, 0x16, 0x17], [0x18, 0x19, 0x1a, 0x1b], [0x1c, 0x1d, 0x1e, 0x1f],
        [1, 0, 0, 0], [0, 0, 0, 0],
        // A value both ways.
        [0x03, 0, 0, 0], [0, 0, 0, 0],
        [0x2a, 0, 0, 0], [0, 0, 0, 0], [0x2b, 0, 0, 0], [1, 0, 0, 0], [0x2c, 0, 0, 0], [0, 0, 0, 0x80],
    ]
    .concat();
    assert_eq!(bytes.len(), 128);
    let message = Message::parse(&bytes).expect("it says something");
    assert_eq!(message.len(), 128);
    let Command::OpenSession {
        ta: called,
        login,
        client,
        cancel_id,
        params,
    } = message.command
    else {
        panic!("it is");
    };
    assert_eq!(called, ta());
    assert_eq!(login, Login::User);
    assert_eq!(client.to_string(), "10111213-1415-1617-1819-1a1b1c1d1e1f");
    assert_eq!(cancel_id, 0x77);
    assert_eq!(
        params.given(),
        [Param::Value {
            direction: Direction::Inout,
            a: 0x2a,
            b: 0x1_0000_002b,
            c: 0x8000_0000_0000_002c
        }]
    );
    assert_eq!(params.all()[1..], [Param::None; 3]);
}

#[test]
fn a_client_without_identity_has_none_whatever_the_guest_says() {
    for (login, client) in [
        (Login::Public, Uuid::NIL),
        (Login::ReeKernel, Uuid::NIL),
        (Login::Group, Uuid([7; 16])),
    ] {
        let bytes = driver::open_session(ta().0, login.raw(), [7; 16], 0, &[]);
        let Command::OpenSession {
            login: said,
            client: who,
            ..
        } = command(&bytes)
        else {
            panic!("it is");
        };
        assert_eq!((said, who), (login, client));
    }
}

#[test]
fn a_login_that_no_guest_has_is_refused() {
    for login in [3, 0xf000_0000, 1 << 32] {
        let bytes = driver::open_session(ta().0, login, [7; 16], 0, &[]);
        let error = Message::parse(&bytes).expect_err("it is");
        assert_eq!(error, MessageError::Login(login));
        assert_eq!(error.verdict(), REFUSED);
    }
}

#[test]
fn the_other_commands_say_what_they_are_about() {
    let session = SessionId(0x1234_5678);
    let bytes = driver::invoke(session.0, 42, 7, &[]);
    let Command::Invoke {
        session: used,
        function,
        cancel_id,
        params,
    } = command(&bytes)
    else {
        panic!("it is");
    };
    assert_eq!((used, function, cancel_id), (session, 42, 7));
    assert_eq!(params.given(), []);
    assert_eq!(
        command(&driver::simple(2, session.0, 0)),
        Command::CloseSession { session }
    );
    let cancel_id = 9;
    assert_eq!(
        command(&driver::simple(3, session.0, cancel_id)),
        Command::Cancel { session, cancel_id }
    );
    let (shm_ref, size) = (ShmRef(0xffff_0000_0123_4500), 0x2345);
    let place = Place::List(Ipa(0x4321_7123));
    let memory = Memory {
        place,
        size,
        shm_ref,
    };
    assert_eq!(
        command(&driver::register_shm(0x4321_7000, 0x123, size, shm_ref.0)),
        Command::RegisterShm { memory }
    );
    assert_eq!(
        command(&driver::unregister_shm(shm_ref.0)),
        Command::UnregisterShm { shm_ref }
    );
    assert_eq!(command(&driver::simple(6, 0, 0)), Command::DoBottomHalf);
    assert_eq!(command(&driver::simple(7, 0, 0)), Command::StopAsyncNotif);
}

#[test]
fn an_unknown_command_is_refused_in_the_register() {
    for cmd in [8, 9, 10, 11, 12, u32::MAX] {
        let error = Message::parse(&driver::simple(cmd, 0, 0)).expect_err("it is");
        assert_eq!(error, MessageError::Unknown(MessageCommand(cmd)));
        assert_eq!(error.verdict(), Verdict::Call(ReturnCode::BadCommand));
    }
    let lend = MessageCommand::LEND_PROTMEM;
    assert!(
        MessageError::Unknown(lend)
            .to_string()
            .contains("LEND_PROTMEM")
    );
}

#[test]
fn a_wrong_number_of_parameters_is_refused_before_they_are_looked_at() {
    let bad = [0xff; 4];
    let header = |cmd| Header {
        cmd,
        ..Header::default()
    };
    for (cmd, counts) in [
        (1, &[5, 6][..]),
        (2, &[1, 2]),
        (3, &[1]),
        (4, &[0, 2, 6]),
        (5, &[0, 2]),
        (6, &[1]),
        (7, &[1, 6]),
    ] {
        for &count in counts {
            let bytes = driver::message(header(cmd), &vec![bad; count]);
            let error = Message::parse(&bytes).expect_err("it is");
            assert!(matches!(error, MessageError::ParamCount { .. }), "{error}");
            assert_eq!(error.verdict(), REFUSED);
        }
    }
    let five = driver::open_session(ta().0, 0, [0; 16], 0, &[[0; 4]; 5]);
    let error = Message::parse(&five).expect_err("it is");
    assert!(matches!(error, MessageError::ParamCount { count: 7, .. }));
    // Whether the parameters are there does not matter then, as long as a page could hold them.
    let mut bytes = driver::invoke(1, 0, 0, &[]);
    bytes[28..32].copy_from_slice(&127_u32.to_le_bytes());
    let error = Message::parse(&bytes).expect_err("it is");
    assert_eq!(error.verdict(), REFUSED);
    bytes[28..32].copy_from_slice(&128_u32.to_le_bytes());
    let error = Message::parse(&bytes).expect_err("it is");
    assert_eq!(error, MessageError::TooLong(128));
    assert_eq!(error.verdict(), Verdict::Call(ReturnCode::BadAddress));
}

#[test]
fn a_message_that_ends_too_early_is_in_a_bad_place() {
    let whole = driver::open_session(ta().0, 0, [0; 16], 0, &[[0; 4]; 4]);
    assert_eq!(whole.len(), MAX_MESSAGE);
    assert!(Message::parse(&whole).is_ok());
    for len in 0..whole.len() {
        let error = Message::parse(&whole[..len]).expect_err("it is");
        assert_eq!(error, MessageError::Truncated);
        assert_eq!(error.verdict(), Verdict::Call(ReturnCode::BadAddress));
    }
}

#[test]
fn only_the_first_two_parameters_of_opening_a_session_are_for_the_tee() {
    let good = driver::open_session(ta().0, 0, [0; 16], 0, &[[VALUE_INPUT, 1, 2, 3]]);
    assert!(Message::parse(&good).is_ok());
    for (index, attributes) in [
        (0, VALUE_INPUT),
        (1, VALUE_INPUT),
        (0, META | 2),
        (1, META | 3),
        (0, META | NONCONTIG | VALUE_INPUT),
        (1, META | VALUE_INPUT | 1 << 63),
        (0, META),
    ] {
        let mut bytes = good.clone();
        let at = 32 + 32 * index;
        bytes[at..at + 8].copy_from_slice(&attributes.to_le_bytes());
        let error = Message::parse(&bytes).expect_err("it is");
        assert_eq!(error, MessageError::NoMeta, "{index} {attributes:#x}");
        assert_eq!(error.verdict(), REFUSED);
    }
    let one = driver::message(Header::default(), &[[META | VALUE_INPUT, 0, 0, 0]]);
    assert_eq!(Message::parse(&one), Err(MessageError::NoMeta));
    let mut third = good;
    third[96..104].copy_from_slice(&(META | VALUE_INPUT).to_le_bytes());
    let error = Message::parse(&third).expect_err("it is");
    assert_eq!(
        error.to_string(),
        "OPTEE_MSG_CMD_OPEN_SESSION (0x0), parameter 2: attributes 0x101 are not possible here"
    );
}

#[test]
fn memory_to_register_is_a_list_and_memory_to_forget_was_registered() {
    let one = |cmd, attributes, size| {
        let header = Header {
            cmd,
            ..Header::default()
        };
        Message::parse(&driver::message(header, &[[attributes, 0x1000, size, 1]]))
    };
    let fault = |parsed: Result<Message, MessageError>| match parsed {
        Err(MessageError::Param(ParamError { index: 0, fault }, _)) => fault,
        other => panic!("{other:?}"),
    };
    for attributes in [
        TMEM_OUTPUT,
        TMEM_INPUT | NONCONTIG,
        TMEM_OUTPUT | NONCONTIG | 1 << 16,
        TMEM_OUTPUT | NONCONTIG | META,
        RMEM_INPUT,
        VALUE_INPUT,
        0,
    ] {
        assert_eq!(
            fault(one(4, attributes, 1)),
            ParamFault::Attributes(attributes)
        );
    }
    assert_eq!(fault(one(4, TMEM_OUTPUT | NONCONTIG, 0)), ParamFault::Empty);
    assert!(matches!(
        fault(Message::parse(&driver::register_shm(
            0x1000,
            1,
            u64::MAX,
            1
        ))),
        ParamFault::Wraps { start: 1, .. }
    ));
    for attributes in [TMEM_INPUT, TMEM_OUTPUT | NONCONTIG, 6, 7, VALUE_INPUT, 0] {
        assert_eq!(
            fault(one(5, attributes, 1)),
            ParamFault::Attributes(attributes)
        );
    }
}

/// A parameter that Linux could send, and what it says.
fn any_param() -> impl Strategy<Value = (Words, Param)> {
    let direction = prop_oneof![
        Just((0, Direction::Input)),
        Just((1, Direction::Output)),
        Just((2, Direction::Inout)),
    ];
    let words = (any::<u64>(), any::<u64>(), 0..u64::MAX);
    (0..5, direction, words).prop_map(|(kind, (nth, direction), (a, b, c))| {
        let shm_ref = ShmRef(c);
        match kind {
            0 => ([0, a, b, c], Param::None),
            1 => ([1 + nth, a, b, c], Param::Value { direction, a, b, c }),
            2 => {
                let (offset, size) = (a >> 1, b >> 1);
                let memory = Registered {
                    offset,
                    size,
                    shm_ref,
                };
                let said = Param::Registered { direction, memory };
                ([5 + nth, offset, size, c], said)
            }
            3 => {
                let (start, size) = ((a >> 1).max(1), b >> 1);
                let memory = Memory {
                    place: Place::Contiguous(Ipa(start)),
                    size,
                    shm_ref,
                };
                let said = Param::Temporary { direction, memory };
                ([9 + nth, start, size, c], said)
            }
            _ => {
                let (start, size) = (a.max(1), (b >> 1).max(1));
                let memory = Memory {
                    place: Place::List(Ipa(start)),
                    size,
                    shm_ref,
                };
                let said = Param::Temporary { direction, memory };
                ([(9 + nth) | NONCONTIG, start, size, c], said)
            }
        }
    })
}

proptest! {
    #[test]
    fn every_invocation_says_what_its_guest_says(
        session: u32, func: u32, cancel_id: u32, params in prop::collection::vec(any_param(), 0..=4),
    ) {
        let (words, said): (Vec<_>, Vec<_>) = params.into_iter().unzip();
        let bytes = driver::invoke(session, func, cancel_id, &words);
        let message = Message::parse(&bytes).expect("it says something");
        prop_assert_eq!(message.len(), bytes.len());
        let Command::Invoke { session: used, function, cancel_id: id, params } = message.command else {
            panic!("it is");
        };
        prop_assert_eq!((used.0, function, id), (session, func, cancel_id));
        prop_assert_eq!(params.given(), said);
    }

    #[test]
    fn every_session_is_opened_as_its_guest_says(
        called: [u8; 16], who: [u8; 16], login in prop::sample::select(&Login::ALL), id: u32,
        params in prop::collection::vec(any_param(), 0..=4),
    ) {
        let (words, said): (Vec<_>, Vec<_>) = params.into_iter().unzip();
        let bytes = driver::open_session(called, login.raw(), who, id, &words);
        let message = Message::parse(&bytes).expect("it says something");
        prop_assert_eq!(message.len(), bytes.len());
        let Command::OpenSession { ta, login: how, client, cancel_id, params } = message.command else {
            panic!("it is");
        };
        prop_assert_eq!((ta, how, cancel_id), (Uuid(called), login, id));
        prop_assert_eq!(client, if login.identifies() { Uuid(who) } else { Uuid::NIL });
        prop_assert_eq!(params.given(), said);
    }

    #[test]
    fn what_lies_behind_a_message_does_not_matter(
        params in prop::collection::vec(any_param(), 0..=4), behind: Vec<u8>,
    ) {
        let words: Vec<_> = params.into_iter().map(|(words, _)| words).collect();
        let mut bytes = driver::invoke(1, 2, 3, &words);
        let alone = Message::parse(&bytes);
        bytes.extend(behind);
        prop_assert_eq!(Message::parse(&bytes), alone);
    }

    #[test]
    fn no_more_than_the_most_bytes_of_a_message_is_ever_looked_at(
        head: [u8; MAX_MESSAGE], one: [u8; 32], count in 0..=MAX_PARAMS,
    ) {
        let count = u8::try_from(count).expect("6");
        let bytes = |behind: &[u8]| {
            let mut bytes = [&head[..], behind].concat();
            bytes[28..32].copy_from_slice(&[count, 0, 0, 0]);
            bytes
        };
        prop_assert_eq!(Message::parse(&bytes(&one)), Message::parse(&bytes(&[])));
    }
}
