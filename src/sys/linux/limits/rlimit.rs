//! Resource limits, priority, processors and session of this process (`getrlimit(2)`,
//! `setpriority(2)`, `sched_setaffinity(2)`, `setsid(2)`).

use std::io;

use rustix::thread::CpuSet;

use crate::sys::resource::{self, Resource};

/// One more than the greatest number of a processor.
pub(crate) const MAX_PROCESSORS: usize = CpuSet::MAX_CPU;

/// Limits a resource of this process, for good or until somebody lifts it; returns the limit of
/// before. A limit above the hard one becomes the hard one.
pub(crate) fn limit(resource: Resource, most: u64, for_good: bool) -> io::Result<u64> {
    let mut now = resource::get(resource)?;
    let before = now.rlim_cur;
    now.rlim_cur = most.min(now.rlim_max);
    if for_good {
        // SIGKILL at the hard limit of CPU time would come together with SIGXCPU.
        let spare = u64::from(resource == Resource::Cpu) * 2;
        now.rlim_max = now.rlim_cur.saturating_add(spare).min(now.rlim_max);
    }
    // SAFETY: the kernel reads one rlimit.
    if unsafe { libc::setrlimit(resource.number(), &raw const now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(before)
}

/// Returns how big the stack of a thread must be, in bytes, that does what the first one could: the
/// soft limit, between 8 and 256 MiB.
pub(crate) fn stack() -> usize {
    const MIN_STACK: usize = 8 << 20;
    const MAX_STACK: usize = 256 << 20;
    resource::get(Resource::Stack).map_or(MIN_STACK, |limit| {
        usize::try_from(limit.rlim_cur).unwrap_or(MAX_STACK).clamp(MIN_STACK, MAX_STACK)
    })
}

/// Sets the niceness of this process: -20 to 19.
///
/// # Errors
/// EACCES for a value below what it may have.
pub(crate) fn nice(nice: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, nice)?)
}

/// Sets the processors that this thread, and what it starts, runs on.
///
/// # Errors
/// EINVAL if none of them is there.
pub(crate) fn affinity(processors: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(*processor);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Gives this process a session of its own, which what it starts belongs to; and has it inherit
/// those of its descendants whose parents end.
pub(crate) fn own_session() -> io::Result<()> {
    // A process that leads a group already cannot; it has what is wanted but for the terminal.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}
