//! The name that `ps`, `top` and `/proc` show for this process.

use std::ffi::CString;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// How long a title may get: the first argument of a process that we execute is padded to this.
pub(crate) const ROOM: usize = 160;

static START: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// The first argument for a process that will set its title.
pub(crate) fn padded(title: &str) -> CString {
    let mut bytes: Vec<u8> = title.bytes().filter(|byte| *byte != 0).take(ROOM).collect();
    bytes.resize(ROOM, b' ');
    CString::new(bytes).unwrap_or_default()
}

/// Remembers where the first argument of this process is, if it is one that `padded` made.
///
/// # Safety
/// `arguments` must be the argument vector that the C library got from the kernel, or null.
pub(crate) unsafe fn remember(count: libc::c_int, arguments: *const *const libc::c_char) {
    if count < 1 || arguments.is_null() {
        return;
    }
    // SAFETY: a vector of at least one C string.
    let (start, length) = unsafe { (*arguments, libc::strlen(*arguments)) };
    if length == ROOM {
        LENGTH.store(length, Ordering::Relaxed);
        START.store(start.cast_mut(), Ordering::Relaxed);
    }
}

/// Shows `program: name` for this process, and the name (cut to 15 bytes) where only that is shown.
pub(crate) fn set(program: &str, name: &str) {
    let short: Vec<u8> = name.bytes().filter(|byte| *byte != 0).take(15).collect();
    if let Ok(short) = CString::new(short) {
        let _ = rustix::thread::set_name(&short);
    }
    let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
    if start.is_null() {
        return;
    }
    let title = format!("{program}: {name}");
    let shown = title.len().min(length);
    // SAFETY: the `length` bytes at `start` are this process's own copy of its first argument, which nobody else writes;
    // the byte behind them stays 0.
    unsafe {
        std::ptr::copy_nonoverlapping(title.as_ptr().cast(), start, shown);
        std::ptr::write_bytes(start.add(shown), 0, length - shown);
    }
}
