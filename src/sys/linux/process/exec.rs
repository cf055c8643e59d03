//! Executing this program's own file again, in a child.
//!
//! A vfork (`CLONE_VM | CLONE_VFORK`): the child borrows this process's memory until it executes,
//! so starting one takes the same time however big the program is. For that, the child may only
//! make system calls on what was prepared before; it has a stack of its own, and no signal handler
//! runs in it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{exit, signals};
use crate::sys::fd;
use crate::sys::program::environ::Environment;

/// The file that is running, also after it was replaced or deleted on disk (`proc_pid_exe(5)`).
pub(crate) const SELF: &CStr = c"/proc/self/exe";

/// The execution of our file: arguments, environment, streams and descriptors of the new process.
#[derive(Debug)]
pub(crate) struct Exec<'a> {
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: &'a Environment,
    /// One more variable, which stands before them.
    pub(crate) variable: &'a CStr,
    /// Standard input, output and error; whatever is not given becomes `/dev/null`.
    pub(crate) stdio: [Option<BorrowedFd<'a>>; 3],
    pub(crate) directory: Option<BorrowedFd<'a>>,
    /// Descriptors that stay open, under their numbers.
    pub(crate) keep: &'a [BorrowedFd<'a>],
}

/// A child that executes our file.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// A failure on the way to exec, as the child leaves it in the memory that it shares with us until
/// then.
struct Failure {
    errno: i32,
    step: &'static str,
}

/// The child's instructions: pointers only, all prepared before.
struct Plan {
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// As much of it as goes through exec if all of it does not (E2BIG).
    small_environment: Vec<*const c_char>,
    stdio: [c_int; 3],
    /// `/dev/null`, which is of no use once the streams are laid.
    null: c_int,
    directory: c_int,
    keep: Vec<c_int>,
    failure: Option<Failure>,
}

unsafe extern "C" {
    /// `clone(2)`, by the C library's own name for it: ThreadSanitizer has a function of its own by
    /// the usual name, which takes each clone for a fork and gives up in one that shares memory.
    #[cfg_attr(target_env = "gnu", link_name = "__clone")]
    fn clone(
        run: extern "C" fn(*mut c_void) -> c_int,
        stack: *mut c_void,
        flags: c_int,
        argument: *mut c_void,
        ...
    ) -> c_int;
}

/// The size of the child's stack until exec, in bytes. It calls a handful of functions.
const STACK: usize = 64 * 1024;

impl Exec<'_> {
    /// Starts the child, and returns after its exec, so that a failure of it is known; the calling
    /// thread sleeps until then.
    ///
    /// 1. Prepare all pointers.
    /// 2. Block all signals, so that no handler of ours runs in the child.
    /// 3. Clone; this thread goes on when the child has executed or left.
    /// 4. Restore the mask.
    /// 5. If the child left a failure, take its status and return that.
    ///
    /// # Errors
    /// `clone(2)`'s (EAGAIN, ENOMEM, EMFILE), or that of a step, which the error names.
    pub(crate) fn start(&self) -> io::Result<Executed> {
        let null = fd::null()?;
        let mut plan = Plan {
            arguments: pointers(&self.arguments),
            environment: self.environment.for_exec(self.variable),
            small_environment: self.environment.for_small_exec(self.variable),
            stdio: self
                .stdio
                .map(|stream| stream.as_ref().map_or(null.as_raw_fd(), AsRawFd::as_raw_fd)),
            null: null.as_raw_fd(),
            directory: self.directory.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            keep: self.keep.iter().map(AsRawFd::as_raw_fd).collect(),
            failure: None,
        };
        let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
        let mut pidfd: c_int = -1;
        // No signal handler of ours may run in the child, in memory that is also ours.
        let mask = signals::block_all();
        // SAFETY: CLONE_VFORK keeps this thread here until the child has left our memory by exec or
        // exit, so `plan`, the stack and everything that they point to outlive its use. The stack
        // grows down from its aligned end. The child has descriptors and signal handlers of its own
        // (no CLONE_FILES, no CLONE_SIGHAND).
        let pid = unsafe {
            clone(
                child,
                stack.as_mut_ptr().add(stack.capacity()).cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD,
                (&raw mut plan).cast(),
                &raw mut pidfd,
            )
        };
        let error = io::Error::last_os_error();
        signals::restore(&mask);
        let Ok(pid) = u32::try_from(pid) else { return Err(error) };
        // SAFETY: the kernel has written a new descriptor that nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        if let Some(failure) = &plan.failure {
            // It has ended already; nobody else is to see it.
            let _ = crate::sys::process::pidfd::reap_wait(std::os::fd::AsFd::as_fd(&pidfd));
            let error = io::Error::from_raw_os_error(failure.errno);
            return Err(io::Error::new(error.kind(), StepFailed { step: failure.step, error }));
        }
        Ok(Executed { pid, pidfd: fd::above_stdio(pidfd)? })
    }
}

