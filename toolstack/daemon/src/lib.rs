//! What this project's daemons have in common: there is one of each ([`lock`]), guests cannot fill their log ([`rate`]), and they
//! tell what they do to whoever asks ([`socket`]), also as metrics ([`openmetrics`]). With the feature `log` they have a log in which
//! nobody else can forge a line.
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
#[cfg(feature = "log")]
pub mod log;
pub mod openmetrics;
pub mod rate;
pub mod socket;
