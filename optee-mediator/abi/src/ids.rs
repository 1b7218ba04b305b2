//! What a guest names things with.

use crate::limits::PAGE_SIZE;

/// A guest-physical address, as the guest gives it: not looked up, so it may lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipa(pub u64);

impl Ipa {
    /// The first byte of its page.
    pub const fn page(self) -> Ipa {
        Ipa(self.0 & !(PAGE_SIZE - 1))
    }

    /// Its place in its page, in bytes: less than [`PAGE_SIZE`].
    pub const fn offset(self) -> u64 {
        self.0 & (PAGE_SIZE - 1)
    }

    /// It is the first byte of a page.
    pub const fn is_page_aligned(self) -> bool {
        self.offset() == 0
    }
}

/// A guest's own name for memory it shares (`shm_ref`, or "cookie"): for Linux the address of its `struct tee_shm`
/// (`drivers/tee/optee/smc_abi.c`). Means nothing but in this guest, and is never an address to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShmRef(pub u64);

/// A session's number, as whoever opened it was told (`struct optee_msg_arg`, `session`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);
