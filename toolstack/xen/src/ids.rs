//! Identifiers of Xen's things, each a type of its own so that none is taken for another.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use xen_sys::domain;

/// Identifier of an ordinary domain, or [`DomId::SELF`].
///
/// Xen reuses identifiers: a domain that was destroyed and another that was created later may share
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(u16);

impl DomId {
    /// The first domain.
    pub const DOM0: Self = Self(0);
    /// The calling domain, where a call accepts it (`DOMID_SELF`).
    pub const SELF: Self = Self(domain::DOMID_SELF);

    /// Makes an identifier of an ordinary domain; reserved values (from 0x7ff0) give `None`.
    pub const fn new(domid: u16) -> Option<Self> {
        if domid < domain::DOMID_FIRST_RESERVED {
            Some(Self(domid))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::SELF {
            f.write_str("self")
        } else {
            self.0.fmt(f)
        }
    }
}

/// Text that is not the decimal number of an ordinary domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a domain number (0 to 32751)")]
pub struct ParseDomIdError(String);

impl FromStr for DomId {
    type Err = ParseDomIdError;

    /// Reads a decimal number without sign, as XenStore paths hold it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseDomIdError(text.into()));
        }
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| ParseDomIdError(text.into()))
    }
}

impl TryFrom<u16> for DomId {
    type Error = ParseDomIdError;

    fn try_from(domid: u16) -> Result<Self, Self::Error> {
        Self::new(domid).ok_or_else(|| ParseDomIdError(domid.to_string()))
    }
}

/// Reference to a page that a domain has granted: an index into that domain's grant table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef(pub u32);

impl fmt::Display for GrantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Port of an event channel, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EventPort(NonZeroU32);

impl EventPort {
    /// Makes a port; 0, which Xen never uses, gives `None`.
    pub const fn new(port: u32) -> Option<Self> {
        match NonZeroU32::new(port) {
            Some(port) => Some(Self(port)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for EventPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Guest frame number, in units of [`crate::PAGE_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);

/// Intermediate physical address: what the guest takes for a physical address, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipa(pub u64);

impl Ipa {
    /// The frame this address lies in.
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 >> 12)
    }
}

impl fmt::Display for Ipa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Identifier of an ioreq server, unique within the guest it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IoservId(pub u16);

impl fmt::Display for IoservId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_numbers_are_plain_decimals_below_the_reserved_ones() {
        assert_eq!("0".parse(), Ok(DomId::DOM0));
        assert_eq!("32751".parse::<DomId>().map(DomId::get), Ok(0x7fef));
        for bad in [
            "", " 1", "1 ", "+1", "-1", "0x1", "32752", "65536", "self", "1/2",
        ] {
            assert!(bad.parse::<DomId>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn reserved_domains_are_refused_by_number() {
        assert!(DomId::new(0x7fef).is_some());
        for reserved in [0x7ff0, 0x7ff4, 0x7fff, 0xffff] {
            assert_eq!(DomId::new(reserved), None);
            assert!(DomId::try_from(reserved).is_err());
        }
    }

    #[test]
    fn port_zero_does_not_exist() {
        assert_eq!(EventPort::new(0), None);
        assert_eq!(EventPort::new(7).map(EventPort::get), Some(7));
    }

    #[test]
    fn an_address_lies_in_the_frame_of_its_upper_bits() {
        assert_eq!(Ipa(0x4000_0fff).pfn(), Pfn(0x40000));
        assert_eq!(Ipa(0x4000_1000).pfn(), Pfn(0x40001));
    }
}
