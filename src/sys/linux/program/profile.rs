//! The runtime of a program that is built to measure itself: coverage, or a profile for the
//! optimiser.
//!
//! It counts in memory and writes a file when the process leaves by `exit`. A copy of a process
//! inherits both the counts and the name of the file, in which there is mostly the process's
//! number; and it does not run the handler that writes, as that was registered before it came to
//! be. So a copy begins its counts anew, under a name of its own, and writes them itself.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use super::environ::Environment;
use crate::sys::per_process::pid;

/// Functions of the runtime that we use (LLVM's `InstrProfiling.h`), where the linker has put one
/// in: null where not.
#[repr(C)]
struct Runtime {
    write_file: Option<unsafe extern "C" fn() -> c_int>,
    reset_counters: Option<unsafe extern "C" fn()>,
    /// Keeps a copy of the name.
    set_filename: Option<unsafe extern "C" fn(*const c_char)>,
    is_continuous: Option<unsafe extern "C" fn() -> c_int>,
    /// The name in use, its pattern filled in. Null, or a copy that is ours.
    get_filename: Option<unsafe extern "C" fn() -> *const c_char>,
}

// Weak references cannot be written in stable Rust. These are hidden, as the runtime's symbols are,
// so that the linker settles each with the runtime of the same file, or with null.
#[cfg(not(miri))]
std::arch::global_asm!(
    ".pushsection .data.rel.ro.multiproc_profile, \"aw\", @progbits",
    ".p2align 3",
    ".globl multiproc_0_1_profile_runtime",
    ".hidden multiproc_0_1_profile_runtime",
    ".type multiproc_0_1_profile_runtime, @object",
    ".size multiproc_0_1_profile_runtime, 40",
    "multiproc_0_1_profile_runtime:",
    ".weak __llvm_profile_write_file",
    ".hidden __llvm_profile_write_file",
    ".quad __llvm_profile_write_file",
    ".weak __llvm_profile_reset_counters",
    ".hidden __llvm_profile_reset_counters",
    ".quad __llvm_profile_reset_counters",
    ".weak __llvm_profile_set_filename",
    ".hidden __llvm_profile_set_filename",
    ".quad __llvm_profile_set_filename",
    ".weak __llvm_profile_is_continuous_mode_enabled",
    ".hidden __llvm_profile_is_continuous_mode_enabled",
    ".quad __llvm_profile_is_continuous_mode_enabled",
    ".weak __llvm_profile_get_filename",
    ".hidden __llvm_profile_get_filename",
    ".quad __llvm_profile_get_filename",
    ".popsection",
);

/// Reads the five words.
#[cfg(not(miri))]
fn runtime() -> Runtime {
    const { assert!(size_of::<Runtime>() == 40) };
    unsafe extern "C" {
        static multiproc_0_1_profile_runtime: [usize; 5];
    }
    // SAFETY: the five words above: addresses of functions of these types, or null. Volatile, since
    // the compiler may think that a symbol has an address other than null.
    unsafe { (&raw const multiproc_0_1_profile_runtime).cast::<Runtime>().read_volatile() }
}

#[cfg(miri)]
fn runtime() -> Runtime {
    Runtime {
        write_file: None,
        reset_counters: None,
        set_filename: None,
        is_continuous: None,
        get_filename: None,
    }
}

/// In a copy of the process `original`, once it has its environment: begins its counts anew, for a
/// file of its own.
pub(crate) fn begin_in_copy(original: u32) {
    let runtime = runtime();
    let (Some(set_filename), Some(is_continuous)) = (runtime.set_filename, runtime.is_continuous)
    else {
        return;
    };
    // SAFETY: the runtime's functions have no preconditions but valid strings; this process has one
    // thread.
    unsafe {
        // There, the counters are the file itself: original and copies count in it together.
        if is_continuous() != 0 {
            return;
        }
        reset();
        if let Some(name) = own_name(&runtime, original) {
            // It marks its first call in the environment, which is not its own.
            let environment = Environment::now();
            set_filename(name.as_ptr());
            environment.install();
        }
    }
}

/// Writes what was counted, in a process that does not run the exit handlers that would; then
/// counts anew.
pub(crate) fn write() {
    if let Some(write_file) = runtime().write_file {
        // SAFETY: no preconditions.
        unsafe { write_file() };
        reset();
    }
}

/// Sets all counts to zero.
fn reset() {
    if let Some(reset_counters) = runtime().reset_counters {
        // SAFETY: no preconditions; other threads would lose counts at worst.
        unsafe { reset_counters() };
    }
}

/// A name for the file of this process, which is a copy of `original`; nothing if all use one file,
/// to which the runtime adds what each counted.
fn own_name(runtime: &Runtime, original: u32) -> Option<CString> {
    if let Some(pattern) =
        std::env::var_os("LLVM_PROFILE_FILE").filter(|pattern| !pattern.is_empty())
    {
        return name_of_process(pattern.as_bytes(), pid());
    }
    // The pattern that was chosen at the build cannot be had, only what it gave the original.
    // SAFETY: no preconditions; a C string or null.
    let name = unsafe { runtime.get_filename?().as_ref().map(|name| CStr::from_ptr(name)) }?;
    renamed(name.to_bytes(), original, pid())
}

/// A path whose last part has `new` in the place of the number `old`; nothing if that is not in it.
fn renamed(path: &[u8], old: u32, new: u32) -> Option<CString> {
    let old = old.to_string();
    let folder = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let mut renamed = path[..folder].to_vec();
    let mut is_own = false;
    for run in path[folder..].chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        let is_old = run == old.as_bytes();
        is_own |= is_old;
        match is_old {
            true => renamed.extend_from_slice(new.to_string().as_bytes()),
            false => renamed.extend_from_slice(run),
        }
    }
    is_own.then(|| CString::new(renamed).ok()).flatten()
}

/// The pattern with `pid` in the place of every `%p`; nothing if it has none, and so is the same in
/// all processes. (The runtime takes a pattern that it has already for no news, and stays with the
/// number that it knew.)
fn name_of_process(pattern: &[u8], pid: u32) -> Option<CString> {
    let mut name = Vec::with_capacity(pattern.len() + 8);
    let mut is_own = false;
    let mut rest = pattern.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            name.push(*byte);
            continue;
        }
        match rest.next() {
            Some(b'p') => {
                is_own = true;
                name.extend_from_slice(pid.to_string().as_bytes());
            }
            other => name.extend([b'%'].into_iter().chain(other.copied())),
        }
    }
    is_own.then(|| CString::new(name).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_number_wherever_the_pattern_has_it() {
        let name = |pattern: &str| {
            name_of_process(pattern.as_bytes(), 42).map(|name| name.into_string().expect("text"))
        };
        assert_eq!(name("a/%p-%10m_%p.profraw").as_deref(), Some("a/42-%10m_42.profraw"));
        for same in ["", "default.profraw", "%m.profraw", "100%", "%%p"] {
            assert_eq!(name(same), None, "{same}");
        }
    }

    #[test]
    fn only_the_number_of_the_original_is_replaced() {
        let name = |path: &str| {
            renamed(path.as_bytes(), 12, 345).map(|name| name.into_string().expect("text"))
        };
        assert_eq!(name("/12/a_112_12.profraw").as_deref(), Some("/12/a_112_345.profraw"));
        assert_eq!(name("12").as_deref(), Some("345"));
        assert_eq!(name("/12/a_123.profraw"), None);
        assert_eq!(name(""), None);
    }
}
