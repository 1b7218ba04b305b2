/// What a guest can do (`OPTEE_SMC_NSEC_CAP_*`, optee_smc.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NormalCapabilities(pub u32);

impl NormalCapabilities {
    /// It has one processor. OP-TEE does not care.
    pub const UNIPROCESSOR: NormalCapabilities = NormalCapabilities(1 << 0);

    /// It claims something unknown, for which OP-TEE refuses to work at all ([`crate::Answer::CapabilitiesRefused`]).
    pub const fn has_unknown(self) -> bool {
        self.0 & !Self::UNIPROCESSOR.0 != 0
    }
}

/// What a TEE can do (`OPTEE_SMC_SEC_CAP_*`, optee_smc.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecureCapabilities(pub u32);

impl SecureCapabilities {
    /// It has memory set aside for sharing ([`crate::Call::GetShmConfig`]).
    pub const RESERVED_SHM: SecureCapabilities = SecureCapabilities(1 << 0);
    /// It takes memory that was not registered.
    pub const UNREGISTERED_SHM: SecureCapabilities = SecureCapabilities(1 << 1);
    /// It takes any memory, registered by a message, and messages anywhere.
    pub const DYNAMIC_SHM: SecureCapabilities = SecureCapabilities(1 << 2);
    /// It is built for several guests. For a hypervisor to know; Linux ignores it.
    pub const VIRTUALIZATION: SecureCapabilities = SecureCapabilities(1 << 3);
    /// It takes memory references that refer to nothing.
    pub const MEMREF_NULL: SecureCapabilities = SecureCapabilities(1 << 4);
    /// It sends notifications by an interrupt, which the guest's device tree must name: without one Linux's driver
    /// does not start (drivers/tee/optee/smc_abi.c, `optee_probe`).
    pub const ASYNC_NOTIF: SecureCapabilities = SecureCapabilities(1 << 5);
    /// It takes messages with room for its own requests behind them. With this and [`Self::DYNAMIC_SHM`] Linux sends
    /// messages in registered memory ([`crate::Call::WithRegisteredArg`]), several in a page.
    pub const RPC_ARG: SecureCapabilities = SecureCapabilities(1 << 6);
    /// It asks for a replay protected memory block when it needs one.
    pub const RPMB_PROBE: SecureCapabilities = SecureCapabilities(1 << 7);
    /// It has protected memory.
    pub const PROTMEM: SecureCapabilities = SecureCapabilities(1 << 8);
    /// It makes protected memory of memory it is lent.
    pub const DYNAMIC_PROTMEM: SecureCapabilities = SecureCapabilities(1 << 9);

    /// These and those.
    #[must_use]
    pub const fn with(self, more: SecureCapabilities) -> SecureCapabilities {
        SecureCapabilities(self.0 | more.0)
    }

    /// All of those are among these.
    pub const fn contains(self, those: SecureCapabilities) -> bool {
        self.0 & those.0 == those.0
    }
}
