use crate::ids::{Ipa, ShmRef};
use crate::limits::TA_PARAMS;
use crate::message::error::ParamFault;
use crate::message::raw::{FMEM_INVALID, RawParam, attr};

/// Which way a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the guest to the TEE. The guest finds it as it was.
    Input,
    /// From the TEE to the guest. What the guest has there is no business of the TEE's.
    Output,
    /// Both.
    Inout,
}

impl Direction {
    /// The TEE is given it.
    pub const fn reads(self) -> bool {
        matches!(self, Direction::Input | Direction::Inout)
    }

    /// The guest is given it.
    pub const fn writes(self) -> bool {
        matches!(self, Direction::Output | Direction::Inout)
    }
}

/// A parameter for a trusted application (`struct optee_msg_param`, optee_msg.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Param {
    /// Nothing.
    #[default]
    None,
    /// Numbers (`struct optee_msg_param_value`). OP-TEE gives the trusted application the lower halves of `a` and `b`.
    Value {
        /// Which way they go.
        direction: Direction,
        /// First number.
        a: u64,
        /// Second number.
        b: u64,
        /// Third number.
        c: u64,
    },
    /// Temporary memory at address 0, which is none: to ask how much would be needed. For OP-TEE its size is then 0,
    /// whatever it says (core/tee/entry_std.c, `set_tmem_param`).
    Null {
        /// Which way it would go.
        direction: Direction,
        /// Size in bytes.
        size: u64,
    },
    /// Memory for this call only (`struct optee_msg_param_tmem`). Linux sends this only from reserved memory.
    Temporary {
        /// Which way it goes.
        direction: Direction,
        /// The memory.
        memory: Memory,
    },
    /// A piece of memory registered before (`struct optee_msg_param_rmem`).
    Registered {
        /// Which way it goes.
        direction: Direction,
        /// The piece.
        memory: Registered,
    },
}

/// Memory that a guest describes by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Where it is.
    pub place: Place,
    /// Size in bytes, `tmem.size`. Its end does not overflow.
    pub size: u64,
    /// The guest's name for it, `tmem.shm_ref`.
    pub shm_ref: ShmRef,
}

/// Where memory is, by `tmem.buf_ptr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In one piece, from here on.
    Contiguous(Ipa),
    /// Where a list says, [`crate::PageList`]. The list starts at this address's page; the memory starts in its first
    /// page at this address's offset. Then `size` is not 0.
    List(Ipa),
}

/// A piece of registered memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// First byte of the piece, from the memory's own first byte, `rmem.offs`.
    pub offset: u64,
    /// Size in bytes, `rmem.size`. Its end does not overflow; whether it is in the memory is for [`Self::fits`].
    pub size: u64,
    /// The memory, `rmem.shm_ref`. Looked up among *this guest's*; unknown is `BAD_PARAMETERS`.
    pub shm_ref: ShmRef,
}

impl Registered {
    /// The piece lies in memory of so many bytes. If not, the guest gets `SECURITY` (core/tee/entry_std.c,
    /// `set_rmem_param`).
    pub const fn fits(&self, bytes: u64) -> bool {
        match self.offset.checked_add(self.size) {
            Some(end) => end <= bytes,
            None => false,
        }
    }
}

impl Param {
    /// A parameter for a trusted application.
    pub(super) fn parse(raw: &RawParam) -> Result<Param, ParamFault> {
        let attributes = raw.attr.get();
        let (a, b, c) = (raw.a.get(), raw.b.get(), raw.c.get());
        let kind = attributes & attr::TYPE_MASK;
        let flags = attributes & !attr::TYPE_MASK;
        if let Some(direction) = temporary(kind) {
            if flags & !(attr::NONCONTIG | attr::CACHED) != 0 {
                return Err(ParamFault::Attributes(attributes));
            }
            if a == 0 {
                return Ok(Param::Null { direction, size: b });
            }
            let memory = Memory::parse(raw, flags & attr::NONCONTIG != 0)?;
            return Ok(Param::Temporary { direction, memory });
        }
        if flags != 0 {
            return Err(ParamFault::Attributes(attributes));
        }
        if let Some(direction) = registered(kind) {
            if c == FMEM_INVALID {
                return Err(ParamFault::Ffa);
            }
            if a.checked_add(b).is_none() {
                return Err(ParamFault::OffsetWraps { offset: a, size: b });
            }
            let memory = Registered {
                offset: a,
                size: b,
                shm_ref: ShmRef(c),
            };
            return Ok(Param::Registered { direction, memory });
        }
        let direction = match kind {
            attr::NONE => return Ok(Param::None),
            attr::VALUE_INPUT => Direction::Input,
            attr::VALUE_OUTPUT => Direction::Output,
            attr::VALUE_INOUT => Direction::Inout,
            _ => return Err(ParamFault::Attributes(attributes)),
        };
        Ok(Param::Value { direction, a, b, c })
    }
}

impl Memory {
    /// Memory by address; `list` if the address is of a list of pages.
    pub(super) fn parse(raw: &RawParam, list: bool) -> Result<Memory, ParamFault> {
        let (address, size) = (Ipa(raw.a.get()), raw.b.get());
        if list && size == 0 {
            return Err(ParamFault::Empty);
        }
        // Of a list only the offset in the first page adds to the size.
        let start = if list { address.offset() } else { address.0 };
        if start.checked_add(size).is_none() {
            return Err(ParamFault::Wraps { start, size });
        }
        Ok(Memory {
            place: if list {
                Place::List(address)
            } else {
                Place::Contiguous(address)
            },
            size,
            shm_ref: ShmRef(raw.c.get()),
        })
    }
}

fn temporary(kind: u64) -> Option<Direction> {
    match kind {
        attr::TMEM_INPUT => Some(Direction::Input),
        attr::TMEM_OUTPUT => Some(Direction::Output),
        attr::TMEM_INOUT => Some(Direction::Inout),
        _ => None,
    }
}

fn registered(kind: u64) -> Option<Direction> {
    match kind {
        attr::RMEM_INPUT => Some(Direction::Input),
        attr::RMEM_OUTPUT => Some(Direction::Output),
        attr::RMEM_INOUT => Some(Direction::Inout),
        _ => None,
    }
}

/// The parameters for a trusted application: at most [`TA_PARAMS`]. Those that are not given are [`Param::None`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params {
    list: [Param; TA_PARAMS],
    given: usize,
}

impl Params {
    /// Takes at most [`TA_PARAMS`] parameters apart; `Err` is the index of the first that cannot be, and why.
    pub(super) fn parse(raw: &[RawParam]) -> Result<Params, (usize, ParamFault)> {
        let mut params = Params {
            given: raw.len(),
            ..Params::default()
        };
        for (index, (param, raw)) in params.list.iter_mut().zip(raw).enumerate() {
            *param = Param::parse(raw).map_err(|fault| (index, fault))?;
        }
        Ok(params)
    }

    /// All four, as a trusted application has them.
    pub const fn all(&self) -> &[Param; TA_PARAMS] {
        &self.list
    }

    /// Those that the guest gave.
    pub fn given(&self) -> &[Param] {
        self.list.get(..self.given).unwrap_or_default()
    }
}
