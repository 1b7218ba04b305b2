//! What the reader of a report must know about what was booted: where it is not what the pins say.
//!
//! A notice is printed once when it arises. Whoever writes a report takes all of them with [`all`].

use std::sync::{Mutex, PoisonError};

static NOTICES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Adds a notice, once however often it arises.
pub(crate) fn add(text: impl Into<String>) {
    let text = text.into();
    let mut notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
    if !notices.contains(&text) {
        eprintln!("  notice: {text}");
        notices.push(text);
    }
}

/// All notices of this run so far, in the order in which they arose.
pub(crate) fn all() -> Vec<String> {
    let notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
    notices.clone()
}
