//! Tells libxl that a child process ended.
//!
//! By default libxl installs a SIGCHLD handler of its own, and aborts the program when it finds
//! another one there, tokio's for example. So it is put into the mode in which the application
//! owns the signal: a handler from the `signal-hook` registry, which tokio uses too and which
//! allows several, writes to a socket; a thread reads it and lets libxl look after its own
//! children, and only those.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use signal_hook::SigId;
use signal_hook::consts::SIGCHLD;
use signal_hook::low_level;

use crate::api::Context;
use crate::error::{Error, Result};

/// What the end of this watch writes; the signal handler writes b'X'.
const STOP: u8 = b'.';

/// Passes SIGCHLD on to one context until dropped.
pub(crate) struct ChildWatch {
    signal: SigId,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl ChildWatch {
    pub(crate) fn start(context: Arc<dyn Context>) -> Result<Self> {
        let system = |what| move |source| Error::System { what, source };
        let (stop, mut wake) =
            UnixStream::pair().map_err(system("make a channel for child signals"))?;
        let writer = stop
            .try_clone()
            .map_err(system("make a channel for child signals"))?;
        let signal = low_level::pipe::register(SIGCHLD, writer)
            .map_err(system("watch for child signals"))?;
        let mut watch = Self {
            signal,
            stop,
            thread: None,
        };
        let thread = std::thread::Builder::new()
            .name("libxl-children".to_owned())
            .spawn(move || {
                let mut bytes = [0; 64];
                loop {
                    let read = match wake.read(&mut bytes) {
                        Ok(read) => read,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                        Err(_) => return,
                    };
                    let seen = bytes.get(..read).unwrap_or_default();
                    if seen.is_empty() || seen.contains(&STOP) {
                        return;
                    }
                    context.child_signal();
                }
            })
            .map_err(system("start the thread for child signals"))?;
        watch.thread = Some(thread);
        Ok(watch)
    }
}

impl Drop for ChildWatch {
    fn drop(&mut self) {
        low_level::unregister(self.signal);
        // Without a thread there is nobody to stop; a full socket means it is awake already, and
        // blocks here only until it has read.
        let stopped =
            self.stop.set_nonblocking(false).is_ok() && self.stop.write_all(&[STOP]).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| stopped) {
            let _ = thread.join();
        }
    }
}
