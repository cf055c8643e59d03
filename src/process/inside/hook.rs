//! Before `main`: where a process that we executed learns that it is a child.
//!
//! The C library calls `hook` from `.init_array`, in every process of the program. In an ordinary
//! one it looks for one variable in the environment and returns. In one that we executed:
//!
//! 1. Refuse if the kernel says that the process must not trust its environment (`AT_SECURE`): a
//!    forged variable would have code of somebody's choice called with rights that he has not.
//! 2. Take the variable out of the environment, so that no process further down sees it.
//! 3. Parse it, take over the two descriptors that it names, and check that our parent wrote it.
//! 4. Run the initialisers that stand behind this one: the program's other code may rely on them.
//! 5. Become what the variable says. `main` is never reached.
//!
//! If a check fails, the process leaves with an error: to go on to `main` would run the program a
//! second time, perhaps without end.
//!
//! There is one thread, the allocator and the standard library work (they need no start of their
//! own), but nothing of Rust's runtime start has happened: no handler for stack overflow, SIGPIPE
//! still kills.
#![expect(
    unsafe_code,
    reason = "runs before main, on what the C library and the parent process left"
)]

use std::ffi::{c_char, c_int};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use super::bootstrap;
use crate::error::{Cause, Error};
use crate::start::boot::{Boot, REFUSED, Unfit, VARIABLE};
use crate::sys::fd;
use crate::sys::process::exit;
use crate::sys::program::code::{self, Initialiser};
use crate::sys::program::{creds, environ, title};

/// One of the program's initialisers: the C library calls it before `main`, in every process of the
/// program.
#[used]
// SAFETY: the section is an array of function pointers of this very type.
#[unsafe(link_section = ".init_array")]
static HOOK: Initialiser = hook;

/// Fails if the hook is not in its place: a process that we execute would not find it, and run
/// `main`.
///
/// Everything that executes our file asks this first. It also is what makes the linker keep the
/// hook: `#[used]` holds it in its object file, but an object of a library that nothing refers to
/// is not linked at all, and then a child would run `main`, start a child, and so on without end.
pub(crate) fn check() -> Result<(), NoHook> {
    /// Looked up once.
    static IN_PLACE: OnceLock<bool> = OnceLock::new();
    // The value is read from the section itself, so that the reference cannot be optimised away.
    // SAFETY: an aligned, initialised static.
    let hook = unsafe { (&raw const HOOK).read_volatile() };
    if !*IN_PLACE.get_or_init(|| code::is_main_initialiser(hook)) {
        return Err(NoHook::NotInMainProgram);
    }
    // What a process with borrowed rights executes is told not to trust its environment, and so
    // does not.
    if exit::is_secure() || creds::are_borrowed() { Err(NoHook::BorrowedRights) } else { Ok(()) }
}

/// Why a process that we execute would not find the hook, and run `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHook {
    /// It is not among the main program's initialisers: this code is part of a library, or the
    /// program has no list of them.
    NotInMainProgram,
    /// This process has rights that it did not start with, or that its user has not: a set-user-id
    /// file, file capabilities, or an effective user that is not the real one.
    BorrowedRights,
}

impl From<NoHook> for Error {
    fn from(why: NoHook) -> Error {
        match why {
            NoHook::NotInMainProgram => Cause::NoHook.into(),
            NoHook::BorrowedRights => Cause::BorrowedRights.into(),
        }
    }
}

/// Does nothing in an ordinary process. In one that we executed, it never returns, so `main` does
/// not run.
extern "C" fn hook(
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    const { assert!(VARIABLE.len() + 1 == NAME.count_bytes() + 1) };
    const NAME: &std::ffi::CStr = c"MULTIPROC_BOOT";
    // SAFETY: before main there is one thread (a library's initialiser that started another does
    // not change the environment under us any more than under the C library itself).
    if !unsafe { environ::is_set(NAME) } || !code::is_main_initialiser(hook) {
        return;
    }
    if exit::is_secure() {
        // A forged variable could have code of its choice called with rights that its author has
        // not.
        refuse(Unfit::NotOurs);
    }
    // SAFETY: as above.
    let Some(text) = (unsafe { environ::take(VARIABLE) }) else { return };
    let (boot, control, lifeline) = match accept(&text) {
        Ok(accepted) => accepted,
        Err(Unfit::ParentGone) => exit::now(0),
        Err(unfit) => refuse(unfit),
    };
    // SAFETY: these are what the C library called us with.
    unsafe { title::remember(count, arguments) };
    // Before the other initialisers: one that starts a process is refused.
    bootstrap::begin();
    code::run_later_initialisers(hook, count, arguments, environment);
    bootstrap::live(boot.role, control, lifeline)
}

/// Step 3: takes over what the variable names, if it is what our parent wrote.
fn accept(text: &str) -> Result<(Boot, OwnedFd, OwnedFd), Unfit> {
    let boot = Boot::parse(text).ok_or(Unfit::NotOurs)?;
    if boot.control == boot.lifeline {
        return Err(Unfit::NotOurs);
    }
    // SAFETY: no code of this program has run yet that could own them; they are two, and above 2.
    let (control, lifeline) = unsafe { (fd::adopt(boot.control), fd::adopt(boot.lifeline)) };
    let (Ok(control), Ok(lifeline)) = (control, lifeline) else { return Err(Unfit::NotOurs) };
    boot.check(&control)?;
    Ok((boot, control, lifeline))
}

/// Writes the reason to standard error and leaves with a code that the parent knows.
fn refuse(unfit: Unfit) -> ! {
    let why = match unfit {
        Unfit::OtherFile => "the program's file is not the one that its parent runs",
        Unfit::NotOurs | Unfit::ParentGone => {
            "it was not set by the process that executed this one"
        }
    };
    let _ = writeln!(std::io::stderr(), "multiproc: refusing to run: {VARIABLE} is set, but {why}");
    exit::now(REFUSED)
}
