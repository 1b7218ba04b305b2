//! Sizes with units, as people write them: `"128MiB"`.
//!
//! Only binary units exist here. A size without a unit, or with a decimal one, is refused:
//! in a layout the difference between 128 MB and 128 MiB is a bug that shows late.

use std::fmt;
use std::str::FromStr;

/// One KiB in bytes.
pub const KIB: u64 = 1024;
/// One MiB in bytes.
pub const MIB: u64 = 1024 * KIB;
/// One GiB in bytes.
pub const GIB: u64 = 1024 * MIB;
/// One TiB in bytes.
pub const TIB: u64 = 1024 * GIB;

const UNITS: [(&str, u64); 5] = [
    ("TiB", TIB),
    ("GiB", GIB),
    ("MiB", MIB),
    ("KiB", KIB),
    ("B", 1),
];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No digits at the start.
    #[error("a size starts with a number, for example \"128MiB\"")]
    NoNumber,
    /// Digits only.
    #[error("the unit is missing; write \"{0}MiB\", \"{0}KiB\" or \"{0}B\"")]
    NoUnit(String),
    /// Something behind the digits that is no unit, perhaps a decimal one.
    #[error("\"{found}\" is not a unit; known are B, KiB, MiB, GiB and TiB{hint}")]
    BadUnit {
        /// What stood in the unit's place.
        found: String,
        /// A closing remark when the wanted unit can be guessed.
        hint: String,
    },
    /// Fractions have no exact meaning in pages.
    #[error("a size is a whole number; write it in a smaller unit")]
    Fraction,
    /// More than 2^64 - 1 bytes.
    #[error("the size does not fit into 64 bits")]
    TooLarge,
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let digits_end = text
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(text.len());
        let (digits, rest) = text.split_at(digits_end);
        let digits: String = digits.chars().filter(|c| *c != '_').collect();
        if digits.is_empty() {
            return Err(SizeError::NoNumber);
        }
        if rest.starts_with(['.', ',']) {
            return Err(SizeError::Fraction);
        }
        let unit = rest.trim_start();
        if unit.is_empty() {
            return Err(SizeError::NoUnit(digits));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(SizeError::BadUnit {
                found: unit.to_owned(),
                hint: guess(unit)
                    .map(|name| format!(" (did you mean \"{digits}{name}\"?)"))
                    .unwrap_or_default(),
            });
        };
        let number: u64 = digits.parse().map_err(|_| SizeError::TooLarge)?;
        number
            .checked_mul(*factor)
            .map(ByteSize)
            .ok_or(SizeError::TooLarge)
    }
}

/// The binary unit somebody probably meant by `M`, `mb` or `mib`.
fn guess(unit: &str) -> Option<&'static str> {
    let first = unit.chars().next()?.to_ascii_uppercase();
    let plausible = unit.len() <= 3 && unit.is_ascii();
    UNITS
        .iter()
        .map(|(name, _)| *name)
        .find(|name| plausible && name.starts_with(first))
}

impl fmt::Display for ByteSize {
    /// The largest unit that keeps the number whole: `134217728` is `128MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn binary_units_are_read() {
        assert_eq!("128MiB".parse(), Ok(ByteSize(134_217_728)));
        assert_eq!("3 GiB".parse(), Ok(ByteSize(3 * GIB)));
        assert_eq!("1_024KiB".parse(), Ok(ByteSize(MIB)));
        assert_eq!("0B".parse(), Ok(ByteSize(0)));
    }

    #[test]
    fn decimal_and_missing_units_are_refused_with_a_proposal() {
        let error = |text: &str| text.parse::<ByteSize>().unwrap_err().to_string();
        assert!(error("128MB").contains("did you mean \"128MiB\""));
        assert!(error("128m").contains("did you mean \"128MiB\""));
        assert!(error("128").contains("\"128MiB\""));
        assert!(!error("128 potatoes").contains("did you mean"));
        assert_eq!("1.5GiB".parse::<ByteSize>(), Err(SizeError::Fraction));
        assert_eq!("MiB".parse::<ByteSize>(), Err(SizeError::NoNumber));
        assert_eq!("-1MiB".parse::<ByteSize>(), Err(SizeError::NoNumber));
    }

    #[test]
    fn sizes_beyond_64_bits_are_refused() {
        assert_eq!("16777216TiB".parse::<ByteSize>(), Err(SizeError::TooLarge));
        assert_eq!(
            "99999999999999999999B".parse::<ByteSize>(),
            Err(SizeError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_size(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
