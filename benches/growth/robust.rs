//! The C library's robust mutex between processes: what it costs to survive a holder's death.
#![expect(unsafe_code, reason = "the C library's mutex, and shared memory for it")]

use std::cell::UnsafeCell;
use std::ptr;

/// A robust mutex in memory that a fork shares with its original.
#[repr(transparent)]
pub(crate) struct Robust(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is for threads and, made so, for processes.
unsafe impl Sync for Robust {}

impl Robust {
    /// It stays for the program's life.
    pub(crate) fn new() -> &'static Robust {
        // SAFETY: new memory, all zero, which nobody else has; the mutex in it is initialised once.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let address = libc::mmap(ptr::null_mut(), 4096, access, flags, -1, 0);
            assert_ne!(address, libc::MAP_FAILED, "map memory");
            let robust = &*address.cast::<Robust>();
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            let made = libc::pthread_mutex_init(robust.0.get(), &raw const attributes);
            assert_eq!(made, 0, "make a mutex");
            robust
        }
    }

    pub(crate) fn lock_and_unlock(&self) {
        // SAFETY: an initialised mutex, unlocked by the thread that locked it.
        unsafe {
            libc::pthread_mutex_lock(self.0.get());
            libc::pthread_mutex_unlock(self.0.get());
        }
    }
}
