//! How a client says who it is.

/// A login method (`OPTEE_MSG_LOGIN_*`, optee_msg.h; `TEE_LOGIN_*`, lib/libutee/include/tee_api_defines.h).
///
/// It is the guest's kernel that says this. Within the guest it keeps clients apart; towards others it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Login {
    /// Nobody in particular.
    Public = 0x0,
    /// A user.
    User = 0x1,
    /// A group.
    Group = 0x2,
    /// A program.
    Application = 0x4,
    /// A program run by a user.
    ApplicationUser = 0x5,
    /// A program run by a group.
    ApplicationGroup = 0x6,
    /// The guest's kernel itself (`TEE_LOGIN_REE_KERNEL`, lib/libutee/include/tee_api_defines_extensions.h). Linux lets
    /// no program say this (drivers/tee/tee_core.c).
    ReeKernel = 0x8000_0000,
}

impl Login {
    /// All of them.
    pub const ALL: [Login; 7] = [
        Login::Public,
        Login::User,
        Login::Group,
        Login::Application,
        Login::ApplicationUser,
        Login::ApplicationGroup,
        Login::ReeKernel,
    ];

    /// The method with this number; a trusted application's (0xf0000000) is none a guest may use.
    pub fn from_raw(raw: u64) -> Option<Login> {
        Self::ALL.into_iter().find(|login| login.raw() == raw)
    }

    /// Its number.
    pub const fn raw(self) -> u64 {
        self as u64
    }

    /// A client of this kind has a UUID; others have the nil one (core/tee/entry_std.c, `get_open_session_meta`).
    pub const fn identifies(self) -> bool {
        !matches!(self, Login::Public | Login::ReeKernel)
    }

    /// Its name in OP-TEE's sources.
    pub const fn name(self) -> &'static str {
        match self {
            Login::Public => "TEE_LOGIN_PUBLIC",
            Login::User => "TEE_LOGIN_USER",
            Login::Group => "TEE_LOGIN_GROUP",
            Login::Application => "TEE_LOGIN_APPLICATION",
            Login::ApplicationUser => "TEE_LOGIN_APPLICATION_USER",
            Login::ApplicationGroup => "TEE_LOGIN_APPLICATION_GROUP",
            Login::ReeKernel => "TEE_LOGIN_REE_KERNEL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_guest_may_say_is_a_login() {
        for login in Login::ALL {
            assert_eq!(Login::from_raw(login.raw()), Some(login));
        }
        for raw in [3, 7, 0xf000_0000, 0x8000_0001, 0x1_0000_0000, u64::MAX] {
            assert_eq!(Login::from_raw(raw), None, "{raw:#x}");
        }
    }
}
