//! Privileges that a caged process gives up: capabilities (`capabilities(7)`), and the right to
//! lift its limits.

use std::io;
use std::os::fd::AsRawFd;

use rustix::event::EventfdFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::rules::Rules;
use crate::sys::resource;

/// Further descriptors for a process whose memory is limited, but not its descriptors: in each, the
/// kernel may hold some hundred kilobytes.
const DESCRIPTORS: u64 = 256;

/// All that the kernel counts but the time to compute, whose last seconds are there on purpose.
const LIMITS: [Resource; 15] = [
    Resource::As,
    Resource::Core,
    Resource::Data,
    Resource::Fsize,
    Resource::Locks,
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Rss,
    Resource::Rtprio,
    Resource::Rttime,
    Resource::Sigpending,
    Resource::Stack,
];

/// Makes the limits in force those that it cannot lift: the hard limits become the soft ones.
pub(super) fn harden_limits(rules: &Rules<'_>) -> io::Result<()> {
    for resource in LIMITS {
        let before = getrlimit(resource);
        let mut current = before.current;
        if resource == Resource::Nofile && !rules.memory_files() && !rules.limits_files {
            // The first number that is free; a forked process has all that the program has.
            let free = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?.as_raw_fd();
            let most = u64::from(free.unsigned_abs()) + DESCRIPTORS;
            current = Some(current.map_or(most, |files| files.min(most)));
        }
        let after = Rlimit { current, maximum: current };
        if after != before {
            setrlimit(resource, after)?;
        }
    }
    Ok(())
}

/// Returns `true` if there is a limit to how long a file may be.
pub(super) fn is_file_size_limited() -> bool {
    resource::soft(resource::Resource::FileSize).is_some()
}

/// Calls `f`, for which files may be as long as it is told.
pub(super) fn with_file_size_lifted<T>(f: impl FnOnce(u64) -> io::Result<T>) -> io::Result<T> {
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: before.maximum, maximum: before.maximum })?;
    let done = f(before.maximum.unwrap_or(u64::MAX));
    setrlimit(Resource::Fsize, before)?;
    done
}

/// `struct __user_cap_header_struct` and two of `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`
const VERSION: u32 = 0x2008_0522;

const CAP_SETPCAP: u32 = 8;

/// All that `linux/securebits.h` has, each with its lock: nothing that this process executes or
/// becomes gives it capabilities.
const SECURE: libc::c_ulong = 0xEF;

/// Gives up every capability, for good.
///
/// 1. The ambient set.
/// 2. If it may (`CAP_SETPCAP`): the bounding set, one by one, and the secure bits with their
///    locks.
/// 3. The effective, permitted and inheritable sets.
///
/// These come last, as the steps before need them.
pub(super) fn renounce() -> io::Result<()> {
    let ambient = (libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned().into());
    prctl(ambient.0, ambient.1)?;
    let mut has = capabilities()?;
    if has == [Data::default(); 2] {
        return Ok(());
    }
    if has[0].permitted & 1 << CAP_SETPCAP != 0 {
        for half in &mut has {
            half.effective = half.permitted;
        }
        set_capabilities(&has)?;
        let mut capability = 0;
        loop {
            match prctl(libc::PR_CAPBSET_DROP, capability) {
                Ok(()) => capability += 1,
                // Behind the last that this kernel knows.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 => break,
                Err(error) => return Err(error),
            }
        }
        prctl(libc::PR_SET_SECUREBITS, SECURE)?;
    }
    set_capabilities(&[Data::default(); 2])
}

/// `prctl(2)` with an integer.
fn prctl(what: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: a call on integers.
    if unsafe {
        libc::prctl(what, value, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong)
    } < 0
    {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Reads the capabilities of this thread (`capget(2)`).
fn capabilities() -> io::Result<[Data; 2]> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: the kernel reads the header and writes two sets, as this version has them.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(data)
}

/// Sets them (`capset(2)`): never more than it has.
fn set_capabilities(data: &[Data; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: the kernel reads the header and two sets, as this version has them.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
