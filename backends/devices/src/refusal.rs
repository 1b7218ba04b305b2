//! Counts how often each refusal of what a guest asks was reached, so that a test with hostile drivers can show that it
//! reached them all. Without feature `count-refusals` nothing is counted, and nothing of it is left in a program.

/// Notes that the refusal called `what` was reached, and gives `error` on.
#[inline]
pub fn refused<E>(what: &'static str, error: E) -> E {
    #[cfg(feature = "count-refusals")]
    count::add(what);
    #[cfg(not(feature = "count-refusals"))]
    let _ = what;
    error
}

#[cfg(feature = "count-refusals")]
pub use count::snapshot;

#[cfg(feature = "count-refusals")]
mod count {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    /// Bounded: its keys are names in our own source.
    static REACHED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

    pub(super) fn add(what: &'static str) {
        let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = reached.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// How often each refusal was reached in this process so far.
    pub fn snapshot() -> BTreeMap<&'static str, u64> {
        REACHED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
