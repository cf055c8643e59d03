//! Before `main`: where a program learns that it is to be a node or a station.
//!
//! The C library calls [`hook`] from `.init_array` in every process of a program that uses this
//! crate. It looks for a variable in the environment; where there is none, it returns. The process
//! of a station is the owner's own file, so this is how one file is both; `main` is not reached.
//!
//! Tasks do not run in a station, but in workers that the core executes from the same file, with
//! the program's other initialisers: those that stand behind this one do not run here.
#![expect(unsafe_code, reason = "an initialiser is an entry of a section, which is unsafe to say")]

use std::ffi::{c_char, c_int};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::process::ExitCode;

use multiproc::station::has_borrowed_rights;

use crate::local;
use crate::node::config::{Config, JOIN};
use crate::node::{daemon, station};

/// The type of the entries of `.init_array`, as glibc and musl call them.
type Initialiser = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// One of the program's initialisers: the C library calls it before `main`.
#[used]
// SAFETY: the section is an array of function pointers of this very type.
#[unsafe(link_section = ".init_array")]
static HOOK: Initialiser = hook;

/// Keeps the hook in the program: an object file that nothing refers to is not linked. Everything
/// that could lead to a station calls this.
pub(crate) fn keep() {
    // The value is read from the section itself, so that the reference cannot be optimised away.
    // SAFETY: an aligned, initialised static.
    let hook = unsafe { (&raw const HOOK).read_volatile() };
    std::hint::black_box(hook);
}

/// Does nothing in an ordinary process. In a node or a station it never returns.
extern "C" fn hook(_: c_int, _: *const *const c_char, _: *const *const c_char) {
    let is = |name: &str| std::env::var_os(name).is_some();
    let role: fn() -> Result<(), String> = if is(station::VARIABLE) {
        if std::env::var(station::VARIABLE).as_deref() == Ok(station::PROBE) {
            probed
        } else {
            station::main
        }
    } else if is(local::MINDER) {
        local::mind
    } else if is(JOIN) {
        join
    } else {
        return;
    };
    open_standard_streams();
    // Workers are executed from this very file, and must not become stations themselves.
    // SAFETY: before main there is one thread (a library's initialiser that started another does
    // not read the environment without the standard library's lock any more than the C library
    // itself does).
    unsafe { std::env::remove_var(station::VARIABLE) };
    // A forged environment must not have anything done with rights that its author has not.
    let ended = if has_borrowed_rights() {
        Err("refusing to run with borrowed rights".to_owned())
    } else {
        std::panic::catch_unwind(role).unwrap_or_else(|_| Err("it panicked".to_owned()))
    };
    match ended {
        Ok(()) => std::process::exit(0),
        Err(why) => {
            // What cannot be written is no reason to stop.
            let _ = writeln!(std::io::stderr(), "multiproc-cluster: {why}");
            std::process::exit(1)
        }
    }
}

/// Opens the standard streams that are closed: the standard library does so only before `main`, and
/// what is opened first would be taken for them, a connection for standard error.
fn open_standard_streams() {
    while let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        if null.as_raw_fd() > 2 {
            return;
        }
        // Stays open.
        let _ = null.into_raw_fd();
    }
}

/// Ends at once: a program that gets here runs on this machine.
fn probed() -> Result<(), String> {
    Ok(())
}

/// Makes this program a node.
fn join() -> Result<(), String> {
    let url = std::env::var(JOIN).map_err(|_| format!("{JOIN} is no text"))?;
    let config = Config::from_environment(url).map_err(|error| error.to_string())?;
    match daemon::main(config) {
        code if code == ExitCode::SUCCESS => Ok(()),
        _ => Err("the node has failed".to_owned()),
    }
}
