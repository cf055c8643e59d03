//! Children end with their parent.
//!
//! A process that starts children holds the only write end of a pipe, its lifeline. Every child
//! opens the pipe anew for reading and asks the kernel for SIGKILL when anything happens on it.
//! Nothing is ever written, so the one thing that can happen is that the write end closes: the
//! parent is gone, however it went. No thread, no help from anybody, and it reaches a child that is
//! stuck in a computation. (`PR_SET_PDEATHSIG` would fire when the *thread* ends that started the
//! child.)

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
#[cfg(feature = "cage")]
use rustix::net::Shutdown;

use super::fork_guard::Guarded;
#[cfg(feature = "cage")]
use super::socket;
use crate::sys::process::exit;
use crate::sys::wait::poll::{self, Deadline};
use crate::sys::{fd, per_process};

/// The parent's side.
///
/// Made once, never closed: it closes with the process.
#[derive(Debug)]
pub(crate) struct Lifeline {
    read: OwnedFd,
    /// Never written to: it lives as long as the process, and closes with it.
    _write: Guarded,
}

impl Lifeline {
    /// Makes a lifeline for this process: a pipe, whose write end forked copies close.
    pub(crate) fn new() -> io::Result<Lifeline> {
        let (write, read) = Guarded::make(|| fd::pipe().map(|(read, write)| (write, read)))?;
        // Children open it anew, also when this process has become another user by then.
        rustix::fs::fchmod(&read, Mode::RUSR | Mode::RGRP | Mode::ROTH)?;
        Ok(Lifeline { read, _write: write })
    }

    /// Returns the read end, which a child opens anew to tie itself.
    pub(crate) fn reader(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

/// Closes a forked child's copy of the parent's read end, which it needs no more once it has its
/// tether.
pub(crate) fn close_reader(reader: BorrowedFd<'static>) {
    // SAFETY: the owner is the parent's `Lifeline`, which lives for ever and of which nothing in
    // the child knows.
    unsafe { libc::close(reader.as_raw_fd()) };
}

/// The program's end of a lifeline that is one child's alone.
///
/// It is for a child that may be hostile. Whoever has a pipe can open it anew for writing, and make
/// it speak to everybody who reads from it, or keep it from ever ending. A socket cannot be opened
/// anew, and what this child does to its own end reaches nobody else.
#[cfg(feature = "cage")]
#[derive(Debug)]
pub(crate) struct PrivateLifeline(Guarded);

#[cfg(feature = "cage")]
impl PrivateLifeline {
    /// Makes the program's end and the child's, which is for `Tether::hold`.
    pub(crate) fn new() -> io::Result<(PrivateLifeline, OwnedFd)> {
        let (end, theirs) = Guarded::make(socket::pair)?;
        // What the child writes goes nowhere.
        rustix::net::shutdown(&end, Shutdown::Read)?;
        Ok((PrivateLifeline(end), theirs))
    }
}

#[cfg(feature = "cage")]
impl Drop for PrivateLifeline {
    fn drop(&mut self) {
        // Also if a forked copy of this process that came to be at this instant has it open.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }
}

/// The child's side: while it is tied, the end of the parent kills this process.
#[derive(Debug)]
pub(crate) struct Tether(OwnedFd);

impl AsFd for Tether {
    /// Returns what hangs up when the parent ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The bond between the end of the parent and that of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Shared,
    Own,
}

impl Fate {
    /// The fate of a process that is told so.
    pub(crate) fn of(dies_with_parent: bool) -> Fate {
        if dies_with_parent { Fate::Shared } else { Fate::Own }
    }
}

impl Tether {
    /// Ties this process to the one that owns the lifeline behind `reader`, if their fate is
    /// shared.
    ///
    /// A parent that is gone already ends this process here.
    pub(crate) fn tie(reader: BorrowedFd<'_>, fate: Fate) -> io::Result<Tether> {
        let tether = Tether::watch(reader)?;
        if fate == Fate::Shared {
            tether.set_fate(fate)?;
        }
        Ok(tether)
    }

    /// `tie`, by the child's end of a private lifeline.
    pub(crate) fn hold(line: OwnedFd, fate: Fate) -> io::Result<Tether> {
        let tether = Tether(fd::above_stdio(line)?);
        tether.set_fate(fate)?;
        Ok(tether)
    }

    /// Watches the owner of the lifeline, without being tied to it.
    pub(crate) fn watch(reader: BorrowedFd<'_>) -> io::Result<Tether> {
        // Signals on a descriptor belong to its open file, of which every child needs its own: open
        // the pipe anew.
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let own = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| fd::in_proc(error.into()))?;
        Ok(Tether(fd::above_stdio(own)?))
    }

    /// Arms or disarms the tether.
    ///
    /// 1. `F_SETOWN`: the signal goes to this process.
    /// 2. `F_SETSIG`: it is SIGKILL.
    /// 3. `O_ASYNC`: from here on, the kernel sends it when the pipe hangs up.
    /// 4. Look whether it has hung up already, and die if so.
    ///
    /// The look comes last: the other way round, a parent that died in between would go unnoticed.
    /// Disarming takes `O_ASYNC` away.
    pub(crate) fn set_fate(&self, fate: Fate) -> io::Result<()> {
        /// `asm-generic/fcntl.h`
        const F_SETSIG: libc::c_int = 10;
        let number = self.0.as_raw_fd();
        let flags = libc::O_NONBLOCK | if fate == Fate::Shared { libc::O_ASYNC } else { 0 };
        // SAFETY: an fcntl call with an integer argument on a descriptor of ours. (As a bare call,
        // since the C library's code for it would be one more page to map in every new process.)
        let set = |command: libc::c_int, value: libc::c_int| unsafe {
            libc::syscall(libc::SYS_fcntl, number, command, value) >= 0
        };
        let own_pid = libc::pid_t::try_from(per_process::pid()).unwrap_or(0);
        let done = set(libc::F_SETOWN, own_pid)
            && set(F_SETSIG, libc::SIGKILL)
            && set(libc::F_SETFL, flags);
        if !done {
            return Err(io::Error::last_os_error());
        }
        // This order: armed first, then looked. The other way round, a parent that died in between
        // went unnoticed.
        if fate == Fate::Shared && self.parent_is_gone() {
            exit::kill_self();
        }
        Ok(())
    }

    /// Makes the end of the parent kill this process's whole group, what this process started
    /// included.
    ///
    /// Nothing changes for a process that does not lead its group: the group is then somebody
    /// else's, too.
    ///
    /// `F_SETOWN` with a negative number (`fcntl(2)`).
    pub(crate) fn share_fate_with_group(&self) -> io::Result<()> {
        let own = libc::pid_t::try_from(per_process::pid()).unwrap_or(0);
        // SAFETY: a system call without arguments.
        if own <= 1 || unsafe { libc::getpgrp() } != own {
            return Ok(());
        }
        // SAFETY: an fcntl call with an integer argument on a descriptor of ours; a negative owner
        // is a group.
        if unsafe { libc::syscall(libc::SYS_fcntl, self.0.as_raw_fd(), libc::F_SETOWN, -own) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Returns `true` if the parent has ended: the pipe has hung up.
    pub(crate) fn parent_is_gone(&self) -> bool {
        poll::hung_up(self.0.as_fd()).unwrap_or(false)
    }

    /// Waits for the parent's end; returns false at `deadline`.
    pub(crate) fn wait_parent(&self, deadline: Deadline) -> io::Result<bool> {
        poll::wait_hang_up(self.0.as_fd(), deadline)
    }
}
