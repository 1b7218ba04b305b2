//! Sizes with units, as people write them: `"128MiB"`.
//!
//! Only binary units exist here. A size without a unit, or with a decimal one, is refused:
//! in a layout the difference between 128 MB and 128 MiB is a bug that shows late.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

/// A physical address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub u64);

impl fmt::Display for Address {
    /// In base 16, the digits in groups of four: `0x4000_0000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:x}", self.0);
        f.write_str("0x")?;
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(4) {
                f.write_str("_")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A list of small numbers, ascending and without doubles, as it is written: `[0, 1]` or `"0-3,6"`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Numbers(pub Vec<u32>);

/// A list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts(pub Vec<String>);

/// A day; in JSON as a text, `"2027-06-30"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Date {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day, from 1.
    pub day: u8,
}

impl Date {
    /// The day this many days behind 1970-01-01, in the calendar of ISO 8601; the last one there is when it does not fit.
    pub fn from_days(days: u64) -> Date {
        // Counted from 0000-03-01, so that the leap day is the last one of a year (Hinnant, "chrono-compatible low-level
        // date algorithms"): 400 years have 146097 days, always.
        const LAST: u64 = 2_932_896;
        let days = days.min(LAST) + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        let year = year + era * 400 + next;
        Date {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: u8::try_from(month).unwrap_or(u8::MAX),
            day: u8::try_from(day).unwrap_or(u8::MAX),
        }
    }
}

impl From<Date> for String {
    fn from(date: Date) -> String {
        date.to_string()
    }
}

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let datetime = text.parse::<toml::value::Datetime>().ok();
        let date = datetime.and_then(|datetime| datetime.date);
        let date = date.ok_or_else(|| format!("\"{text}\" is no date"))?;
        Ok(Date {
            year: date.year,
            month: date.month,
            day: date.day,
        })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A release of Xen; in JSON as a text, `"4.20"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct XenVersion {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
}

impl XenVersion {
    /// What the bed runs, and the default.
    pub const DEFAULT: XenVersion = XenVersion::new(4, 20);

    /// A release.
    pub const fn new(major: u16, minor: u16) -> Self {
        XenVersion { major, minor }
    }
}

impl fmt::Display for XenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for XenVersion {
    type Err = &'static str;

    /// Reads `4.20`; what follows a second full stop does not matter here.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(XenVersion { major, minor }),
            _ => Err("a release is written major.minor, for example 4.20"),
        }
    }
}

impl From<XenVersion> for String {
    fn from(version: XenVersion) -> String {
        version.to_string()
    }
}

impl TryFrom<String> for XenVersion {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A span of time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan(pub u64);

impl FromStr for TimeSpan {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let digits: String = digits.chars().filter(|c| *c != '_').collect();
        let number: u64 = digits
            .parse()
            .map_err(|_| "a span of time starts with a whole number")?;
        let factor = match unit.trim() {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            _ => return Err("the unit is one of us, ms and s"),
        };
        number
            .checked_mul(factor)
            .map(TimeSpan)
            .ok_or("the span of time does not fit into 64 bits of microseconds")
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us != 0 && us.is_multiple_of(1_000_000) => write!(f, "{}s", us / 1_000_000),
            us if us != 0 && us.is_multiple_of(1_000) => write!(f, "{}ms", us / 1_000),
            us => write!(f, "{us}us"),
        }
    }
}

/// Largest number in a [`Numbers`]: more CPUs, colours or interrupts no machine has.
pub const MAX_LISTED: u32 = 4095;

impl FromStr for Numbers {
    type Err = String;

    /// Reads `0-3,6`. Order and doubles are kept as written, for checks to see.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = Vec::new();
        if text.trim().is_empty() {
            return Ok(Numbers(numbers));
        }
        for part in text.split(',') {
            let number = |text: &str| match text.trim().parse::<u32>() {
                Ok(number) if number <= MAX_LISTED => Ok(number),
                _ => Err(format!(
                    "\"{}\" is no number up to {MAX_LISTED}",
                    text.trim()
                )),
            };
            match part.split_once('-') {
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(format!("the range {first}-{last} runs backwards"));
                    }
                    numbers.extend(first..=last);
                }
                None => numbers.push(number(part)?),
            }
            if numbers.len() > MAX_LISTED as usize + 1 {
                return Err("the list is too long".into());
            }
        }
        Ok(Numbers(numbers))
    }
}

/// Numbers in their shortest form: `0-3,6`.
pub fn ranges(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let parts: Vec<_> = parts
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    parts.join(",")
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

    #[test]
    fn lists_are_read_and_written_in_ranges() {
        assert_eq!("0-3,6".parse(), Ok(Numbers(vec![0, 1, 2, 3, 6])));
        assert_eq!("".parse(), Ok(Numbers(vec![])));
        assert_eq!(ranges(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(ranges(&[4]), "4");
        for wrong in ["3-0", "x", "1,", "0-9999", "-1"] {
            assert!(wrong.parse::<Numbers>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_of_time_need_a_unit() {
        assert_eq!("10ms".parse(), Ok(TimeSpan(10_000)));
        assert_eq!(TimeSpan(10_000).to_string(), "10ms");
        assert_eq!(TimeSpan(1_500).to_string(), "1500us");
        assert!("10".parse::<TimeSpan>().is_err());
        assert!("10 min".parse::<TimeSpan>().is_err());
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

    #[test]
    fn days_are_counted_as_calendars_do() {
        let day = |days| Date::from_days(days).to_string();
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(59), "1970-03-01");
        assert_eq!(day(11_016), "2000-02-29");
        assert_eq!(day(20_453), "2025-12-31");
        assert_eq!(day(20_454), "2026-01-01");
        assert_eq!(day(u64::MAX), "9999-12-31");
    }
}
