//! Leaving a process, and being told when somebody else has it leave.

use std::sync::atomic::{AtomicBool, Ordering};

/// Ends this process at once (`_exit(2)`): no handler, no flushing, nothing but the kernel's
/// clean-up. Async-signal-safe.
pub(crate) fn now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Dies as if the parent's end had reached us a moment later.
pub(crate) fn kill_self() -> ! {
    // SAFETY: a system call on this process itself.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    now(128 + libc::SIGKILL)
}

unsafe extern "C" {
    /// glibc (and the BSDs before it): `atexit` with the status.
    #[cfg(target_env = "gnu")]
    fn on_exit(
        handler: extern "C" fn(libc::c_int, *mut libc::c_void),
        argument: *mut libc::c_void,
    ) -> libc::c_int;
}

/// Calls `handler` when this process leaves by `exit`: at the return from `main`, by
/// `process::exit`, and after a panic in `main`. It gets the status, if the C library tells it, in
/// full (the kernel keeps only 8 bits).
///
/// Registered again in a forked child, it is called before everything that the parent registered.
pub(crate) fn at_exit(handler: fn(Option<i32>)) {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    HANDLER.store(handler as *mut (), Ordering::Release);
    if !REGISTERED.swap(true, Ordering::AcqRel) {
        register();
    }
}

/// Registers once more, in a forked child.
pub(crate) fn at_exit_first() {
    register();
}

/// Calls `handler` besides when this process leaves by `exit`: before those that were
/// registered earlier. Each call registers it once more. It must not unwind.
pub(crate) fn also_at_exit(handler: extern "C" fn()) {
    stay(handler as *const libc::c_void);
    // SAFETY: a plain function, in a library that stays.
    unsafe { libc::atexit(handler) };
}

/// The one handler, as an address: set before `register`, never cleared.
static HANDLER: std::sync::atomic::AtomicPtr<()> =
    std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

/// Calls the handler.
fn call(status: Option<i32>) {
    let handler = HANDLER.load(Ordering::Acquire);
    if !handler.is_null() {
        // SAFETY: only ever stored from a `fn(Option<i32>)` in `at_exit`.
        let handler = unsafe { std::mem::transmute::<*mut (), fn(Option<i32>)>(handler) };
        handler(status);
    }
}

/// Makes the library that `function` is part of stay, if it is a plug-in's (`RTLD_NODELETE`): what
/// is registered here, and what runs because of it, must not be gone when the process leaves.
fn stay(function: *const libc::c_void) {
    // A program that is linked statically has no libraries.
    if cfg!(target_feature = "crt-static") {
        return;
    }
    // SAFETY: all zero is a valid `Dl_info`; `dladdr` fills it, with names that live as long as the
    // library does. A library that is loaded already is only marked, and the handle is not given
    // back.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(function, &raw mut info) != 0 && !info.dli_fname.is_null() {
            libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE);
        }
    }
}

/// Registers with the C library, which calls the last registered first.
#[cfg(target_env = "gnu")]
fn register() {
    extern "C" fn leaving(status: libc::c_int, _: *mut libc::c_void) {
        call(Some(status));
    }
    stay(leaving as *const libc::c_void);
    // SAFETY: the handler is a plain function that does not unwind (its callee catches panics).
    unsafe { on_exit(leaving, std::ptr::null_mut()) };
}

#[cfg(not(target_env = "gnu"))]
fn register() {
    extern "C" fn leaving() {
        call(None);
    }
    // SAFETY: the handler is a plain function that does not unwind (its callee catches panics).
    unsafe { libc::atexit(leaving) };
}

/// Flushes the C library's streams, so that a fork does not duplicate what is in them.
pub(crate) fn flush_c_streams() {
    // SAFETY: a null stream means all of them.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Returns `true` if this process runs with more rights than the one that executed it (`AT_SECURE`,
/// `getauxval(3)`): set-user-id, file capabilities and the like.
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
