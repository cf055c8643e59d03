//! What the kernel lets this process have at most (`getrlimit(2)`).

use std::io;

/// A resource that the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    AddressSpace,
    Cpu,
    OpenFiles,
    FileSize,
    Processes,
    Stack,
}

impl Resource {
    /// The kernel's number for it, in the type of the C library at hand.
    pub(crate) fn number<T: TryFrom<i64> + Default>(self) -> T {
        let number = match self {
            Resource::AddressSpace => i64::from(libc::RLIMIT_AS),
            Resource::Cpu => i64::from(libc::RLIMIT_CPU),
            Resource::OpenFiles => i64::from(libc::RLIMIT_NOFILE),
            Resource::FileSize => i64::from(libc::RLIMIT_FSIZE),
            Resource::Processes => i64::from(libc::RLIMIT_NPROC),
            Resource::Stack => i64::from(libc::RLIMIT_STACK),
        };
        T::try_from(number).unwrap_or_default()
    }
}

/// Asks for a limit. (Not by rustix, which panics where a sandbox refuses to tell.)
pub(crate) fn get(resource: Resource) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    match unsafe { libc::getrlimit(resource.number(), &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns the soft limit; `None` if there is none, or nobody tells.
pub(crate) fn soft(resource: Resource) -> Option<u64> {
    get(resource).ok().map(|limit| limit.rlim_cur).filter(|most| *most != libc::RLIM_INFINITY)
}
