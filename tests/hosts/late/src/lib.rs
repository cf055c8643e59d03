//! An initialiser in a crate that is linked behind multiproc.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// How often it ran.
pub static RUNS: AtomicU32 = AtomicU32::new(0);

/// How many arguments it was told that there are.
pub static ARGUMENTS: AtomicI32 = AtomicI32::new(0);

/// Whether it found the variable that multiproc's own initialiser takes away.
pub static SAW_THE_VARIABLE: AtomicU32 = AtomicU32::new(0);

pub type Initialiser =
    extern "C" fn(libc::c_int, *const *const libc::c_char, *const *const libc::c_char);

#[used]
#[unsafe(link_section = ".init_array")]
static INITIALISER: Initialiser = initialise;

extern "C" fn initialise(
    count: libc::c_int,
    arguments: *const *const libc::c_char,
    _: *const *const libc::c_char,
) {
    assert!(!arguments.is_null());
    RUNS.fetch_add(1, Ordering::Relaxed);
    ARGUMENTS.store(count, Ordering::Relaxed);
    let name = c"MULTIPROC_BOOT";
    if !unsafe { libc::getenv(name.as_ptr()) }.is_null() {
        SAW_THE_VARIABLE.store(1, Ordering::Relaxed);
    }
}
