//! A reliable byte stream over a guest's console, which kernel messages share.
//!
//! It must never lose, repeat or reorder a byte without saying that the stream ended.

pub mod line;
mod state;
mod stream;

pub use state::{Link, Role};
pub use stream::{LinkReader, LinkWriter, Listener, open};

#[cfg(test)]
mod tests;
