//! Closing a cage around this process.

use std::io;

use super::rules::Rules;
use super::{calls, files, filter, privileges, rights};
use crate::sys::memory::sealed;
use crate::sys::memory::shared::SharedFile;
use crate::sys::process::threads;

/// Things that a process in a cage has left from before.
#[derive(Debug)]
pub(crate) struct Closed {
    /// Where a big result goes, if a limit would stop the file that is made for it otherwise.
    pub(crate) result: Option<SharedFile>,
}

/// Length that a result may have where no limit of memory gives one, in bytes.
const LONGEST_RESULT: u64 = 1 << 32;

/// Returns the version of Landlock that the kernel has; below 1 if it has none, or it is switched
/// off.
fn landlock_version() -> i64 {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: u32 = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag, the call takes no memory, and gives a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) }
}

/// Returns what the kernel lacks for a cage; `None` if it lacks nothing.
pub(crate) fn missing() -> Option<String> {
    // SAFETY: asks only; with no filter, it gives 0.
    if unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) } < 0 {
        return Some("it has no seccomp".to_owned());
    }
    match landlock_version() {
        version if version >= 1 => None,
        _ => Some(format!("it has no Landlock ({})", io::Error::last_os_error())),
    }
}

/// Shuts this process in, of which this is the only thread.
///
/// 1. See that the kernel keeps all that the rules ask for.
/// 2. See that there is no other thread, which would stay outside.
/// 3. Prepare memory for a big result.
/// 4. Landlock.
/// 5. Make the limits final.
/// 6. Give up capabilities.
/// 7. The filter, last: it forbids the calls of the steps before.
///
/// # Errors
/// What cannot be put in force, in words. The process is partly shut in then, and must not run the
/// function.
pub(crate) fn enter(rules: &Rules<'_>) -> Result<Closed, String> {
    if let Some(what) = missing() {
        return Err(what);
    }
    let version = landlock_version();
    if let Some(reason) = rights::unkept(version, rules) {
        return Err(reason);
    }
    check_threads()?;
    let result =
        result_memory(rules).map_err(|error| format!("no memory for its result: {error}"))?;
    files::enclose(version, rules).map_err(|error| format!("Landlock: {error}"))?;
    privileges::harden_limits(rules)
        .map_err(|error| format!("cannot make its limits final: {error}"))?;
    privileges::renounce().map_err(|error| format!("cannot give up its privileges: {error}"))?;
    let program = calls::answers(version, rules).and_then(|answers| filter::program(&answers));
    let applied = program.and_then(|program| Ok(seccompiler::apply_filter(&program)?));
    applied.map_err(|error| format!("seccomp: {error}"))?;
    Ok(Closed { result })
}

/// Neither Landlock nor a filter would hold for another thread: one of a library that started it
/// before `main`.
fn check_threads() -> Result<(), String> {
    if threads::is_only_one().map_err(|error| format!("cannot count its threads: {error}"))? {
        return Ok(());
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    Err(format!("it has {threads} threads already, which would stay outside"))
}

/// Memory for a big result, where the process cannot make a file of any length when it has one.
fn result_memory(rules: &Rules<'_>) -> io::Result<Option<SharedFile>> {
    if rules.memory_files() && !privileges::is_file_size_limited() {
        return Ok(None);
    }
    let length = rules.memory.unwrap_or(LONGEST_RESULT).clamp(1, LONGEST_RESULT);
    let prepare = |most| sealed::prepare(usize::try_from(length.min(most)).unwrap_or(usize::MAX));
    privileges::with_file_size_lifted(prepare).map(Some)
}
