//! Reports: numbered lines on Xen's console.

use core::fmt::{Arguments, Write};
use core::sync::atomic::{AtomicU32, Ordering};
use oracle_guest::frame::Writer;

use super::hypercall;

static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// Reports one line.
macro_rules! report {
    ($($arguments:tt)*) => {
        $crate::bare::console::print(format_args!($($arguments)*))
    };
}

pub(crate) use report;

/// Reports one line; see [`report`].
pub(crate) fn print(words: Arguments<'_>) {
    let mut line = Writer::new(SEQUENCE.fetch_add(1, Ordering::Relaxed));
    // A value that cannot be formatted leaves a shorter line.
    let _ = line.write_fmt(words);
    hypercall::write(line.finish());
}
