//! What a caged process gives up: capabilities, and the right to lift its limits.

use std::io;

use super::enter::Rules;

/// How many descriptors a process may have whose memory is limited, but not its descriptors: in each,
/// the kernel may hold some hundred kilobytes.
const DESCRIPTORS: u64 = 256;

/// All that the kernel counts but the time to compute, whose last seconds are there on purpose.
const LIMITS: [u32; 15] = [
    libc::RLIMIT_AS as u32,
    libc::RLIMIT_CORE as u32,
    libc::RLIMIT_DATA as u32,
    libc::RLIMIT_FSIZE as u32,
    libc::RLIMIT_LOCKS as u32,
    libc::RLIMIT_MEMLOCK as u32,
    libc::RLIMIT_MSGQUEUE as u32,
    libc::RLIMIT_NICE as u32,
    libc::RLIMIT_NOFILE as u32,
    libc::RLIMIT_NPROC as u32,
    libc::RLIMIT_RSS as u32,
    libc::RLIMIT_RTPRIO as u32,
    libc::RLIMIT_RTTIME as u32,
    libc::RLIMIT_SIGPENDING as u32,
    libc::RLIMIT_STACK as u32,
];

/// Makes the limits in force those that it cannot lift.
pub(super) fn harden_limits(rules: &Rules<'_>) -> io::Result<()> {
    for resource in LIMITS {
        let mut limit = get(resource)?;
        if resource == libc::RLIMIT_NOFILE as u32 && !rules.memory_files() && !rules.limits_files {
            limit.rlim_cur = limit.rlim_cur.min(DESCRIPTORS);
        }
        if limit.rlim_max != limit.rlim_cur {
            set(resource, libc::rlimit { rlim_max: limit.rlim_cur, ..limit })?;
        }
    }
    Ok(())
}

/// Whether there is a limit to how long a file may be.
pub(super) fn is_file_size_limited() -> io::Result<bool> {
    Ok(get(libc::RLIMIT_FSIZE as u32)?.rlim_cur != libc::RLIM_INFINITY)
}

/// Calls `f`, for which files may be as long as it is told.
pub(super) fn with_file_size_lifted<T>(f: impl FnOnce(u64) -> io::Result<T>) -> io::Result<T> {
    let resource = libc::RLIMIT_FSIZE as u32;
    let before = get(resource)?;
    set(resource, libc::rlimit { rlim_cur: before.rlim_max, ..before })?;
    let done = f(before.rlim_max);
    set(resource, before)?;
    done
}

fn get(resource: u32) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit. (The C library's type of a resource differs.)
    if unsafe { libc::getrlimit(resource as _, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

fn set(resource: u32, limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: the kernel reads one rlimit.
    if unsafe { libc::setrlimit(resource as _, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
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

fn prctl(what: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: a call on integers.
    if unsafe { libc::prctl(what, value, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn capabilities() -> io::Result<[Data; 2]> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: the kernel reads the header and writes two sets, as this version has them.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(data)
}

fn set_capabilities(data: &[Data; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: the kernel reads the header and two sets, as this version has them.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
