//! UUIDs of trusted applications and clients.

use core::fmt;
use core::str::FromStr;

/// A UUID as its 16 octets in the order of RFC 4122 §4.1.2, which is the order of its text.
///
/// OP-TEE takes UUIDs as octets in this order (core/tee/uuid.c, `tee_uuid_from_octets`), and so does the ioctl interface
/// (include/uapi/linux/tee.h, `struct tee_ioctl_open_session_arg`): between a message and a TEE's device nothing is
/// swapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Why a text is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UuidError {
    /// Not 36 bytes.
    #[error(
        "a UUID has 36 characters, like 384fb3e0-e7f8-11e3-af63-0002a5d5c51b; here are {0} bytes"
    )]
    Length(usize),
    /// Something else where a hyphen must be.
    #[error("a UUID has a hyphen at byte {0}")]
    Hyphen(usize),
    /// Something else where a hexadecimal digit must be.
    #[error("a UUID has a hexadecimal digit at byte {0}")]
    Digit(usize),
}

impl Uuid {
    /// Nobody.
    pub const NIL: Uuid = Uuid([0; 16]);

    /// From two 64-bit words of a message, whose octets in memory are the UUID's: 8 in each (optee_msg.h,
    /// `OPTEE_MSG_CMD_OPEN_SESSION`). Memory is little-endian.
    pub const fn from_octet_words(a: u64, b: u64) -> Uuid {
        Uuid((((b as u128) << 64) | a as u128).to_le_bytes())
    }

    /// As [`Self::from_octet_words`] takes it.
    pub const fn octet_words(self) -> (u64, u64) {
        let all = u128::from_le_bytes(self.0);
        (all as u64, (all >> 64) as u64)
    }

    /// As four numbers in registers, the way `OPTEE_SMC_CALLS_UID` returns one (optee_smc.h): 384fb3e0-e7f8-… is
    /// 0x384fb3e0, 0xe7f8….
    pub const fn words(self) -> [u32; 4] {
        let all = u128::from_be_bytes(self.0);
        [
            (all >> 96) as u32,
            (all >> 64) as u32,
            (all >> 32) as u32,
            all as u32,
        ]
    }

    /// From what [`Self::words`] gives.
    pub const fn from_words(words: [u32; 4]) -> Uuid {
        let [a, b, c, d] = words;
        let all = ((a as u128) << 96) | ((b as u128) << 64) | ((c as u128) << 32) | d as u128;
        Uuid(all.to_be_bytes())
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    fn from_str(text: &str) -> Result<Uuid, UuidError> {
        if text.len() != 36 {
            return Err(UuidError::Length(text.len()));
        }
        let mut all: u128 = 0;
        for (at, byte) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(UuidError::Hyphen(at));
                }
            } else {
                let digit = char::from(byte).to_digit(16).ok_or(UuidError::Digit(at))?;
                all = (all << 4) | u128::from(digit);
            }
        }
        Ok(Uuid(all.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = u128::from_be_bytes(self.0);
        let part = |shift: u32, mask: u64| (all >> shift) as u64 & mask;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 0xffff_ffff),
            part(80, 0xffff),
            part(64, 0xffff),
            part(48, 0xffff),
            part(0, 0xffff_ffff_ffff),
        )
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const API: &str = "384fb3e0-e7f8-11e3-af63-0002a5d5c51b";

    #[test]
    fn the_text_the_octets_and_the_registers_are_the_same_uuid() {
        let uuid: Uuid = API.parse().unwrap();
        assert_eq!(
            uuid.0,
            [
                0x38, 0x4f, 0xb3, 0xe0, 0xe7, 0xf8, 0x11, 0xe3, 0xaf, 0x63, 0x00, 0x02, 0xa5, 0xd5,
                0xc5, 0x1b
            ]
        );
        assert_eq!(
            uuid.words(),
            [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b]
        );
        assert_eq!(
            uuid.octet_words(),
            (0xe311_f8e7_e0b3_4f38, 0x1bc5_d5a5_0200_63af)
        );
        assert_eq!(uuid.to_string(), API);
    }

    #[test]
    fn a_wrong_text_is_refused_where_it_is_wrong() {
        let parse = |text: &str| text.parse::<Uuid>();
        assert_eq!(parse(&API[1..]), Err(UuidError::Length(35)));
        assert_eq!(parse(""), Err(UuidError::Length(0)));
        assert_eq!(parse(&API.replacen('-', "0", 1)), Err(UuidError::Hyphen(8)));
        assert_eq!(parse(&API.replacen('b', "-", 1)), Err(UuidError::Digit(4)));
        assert_eq!(parse(&API.replacen('b', "g", 1)), Err(UuidError::Digit(4)));
        // 36 bytes, not 36 characters.
        assert_eq!(parse(&API.replacen("b3", "é", 1)), Err(UuidError::Digit(4)));
        assert_eq!(parse(&API.to_uppercase()), parse(API));
    }

    proptest! {
        #[test]
        fn every_uuid_round_trips(octets: [u8; 16], a: u64, b: u64) {
            let uuid = Uuid(octets);
            prop_assert_eq!(uuid.to_string().parse(), Ok(uuid));
            prop_assert_eq!(Uuid::from_words(uuid.words()), uuid);
            prop_assert_eq!(Uuid::from_octet_words(a, b).octet_words(), (a, b));
        }

        #[test]
        fn no_text_panics(text: std::string::String) {
            if let Ok(uuid) = text.parse::<Uuid>() {
                prop_assert_eq!(uuid.to_string(), text.to_lowercase());
            }
        }
    }
}
