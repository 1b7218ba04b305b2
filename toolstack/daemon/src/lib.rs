//! What this project's daemons have in common: there is one of each ([`lock`]), guests cannot fill their log ([`rate`]), and they
//! tell what they do to whoever asks ([`socket`]).
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod lock;
pub mod rate;
pub mod socket;
