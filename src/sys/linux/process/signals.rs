//! Signal masks and dispositions around the start of a process (`signal(7)`).

use std::mem::MaybeUninit;

/// A saved signal mask of a thread.
pub(crate) struct Mask(libc::sigset_t);

/// A saved reaction to one signal.
pub(crate) struct Disposition(libc::sigaction);

/// Blocks every signal in this thread.
pub(crate) fn block_all() -> Mask {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset and pthread_sigmask initialise what they are given.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Mask(before.assume_init())
    }
}

/// Puts a saved mask back.
pub(crate) fn restore(mask: &Mask) {
    // SAFETY: reads an initialised mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut()) };
}

/// In a child on its way to exec, with all signals blocked: handlers become the default (what is
/// ignored stays so), then the mask is emptied. In this order, so that no handler of the parent's
/// can run here.
pub(crate) fn default_for_exec() {
    // SAFETY: system calls on local, initialised structures.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        for number in 1..=64 {
            if libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) != 0 {
                continue;
            }
            let action = action.assume_init_mut();
            if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN {
                action.sa_sigaction = libc::SIG_DFL;
                action.sa_flags = 0;
                libc::sigaction(number, action, std::ptr::null_mut());
            }
        }
    }
    unblock_all();
}

/// Lets every signal reach this thread.
pub(crate) fn unblock_all() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that pthread_sigmask reads.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Ignores a signal from now on; returns how it was handled before.
pub(crate) fn ignore(number: i32) -> Disposition {
    // SAFETY: sigaction reads `ignore`, all of whose other fields may be zero, and initialises
    // `before`.
    unsafe {
        let mut ignore: libc::sigaction = std::mem::zeroed();
        ignore.sa_sigaction = libc::SIG_IGN;
        let mut before = MaybeUninit::uninit();
        libc::sigaction(number, &raw const ignore, before.as_mut_ptr());
        Disposition(before.assume_init())
    }
}

/// Makes a write to a pipe without a reader fail instead of killing this process.
pub(crate) fn ignore_broken_pipes() {
    ignore(libc::SIGPIPE);
}

/// Handles a signal as a saved disposition says.
pub(crate) fn react(number: i32, disposition: &Disposition) {
    // SAFETY: the disposition is one that the kernel gave for this process's own code.
    unsafe { libc::sigaction(number, &raw const disposition.0, std::ptr::null_mut()) };
}
