//! libxl's log, as a Rust callback.
//!
//! libxl reports through `xentoollog_logger`, a structure of C callbacks that take a `va_list`.
//! The text is made by C's own `vsnprintf`, once, into a buffer of fixed size; a longer message is
//! cut and says so.

use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use libxl_sys::xentoollog::{
    VaList, XTL_CRITICAL, XTL_DEBUG, XTL_DETAIL, XTL_ERROR, XTL_INFO, XTL_NOTICE, XTL_PROGRESS,
    XTL_VERBOSE, XTL_WARN, XentoollogLevel, vsnprintf, xentoollog_logger,
};

/// How much a message of libxl's matters (`xentoollog_level`), least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For libxl's own developers.
    Debug,
    /// More than an operator usually wants.
    Verbose,
    /// Steps of an operation.
    Detail,
    /// How far an operation has come.
    Progress,
    /// Ordinary news.
    Info,
    /// News worth reading.
    Notice,
    /// Something is wrong, and the operation goes on.
    Warn,
    /// An operation, or part of one, failed.
    Error,
    /// libxl cannot be relied on any more.
    Critical,
}

impl Level {
    fn from_raw(level: XentoollogLevel) -> Self {
        match level {
            0..=XTL_DEBUG => Self::Debug,
            XTL_VERBOSE => Self::Verbose,
            XTL_DETAIL => Self::Detail,
            XTL_PROGRESS => Self::Progress,
            XTL_INFO => Self::Info,
            XTL_NOTICE => Self::Notice,
            XTL_WARN => Self::Warn,
            XTL_ERROR => Self::Error,
            XTL_CRITICAL.. => Self::Critical,
        }
    }
}

/// Complaints kept for one call; a call that loops must not fill the memory.
const MAX_COMPLAINTS: usize = 32;

/// Longest message, in bytes.
const MAX_MESSAGE: usize = 2048;

type Callback = dyn Fn(Level, &str) + Send + Sync;

/// Where the messages of one context go. Clones share everything.
#[derive(Clone)]
pub(crate) struct Log {
    callback: Arc<Callback>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub(crate) fn new(callback: impl Fn(Level, &str) + Send + Sync + 'static) -> Self {
        Self {
            callback: Arc::new(callback),
            complaints: Arc::default(),
        }
    }

    /// The same callback for another context, whose complaints are its own.
    pub(crate) fn sibling(&self) -> Self {
        Self {
            callback: Arc::clone(&self.callback),
            complaints: Arc::default(),
        }
    }

    /// Warnings and errors since the last time, oldest first.
    pub(crate) fn take_complaints(&self) -> Vec<String> {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *complaints)
    }

    fn message(&self, level: Level, text: &str) {
        if level >= Level::Warn {
            let mut complaints = self
                .complaints
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if complaints.len() < MAX_COMPLAINTS {
                complaints.push(text.to_owned());
            }
        }
        (self.callback)(level, text);
    }
}

/// The C side: libxl holds a pointer to `vtable`, which comes first, and gives it back.
#[repr(C)]
struct Shared {
    vtable: xentoollog_logger,
    log: Log,
}

/// Owns the C side; must outlive every context that was given [`RawLogger::as_ptr`].
///
/// A raw pointer rather than a `Box`: libxl keeps a copy of it, and a `Box` claims to be alone.
pub(crate) struct RawLogger(*mut Shared);

impl RawLogger {
    pub(crate) fn new(log: Log) -> Self {
        Self(Box::into_raw(Box::new(Shared {
            vtable: xentoollog_logger {
                vmessage: Some(vmessage),
                progress: None,
                destroy: None,
            },
            log,
        })))
    }

    pub(crate) fn as_ptr(&self) -> *mut xentoollog_logger {
        self.0.cast()
    }
}

impl Drop for RawLogger {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw`, once; whoever had the pointer is gone.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// `xentoollog_logger.vmessage`.
///
/// # Safety
///
/// As `xentoollog.h` says: `logger` is ours, `context` null or a string, `format` and `arguments`
/// as for `vprintf`.
unsafe extern "C" fn vmessage(
    logger: *mut xentoollog_logger,
    level: XentoollogLevel,
    errnoval: c_int,
    context: *const c_char,
    format: *const c_char,
    arguments: VaList,
) {
    let mut buffer = [0_u8; MAX_MESSAGE];
    // SAFETY: the buffer has that size, and libxl passes a format with its arguments, which are
    // used this once.
    let length = unsafe { vsnprintf(buffer.as_mut_ptr().cast(), buffer.len(), format, arguments) };
    let body = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    let context = if context.is_null() {
        None
    } else {
        // SAFETY: not null, so a string.
        Some(unsafe { CStr::from_ptr(context) })
    };
    let cut = usize::try_from(length).map_or(true, |length| length >= MAX_MESSAGE);
    let text = compose(context, body, errnoval, cut);
    // SAFETY: libxl gives back the pointer it was given, and `Shared` starts with the vtable and
    // lives as long as the context; it is only ever shared.
    let log = unsafe { &(*logger.cast::<Shared>()).log };
    // A panic must not unwind into C; the message is lost, the process is not.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        log.message(Level::from_raw(level), &text);
    }));
}

/// One line: context, message without its line end, and the error number's meaning.
fn compose(context: Option<&CStr>, body: &CStr, errnoval: c_int, cut: bool) -> String {
    let mut text = String::new();
    // libxl itself is what everybody expects to speak.
    if let Some(context) = context.filter(|context| *context != c"libxl") {
        text.push_str(&context.to_string_lossy());
        text.push_str(": ");
    }
    text.push_str(body.to_string_lossy().trim_end());
    if cut {
        text.push('…');
    }
    if errnoval > 0 {
        text.push_str(": ");
        text.push_str(&std::io::Error::from_raw_os_error(errnoval).to_string());
    }
    text
}
