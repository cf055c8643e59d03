//! The name that `ps`, `top` and `/proc` show for this process.
//!
//! Two places: a short name of 15 bytes (`PR_SET_NAME`), and the memory of the first argument,
//! which `/proc/<pid>/cmdline` shows. We write only to an argument that we have made ourselves, of
//! known length.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Length that a title may have, in bytes: the first argument of a process that we execute is
/// padded to this.
pub(crate) const ROOM: usize = 160;

/// Where the first argument lies; null if it is not ours to write.
static START: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());
/// Its length in bytes, without the NUL.
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// The name of this program, in a child: there, the first argument is a title.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// Returns the name that this program was called by.
pub(crate) fn program() -> &'static str {
    PROGRAM.get_or_init(|| {
        let called = std::env::args_os().next().map(PathBuf::from);
        let name = called.as_deref().and_then(|path| path.file_name());
        name.map_or_else(|| "multiproc".into(), |name| name.to_string_lossy().into_owned())
    })
}

/// Makes the first argument for a process that will set its title.
pub(crate) fn padded(title: &str) -> CString {
    let mut bytes: Vec<u8> = title.bytes().filter(|byte| *byte != 0).take(ROOM).collect();
    bytes.resize(ROOM, b' ');
    CString::new(bytes).unwrap_or_default()
}

/// Remembers where the first argument of this process is, if it is one that `padded` made.
///
/// # Safety
/// The arguments must be those that the C library calls initialisers with.
pub(crate) unsafe fn remember(count: libc::c_int, arguments: *const *const libc::c_char) {
    // Only glibc passes anything; elsewhere, they are what happened to be in the registers.
    if cfg!(not(target_env = "gnu")) || count < 1 || arguments.is_null() {
        return;
    }
    // SAFETY: a vector of at least one C string.
    let (start, length) = unsafe { (*arguments, libc::strlen(*arguments)) };
    if length == ROOM {
        LENGTH.store(length, Ordering::Relaxed);
        START.store(start.cast_mut(), Ordering::Relaxed);
    }
}

/// Shows the name (cut to 15 bytes) where only a short one is shown.
pub(crate) fn set_short(name: &str) {
    let short: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
    if let Ok(short) = CString::new(short) {
        let _ = rustix::thread::set_name(&short);
    }
}

/// Shows `program: name` for this process, and the name (cut to 15 bytes) where only that is shown.
pub(crate) fn set(program: &str, name: &str) {
    // A forked child knows it already.
    let _ = PROGRAM.set(program.to_owned());
    set_short(name);
    let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
    if start.is_null() {
        return;
    }
    let title = format!("{program}: {name}");
    let shown = title.len().min(length);
    // SAFETY: the `length` bytes at `start` are this process's own copy of its first argument,
    // which nobody else writes; the byte behind them stays 0.
    unsafe {
        std::ptr::copy_nonoverlapping(title.as_ptr().cast(), start, shown);
        std::ptr::write_bytes(start.add(shown), 0, length - shown);
    }
}
