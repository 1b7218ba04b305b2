//! What a process that was taken over would try, for real.
//!
//! Only tests have this: each attack does its harm where it succeeds. They are made of bare system calls, as an
//! intruder would make them, so that nothing but the attack itself can be what is refused.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_long};

/// What an attack is aimed at. Prepared before the process is confined.
#[derive(Clone, Debug)]
pub struct Targets {
    /// A file somebody else owns.
    pub file: CString,
    /// A directory in which something could be made.
    pub place: CString,
    /// A socket somebody listens on.
    pub socket: CString,
    /// A process of somebody else.
    pub process: i32,
}

/// One attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// Its name, for reports.
    pub name: &'static str,
    /// An ordinary user cannot do it either.
    pub needs_root: bool,
    run: fn(&Targets) -> io::Result<()>,
}

impl Attack {
    /// Tries it. It may end the process, or replace it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn run(&self, targets: &Targets) -> io::Result<()> {
        (self.run)(targets)
    }

    /// The attack of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|attack| attack.name == name)
    }
}

const fn user(name: &'static str, run: fn(&Targets) -> io::Result<()>) -> Attack {
    Attack {
        name,
        needs_root: false,
        run,
    }
}

const fn root(name: &'static str, run: fn(&Targets) -> io::Result<()>) -> Attack {
    Attack {
        name,
        needs_root: true,
        run,
    }
}

/// All that need no Xen.
pub const ALL: &[Attack] = &[
    user("open a file to read it", |to| {
        open(&to.file, libc::O_RDONLY)
    }),
    user("open a file to write it", |to| open(&to.file, libc::O_RDWR)),
    user("list a directory", |to| open(&to.place, libc::O_RDONLY)),
    user("open a file through io_uring", open_by_ring),
    user("remove a file", |to| {
        call(libc::SYS_unlinkat, [at(), address(&to.file), 0, 0, 0])
    }),
    user("change a file's mode", |to| {
        call(libc::SYS_fchmodat, [at(), address(&to.file), 0o666, 0, 0])
    }),
    user("make an anonymous file", |_| {
        call(libc::SYS_memfd_create, [address(c"a"), 0, 0, 0, 0])
    }),
    user("connect to a unix socket", connect),
    user("connect to a unix socket through io_uring", connect_by_ring),
    user("make an internet socket", |_| {
        socket(libc::AF_INET).map(drop)
    }),
    user("start a program", |_| {
        let arguments = [c"/bin/true".as_ptr(), ptr::null()];
        call(
            libc::SYS_execve,
            [address(c"/bin/true"), arguments.as_ptr().addr(), 0, 0, 0],
        )
    }),
    user("start a process", |_| start(libc::SYS_clone)),
    user("start a process with clone3", |_| start(libc::SYS_clone3)),
    user("trace a process", |to| {
        call(
            libc::SYS_ptrace,
            [libc::PTRACE_SEIZE as usize, pid(to), 0, 0, 0],
        )
    }),
    user("read a process's memory", |to| {
        let local = iovec();
        let vector = (&raw const local).addr();
        // An address that is certainly not mapped: who gets as far as that was let in.
        match call(libc::SYS_process_vm_readv, [pid(to), vector, 1, vector, 1]) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
            result => result,
        }
    }),
    user("kill a process", |to| {
        call(libc::SYS_kill, [pid(to), libc::SIGKILL as usize, 0, 0, 0])
    }),
    user("kill a process through a pidfd", |to| {
        call(libc::SYS_pidfd_open, [pid(to), 0, 0, 0, 0])
    }),
    user("kill a process's thread", |to| {
        let signal = libc::SIGKILL as usize;
        call(libc::SYS_tgkill, [pid(to), pid(to), signal, 0, 0])
    }),
    user("make executable memory", |_| {
        let protection = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as usize;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        call(libc::SYS_mmap, [0, 4096, protection, flags, usize::MAX])
    }),
    user("make a user namespace", |_| {
        call(
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0],
        )
    }),
    user("be traceable again", |_| {
        call(
            libc::SYS_prctl,
            [libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0],
        )
    }),
    user("issue an ioctl that is not listed", |_| {
        let mut waiting: c_int = 0;
        call(
            libc::SYS_ioctl,
            [0, libc::FIONREAD as usize, (&raw mut waiting).addr(), 0, 0],
        )
    }),
    user("use the kernel's keys", |_| {
        // KEYCTL_GET_KEYRING_ID of the thread's keyring, made if need be.
        call(libc::SYS_keyctl, [0, usize::MAX, 1, 0, 0])
    }),
    root("mount a file system", |to| {
        let kind = address(c"tmpfs");
        call(libc::SYS_mount, [kind, address(&to.place), kind, 0, 0])
    }),
    root("become root", |_| {
        call(libc::SYS_setresuid, [0, 0, 0, 0, 0])
    }),
    root("change the root directory", |to| {
        call(libc::SYS_chroot, [address(&to.place), 0, 0, 0, 0])
    }),
    root("enter a process's namespaces", |to| {
        // SAFETY: takes two numbers.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, to.process, 0) };
        call(
            libc::SYS_setns,
            [
                usize::try_from(process).map_err(|_| io::Error::last_os_error())?,
                libc::CLONE_NEWUTS as usize,
                0,
                0,
                0,
            ],
        )
    }),
];

