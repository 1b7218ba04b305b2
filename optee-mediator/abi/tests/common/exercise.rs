//! Everything that is ever done with a guest's bytes, for tests that throw bytes at it. The fuzz target includes this
//! file too.

use optee_abi::limits::{HEADER_LEN, META_PARAMS, PAGE_SIZE, TA_PARAMS};
use optee_abi::message::rpc::{REQUEST_LEN, Reply, Request, ShmKind};
use optee_abi::message::{Direction, Memory, MessageError, Place, Verdict, refuse};
use optee_abi::smc::{Resume, ReturnCode, Rpc, SecureCapabilities};
use optee_abi::{
    Answer, Call, Command, Ipa, Message, Origin, Outcome, Output, PageList, Param, Registers,
    SessionId, ShmRef, TeeResult, Uuid,
};

/// As many pages as a guest may share at once here.
const MAX_PAGES: u64 = 2000;

/// Takes bytes for registers and a message, and for what that leads to.
///
/// # Panics
/// If anything in it does, or a promise about every guest is broken.
pub(crate) fn exercise(bytes: &[u8]) {
    let (registers, rest) = bytes.split_at(bytes.len().min(64));
    let mut words = [0; 8];
    for (word, octets) in words.iter_mut().zip(registers.chunks_exact(8)) {
        *word = u64::from_le_bytes(octets.try_into().expect("eight of them"));
    }
    exercise_registers(Registers(words));
    exercise_message(rest);
    exercise_replies(rest);
    let start = Ipa(words[1]);
    if let Ok(list) = PageList::new(start, words[2], MAX_PAGES) {
        exercise_list(list, rest);
    }
}

fn exercise_registers(registers: Registers) {
    let call = Call::parse(&registers);
    let mut low = registers;
    for word in &mut low.0 {
        *word &= 0xffff_ffff;
    }
    assert_eq!(Call::parse(&low), call, "upper halves do not count");
    if let Call::ReturnFromRpc(resume) = call {
        let _: Resume = resume;
        assert_eq!(resume.allocation().is_none(), resume.first == 0);
    }
    for answer in answers() {
        let mut after = registers;
        answer.apply(&mut after);
        assert_eq!(after.0[4..], registers.0[4..], "a4 to a7 are preserved");
        let wide = registers.function().is_64bit();
        let unknown = answer == Answer::Code(ReturnCode::UnknownFunction);
        assert!(after.0[0] >> 32 == 0 || (wide && unknown));
    }
}

fn answers() -> Vec<Answer> {
    let secure = SecureCapabilities::DYNAMIC_SHM.with(SecureCapabilities::RPC_ARG);
    let rpc = |rpc| Answer::Rpc { rpc, thread: 7 };
    vec![
        ReturnCode::Ok.into(),
        ReturnCode::ThreadLimit.into(),
        ReturnCode::UnknownFunction.into(),
        Answer::CallsCount(12),
        Answer::Uid(Uuid([0xff; 16])),
        Answer::ApiRevision { major: 2, minor: 0 },
        Answer::OsRevision {
            major: 4,
            minor: 10,
            build: u32::MAX,
        },
        Answer::ShmConfig {
            start: Ipa(1 << 40),
            size: 1 << 33,
            cached: true,
        },
        Answer::Capabilities {
            secure,
            max_notification: u32::MAX,
            rpc_params: 4,
        },
        Answer::CapabilitiesRefused { secure },
        Answer::CachedShm(ShmRef(u64::MAX)),
        Answer::ThreadCount(u32::MAX),
        Answer::Notification {
            value: Some(u32::MAX),
            more: true,
        },
        rpc(Rpc::Allocate { size: u32::MAX }),
        rpc(Rpc::Free {
            shm_ref: ShmRef(u64::MAX),
        }),
        rpc(Rpc::ForeignInterrupt),
        rpc(Rpc::Command { shm_ref: None }),
        rpc(Rpc::Command {
            shm_ref: Some(ShmRef(u64::MAX)),
        }),
    ]
}

fn exercise_message(bytes: &[u8]) {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => {
            let _ = error.to_string();
            if let Verdict::Message(result) = error.verdict() {
                let mut copy = bytes.to_vec();
                refuse(&mut copy, result, Origin::TEE);
                assert_eq!(copy[HEADER_LEN..], bytes[HEADER_LEN..]);
                assert_eq!(copy[20..24], result.0.to_le_bytes());
            }
            return;
        }
    };
    let len = message.len();
    assert_eq!(
        Message::parse(&bytes[..len]),
        Ok(message),
        "nothing behind it"
    );
    assert_eq!(
        Message::parse(&bytes[..len - 1]),
        Err(MessageError::Truncated)
    );
    let shared = match &message.command {
        Command::RegisterShm { memory } => Some(*memory),
        _ => None,
    };
    let params = message
        .command
        .params()
        .map_or(&[][..], |params| params.given());
    let memories = params.iter().filter_map(|param| match param {
        Param::Temporary { memory, .. } => Some(*memory),
        _ => None,
    });
    for memory in memories.chain(shared) {
        exercise_memory(&memory, bytes);
    }
    exercise_outcome(&message, params, bytes);
}

