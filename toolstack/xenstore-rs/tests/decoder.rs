//! Promises of the decoder for any bytes, cut in any way.

use proptest::collection::vec;
use proptest::prelude::*;
use xenstore::wire::{Decoder, HEADER_LEN, Message, MessageType, PAYLOAD_MAX, encode};

fn message() -> impl Strategy<Value = Message> {
    (
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        vec(any::<u8>(), 0..=PAYLOAD_MAX),
    )
        .prop_map(|(kind, request_id, transaction_id, payload)| Message {
            kind: MessageType(kind),
            request_id,
            transaction_id,
            payload,
        })
}

/// Feeds `bytes` in pieces of the given lengths, over and over.
fn decode(bytes: &[u8], pieces: &[usize]) -> (Vec<Message>, Decoder, bool) {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut now, later) = rest.split_at((*piece).min(rest.len()));
        rest = later;
        loop {
            match decoder.next(&mut now) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, decoder, true),
            }
            assert!(decoder.allocated() <= PAYLOAD_MAX);
        }
        assert!(now.is_empty(), "everything was taken");
        assert!(decoder.allocated() <= PAYLOAD_MAX);
    }
    (messages, decoder, false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_cut_of_a_stream_gives_the_same_messages(
        messages in vec(message(), 0..6),
        pieces in vec(1usize..5000, 1..20),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|m| m.encode().unwrap()).collect();
        let (decoded, decoder, failed) = decode(&bytes, &pieces);
        prop_assert!(!failed);
        prop_assert_eq!(decoded, messages);
        prop_assert!(!decoder.is_mid_message());
    }

    #[test]
    fn byte_by_byte_gives_the_same_messages(messages in vec(message(), 1..3)) {
        let bytes: Vec<u8> = messages.iter().flat_map(|m| m.encode().unwrap()).collect();
        let (decoded, _, failed) = decode(&bytes, &[1]);
        prop_assert!(!failed);
        prop_assert_eq!(decoded, messages);
    }

    #[test]
    fn garbage_never_panics_and_never_allocates_more_than_the_limit(
        bytes in vec(any::<u8>(), 0..20_000),
        pieces in vec(1usize..300, 1..20),
    ) {
        let (messages, _, _) = decode(&bytes, &pieces);
        prop_assert!(messages.iter().all(|m| m.payload.len() <= PAYLOAD_MAX));
    }

    #[test]
    fn garbage_lengths_after_good_messages_end_the_stream(
        good in vec(message(), 0..3),
        length in u32::try_from(PAYLOAD_MAX + 1).unwrap()..=u32::MAX,
        pieces in vec(1usize..100, 1..20),
    ) {
        let mut bytes: Vec<u8> = good.iter().flat_map(|m| m.encode().unwrap()).collect();
        let mut header = encode(MessageType::READ, 1, 0, b"").unwrap();
        header[HEADER_LEN - 4..].copy_from_slice(&length.to_ne_bytes());
        bytes.extend(header);
        bytes.extend(b"what follows is not looked at");
        let (decoded, mut decoder, failed) = decode(&bytes, &pieces);
        prop_assert!(failed);
        prop_assert_eq!(decoded, good);
        prop_assert!(decoder.next(&mut &b"x"[..]).is_err());
    }
}