/// Opens a file as an intruder would, past the C library.
///
/// # Errors
/// The kernel's refusal.
pub fn open(path: &CStr, flags: c_int) -> io::Result<()> {
    let flags = usize::try_from(flags).map_err(io::Error::other)?;
    call(libc::SYS_openat, [at(), address(path), flags, 0, 0])
}

/// Issues an ioctl with a bare argument.
///
/// # Errors
/// The kernel's refusal.
pub fn ioctl(fd: BorrowedFd<'_>, request: u32, argument: &mut [u64]) -> io::Result<()> {
    let fd = usize::try_from(fd.as_raw_fd()).map_err(io::Error::other)?;
    let request = usize::try_from(request).map_err(io::Error::other)?;
    let argument = argument.as_mut_ptr().addr();
    call(libc::SYS_ioctl, [fd, request, argument, 0, 0])
}

/// Connects to a unix socket of this path.
///
/// # Errors
/// The kernel's refusal.
pub fn connect_to(path: &CStr) -> io::Result<()> {
    let (name, length) = socket_name(path)?;
    let socket = socket(libc::AF_UNIX)?;
    let name = (&raw const name).addr();
    call(libc::SYS_connect, [socket, name, length, 0, 0])
}

fn call(number: c_long, [a, b, c, d, e]: [usize; 5]) -> io::Result<()> {
    // SAFETY: addresses among the arguments are of values that live until the call returns, or of none. What the call
    // does to this process is what it is made for.
    checked(unsafe { libc::syscall(number, a, b, c, d, e, 0_usize) }).map(drop)
}

fn checked(result: c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn at() -> usize {
    // Sign-extended, as the kernel takes it.
    libc::AT_FDCWD as usize
}

fn address(text: &CStr) -> usize {
    text.as_ptr().addr()
}

fn pid(targets: &Targets) -> usize {
    targets.process as usize
}

fn iovec() -> libc::iovec {
    libc::iovec {
        iov_base: ptr::without_provenance_mut(1),
        iov_len: 1,
    }
}

fn socket(family: c_int) -> io::Result<usize> {
    // SAFETY: takes three numbers.
    checked(unsafe { libc::syscall(libc::SYS_socket, family, libc::SOCK_STREAM, 0) })
}

fn socket_name(path: &CStr) -> io::Result<(libc::sockaddr_un, usize)> {
    // SAFETY: all zeros are a valid address.
    let mut name: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    name.sun_family = libc::AF_UNIX as u16;
    if path.count_bytes() >= name.sun_path.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in name.sun_path.iter_mut().zip(path.to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    Ok((name, size_of::<libc::sockaddr_un>()))
}

fn connect(targets: &Targets) -> io::Result<()> {
    connect_to(&targets.socket)
}

/// Forks by `number`; the child ends at once.
fn start(number: c_long) -> io::Result<()> {
    // `struct clone_args`, of which only the signal is set.
    let mut long = [0_u64; 11];
    long[4] = libc::SIGCHLD as u64;
    let (first, second) = if number == libc::SYS_clone3 {
        (long.as_ptr().addr(), size_of_val(&long))
    } else {
        (libc::SIGCHLD as usize, 0)
    };
    // SAFETY: as fork; the child makes one more call and is gone.
    let child = checked(unsafe {
        libc::syscall(number, first, second, 0_usize, 0_usize, 0_usize, 0_usize)
    })?;
    if child == 0 {
        // SAFETY: does not return.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    }
    Ok(())
}

fn open_by_ring(targets: &Targets) -> io::Result<()> {
    let fd = io_uring::types::Fd(libc::AT_FDCWD);
    let entry = io_uring::opcode::OpenAt::new(fd, targets.file.as_ptr()).build();
    by_ring(&entry).map(drop)
}

fn connect_by_ring(targets: &Targets) -> io::Result<()> {
    let (name, length) = socket_name(&targets.socket)?;
    let made = io_uring::opcode::Socket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0).build();
    let socket = io_uring::types::Fd(by_ring(&made)?);
    let length = libc::socklen_t::try_from(length).map_err(io::Error::other)?;
    let entry = io_uring::opcode::Connect::new(socket, (&raw const name).cast(), length).build();
    by_ring(&entry).map(drop)
}

fn by_ring(entry: &io_uring::squeue::Entry) -> io::Result<i32> {
    let mut ring = io_uring::IoUring::new(4)?;
    // SAFETY: what the entry points to lives in the caller, who waits here.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let answer = ring.completion().next();
    match answer.map(|answer| answer.result()) {
        Some(result) if result >= 0 => Ok(result),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
