//! What several of these tests need.
#![allow(dead_code, reason = "no test needs all of it")]

pub(crate) mod driver;
pub(crate) mod exercise;
