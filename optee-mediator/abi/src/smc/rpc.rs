use crate::ids::{Ipa, ShmRef};
use crate::smc::{Registers, halves, low, pair};

/// What a TEE asks of a guest in the middle of a call, in registers (optee_smc.h, `OPTEE_SMC_RETURN_RPC_*`). The guest
/// does it and calls again with [`Resume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// Allocate memory for a request, [`Resume::allocation`]. Function 0.
    Allocate {
        /// How many bytes, a1. OP-TEE takes at most a page when there is no reserved memory.
        size: u32,
    },
    /// Free what was allocated so. Function 2.
    Free {
        /// The guest's name for it, a1 and a2.
        shm_ref: ShmRef,
    },
    /// Nothing: let the guest take its interrupts and schedule. Function 4.
    ForeignInterrupt,
    /// Do what a request in memory says ([`crate::message::rpc`]). Function 5.
    Command {
        /// The guest's name for the memory of the request, a1 and a2. `None` if it is the room behind the guest's
        /// message: Linux then does not look here (drivers/tee/optee/smc_abi.c, `optee_handle_rpc`).
        shm_ref: Option<ShmRef>,
    },
}

impl Rpc {
    /// What x0 has in its upper 16 bits (`OPTEE_SMC_RETURN_RPC_PREFIX`, optee_smc.h).
    const PREFIX: u64 = 0xffff_0000;

    /// x0, x1 and x2.
    pub(in crate::smc) const fn words(self) -> (u64, u64, u64) {
        let (function, argument) = match self {
            // Not a pair: the size is in a1.
            Rpc::Allocate { size } => (0, (size as u64) << 32),
            Rpc::Free { shm_ref } => (2, shm_ref.0),
            Rpc::ForeignInterrupt => (4, 0),
            Rpc::Command { shm_ref: None } => (5, 0),
            Rpc::Command {
                shm_ref: Some(shm_ref),
            } => (5, shm_ref.0),
        };
        let (x1, x2) = halves(argument);
        (Self::PREFIX | function, x1, x2)
    }
}

/// A guest continues a call (optee_smc.h, `OPTEE_SMC_CALL_RETURN_FROM_RPC`).
///
/// What all of it means depends on the request that was outstanding, and only the mediator knows which that is: it must
/// look up `thread` among *this guest's* suspended calls, and answer `BadResume` if there is none. Nothing ties a
/// thread to the virtual processor that resumes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// What [`crate::Answer::Rpc`] gave, a3. Of the "resume information" (a3 to a7) it is all that OP-TEE uses
    /// (core/arch/arm/kernel/thread_optee_smc.c) and all that Linux returns.
    pub thread: u32,
    /// a1 and a2. After a request other than [`Rpc::Allocate`], Linux leaves here what it was given.
    pub first: u64,
    /// a4 and a5. After a request other than [`Rpc::Allocate`], Linux leaves here what it had.
    pub second: u64,
}

/// Memory that a guest allocated for [`Rpc::Allocate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Where it is. OP-TEE without reserved memory takes nothing but the start of a page, and frees other memory again
    /// (core/arch/arm/kernel/thread_optee_smc.c, `rpc_shm_mobj_alloc`).
    pub address: Ipa,
    /// What it is freed by, and named by in [`Rpc::Command`].
    pub shm_ref: ShmRef,
}

impl Resume {
    pub(in crate::smc) const fn from_registers(registers: &Registers) -> Resume {
        let [_, x1, x2, x3, x4, x5, ..] = registers.0;
        Resume {
            thread: low(x3),
            first: pair(x1, x2),
            second: pair(x4, x5),
        }
    }

    /// The answer to [`Rpc::Allocate`], and to nothing else. `None` if the guest has no memory.
    pub const fn allocation(self) -> Option<Allocation> {
        match self.first {
            0 => None,
            address => Some(Allocation {
                address: Ipa(address),
                shm_ref: ShmRef(self.second),
            }),
        }
    }
}
