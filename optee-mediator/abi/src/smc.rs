//! Calls in registers, and their answers (optee_smc.h; Arm DEN0028, the SMC Calling Convention).
//!
//! A guest's `smc` brings x0 to x7. [`Call::parse`] says what is wanted; [`Answer::apply`] puts the answer there. All
//! OP-TEE functions are of the 32-bit convention: of each register only the lower half counts, also of 64-bit guests.

mod answer;
mod call;
mod capabilities;
mod function;
mod rpc;

pub use answer::{Answer, ReturnCode};
pub use call::Call;
pub use capabilities::{NormalCapabilities, SecureCapabilities};
pub use function::FunctionId;
pub use rpc::{Allocation, Resume, Rpc};

use crate::uuid::Uuid;

/// What a guest compares the answer to [`Call::CallsUid`] with: 384fb3e0-e7f8-11e3-af63-0002a5d5c51b
/// (`OPTEE_MSG_UID_*`, optee_msg.h).
pub const API_UID: Uuid = Uuid::from_words([0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b]);

/// OP-TEE as an operating system: 486178e0-e7f8-11e3-bc5e-0002a5d5c51b (`OPTEE_MSG_OS_OPTEE_UUID_*`, optee_msg.h).
pub const OS_UUID: Uuid = Uuid::from_words([0x4861_78e0, 0xe7f8_11e3, 0xbc5e_0002, 0xa5d5_c51b]);

/// Major and minor revision of the message protocol (`OPTEE_MSG_REVISION_*`, optee_msg.h).
pub const API_REVISION: (u32, u32) = (2, 0);

/// x0 to x7 of a guest's processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers(pub [u64; 8]);

impl Registers {
    /// The function called, x0.
    pub const fn function(&self) -> FunctionId {
        let [x0, ..] = self.0;
        FunctionId::from_register(x0)
    }

    /// Who calls, x7, as hypervisors tell OP-TEE ("Hypervisor Client ID register", optee_smc.h). What a guest put there
    /// means nothing.
    pub const fn client_id(&self) -> u32 {
        let [.., x7] = self.0;
        low(x7)
    }
}

/// The half of a register that counts.
const fn low(register: u64) -> u32 {
    register as u32
}

/// A 64-bit number in two registers, its upper half first (optee_smc.h, throughout).
const fn pair(upper: u64, lower: u64) -> u64 {
    ((low(upper) as u64) << 32) | low(lower) as u64
}

/// What [`pair`] takes apart again.
const fn halves(number: u64) -> (u64, u64) {
    (number >> 32, number & 0xffff_ffff)
}
