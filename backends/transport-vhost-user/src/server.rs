//! Front ends come and go: the socket, and one connection after the other.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devices::Device;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error as DaemonError, VhostUserDaemon};
use vmm_sys_util::epoll::EventSet;

use crate::backend::Backend;
use crate::{Memory, Snapshot};

/// Why a device cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody answers there.
    #[error("{0} is in use: another program serves there; end it, or choose another --socket")]
    InUse(PathBuf),
    /// It is not ours to remove.
    #[error("{0} exists and is no socket; remove it, or choose another --socket")]
    NotASocket(PathBuf),
    /// The socket cannot be made.
    #[error("cannot make the socket {path}: {source}")]
    Bind {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Out of descriptors, threads or memory.
    #[error("no front end can be served: {0}")]
    Os(#[from] io::Error),
    /// The same, as the protocol's crate tells it.
    #[error("no front end can be served: {0}")]
    Daemon(String),
}

impl ServeError {
    /// The place is taken; nothing is wrong with the device.
    pub fn is_cannot(&self) -> bool {
        matches!(
            self,
            ServeError::InUse(_) | ServeError::NotASocket(_) | ServeError::Bind { .. }
        )
    }
}

/// A socket at which front ends find a device. It vanishes with this.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file: another one in its place is not ours to remove.
    identity: Option<(u64, u64)>,
}

impl Server {
    /// Makes the socket. One that a dead process left behind is replaced.
    ///
    /// # Errors
    /// The place is taken or cannot be written.
    pub fn bind(path: &Path) -> Result<Self, ServeError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::InUse(path.to_owned()),
            _ => ServeError::Bind {
                path: path.to_owned(),
                source,
            },
        };
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ServeError::NotASocket(path.to_owned()));
            }
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => return Err(ServeError::InUse(path.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            },
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        Ok(Server {
            listener,
            path: path.to_owned(),
            identity: identity(path),
        })
    }

    /// Serves one front end after the other until `stop` can be read. Requests in flight are ended first.
    ///
    /// # Errors
    /// The operating system gave out. What a front end does is never an error here.
    pub fn run(&self, device: &Arc<dyn Device>, stop: BorrowedFd<'_>) -> Result<(), ServeError> {
        loop {
            let (stopping, _) = wait(stop, self.listener.as_fd())?;
            if stopping {
                return Ok(());
            }
            self.serve_one(Arc::clone(device), stop)?;
        }
    }

    /// Serves the front end that is waiting to be accepted.
    fn serve_one(&self, device: Arc<dyn Device>, stop: BorrowedFd<'_>) -> Result<(), ServeError> {
        let backend = Arc::new(Backend::new(device)?);
        // New for each: what a front end said to the last one holds for no other.
        let memory = Memory::new(Snapshot::new());
        let mut daemon = VhostUserDaemon::new("vhost-user".into(), Arc::clone(&backend), memory)
            .map_err(|error| ServeError::Daemon(error.to_string()))?;
        for (thread, door) in daemon.get_epoll_handlers().iter().zip(backend.doors()) {
            let event = backend.door_event();
            if let Err(error) = thread.register_listener(door.as_raw_fd(), EventSet::IN, event) {
                // Its threads cannot be told to end, and dropping it would wait for them.
                std::mem::forget(daemon);
                return Err(error.into());
            }
        }
        let served = self.converse(&mut daemon, stop);
        backend.doors().for_each(|door| door.close());
        drop(daemon);
        backend.finish();
        served
    }

    fn converse(
        &self,
        daemon: &mut VhostUserDaemon<Arc<Backend>>,
        stop: BorrowedFd<'_>,
    ) -> Result<(), ServeError> {
        let over = eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut listener = Listener::from(self.listener.try_clone()?);
        daemon
            .start(&mut listener)
            .map_err(|error| ServeError::Daemon(error.to_string()))?;
        tracing::info!(socket = %self.path.display(), "a front end has connected");
        let handle = daemon.shutdown_handle();
        let ended = std::thread::scope(|scope| {
            let watch = || {
                if let (Ok((true, _)), Some(handle)) = (wait(stop, over.as_fd()), &handle) {
                    handle.shutdown();
                }
            };
            let watcher = std::thread::Builder::new()
                .name("stop".into())
                .spawn_scoped(scope, watch);
            if watcher.is_err() {
                daemon.request_shutdown();
            }
            let ended = daemon.wait();
            let _ = rustix::io::write(&over, &1_u64.to_ne_bytes());
            watcher.map(|_| ended)
        })?;
        match ended {
            Ok(())
            | Err(DaemonError::HandleRequest(
                ProtocolError::Disconnected | ProtocolError::PartialMessage,
            )) => tracing::info!("the front end has gone"),
            Err(error) => tracing::warn!(%error, "the front end's connection was ended"),
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Somebody may have removed it just now.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Waits until one of both can be read, and tells which.
fn wait(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> io::Result<(bool, bool)> {
    let mut fds = [
        PollFd::from_borrowed_fd(first, PollFlags::IN),
        PollFd::from_borrowed_fd(second, PollFlags::IN),
    ];
    loop {
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let [first, second] = &fds;
    Ok((!first.revents().is_empty(), !second.revents().is_empty()))
}
