//! The conversation between the holder and a worker.

pub(crate) mod frame;
pub(crate) mod message;

pub(crate) use frame::{Channel, FrameError};
pub(crate) use message::{Notice, Order};
