//! Finding the libxl that belongs to the running hypervisor.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::api::{Code, Context};
use crate::error::{Error, Result};
use crate::logger::Log;
use crate::{v4_17, v4_20};

/// One loaded release. Loaded once per process and never unloaded.
pub(crate) enum Library {
    V4_20(&'static libxl_sys::v4_20::Libxenlight),
    V4_17(&'static libxl_sys::v4_17::Libxenlight),
}

/// How long xenstored may take for one answer; it takes microseconds.
const XENSTORE_TIMEOUT: Duration = Duration::from_secs(5);

type Load = fn(&str) -> std::result::Result<Library, libloading::Error>;

/// A release this crate was compiled for.
struct Known {
    soname: &'static str,
    release: (i32, i32),
    load: Load,
    loaded: Mutex<Option<&'static Library>>,
}

/// Newest first.
static KNOWN: [Known; 2] = [
    Known {
        soname: libxl_sys::SONAMES[0].0,
        release: libxl_sys::SONAMES[0].1,
        load: |soname| Ok(Library::V4_20(v4_20::calls::load(soname)?)),
        loaded: Mutex::new(None),
    },
    Known {
        soname: libxl_sys::SONAMES[1].0,
        release: libxl_sys::SONAMES[1].1,
        load: |soname| Ok(Library::V4_17(v4_17::calls::load(soname)?)),
        loaded: Mutex::new(None),
    },
];

const _: () = {
    assert!(matches!(libxl_sys::SONAMES[0].1, (4, 20)));
    assert!(matches!(libxl_sys::SONAMES[1].1, (4, 17)));
};

impl Known {
    fn library(&self) -> std::result::Result<&'static Library, libloading::Error> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = *loaded {
            return Ok(library);
        }
        let library: &'static Library = Box::leak(Box::new((self.load)(self.soname)?));
        *loaded = Some(library);
        Ok(library)
    }
}

impl Library {
    /// As in "4.20".
    pub(crate) fn release(&self) -> &'static str {
        match self {
            Self::V4_20(_) => "4.20",
            Self::V4_17(_) => "4.17",
        }
    }

    fn open(&self, log: &Log) -> std::result::Result<Arc<dyn Context>, Code> {
        match self {
            Self::V4_20(library) => v4_20::calls::open(library, log),
            Self::V4_17(library) => v4_17::calls::open(library, log),
        }
    }
}

/// The releases of Xen this crate can work with, newest first, as in "4.20".
pub fn known_releases() -> impl Iterator<Item = String> {
    KNOWN
        .iter()
        .map(|known| format!("{}.{}", known.release.0, known.release.1))
}

/// Opens the library of the running hypervisor's release.
pub(crate) fn open(log: &Log) -> Result<(&'static Library, Arc<dyn Context>)> {
    let mut tried = Vec::new();
    let mut installed = Vec::new();
    let mut running = None;
    for known in &KNOWN {
        let library = match known.library() {
            Ok(library) => library,
            Err(error) => {
                tried.push((known.soname.to_owned(), error.to_string()));
                continue;
            }
        };
        installed.push(library.release().to_owned());
        log.take_complaints();
        let context = library
            .open(log)
            .map_err(|code| unreachable_host(code, log))?;
        let version = context.version().map_err(|code| {
            Error::failed(
                "ask the hypervisor for its version",
                code,
                log.take_complaints(),
            )
        })?;
        // What libxl makes of a refused question.
        if version.major < 0 {
            return Err(Error::Permission {
                reason: "Xen denied this domain its control interface".to_owned(),
                messages: log.take_complaints(),
            });
        }
        if (version.major, version.minor) != known.release {
            running = Some(format!("{}.{}", version.major, version.minor));
            continue;
        }
        // The first call that only dom0's root may make.
        if context.physinfo().is_err() {
            return Err(Error::Permission {
                reason: "the hypervisor refuses to describe the machine to this domain".to_owned(),
                messages: log.take_complaints(),
            });
        }
        xenstore_answers()?;
        return Ok((library, context));
    }
    Err(match running {
        Some(running) => Error::OtherRelease { running, installed },
        None => Error::NoLibrary { tried },
    })
}

/// libxl opens XenStore through the kernel, which also works when nobody serves it, and then waits
/// for ever for its first answer. So somebody who does not wait asks first.
fn xenstore_answers() -> Result<()> {
    xenstore::Client::open()
        .and_then(|client| client.with_timeout(XENSTORE_TIMEOUT).domain_path(0))
        .map(drop)
        .map_err(|error| Error::NoXenStore {
            messages: vec![error.to_string()],
        })
}

/// Opens one more context of a library that was found by [`open`].
pub(crate) fn open_again(library: &Library, log: &Log) -> Result<(Arc<dyn Context>, Log)> {
    let log = log.sibling();
    let context = library
        .open(&log)
        .map_err(|code| unreachable_host(code, &log))?;
    Ok((context, log))
}

/// Says which of libxl's preconditions is not met; libxl itself only says "fail".
fn unreachable_host(code: Code, log: &Log) -> Error {
    let messages = log.take_complaints();
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/xen/privcmd")
    {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Error::Permission {
            reason: format!("/dev/xen/privcmd: {error}"),
            messages,
        },
        Err(error) => Error::NotOnXen {
            reason: error.to_string(),
            messages,
        },
        Ok(_) if messages.iter().any(|message| message.contains("xenstore")) => {
            Error::NoXenStore { messages }
        }
        Ok(_) => Error::failed("open libxl", code, messages),
    }
}
