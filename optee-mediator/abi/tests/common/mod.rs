//! What several of these tests need.
pub(crate) mod driver;
pub(crate) mod exercise;
