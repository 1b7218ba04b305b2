//! Safe handle on Linux's TEE client device (`/dev/tee0`): sessions with trusted applications, calls of their functions,
//! memory that is shared with them.
//!
//! Each [`Tee`] is a context of its own in the kernel: sessions of one cannot be used by another, and all of them end with it.
//!
//! What this crate must never do: panic, whatever the kernel or an application answers; repeat a call.

mod buffer;
mod sys;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use buffer::Buffer;

/// Parameters of a call (GlobalPlatform TEE Client API, 4.3.9).
pub const PARAMETERS: usize = sys::PARAMETERS;

/// Result of this crate's calls.
pub type Result<T> = std::result::Result<T, Error>;

/// What the kernel refused. What the TEE answers is an [`Outcome`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device could not be opened.
    #[error("cannot open {}: {source}{}", path.display(), hint(source))]
    Open {
        /// Path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no OP-TEE.
    #[error("{} is not the client device of an OP-TEE", .0.display())]
    NotOpTee(PathBuf),
    /// A call was refused.
    #[error("cannot {what}: {source}")]
    Device {
        /// What was wanted.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            " (the kernel needs CONFIG_OPTEE, and has found no OP-TEE: see dmesg)"
        }
        _ => "",
    }
}

impl Error {
    fn of(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Device { what, source }
    }

    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open { source, .. } | Self::Device { source, .. } => source.raw_os_error(),
            Self::NotOpTee(_) => None,
        }
    }
}

/// Which way a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the application.
    Input,
    /// From it.
    Output,
    /// Both.
    Both,
}

/// A parameter of a call; the answer is written to where the question was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parameter {
    /// Not used.
    #[default]
    None,
    /// Numbers; OP-TEE's applications see 32 bits of the first two.
    Value(Direction, [u64; 3]),
    /// A part of one of the call's buffers. After the call `size` is what the application wanted or wrote, which may be more than
    /// there is.
    Memory {
        /// Which way.
        direction: Direction,
        /// Which of the call's buffers, from 0 on.
        buffer: usize,
        /// First byte in the buffer.
        offset: u64,
        /// Bytes.
        size: u64,
    },
    /// No memory, with a size: how an application is asked how much it needs.
    Null(Direction, u64),
}

/// What the TEE answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `TEE_SUCCESS` (0) or an error of GlobalPlatform's.
    pub result: u32,
    /// Who says so (`TEE_ORIGIN_*`).
    pub origin: u32,
}

/// Who opens a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// `TEE_IOCTL_LOGIN_*`.
    pub login: u32,
    /// For logins of groups: the group, as the kernel takes it.
    pub uuid: [u8; 16],
}

/// A context of the device.
#[derive(Debug)]
pub struct Tee {
    fd: OwnedFd,
}

