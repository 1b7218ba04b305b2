//! Xen's security module FLASK: its policy, and questions to it.
//!
//! Xen must have been booted with it (`xsm=flask`); asking needs the rights of the control domain's type. The interface has a
//! version of its own, which Xen checks, and has not changed since Xen 4.3.

use std::io;

use xen_sys::flask as abi;
use xen_sys::hypercall::XSM_OP;

use crate::error::{Error, Result};
use crate::hypercall_buffer::HypercallBuffer;
use crate::privcmd::PrivCmd;

/// Number of a security context in the running Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sid(u32);

/// FLASK of the running Xen.
#[derive(Clone, Debug)]
pub struct Flask {
    privcmd: PrivCmd,
}

impl Flask {
    /// FLASK by way of this device.
    pub fn new(privcmd: PrivCmd) -> Self {
        Self { privcmd }
    }

    /// Whether refusals are carried out; otherwise they are only logged. None where Xen runs without FLASK.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn enforcing(&self) -> Result<Option<bool>> {
        let mut operation = operation(abi::GETENFORCE, None);
        match self.ask(&mut operation) {
            Ok(answer) => Ok(Some(answer != 0)),
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(None),
            Err(source) => Err(failed("ask whether FLASK enforces", source)),
        }
    }

    /// Carries refusals out, or only logs them.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_enforcing(&self, enforcing: bool) -> Result<()> {
        let argument = abi::Argument {
            enforce: abi::SetEnforce {
                enforcing: enforcing.into(),
            },
        };
        self.ask(&mut operation(abi::SETENFORCE, Some(argument)))
            .map(drop)
            .map_err(|source| failed("tell FLASK whether to enforce", source))
    }

    /// Replaces the policy by another, as checkpolicy wrote it. Xen keeps the old one when it does not take it.
    ///
    /// # Errors
    /// [`Error::Hypercall`]; `EINVAL` for what is no policy, or one that lacks a class or a type that Xen itself needs.
    pub fn load(&self, policy: &[u8]) -> Result<()> {
        let failed = |source| failed("load a FLASK policy", source);
        let size = u32::try_from(policy.len())
            .map_err(|_| failed(io::Error::from_raw_os_error(libc::EFBIG)))?;
        let mut buffer = HypercallBuffer::with_len(policy.len()).map_err(failed)?;
        buffer.write(policy).map_err(failed)?;
        let argument = abi::Argument {
            load: abi::Load {
                buffer: buffer.address(),
                size,
            },
        };
        self.ask(&mut operation(abi::LOAD, Some(argument)))
            .map(drop)
            .map_err(failed)
    }

    /// The number of a context such as `system_u:system_r:dom0_t`.
    ///
    /// # Errors
    /// [`Error::Hypercall`]; `EINVAL` when the loaded policy has no such context.
    pub fn sid(&self, context: &str) -> Result<Sid> {
        let failed = |source| failed("ask for the number of a security context", source);
        let size = u32::try_from(context.len())
            .map_err(|_| failed(io::Error::from_raw_os_error(libc::EINVAL)))?;
        let mut text = HypercallBuffer::with_len(context.len()).map_err(failed)?;
        text.write(context.as_bytes()).map_err(failed)?;
        let argument = abi::Argument {
            sid_context: abi::SidContext {
                sid: 0,
                size,
                context: text.address(),
            },
        };
        let mut operation = operation(abi::CONTEXT_TO_SID, Some(argument));
        self.ask(&mut operation).map_err(failed)?;
        // SAFETY: CONTEXT_TO_SID answers in this field; any number is valid for it.
        Ok(Sid(unsafe { operation.u.sid_context.sid }))
    }

    /// What `source` may do to `target` as an object of `class`: bits in the order in which the class declares its
    /// permissions. Classes count from 1.
    ///
    /// # Errors
    /// [`Error::Hypercall`]; `EINVAL` for a class that the policy does not have.
    pub fn allowed(&self, source: Sid, target: Sid, class: u32) -> Result<u32> {
        let argument = abi::Argument {
            access: abi::Access {
                ssid: source.0,
                tsid: target.0,
                tclass: class,
                req: u32::MAX,
                allowed: 0,
                audit_allow: 0,
                audit_deny: 0,
                seqno: 0,
            },
        };
        let mut operation = operation(abi::ACCESS, Some(argument));
        self.ask(&mut operation)
            .map_err(|source| failed("ask what a FLASK policy allows", source))?;
        // SAFETY: ACCESS answers in this structure; any number is valid for it.
        Ok(unsafe { operation.u.access.allowed })
    }

    /// Issues the operation; Xen's answer replaces it.
    fn ask(&self, operation: &mut abi::FlaskOp) -> io::Result<i32> {
        let mut buffer = HypercallBuffer::new()?;
        buffer.put(*operation)?;
        // SAFETY: xsm_op reads and writes one `FlaskOp`, and what its addresses name, which callers keep alive.
        let answer = unsafe {
            self.privcmd
                .hypercall(XSM_OP, [buffer.address(), 0, 0, 0, 0])
        }?;
        // SAFETY: a `FlaskOp` consists of numbers, valid with any content.
        *operation = unsafe { buffer.get() }?;
        Ok(answer)
    }
}

fn operation(cmd: u32, argument: Option<abi::Argument>) -> abi::FlaskOp {
    // SAFETY: it consists of numbers, valid as zeros.
    let mut operation: abi::FlaskOp = unsafe { std::mem::zeroed() };
    operation.cmd = cmd;
    operation.interface_version = abi::INTERFACE_VERSION;
    if let Some(argument) = argument {
        operation.u = argument;
    }
    operation
}

fn failed(what: &'static str, source: io::Error) -> Error {
    Error::Hypercall { what, source }
}
