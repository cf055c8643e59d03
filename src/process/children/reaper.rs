//! Kills children whose `Child` is dropped, where that was asked for, and leaves no zombie.
//!
//! The thread that drops waits for a moment, which is all that most take to die. A child that takes
//! longer (it has much memory to give back, or the kernel is not done with a call of it) goes to a
//! thread that ends with the last of them.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::errands::Errands;
use super::registry;
use crate::signal::Signal;
use crate::sys::per_process::PerProcess;
use crate::sys::wait::poll::Deadline;

/// How long the thread that drops waits for the end.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How long one child is waited for before the next one has its turn.
const TURN: Duration = Duration::from_millis(50);

/// Turns until a child that does not die is left to the calls that start or join others: the kernel
/// may hold one for ever (a file system that does not answer, a debugger that does not look).
const TURNS: u32 = 1200;

/// A killed child, and how often it was waited for.
type Dying = (Arc<Core>, u32);

/// One for each process: its copies have no children.
static DYING: PerProcess<Errands<Dying>> = PerProcess::new();

/// Kills a child and everything that it started, and sees to it that its status is taken. Does
/// nothing if it has ended, or is another process's.
pub(crate) fn kill(core: &Arc<Core>) {
    if !core.is_running() {
        return;
    }
    if core.send_to_tree(Signal::KILL).is_err() {
        // Without its descendants, where they cannot be found; with the descriptor in reserve.
        let _ = core.send(Signal::KILL);
    }
    if matches!(core.wait(Deadline::after(AT_ONCE)), Ok(Some(_))) {
        return;
    }
    let dying = DYING.get_or_init(|_| Errands::new("multiproc-reap", await_end));
    if let Err(left) = dying.hand_over((Arc::clone(core), 0)) {
        left.iter().for_each(|(core, _)| registry::let_go(core));
    }
}

/// Waits for the end of a child for a turn.
fn await_end((core, turns): Dying) -> Option<Dying> {
    match core.wait(Deadline::after(TURN)) {
        Ok(Some(_)) => None,
        _ if turns < TURNS => Some((core, turns + 1)),
        _ => {
            registry::let_go(&core);
            None
        }
    }
}

/// Waits until the thread has ended, at the most for `timeout`: before a fork, which must be alone.
pub(crate) fn finish(timeout: Duration) {
    if let Some(dying) = DYING.get() {
        dying.finish(Deadline::after(timeout));
    }
}
