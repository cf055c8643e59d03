//! Copies of this process: a child of our own, or (in the fork server) one more child of our
//! parent.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::threads;
use crate::sys::memory::exclusive;
use crate::sys::{fd, per_process};

/// The process in which a copy returned.
#[derive(Debug)]
pub(crate) enum Side<T> {
    Parent(T),
    Child,
}

/// A copy of this process that is a child of its parent.
#[derive(Debug)]
pub(crate) struct Sibling {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// Checks whether `clone_sibling` can work here; the error says why not.
pub(crate) fn siblings_work() -> Result<(), &'static str> {
    if per_process::pid() == 1 {
        return Err("it is the first process of its namespace, which has no siblings");
    }
    if !siblings_are_allowed() {
        return Err("it may not make siblings (it is in a cage)");
    }
    match tid_address() {
        Some(_) => Ok(()),
        None => Err("the kernel does not tell the thread id's address (PR_GET_TID_ADDRESS)"),
    }
}

/// Returns `true` if a filter lets this process make a child of its parent. It asks by calls that
/// make nothing: they fail of their arguments (EINVAL) if the filter lets them pass.
fn siblings_are_allowed() -> bool {
    let is_refused = |result: libc::c_long| {
        let error = io::Error::last_os_error().raw_os_error();
        result < 0 && matches!(error, Some(libc::EPERM | libc::ENOSYS))
    };
    let none: usize = 0;
    // SAFETY: neither makes a process: the one has no room for its arguments, and the other asks
    // for a thread without the memory of one.
    unsafe {
        let flags = (libc::CLONE_PARENT | libc::CLONE_THREAD) as u64;
        !is_refused(libc::syscall(libc::SYS_clone3, none, none))
            || !is_refused(libc::syscall(libc::SYS_clone, flags, none, none, none, none))
    }
}

/// Returns where the C library keeps this thread's id (`PR_GET_TID_ADDRESS`): the kernel must write
/// the copy's there, as `fork` has it do. `None` on a kernel without checkpoint support.
fn tid_address() -> Option<usize> {
    let mut address: usize = 0;
    // SAFETY: PR_GET_TID_ADDRESS writes one pointer.
    let result = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) };
    (result == 0 && address != 0).then_some(address)
}

/// Copies this process into a new child *of its parent* (`CLONE_PARENT`), and returns its pidfd.
///
/// What a bare clone leaves undone that `fork` does, we do: the thread id in the C library, and the
/// list of robust locks, without which a lock that the copy holds when it dies is never released.
///
/// Refused (`Unsupported`) to a process with more than one thread, whose copy could use next to
/// nothing.
///
/// 1. See that this is the only thread.
/// 2. Map exclusive memory privately, for the copy.
/// 3. Clone.
/// 4. In the copy: register the robust list, and empty it.
///
/// # Errors
/// `Unsupported`; EAGAIN or ENOMEM if no process can be made; EMFILE for the pidfd.
pub(crate) fn clone_sibling() -> io::Result<Side<Sibling>> {
    if !threads::is_only_one()? {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    let Some(tid) = tid_address() else {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    };
    exclusive::part_from_copies()?;
    let mut robust_head: *mut libc::c_void = std::ptr::null_mut();
    let mut robust_length: usize = 0;
    // SAFETY: the kernel writes one pointer and one length; 0 means this thread.
    let robust = unsafe {
        libc::syscall(libc::SYS_get_robust_list, 0, &raw mut robust_head, &raw mut robust_length)
    } == 0
        && !robust_head.is_null();
    let mut pidfd: libc::c_int = -1;
    let flags = (libc::CLONE_PARENT
        | libc::CLONE_PIDFD
        | libc::CLONE_CHILD_SETTID
        | libc::CLONE_CHILD_CLEARTID) as u64;
    // SAFETY: without CLONE_VM this is a fork: both sides go on with their own copy of everything,
    // on this stack.
    let pid = unsafe { clone3(flags, &raw mut pidfd, tid) };
    if pid == 0 {
        if robust {
            // SAFETY: the head is the C library's for this very thread, at the same address in the
            // copy.
            unsafe { libc::syscall(libc::SYS_set_robust_list, robust_head, robust_length) };
            // A copy holds none of its original's locks. The list ends where it begins.
            // SAFETY: the head begins with its first link, and only this thread uses it.
            unsafe { robust_head.cast::<*mut libc::c_void>().write_volatile(robust_head) };
        }
        return Ok(Side::Child);
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has written a new descriptor that nobody else owns.
    let pidfd = fd::above_stdio(unsafe { OwnedFd::from_raw_fd(pidfd) })?;
    Ok(Side::Parent(Sibling { pid: u32::try_from(pid).unwrap_or(0), pidfd }))
}

/// clone3(2), or clone(2) where clone3 is missing or forbidden (container profiles answer ENOSYS).
///
/// # Safety
/// As for a bare fork; `tid` must be the address of the C library's thread id.
unsafe fn clone3(flags: u64, pidfd: *mut libc::c_int, tid: usize) -> libc::c_long {
    // SAFETY: all zeroes is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.pidfd = pidfd as u64;
    args.child_tid = tid as u64;
    // SAFETY: a fork by another name, see above; the kernel reads `args` and writes `pidfd` and (in
    // the copy) `tid`.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    if pid >= 0
        || !matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
    {
        return pid;
    }
    let flags = flags | libc::SIGCHLD as u64;
    let none: usize = 0;
    // SAFETY: the same with the older call. It hands out the pidfd where it otherwise writes the
    // parent's copy of the thread id; the order of the last two arguments differs between
    // processors.
    unsafe {
        if cfg!(target_arch = "x86_64") {
            libc::syscall(libc::SYS_clone, flags, none, pidfd, tid, none)
        } else {
            libc::syscall(libc::SYS_clone, flags, none, pidfd, none, tid)
        }
    }
}

/// Copies this process with all that the C library does around it (`fork(2)`, `pthread_atfork(3)`).
/// Returns the child's number in the parent, `None` in a process with other threads.
pub(crate) fn fork() -> io::Result<Option<Side<u32>>> {
    if !threads::is_only_one()? {
        return Ok(None);
    }
    // SAFETY: there are no other threads.
    unsafe { fork_unchecked() }.map(Some)
}

/// Copies this process, whatever threads there are.
pub(crate) unsafe fn fork_unchecked() -> io::Result<Side<u32>> {
    exclusive::part_from_copies()?;
    // SAFETY: the caller answers for the other threads.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child),
        pid => u32::try_from(pid).map(Side::Parent).map_err(|_| io::Error::last_os_error()),
    }
}

/// Somebody's promise that a fork beside other threads is sound.
#[derive(Debug)]
pub(crate) struct Promise(());

impl Promise {
    /// # Safety
    /// As for `fork_unchecked`, for the next fork.
    pub(crate) unsafe fn new() -> Promise {
        Promise(())
    }

    /// Forks on the strength of the promise.
    pub(crate) fn fork(self) -> io::Result<Side<u32>> {
        // SAFETY: promised.
        unsafe { fork_unchecked() }
    }
}