impl Tee {
    /// Opens a context of an OP-TEE.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotOpTee`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let fd = file.map_err(|source| Error::Open {
            path: path.to_path_buf(),
            source,
        })?;
        let tee = Self { fd: fd.into() };
        let mut version = sys::Version::default();
        // SAFETY: it writes one `Version`.
        let asked = unsafe { sys::ioctl(tee.fd.as_fd(), sys::VERSION, &raw mut version) };
        // Linux: TEE_IMPL_ID_OPTEE, and not the supplicant's device (TEE_GEN_CAP_PRIVILEGED).
        if asked.is_err() || version.implementation != 1 || version.capabilities & 2 != 0 {
            return Err(Error::NotOpTee(path.to_path_buf()));
        }
        Ok(tee)
    }

    /// Opens a session; its number is only meaningful when the outcome's result is 0.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn open_session(
        &self,
        application: [u8; 16],
        client: Client,
        cancel_id: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> Result<(Outcome, u32)> {
        let mut call = sys::OpenSession {
            uuid: application,
            client_uuid: client.uuid,
            client_login: client.login,
            cancel_id,
            session: 0,
            result: 0,
            origin: 0,
            number: PARAMETERS as u32,
            params: raw(parameters, buffers)?,
        };
        self.call(sys::OPEN_SESSION, &raw mut call, "open a session")?;
        answers(parameters, &call.params);
        let outcome = Outcome {
            result: call.result,
            origin: call.origin,
        };
        Ok((outcome, call.session))
    }

    /// Calls a function of an application.
    ///
    /// # Errors
    /// [`Error::Device`]; `EINVAL` for a session that this context does not have.
    pub fn invoke(
        &self,
        session: u32,
        function: u32,
        cancel_id: u32,
        buffers: &mut [Buffer],
        parameters: &mut [Parameter; PARAMETERS],
    ) -> Result<Outcome> {
        let mut call = sys::Invoke {
            function,
            session,
            cancel_id,
            result: 0,
            origin: 0,
            number: PARAMETERS as u32,
            params: raw(parameters, buffers)?,
        };
        self.call(sys::INVOKE, &raw mut call, "call a trusted application")?;
        answers(parameters, &call.params);
        Ok(Outcome {
            result: call.result,
            origin: call.origin,
        })
    }

    /// Asks for the end of a call that is under way.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn cancel(&self, session: u32, cancel_id: u32) -> Result<()> {
        let mut call = sys::Cancel { cancel_id, session };
        // SAFETY: it reads one `Cancel`.
        unsafe { sys::ioctl(self.fd.as_fd(), sys::CANCEL, &raw mut call) }
            .map(drop)
            .map_err(Error::of("cancel a call"))
    }

    /// Closes a session.
    ///
    /// # Errors
    /// [`Error::Device`]; `EINVAL` for a session that this context does not have.
    pub fn close_session(&self, session: u32) -> Result<()> {
        let mut session = session;
        // SAFETY: it reads one number.
        unsafe { sys::ioctl(self.fd.as_fd(), sys::CLOSE_SESSION, &raw mut session) }
            .map(drop)
            .map_err(Error::of("close a session"))
    }

    fn call<T>(&self, request: u32, argument: *mut T, what: &'static str) -> Result<()> {
        let mut data = sys::Buf {
            pointer: argument.addr() as u64,
            length: size_of::<T>() as u64,
        };
        // SAFETY: it reads and writes one `T` with PARAMETERS parameters, which the caller owns.
        unsafe { sys::ioctl(self.fd.as_fd(), request, &raw mut data) }
            .map(drop)
            .map_err(Error::of(what))
    }
}

/// Parameters as the kernel takes them; memory must be within its buffer.
fn raw(
    parameters: &[Parameter; PARAMETERS],
    buffers: &[Buffer],
) -> Result<[sys::Param; PARAMETERS]> {
    let mut raw = [sys::Param::default(); PARAMETERS];
    for (raw, parameter) in raw.iter_mut().zip(parameters) {
        *raw = match *parameter {
            Parameter::None => sys::Param::default(),
            Parameter::Value(direction, [a, b, c]) => sys::Param {
                attributes: sys::VALUE_INPUT + step(direction),
                a,
                b,
                c,
            },
            Parameter::Memory {
                direction,
                buffer,
                offset,
                size,
            } => {
                let beyond = || Error::Device {
                    what: "give an application memory",
                    source: io::Error::from_raw_os_error(libc::EINVAL),
                };
                let buffer = buffers.get(buffer).ok_or_else(beyond)?;
                let end = offset.checked_add(size).ok_or_else(beyond)?;
                if end > buffer.len() as u64 {
                    return Err(beyond());
                }
                sys::Param {
                    attributes: sys::MEMREF_INPUT + step(direction),
                    a: offset,
                    b: size,
                    c: u64::try_from(buffer.id()).map_err(|_| beyond())?,
                }
            }
            Parameter::Null(direction, size) => sys::Param {
                attributes: sys::MEMREF_INPUT + step(direction),
                a: 0,
                b: size,
                c: sys::MEMREF_NULL,
            },
        };
    }
    Ok(raw)
}

