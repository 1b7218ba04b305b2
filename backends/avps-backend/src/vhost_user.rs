//! `avps-backend vhost-user`: one disk for QEMU or another front end, on a host without Xen.
//!
//! No holder and no worker: the process serves one device of one virtual machine, and a machine's monitor lets a
//! backend that died be started again.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use devices::Device;
use devices::block::{self, Block};
use signal_hook::consts::{SIGINT, SIGTERM};
use thiserror::Error;
use transport_vhost_user::{ServeError, Server};

use crate::cli::VhostUser;
use crate::image::{self, ImageError};
use crate::ipc::message;
use crate::parameters::Memory;

/// How long a predecessor that is ending may keep the image.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a disk is not served.
#[derive(Debug, Error)]
pub(crate) enum VhostUserError {
    /// Told from the user's side already.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Changed since it was examined.
    #[error("image {path}: {source}")]
    Unfit {
        /// The image.
        path: String,
        /// What is wrong with it.
        source: block::ImageError,
    },
    /// A combination of options that the device refuses.
    #[error("{0}")]
    Config(String),
    /// The socket, or what the system has run out of.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// SIGTERM and SIGINT would not be seen.
    #[error("signals cannot be waited for: {0}")]
    Signals(io::Error),
}

impl VhostUserError {
    /// Whether this host or this moment is the cause, not a mishap on the way.
    pub(crate) fn is_cannot(&self) -> bool {
        match self {
            Self::Image(_) | Self::Unfit { .. } => true,
            Self::Serve(error) => error.is_cannot(),
            Self::Config(_) | Self::Signals(_) => false,
        }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Image or socket cannot be had; the system has run out of something.
pub(crate) fn run(wanted: &VhostUser) -> Result<(), VhostUserError> {
    let config = image::config(&message::Block {
        read_only: wanted.read_only,
        block_size: wanted.block_size,
        serial: wanted.serial.clone(),
        cache: wanted.cache,
        queues: wanted.queues,
        // Of no concern to the device: the front end maps all of its guest for us.
        memory: Memory::Foreign,
    })
    .map_err(VhostUserError::Config)?;
    let file = image::open(&wanted.image, &config, PATIENCE)?;
    let disk = Block::new(config, file).map_err(|source| VhostUserError::Unfit {
        path: wanted.image.display().to_string(),
        source,
    })?;
    let device: Arc<dyn Device> = Arc::new(disk);

    // Before the socket exists: a signal from now on removes it again.
    let stop = signals().map_err(VhostUserError::Signals)?;
    let server = Server::bind(&wanted.socket)?;
    tracing::info!(
        image = %wanted.image.display(),
        socket = %wanted.socket.display(),
        "waiting for a front end"
    );
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    server.run(&device, stop.as_fd())?;
    tracing::info!("ended by a signal");
    Ok(())
}

/// Becomes readable with the first SIGTERM or SIGINT.
fn signals() -> io::Result<UnixStream> {
    let (arrived, tell) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, tell.try_clone()?)?;
    }
    Ok(arrived)
}
