use crate::named::named;
use crate::smc::low;

named! {
    /// The number in x0 of a call (SMC Calling Convention, "SMC and HVC Function Identifiers"): bit 31 says that it is
    /// fast, bit 30 that it is of the 64-bit convention, bits 29 to 24 whose it is, the last 16 which one.
    ///
    /// Numbers: optee_smc.h, `OPTEE_SMC_*`.
    FunctionId {
        /// How many functions there are.
        CALLS_COUNT = 0xbf00_ff00, "OPTEE_SMC_CALLS_COUNT";
        /// Which API is spoken.
        CALLS_UID = 0xbf00_ff01, "OPTEE_SMC_CALLS_UID";
        /// Which revision of it.
        CALLS_REVISION = 0xbf00_ff03, "OPTEE_SMC_CALLS_REVISION";
        /// Which trusted operating system runs.
        GET_OS_UUID = 0xb200_0000, "OPTEE_SMC_CALL_GET_OS_UUID";
        /// Which revision of it.
        GET_OS_REVISION = 0xb200_0001, "OPTEE_SMC_CALL_GET_OS_REVISION";
        /// Continue a call that asked for something.
        RETURN_FROM_RPC = 0x3200_0003, "OPTEE_SMC_CALL_RETURN_FROM_RPC";
        /// A message by its address.
        CALL_WITH_ARG = 0x3200_0004, "OPTEE_SMC_CALL_WITH_ARG";
        /// Reserved shared memory.
        GET_SHM_CONFIG = 0xb200_0007, "OPTEE_SMC_GET_SHM_CONFIG";
        /// A lock for a cache controller of 32-bit machines.
        L2CC_MUTEX = 0xb200_0008, "OPTEE_SMC_L2CC_MUTEX";
        /// What each side can do.
        EXCHANGE_CAPABILITIES = 0xb200_0009, "OPTEE_SMC_EXCHANGE_CAPABILITIES";
        /// Give back cached shared memory.
        DISABLE_SHM_CACHE = 0xb200_000a, "OPTEE_SMC_DISABLE_SHM_CACHE";
        /// Cache shared memory.
        ENABLE_SHM_CACHE = 0xb200_000b, "OPTEE_SMC_ENABLE_SHM_CACHE";
        /// Start a processor.
        BOOT_SECONDARY = 0xb200_000c, "OPTEE_SMC_BOOT_SECONDARY";
        /// A virtual machine appeared.
        VM_CREATED = 0xb200_000d, "OPTEE_SMC_VM_CREATED";
        /// A virtual machine is gone.
        VM_DESTROYED = 0xb200_000e, "OPTEE_SMC_VM_DESTROYED";
        /// How many calls can run at once.
        GET_THREAD_COUNT = 0xb200_000f, "OPTEE_SMC_GET_THREAD_COUNT";
        /// The guest takes notifications.
        ENABLE_ASYNC_NOTIF = 0xb200_0010, "OPTEE_SMC_ENABLE_ASYNC_NOTIF";
        /// Fetch a notification.
        GET_ASYNC_NOTIF_VALUE = 0xb200_0011, "OPTEE_SMC_GET_ASYNC_NOTIF_VALUE";
        /// A message by its address, with room for requests behind it.
        CALL_WITH_RPC_ARG = 0x3200_0012, "OPTEE_SMC_CALL_WITH_RPC_ARG";
        /// A message in registered memory, with room for requests behind it.
        CALL_WITH_REGD_ARG = 0x3200_0013, "OPTEE_SMC_CALL_WITH_REGD_ARG";
        /// Protected memory.
        GET_PROTMEM_CONFIG = 0xb200_0014, "OPTEE_SMC_GET_PROTMEM_CONFIG";
    }
}

impl FunctionId {
    /// Owner of the functions of a trusted operating system (`OPTEE_SMC_OWNER_TRUSTED_OS`, optee_smc.h).
    pub const TRUSTED_OS: u32 = 50;

    /// Owner of the functions that tell about its API (`OPTEE_SMC_OWNER_TRUSTED_OS_API`, optee_smc.h).
    pub const TRUSTED_OS_API: u32 = 63;

    /// A caller without live vector state sets this (SMC Calling Convention 1.3, "SVE hint"). Firmware takes it away
    /// before OP-TEE sees it, and so does [`Self::from_register`].
    pub const SVE_HINT: u32 = 1 << 16;

    /// The function in x0, of which only the lower half counts.
    pub const fn from_register(x0: u64) -> FunctionId {
        FunctionId(low(x0) & !Self::SVE_HINT)
    }

    /// It is not interrupted, and may not ask the guest for anything.
    pub const fn is_fast(self) -> bool {
        self.0 & (1 << 31) != 0
    }

    /// It is of the 64-bit convention. OP-TEE has no such functions.
    pub const fn is_64bit(self) -> bool {
        self.0 & (1 << 30) != 0
    }

    /// Whose function it is, 0 to 63: [`Self::TRUSTED_OS`] or [`Self::TRUSTED_OS_API`] if it is for a TEE at all.
    pub const fn owner(self) -> u32 {
        (self.0 >> 24) & 0x3f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_function_are_where_the_convention_has_them() {
        let id = FunctionId::CALL_WITH_ARG;
        assert!(!id.is_fast() && !id.is_64bit());
        assert_eq!(id.owner(), FunctionId::TRUSTED_OS);
        let id = FunctionId::CALLS_UID;
        assert!(id.is_fast() && !id.is_64bit());
        assert_eq!(id.owner(), FunctionId::TRUSTED_OS_API);
        assert!(FunctionId(0xc400_0003).is_64bit());
        assert_eq!(FunctionId(0xc400_0003).owner(), 4);
    }

    #[test]
    fn the_vector_hint_and_the_upper_half_do_not_count() {
        assert_eq!(
            FunctionId::from_register(0xdead_beef_3201_0004),
            FunctionId::CALL_WITH_ARG
        );
        assert_eq!(FunctionId::from_register(0x3202_0004).name(), None);
    }
}