/// Input, output and both have numbers in this order.
fn step(direction: Direction) -> u64 {
    match direction {
        Direction::Input => 0,
        Direction::Output => 1,
        Direction::Both => 2,
    }
}

fn answers(parameters: &mut [Parameter; PARAMETERS], raw: &[sys::Param; PARAMETERS]) {
    for (parameter, raw) in parameters.iter_mut().zip(raw) {
        match parameter {
            Parameter::Value(Direction::Output | Direction::Both, values) => {
                *values = [raw.a, raw.b, raw.c];
            }
            Parameter::Memory {
                direction: Direction::Output | Direction::Both,
                size,
                ..
            }
            | Parameter::Null(Direction::Output | Direction::Both, size) => *size = raw.b,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_kernels_numbers_and_only_answers_come_back() {
        let mut parameters = [
            Parameter::Value(Direction::Input, [1, 2, 3]),
            Parameter::Value(Direction::Both, [4, 5, 6]),
            Parameter::Null(Direction::Output, 7),
            Parameter::None,
        ];
        let mut raw = raw(&parameters, &[]).unwrap();
        let attributes = raw.map(|raw| raw.attributes);
        assert_eq!(attributes, [1, 3, 6, 0]);
        assert_eq!(raw[2].c, u64::MAX);
        for raw in &mut raw {
            raw.a += 100;
            raw.b += 100;
        }
        answers(&mut parameters, &raw);
        assert_eq!(
            parameters,
            [
                Parameter::Value(Direction::Input, [1, 2, 3]),
                Parameter::Value(Direction::Both, [104, 105, 6]),
                Parameter::Null(Direction::Output, 107),
                Parameter::None,
            ]
        );
    }

    #[test]
    fn memory_that_is_not_shared_is_given_to_nobody() {
        let mut buffer = Buffer::unshared(100).unwrap();
        buffer.bytes_mut().fill(7);
        assert_eq!(buffer.bytes(), [7; 100]);
        assert!(raw(&one(memory(0, 0, 1)), &[buffer]).is_err());
    }

    fn memory(buffer: usize, offset: u64, size: u64) -> Parameter {
        Parameter::Memory {
            direction: Direction::Input,
            buffer,
            offset,
            size,
        }
    }

    fn one(parameter: Parameter) -> [Parameter; PARAMETERS] {
        let mut parameters = [Parameter::None; PARAMETERS];
        parameters[0] = parameter;
        parameters
    }

    #[test]
    fn memory_is_within_the_buffer_that_it_names() {
        let buffer = |size, id| Buffer::unshared(size).unwrap().numbered(id);
        let buffers = [buffer(100, 5), buffer(200, 6)];
        let parameters = [
            memory(1, 50, 150),
            memory(0, 0, 100),
            memory(1, 0, 50),
            Parameter::None,
        ];
        let ids = raw(&parameters, &buffers).unwrap().map(|raw| raw.c);
        assert_eq!(ids, [6, 5, 6, 0]);
        for beyond in [
            memory(0, 50, 51),
            memory(1, 200, 1),
            memory(1, u64::MAX, 1),
            memory(2, 0, 0),
        ] {
            let error = raw(&one(beyond), &buffers).err().unwrap();
            assert_eq!(error.errno(), Some(libc::EINVAL), "{beyond:?}");
        }
        assert!(raw(&one(memory(0, 0, 1)), &[]).is_err());
    }

    #[test]
    fn a_file_that_is_no_tee_is_told_as_such() {
        let error = Tee::open(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, Error::NotOpTee(_)), "{error}");
        let error = Tee::open(Path::new("/nowhere/tee0")).unwrap_err();
        assert!(error.to_string().contains("CONFIG_OPTEE"), "{error}");
    }
}
