//! The first process of a container: it has the node in another one, and reaps what is left to it.
//!
//! What a task starts and leaves behind becomes a child of the first process, and stays as a zombie
//! until that waits for it. A node cannot, as it would take the ends of its own stations from those
//! who wait for them; where the number of processes is limited, such zombies would fill it.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::journal;
use crate::error::{Error, Result};

/// Returns whether this is a first process.
pub(super) fn is_first() -> bool {
    rustix::process::getpid() == Pid::INIT
}

/// Runs this program once more, and reaps everything until that ends. Returns its code.
pub(super) async fn mind() -> Result<ExitCode> {
    let listen = |kind| signal(kind).map_err(|error| Error::os("cannot await signals", error));
    // Before there is a child, so that no end is missed.
    let mut ends = listen(SignalKind::child())?;
    let mut terms = listen(SignalKind::terminate())?;
    let mut interrupts = listen(SignalKind::interrupt())?;
    let name = std::env::args_os().next().unwrap_or_else(|| "multiproc-node".into());
    let node = Command::new("/proc/self/exe")
        .arg0(name)
        .args(std::env::args_os().skip(1))
        // A terminal interrupts a group: the node would hear it twice, and end at once.
        .process_group(0)
        .spawn()
        .map_err(|error| Error::os("cannot start the node beside the first process", error))?;
    let node = i32::try_from(node.id()).ok().and_then(Pid::from_raw);
    let node = node.ok_or_else(|| Error::config("the node has no process id"))?;
    loop {
        let word = tokio::select! {
            _ = ends.recv() => None,
            _ = terms.recv() => Some(Signal::TERM),
            _ = interrupts.recv() => Some(Signal::INT),
        };
        // It is not reaped yet, so the number is its own.
        if let Some(signal) = word
            && let Err(error) = kill_process(node, signal)
        {
            journal::note(format_args!("cannot pass on a signal: {error}"));
        }
        if let Some(code) = reap(node) {
            return Ok(code);
        }
    }
}

/// Reaps all that have ended. Returns the code of the node, if that is among them.
fn reap(node: Pid) -> Option<ExitCode> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, end))) if pid == node => return Some(code(end)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return None,
            // Nobody is there, not even the node.
            Err(_) => return Some(ExitCode::FAILURE),
        }
    }
}

/// The code of a process that has ended, as shells have it.
fn code(end: WaitStatus) -> ExitCode {
    let code = end.exit_status().or_else(|| end.terminating_signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
