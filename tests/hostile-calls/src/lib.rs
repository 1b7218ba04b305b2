//! Calls of the secure world by a guest that sends whatever it likes. They are mostly almost right, so that they get far; what is
//! wrong with them has no order, but is the same in each run.
//!
//! The test on the host and the bare-metal guest of the bed make them of the same code.
#![no_std]
#![forbid(unsafe_code)]

use optee_abi::Uuid;
use optee_abi::smc::FunctionId;

/// Parameters of a message. More than there may be.
const PARAMETERS: usize = 7;
/// Bytes of its header, and of a parameter (optee_msg.h, `struct optee_msg_arg`).
const HEADER: usize = 32;
const PARAMETER: usize = 32;
/// Bytes of a message.
pub const MESSAGE: usize = HEADER + PARAMETERS * PARAMETER;
/// Pages that a list names.
pub const LIST: usize = 4;
/// Where the number of the session is in a message, in bytes (optee_msg.h, `session`).
pub const SESSION_AT: usize = 8;

/// Functions that a driver calls, and some that it does not.
const FUNCTIONS: [u32; 12] = [
    FunctionId::CALL_WITH_ARG.0,
    FunctionId::CALL_WITH_RPC_ARG.0,
    FunctionId::CALL_WITH_RPC_ARG.0,
    FunctionId::CALL_WITH_RPC_ARG.0,
    FunctionId::CALL_WITH_REGD_ARG.0,
    FunctionId::RETURN_FROM_RPC.0,
    FunctionId::EXCHANGE_CAPABILITIES.0,
    FunctionId::DISABLE_SHM_CACHE.0,
    FunctionId::VM_DESTROYED.0,
    FunctionId::GET_SHM_CONFIG.0,
    0x3200_0000,
    0x8400_0000,
];
const COMMANDS: [u32; 13] = [0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, u32::MAX];
const SIZES: [u64; 8] = [0, 1, 100, 4096, 8192, 9 * 4096, 1 << 40, u64::MAX];

/// Numbers without order (xorshift64*).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The same for the same seed, which is not 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "there is no end of them")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// Any index of something of this length.
    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// One of these; a default of none.
    pub fn one_of<T: Copy + Default>(&mut self, all: &[T]) -> T {
        all.get(self.index(all.len())).copied().unwrap_or_default()
    }
}

/// What a guest knows.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// An application that it may open.
    pub application: Uuid,
    /// The address of its message.
    pub message: u64,
    /// Addresses of messages, lists and memory, there and not there.
    pub places: &'a [u64],
    /// Pages that a list names, there and not there.
    pub pages: &'a [u64],
    /// Numbers of sessions, its own and others.
    pub sessions: &'a [u32],
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// x0 to x7.
    pub registers: [u64; 8],
    /// What stands at the message's address.
    pub message: [u8; MESSAGE],
    /// What stands where a list is.
    pub list: [u64; LIST],
}

impl Guest<'_> {
    /// A call.
    pub fn call(&self, numbers: &mut Numbers) -> Call {
        let message = self.message(numbers);
        let list = [(); LIST].map(|()| numbers.one_of(self.pages));
        let function = numbers.one_of(&FUNCTIONS);
        let place = match numbers.below(4) {
            0 => numbers.one_of(self.places),
            _ => self.message,
        };
        let registers = [
            function.into(),
            place >> 32,
            place,
            numbers.below(6),
            numbers.next(),
            numbers.next(),
            0,
            numbers.next(),
        ];
        Call {
            registers,
            message,
            list,
        }
    }

    fn message(&self, numbers: &mut Numbers) -> [u8; MESSAGE] {
        let command = numbers.one_of(&COMMANDS);
        let session = numbers.one_of(self.sessions);
        // Half of them are right as far as their form goes.
        let right = numbers.below(2) == 0;
        let count = match (right, numbers.below(16)) {
            (true, _) => 4,
            (_, 0) => low(numbers.next()),
            _ => low(numbers.below(7)),
        };
        let function = low(numbers.below(16));
        let header = [command, function, session, 0, 0, 0, 0, count];
        let mut bytes = [0; MESSAGE];
        let (head, parameters) = bytes.split_at_mut(HEADER);
        put(head, header.map(u32::to_le_bytes));
        for (number, parameter) in parameters.chunks_exact_mut(PARAMETER).enumerate() {
            let words = self.parameter(command, right, number, numbers);
            put(parameter, words.map(u64::to_le_bytes));
        }
        // Some of it is anything.
        while !right && numbers.below(3) == 0 {
            let at = numbers.index(MESSAGE);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = numbers.next().to_le_bytes()[0];
            }
        }
        bytes
    }

    /// Attributes and three words (optee_msg.h, `struct optee_msg_param`).
    fn parameter(
        &self,
        command: u32,
        right: bool,
        number: usize,
        numbers: &mut Numbers,
    ) -> [u64; 4] {
        let (a, b) = self.application.octet_words();
        let meta = command == 0 && number < 2 && numbers.below(8) > 0;
        match (meta, number) {
            (true, 0) => [0x101, a, b, 0],
            (true, _) => [0x101, 0, 0, numbers.one_of(&[0, 0, 0, 1, 0x8000_0000])],
            _ if right => [
                numbers.one_of(&[0, 0, 0, 0, 0, 1, 2, 3, 5, 6, 7, 9]),
                numbers.below(64),
                numbers.below(2048),
                numbers.below(6),
            ],
            _ => [
                numbers.one_of(&[0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 0x20a, 0x20b, 0x101, 12]),
                numbers.one_of(self.places),
                numbers.one_of(&SIZES),
                numbers.below(6),
            ],
        }
    }
}

fn low(number: u64) -> u32 {
    (number & u64::from(u32::MAX)) as u32
}

fn put<const BYTES: usize, const WORDS: usize>(to: &mut [u8], words: [[u8; BYTES]; WORDS]) {
    for (to, word) in to.chunks_exact_mut(BYTES).zip(words) {
        to.copy_from_slice(&word);
    }
}
