//! Finding processes, and killing the very ones that were found.
#![expect(unsafe_code, reason = "signals by pidfd, and takes the statuses of orphans")]

pub(crate) use crate::support::{become_subreaper, is_childless};
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::support::parent_of;

/// Marks a program and everything that it starts, in their environment.
pub(crate) const MARK: &str = "CRASH_MARK";

/// The processes whose environment says `CRASH_MARK=mark`; zombies have none.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let is_marked = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        })
    };
    all().into_iter().filter(is_marked).collect()
}

fn all() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("read /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// All descendants of a process, each with its parent. One look at each process, unlike
/// `support::descendants_of`.
pub(crate) fn descendants(root: u32) -> Vec<(u32, u32)> {
    let parents: HashMap<u32, u32> =
        all().into_iter().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let descends = |pid: u32| {
        let mut pid = pid;
        // No tree is that deep; a number that was reused meanwhile could make a ring.
        for _ in 0..64 {
            match parents.get(&pid) {
                Some(parent) if *parent == root => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    parents.iter().filter(|(pid, _)| descends(**pid)).map(|(pid, parent)| (*pid, *parent)).collect()
}

/// Kills a process if it still is a child of `parent`: not whoever has got its number since.
pub(crate) fn kill(pid: u32, parent: u32) {
    // SAFETY: a new descriptor, if any, is ours; the signal goes to the process that it was opened
    // for.
    unsafe {
        let number = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if number < 0 {
            return;
        }
        let pidfd = OwnedFd::from_raw_fd(i32::try_from(number).expect("a descriptor"));
        if parent_of(pid) == Some(parent) {
            libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, 0, 0);
        }
    }
}

/// Says something to the test, which reads it line by line; a closed pipe is no matter.
pub(crate) fn say(text: impl std::fmt::Display) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
