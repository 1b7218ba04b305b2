//! Block device (virtio 1.3 §5.2): one image, a regular file or a block device, served to one guest.
//!
//! - [`config`]: what is configured, and the configuration space;
//! - [`image`]: the file behind the disk;
//! - [`request`]: what a guest may ask, parsed from a private copy;
//! - `handler`: a queue's requests, in batches;
//! - `engine`: where their image I/O runs;
//! - [`Block`]: the device model.
//!
//! A flush completes only when every write completed before it is durable. Without a negotiated FLUSH the device is
//! write-through: each write is durable before it completes.

pub mod config;
mod device;
mod engine;
mod handler;
pub mod image;
pub mod request;

pub use config::{BlockConfig, BlockSize, Cache, IoEngine, QueueCount};
pub use device::Block;
pub use image::{Image, ImageError, open_image};

#[cfg(test)]
mod tests;
