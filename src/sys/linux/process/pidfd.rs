//! Waiting for and signalling processes by descriptor (`pidfd_open(2)`), never by number.
//!
//! A number may be given to another process as soon as the status is taken; a pidfd leads to the
//! same process for ever.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};

use crate::sys::fd;

/// The end of a process, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// By `exit`, with the lowest 8 bits of the code.
    Exited(i32),
    Signalled {
        signal: i32,
        core_dumped: bool,
    },
    /// It has ended, but somebody else took its status (SIGCHLD ignored, or a `waitpid(-1)`).
    Taken,
}

/// Opens a pidfd of the process `pid`. Safe only for a child that was not waited for yet: its
/// number cannot be reused.
///
/// # Errors
/// ESRCH if there is none; EMFILE.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    fd::above_stdio(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal (`pidfd_send_signal(2)`). That the process has ended already (ESRCH) is no error.
///
/// # Errors
/// EPERM if it is another user's by now; EINVAL if there is no such signal.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    send(pidfd, signal, 0)
}

/// Sends a signal to the process group that a child of ours leads, also when it has ended.
///
/// Before Linux 6.9, a group is known by its number only. That is a stranger's when somebody else
/// in this program has taken the child's status (SIGCHLD ignored, or a wait for any child), so
/// nothing is sent then.
pub(crate) fn signal_group(pidfd: BorrowedFd<'_>, pid: u32, signal: i32) {
    /// Linux 6.9.
    const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 1 << 2;
    if send(pidfd, signal, PIDFD_SIGNAL_PROCESS_GROUP).is_ok() {
        return;
    }
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
        && is_waitable(pidfd)
    {
        // SAFETY: only sends a signal. The number is that of a child whose status nobody has taken,
        // so of no other group. (If another thread takes it at this very moment, all other numbers
        // have to be used up before it is another's.)
        unsafe { libc::kill(-pid, signal) };
    }
}

/// Returns `true` if the status of a child is there to be taken, now or when it has ended
/// (`WNOWAIT`: it is not taken).
fn is_waitable(pidfd: BorrowedFd<'_>) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(pidfd), look)).is_ok()
}

/// `pidfd_send_signal(2)`; ESRCH becomes success, as a process that has ended needs no signal.
fn send(pidfd: BorrowedFd<'_>, signal: i32, flags: u32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed; nothing else is pointed to. (Not rustix's: it knows no
    // real-time signals.)
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// Takes the status of an ended child (`waitid(P_PIDFD)`), so that it is no zombie any more; `None`
/// while it runs. If somebody else took it (ECHILD), `Status::Taken`, or what Linux 6.15 still
/// knows.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<Status>> {
    loop {
        match rustix::process::waitid(
            WaitId::PidFd(pidfd),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        ) {
            Ok(Some(status)) => return Ok(Some(translate(&status))),
            Ok(None) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(exit_info(pidfd)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sleeps until a child has ended, and takes its status.
pub(crate) fn reap_wait(pidfd: BorrowedFd<'_>) -> io::Result<Status> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(translate(&status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(exit_info(pidfd).unwrap_or(Status::Taken)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sleeps until a child that is about to leave has left, and takes its status; by number, for want
/// of a descriptor. Only for a child whose status nobody else takes.
pub(crate) fn reap_number(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let _ = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
    });
}

/// The kernel's status in our words.
fn translate(status: &WaitIdStatus) -> Status {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Status::Exited(code),
        (_, Some(signal)) => Status::Signalled { signal, core_dumped: status.dumped() },
        _ => Status::Taken,
    }
}

/// Returns what the kernel still knows of a process that is not ours to wait for (any more); `None`
/// while it runs.
///
/// Linux 6.15 keeps the status of a reaped process for whoever holds its pidfd; older ones only say
/// that it is gone.
fn exit_info(pidfd: BorrowedFd<'_>) -> Option<Status> {
    /// `struct pidfd_info` of `linux/pidfd.h`, in the form that every kernel with the call knows.
    #[repr(C)]
    struct PidfdInfo {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const { assert!(size_of::<PidfdInfo>() == 64) };
    /// `_IOWR(0xff, 11, struct pidfd_info)`.
    const PIDFD_GET_INFO: u32 = (3 << 30) | (64 << 16) | (0xff << 8) | 11;
    const PIDFD_INFO_EXIT: u64 = 1 << 3;

    let ended =
        crate::sys::wait::poll::one_readable(pidfd, crate::sys::wait::poll::Deadline::now())
            .unwrap_or(true);
    if !ended {
        return None;
    }
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, cgroup: 0, ids: [0; 11], exit_code: 0 };
    // SAFETY: the number of the call says 64 bytes, the size of `info`, which the kernel reads and
    // fills.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    if result != 0 || info.mask & PIDFD_INFO_EXIT == 0 {
        return Some(Status::Taken);
    }
    let status = info.exit_code;
    Some(if libc::WIFSIGNALED(status) {
        Status::Signalled { signal: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) }
    } else {
        Status::Exited(libc::WEXITSTATUS(status))
    })
}