/// A step between clone and exec that failed.
#[derive(Debug)]
struct StepFailed {
    step: &'static str,
    error: io::Error,
}

impl std::fmt::Display for StepFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl std::error::Error for StepFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Pointers to strings, with a null pointer behind them, as `execve(2)` takes them.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The child, in our memory, on its own stack: system calls only, then exec. Leaves by `_exit`, so
/// that nothing of ours is run or flushed.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `start` passes its plan and touches it again only when we are gone.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    // SAFETY: see `to_exec`.
    let step = unsafe { to_exec(plan) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    plan.failure = Some(Failure { errno, step });
    exit::now(127)
}

/// Closes everything behind the standard streams at exec, also what other code of the program
/// opened without saying so. False on failure; errno says why.
///
/// # Safety
/// Only in a vforked child, whose descriptors are its own.
unsafe fn close_on_exec_from_3() -> bool {
    // SAFETY: marks descriptors of this process, which is about to exec.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) == 0
            // Before Linux 5.11: one by one.
            || mark_listed()
    }
}

/// Marks each descriptor that the kernel lists in `/proc/self/fd`. (Counting up to the limit would
/// miss those that were opened before the limit was lowered.)
unsafe fn mark_listed() -> bool {
    /// `struct linux_dirent64`, up to its name.
    #[repr(C)]
    struct Entry {
        inode: u64,
        offset: i64,
        length: u16,
        kind: u8,
    }
    /// Where the name begins: the structure has no padding before it.
    const NAME: usize = 19;
    let mut buffer = [0_u64; 512];
    // SAFETY: system calls that write into the buffer; the kernel fills it with whole entries, each
    // as long as it says and with a name that ends with a NUL.
    unsafe {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let list = libc::open(c"/proc/self/fd".as_ptr(), flags);
        if list < 0 {
            return false;
        }
        loop {
            let filled = libc::syscall(
                libc::SYS_getdents64,
                list,
                buffer.as_mut_ptr(),
                size_of_val(&buffer),
            );
            let Ok(filled) = usize::try_from(filled) else { return false };
            if filled == 0 {
                return true;
            }
            let mut place = 0;
            while place < filled {
                let entry = buffer.as_ptr().byte_add(place);
                let name = CStr::from_ptr(entry.byte_add(NAME).cast()).to_bytes();
                place += usize::from((*entry.cast::<Entry>()).length);
                // `.` and `..` are no numbers.
                if let Some(number) = decimal(name).filter(|number| *number > 2)
                    && libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) < 0
                {
                    return false;
                }
            }
        }
    }
}

/// Reads a number that is written in decimal digits and nothing else.
fn decimal(digits: &[u8]) -> Option<c_int> {
    digits.iter().try_fold(0_i32, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(i32::from(digit - b'0')),
        _ => None,
    })
}

/// 1. Lay the streams.
/// 2. Mark all other descriptors close-on-exec, and unmark those to keep.
/// 3. Enter the directory.
/// 4. Handlers become the default, signals are unblocked.
/// 5. Execute; with a smaller environment if the kernel finds it too long.
///
/// Returns only on failure, with the name of the step that failed; errno says why.
unsafe fn to_exec(plan: &mut Plan) -> &'static str {
    // SAFETY: system calls on integers and on prepared, null-terminated arrays of C strings.
    unsafe {
        // Sources among 0..3 first move out of the way of the targets.
        for source in &mut plan.stdio {
            if (0..3).contains(source) {
                *source = libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, 3);
                if *source < 0 {
                    return "cannot duplicate a standard stream";
                }
            }
        }
        for (source, target) in plan.stdio.iter().zip(0..) {
            if libc::dup2(*source, target) < 0 {
                return "cannot lay a standard stream";
            }
        }
        // Its number is free for the list of descriptors, if there is no other below the limit.
        libc::close(plan.null);
        if !close_on_exec_from_3() {
            return "cannot list the open descriptors";
        }
        for number in &plan.keep {
            if libc::fcntl(*number, libc::F_SETFD, 0) < 0 {
                return "cannot pass on a descriptor";
            }
        }
        if plan.directory >= 0 && libc::fchdir(plan.directory) < 0 {
            return "cannot enter the working directory";
        }
        signals::default_for_exec();
        libc::execve(SELF.as_ptr(), plan.arguments.as_ptr(), plan.environment.as_ptr());
        if *libc::__errno_location() == libc::E2BIG {
            // The child gets the rest from its parent, before any code of the program's `main`
            // runs.
            libc::execve(SELF.as_ptr(), plan.arguments.as_ptr(), plan.small_environment.as_ptr());
        }
        "cannot execute /proc/self/exe again"
    }
}
