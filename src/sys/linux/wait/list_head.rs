//! Where a thread's robust list begins, as its C library has told the kernel.

use std::cell::Cell;
use std::ptr;

/// `struct robust_list_head` of `linux/futex.h`
#[repr(C)]
pub(super) struct Head {
    pub(super) first: Cell<usize>,
    word_offset: Cell<isize>,
    pub(super) pending: Cell<usize>,
}

/// The head of the list of this thread, as the C library registered it; null if it has another form
/// than we know, or another distance of the word from the link than `word_offset`.
pub(super) fn find(word_offset: isize) -> *const Head {
    let head = registered(word_offset);
    if !head.is_null() {
        return head;
    }
    // musl registers the list of a thread with the first robust mutex that it takes.
    take_a_robust_mutex();
    registered(word_offset)
}

/// Asks the kernel for the head of this thread's list (`get_robust_list(2)`); null if its length or
/// the distance of the word from the link is not `word_offset`.
pub(super) fn registered(word_offset: isize) -> *const Head {
    let mut head: *const Head = ptr::null();
    let mut length = 0_usize;
    // SAFETY: the kernel writes a pointer and a size.
    let result =
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length) };
    // SAFETY: what this thread registered is its C library's head, which lives as long as the
    // thread.
    let fits = result == 0
        && length == size_of::<Head>()
        && unsafe { head.as_ref() }.is_some_and(|head| head.word_offset.get() == word_offset);
    if fits { head } else { ptr::null() }
}

/// Takes and leaves a robust mutex of the C library that processes could share: in its list are
/// only such.
pub(super) fn take_a_robust_mutex() {
    // SAFETY: all zeroes is where both begin; they are initialised before use, and nobody else
    // knows of the mutex, which is unlocked and destroyed before it goes.
    unsafe {
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&raw mut attributes);
        libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
        libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
        let mut mutex: libc::pthread_mutex_t = std::mem::zeroed();
        if libc::pthread_mutex_init(&raw mut mutex, &raw const attributes) == 0 {
            if libc::pthread_mutex_lock(&raw mut mutex) == 0 {
                libc::pthread_mutex_unlock(&raw mut mutex);
            }
            libc::pthread_mutex_destroy(&raw mut mutex);
        }
        libc::pthread_mutexattr_destroy(&raw mut attributes);
    }
}
