//! Asking the running daemon over a unix socket: connect, read one JSON document, end.
//!
//! There is nothing to ask but the report, so a client sends nothing and cannot say anything wrong.
//! The socket is root's alone.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest report a client takes, in bytes.
const MAX_REPORT: u64 = 16 * 1024 * 1024;
/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no report, or no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// No daemon listens.
    #[error(
        "no {program} answers at {path}: it is not running in this domain, or was started with another --socket"
    )]
    NotRunning {
        /// Who was asked.
        program: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Not root.
    #[error("{0} may not be opened: permission denied; run this as the daemon's user (root)")]
    Permission(PathBuf),
    /// The socket cannot be made.
    #[error("the socket {path} cannot be made: {source}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon took the question, and no whole answer came.
    #[error("{program} did not answer in time: it is busy or stuck, or has just ended")]
    NoAnswer {
        /// Who was asked.
        program: &'static str,
    },
    /// The connection failed.
    #[error("the daemon's report could not be sent or read: {0}")]
    Io(#[from] io::Error),
    /// Another release answers.
    #[error("the daemon's report was not understood (another release?): {0}")]
    Json(#[from] serde_json::Error),
}

/// Makes the socket, replacing what a dead daemon left.
///
/// Only called with the daemon's lock held, so nobody else can be listening there.
///
/// # Errors
/// The place cannot be used.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers one client; a client that does not read is left after a while.
///
/// # Errors
/// The client went away.
pub fn answer(mut client: UnixStream, report: &impl Serialize) -> Result<(), SocketError> {
    client.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_vec(report)?;
    text.push(b'\n');
    client.write_all(&text)?;
    Ok(())
}

/// Asks the daemon, which is this program.
///
/// # Errors
/// No daemon, or one that does not answer.
pub fn ask<T: DeserializeOwned>(program: &'static str, path: &Path) -> Result<T, SocketError> {
    let client = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => SocketError::NotRunning {
            program,
            path: path.to_owned(),
        },
        io::ErrorKind::PermissionDenied => SocketError::Permission(path.to_owned()),
        _ => SocketError::Io(error),
    })?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut text = Vec::new();
    let read = client.take(MAX_REPORT).read_to_end(&mut text);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock
        | io::ErrorKind::TimedOut
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => SocketError::NoAnswer { program },
        _ => SocketError::Io(error),
    })?;
    serde_json::from_slice(&text).map_err(|error| match error.is_eof() {
        // A daemon whose loop does not answer closes the connection; one that ends leaves it in the middle.
        true => SocketError::NoAnswer { program },
        false => SocketError::Json(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask_some(path: &Path) -> Result<Vec<u32>, SocketError> {
        ask("some", path)
    }

    #[test]
    fn a_client_gets_the_report_the_daemon_gave() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/s");
        let listener = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let server = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            answer(client, &[17, 4]).unwrap();
        });
        assert_eq!(ask_some(&path).unwrap(), [17, 4]);
        server.join().unwrap();
    }

    #[test]
    fn a_daemon_that_does_not_run_is_said_to_be_absent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let absent = |path: &Path| {
            let error = ask_some(path).unwrap_err();
            assert!(error.to_string().contains("no some answers"), "{error}");
            assert!(matches!(error, SocketError::NotRunning { .. }));
        };
        absent(&path);
        drop(listen(&path).unwrap());
        absent(&path);
    }

    #[test]
    fn an_answer_that_does_not_come_whole_is_no_answer_of_another_release() {
        for sent in ["", "[1, ", "[1, 2"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("s");
            let listener = listen(&path).unwrap();
            let server = std::thread::spawn(move || {
                let (mut client, _) = listener.accept().unwrap();
                client.write_all(sent.as_bytes()).unwrap();
            });
            let error = ask_some(&path).unwrap_err();
            assert!(
                matches!(error, SocketError::NoAnswer { program: "some" }),
                "{error}"
            );
            server.join().unwrap();
        }
    }

    #[test]
    fn the_socket_of_a_dead_daemon_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(listen(&path).unwrap());
        assert!(listen(&path).is_ok());
    }
}
