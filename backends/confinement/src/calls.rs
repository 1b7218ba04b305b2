//! The system calls a confined process may make, and why.
//!
//! Found by reading what workers do and by strace on their tests; every call not listed ends the process. Numbers
//! come from the C library, so that the list is right for arm64 and x86_64 alike.

use libc::c_long;

/// Which values of an argument (its low 32 bits) are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Only {
    /// Whatever the arguments are.
    Any,
    /// Argument number, and the one value.
    Is(u8, u32),
    /// Argument number, bits that count, and what they must be.
    Bits(u8, u32, u32),
}

use Only::{Any, Bits, Is};

/// Allowed as they are.
pub(crate) const ALWAYS: &[(c_long, Only)] = &[
    // Images, eventfds, event channels and the log. No call with a path among them.
    (libc::SYS_read, Any),
    (libc::SYS_write, Any),
    (libc::SYS_readv, Any),
    (libc::SYS_writev, Any),
    (libc::SYS_pread64, Any),
    (libc::SYS_pwrite64, Any),
    (libc::SYS_preadv, Any),
    (libc::SYS_pwritev, Any),
    (libc::SYS_preadv2, Any),
    (libc::SYS_pwritev2, Any),
    (libc::SYS_fdatasync, Any),
    (libc::SYS_fallocate, Any),
    // An image that is handed over is examined: kind, size, lock, flags.
    (libc::SYS_fstat, Any),
    (libc::SYS_lseek, Any),
    (libc::SYS_flock, Any),
    // `fstat` and `File::metadata` of C library and standard library: the descriptor itself.
    (libc::SYS_newfstatat, Bits(3, EMPTY_PATH, EMPTY_PATH)),
    (libc::SYS_statx, Bits(2, EMPTY_PATH, EMPTY_PATH)),
    (libc::SYS_fcntl, Is(1, number(libc::F_GETFD))),
    (libc::SYS_fcntl, Is(1, number(libc::F_SETFD))),
    (libc::SYS_fcntl, Is(1, number(libc::F_GETFL))),
    (libc::SYS_fcntl, Is(1, number(libc::F_SETFL))),
    (libc::SYS_fcntl, Is(1, number(libc::F_DUPFD_CLOEXEC))),
    (libc::SYS_close, Any),
    // The holder's socket; it brings further descriptors.
    (libc::SYS_recvmsg, Any),
    (libc::SYS_sendmsg, Any),
    // Threads wake and wait for one another.
    (libc::SYS_eventfd2, Any),
    (libc::SYS_timerfd_create, Any),
    (libc::SYS_timerfd_settime, Any),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, Any),
    (libc::SYS_ppoll, Any),
    (libc::SYS_futex, Any),
    (libc::SYS_sched_yield, Any),
    (libc::SYS_nanosleep, Any),
    (libc::SYS_clock_nanosleep, Any),
    // After a stop signal, for waits with a time limit.
    (libc::SYS_restart_syscall, Any),
    // Where the kernel offers no clock in user space.
    (libc::SYS_clock_gettime, Any),
    (libc::SYS_gettimeofday, Any),
    // Memory, never executable. Mappings of guests' memory are mmap and munmap of handed-over descriptors.
    (libc::SYS_mmap, Bits(2, EXECUTABLE, 0)),
    (libc::SYS_mprotect, Bits(2, EXECUTABLE, 0)),
    (libc::SYS_munmap, Any),
    (libc::SYS_mremap, Any),
    (libc::SYS_madvise, Any),
    (libc::SYS_brk, Any),
    // A new thread: of this process, in its namespaces.
    (libc::SYS_clone, Bits(0, CLONE_LOOKED_AT, CLONE_THREAD)),
    (libc::SYS_set_robust_list, Any),
    (libc::SYS_rseq, Any),
    (libc::SYS_sched_getaffinity, Any),
    (libc::SYS_sigaltstack, Any),
    (libc::SYS_rt_sigprocmask, Any),
    (libc::SYS_rt_sigaction, Any),
    (libc::SYS_rt_sigreturn, Any),
    (libc::SYS_prctl, Is(0, number(libc::PR_SET_NAME))),
    (libc::SYS_gettid, Any),
    (libc::SYS_getpid, Any),
    (libc::SYS_exit, Any),
    (libc::SYS_exit_group, Any),
    // Seeds of hash maps and of the C library's allocator.
    (libc::SYS_getrandom, Any),
];

/// The block engine's rings. What a ring does passes no filter, hence only where it can reach nothing new.
pub(crate) const RINGS: &[c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Refused with an error instead of the process's end, because a library tries them and copes.
pub(crate) const REFUSED: &[(c_long, Only, i32)] = &[
    // Its flags lie in memory, where no filter can look; the C library then uses `clone`.
    (libc::SYS_clone3, Any, libc::ENOSYS),
    // glibc's allocator reads the overcommit mode and the number of processors, and does without. Reading only:
    // whoever wants to write or create is no library.
    (libc::SYS_openat, Bits(2, CHANGES, 0), libc::EACCES),
];

const EMPTY_PATH: u32 = number(libc::AT_EMPTY_PATH);
const EXECUTABLE: u32 = number(libc::PROT_EXEC);
const CHANGES: u32 = number(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH);
const CLONE_THREAD: u32 =
    number(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_FILES);
/// The signal at its end, sharing, and every new namespace. The lowest byte is zero for a thread.
const CLONE_LOOKED_AT: u32 = CLONE_THREAD
    | 0xff
    | number(
        libc::CLONE_NEWNS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_PTRACE
            | libc::CLONE_VFORK,
    );

const fn number(constant: i32) -> u32 {
    constant.cast_unsigned()
}