/// Answers with all that may be answered, and with one thing that may not.
fn exercise_outcome(message: &Message, params: &[Param], bytes: &[u8]) {
    let opens = matches!(message.command, Command::OpenSession { .. });
    let mut outcome = Outcome::only(TeeResult::SUCCESS, Origin::TRUSTED_APP);
    outcome.session = opens.then_some(SessionId(0x5e55_1001));
    for (output, param) in outcome.outputs.iter_mut().zip(params) {
        *output = match param {
            Param::Value { direction, .. } if direction.writes() => Output::Value {
                a: 0xaaaa,
                b: 0xbbbb,
                c: 0xcccc,
            },
            Param::Null { direction, .. }
            | Param::Temporary { direction, .. }
            | Param::Registered { direction, .. }
                if direction.writes() =>
            {
                Output::Size(0x5151)
            }
            _ => Output::Unchanged,
        };
    }
    let mut copy = bytes.to_vec();
    message
        .answer(&outcome, &mut copy)
        .expect("it is its answer");
    let may_change = changeable(message, params, opens);
    for (at, (after, before)) in copy.iter().zip(bytes).enumerate() {
        assert!(after == before || may_change.iter().any(|range| range.contains(&at)));
    }
    let short = &mut copy[..message.len() - 1];
    assert!(message.answer(&outcome, short).is_err());
    for index in 0..TA_PARAMS {
        let mut wrong = outcome;
        wrong.outputs[index] = match params.get(index) {
            Some(Param::Value { direction, .. }) if direction.writes() => Output::Size(1),
            _ => Output::Value { a: 1, b: 1, c: 1 },
        };
        let mut copy = bytes.to_vec();
        message.answer(&wrong, &mut copy).expect_err("it is not");
        assert_eq!(copy, bytes, "nothing of a wrong answer is written");
    }
}

/// Bytes of a message that an answer may change, found by counting.
fn changeable(message: &Message, params: &[Param], opens: bool) -> Vec<std::ops::Range<usize>> {
    // Result and origin.
    let mut ranges = vec![20..24, 24..28];
    let mut at = HEADER_LEN;
    if opens {
        ranges.push(8..12);
        at += 32 * META_PARAMS;
    }
    for param in params {
        match param {
            Param::Value {
                direction: Direction::Output | Direction::Inout,
                ..
            } => ranges.push(at + 8..at + 32),
            Param::Null { direction, .. }
            | Param::Temporary { direction, .. }
            | Param::Registered { direction, .. }
                if *direction != Direction::Input =>
            {
                ranges.push(at + 16..at + 24);
            }
            _ => {}
        }
        at += 32;
    }
    if !params.is_empty() {
        assert_eq!(at, message.len());
    }
    ranges
}

fn exercise_replies(bytes: &[u8]) {
    let kind = ShmKind::Kernel;
    for request in [
        Request::Suspend { milliseconds: 1 },
        Request::Wait { key: 1, timeout: 0 },
        Request::Notify { key: 1 },
        Request::GetTime,
        Request::AllocateShm {
            kind,
            size: 4096,
            align: 8,
        },
        Request::FreeShm {
            kind,
            shm_ref: ShmRef(1),
        },
    ] {
        let reply = request.answer(bytes);
        match reply {
            Ok(Reply::Memory(memory)) => {
                assert!(memory.size >= 4096);
                exercise_memory(&memory, bytes);
            }
            Ok(Reply::Time { nanoseconds, .. }) => assert!(nanoseconds < 1_000_000_000),
            Ok(Reply::Done) => {}
            Err(error) => drop(error.to_string()),
        }
        if let Some(exactly) = bytes.get(..REQUEST_LEN) {
            assert_eq!(request.answer(exactly), reply, "nothing behind it");
        }
    }
}

fn exercise_memory(memory: &Memory, bytes: &[u8]) {
    let list = PageList::of(memory, MAX_PAGES);
    match memory.place {
        Place::Contiguous(start) => {
            assert!(start.0.checked_add(memory.size).is_some());
            assert!(list.is_err());
        }
        Place::List(start) => {
            assert!(memory.size > 0);
            if let Ok(list) = list {
                assert_eq!(
                    list.wanted().map(|wanted| wanted.address),
                    Some(start.page())
                );
                exercise_list(list, bytes);
            }
        }
    }
}

/// Reads a list whose pages are all the same, or end in a mistake.
fn exercise_list(mut list: PageList, bytes: &[u8]) {
    assert!(list.pages() <= MAX_PAGES);
    let room = list.pages() * PAGE_SIZE;
    let used = list.offset() + list.size();
    assert!(used <= room && room - used < PAGE_SIZE);
    let mut copy = vec![0; 4096];
    let some = bytes.len().min(copy.len());
    copy[..some].copy_from_slice(&bytes[..some]);
    let mut seen = 0;
    while let Some(wanted) = list.wanted() {
        assert!(wanted.address.is_page_aligned() && (1..=4096).contains(&wanted.len));
        let before = list;
        list.feed(&copy[..wanted.len - 1])
            .map(|_| ())
            .expect_err("short");
        assert_eq!(list, before);
        match list.feed(&copy[..wanted.len]) {
            Ok(pages) => {
                seen += u64::try_from(pages.len()).expect("at most 511");
                for page in pages {
                    assert!(page.is_page_aligned());
                }
            }
            Err(error) => {
                let _ = error.to_string();
                assert_eq!(list, before);
                return;
            }
        }
    }
    assert_eq!(seen, list.pages());
    assert!(list.feed(&copy).is_err());
}
