//! The bed's control channel: how the host speaks to dom0 and to guests, without reading consoles.
//!
//! `bed-agent` is PID 1 in dom0 and in the bed's guests. The host sends requests (run a program, copy a file,
//! start a background process …) as [`frame::Frame`]s; each carries a request id, so that many run at once.
//!
//! ```text
//! host ── virtio-serial port "avps.control" ── dom0's agent ── PV console, text lines with CRC and retransmission ── guest's agent
//!         (a reliable stream: frame)                            (link: a reliable stream over an unreliable console)
//! ```
//!
//! Frames whose `channel` is not 0 are for a guest: dom0's agent relays them unread.
//!
//! It must never decide whether a test passed, and never be part of the product: it only carries.

pub mod client;
pub mod frame;
pub mod init;
pub mod link;
pub mod message;
pub mod server;

/// Name of the virtio-serial port that carries the control channel to dom0.
pub const PORT_NAME: &str = "avps.control";
/// Folder in dom0 whose files the host keeps a copy of while the bed runs.
pub const LOG_DIR: &str = "/var/log";
