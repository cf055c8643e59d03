//! The threads of this process, and where they run.

use std::io;
use std::time::Duration;

use crate::sys::fd;

/// Returns `true` if this is the only thread of the process.
///
/// A thread that was joined may take a moment to leave the kernel's list, so that a no is asked
/// again for a while.
pub(crate) fn is_only_one() -> io::Result<bool> {
    const ATTEMPTS: u32 = 20;
    for turn in 0..ATTEMPTS {
        if only_one_now()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_micros(50 << turn.min(6)));
    }
    only_one_now()
}

/// Returns `true` if the calling thread is the one that the process began with.
pub(crate) fn is_main() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Returns `true` if a thread of this process has the number. False without `/proc`.
pub(crate) fn is_own(number: u32) -> bool {
    std::path::Path::new(&format!("/proc/self/task/{number}")).exists()
}

/// Returns the processor that this thread runs on; at the next moment, it may be another.
pub(crate) fn cpu() -> u64 {
    // The C library's: it reads what the kernel writes into the thread's own memory (rseq), where
    // rustix calls the vDSO. SAFETY: no arguments, no preconditions.
    u64::from(unsafe { libc::sched_getcpu() }.unsigned_abs())
}

/// Lets others run for a moment that somebody needs for a few steps.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_micros(100));
}

/// Asks the kernel: `unshare(CLONE_THREAD)` changes nothing in a process of one thread, and fails
/// with EINVAL in any other.
fn only_one_now() -> io::Result<bool> {
    // Undoing the sharing between threads is a no-op for a process of one thread, and refused to
    // any other. SAFETY: changes nothing in either case.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return Ok(true);
    }
    if io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        return Ok(false);
    }
    // A container that forbids unshare: count them.
    let status = fd::read_small("/proc/self/status")?;
    let count = status.lines().find_map(|line| line.strip_prefix("Threads:")).map(str::trim);
    count.map(|count| count == "1").ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_second_thread_is_seen() {
        // The test harness runs this in a thread of its own.
        assert!(!super::is_only_one().expect("count threads"));
    }
}
