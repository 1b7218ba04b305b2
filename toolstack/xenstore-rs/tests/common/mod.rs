//! The tests' own servers: [`store`] keeps a tree and obeys the protocol, [`peer`] does what a
//! test tells it to, nonsense included.

pub(crate) mod peer;
pub(crate) mod store;

use std::time::{Duration, Instant};

/// Ends a test that hangs, with a word about where.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = std::thread::spawn(body);
    let start = Instant::now();
    while !thread.is_finished() {
        assert!(start.elapsed() < limit, "{what}: not done after {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "never came true: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
