//! Numbers of an open set: any may come, and some have names.

/// Makes a type of `u32` with named constants, which shows itself by name and number.
macro_rules! named {
    (
        $(#[$attribute:meta])*
        $type:ident {
            $($(#[doc = $doc:literal])* $constant:ident = $value:literal, $name:literal;)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub u32);

        impl $type {
            $($(#[doc = $doc])* pub const $constant: Self = Self($value);)*

            /// Its name in OP-TEE's sources, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }
        }

        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => write!(f, "{name} ({:#x})", self.0),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }

        impl core::fmt::Debug for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}

pub(crate) use named;
