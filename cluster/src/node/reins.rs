//! How a node has a station leave, whatever has become of its start.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::station;

/// The hold on a station: its standard input, from when it is executed until it has ended.
pub(crate) struct Reins {
    input: Mutex<Option<ChildStdin>>,
    is_leaving: watch::Sender<bool>,
}

impl Reins {
    /// The hold on a station that is not executed yet.
    pub(crate) fn new() -> Reins {
        Reins { input: Mutex::new(None), is_leaving: watch::Sender::new(false) }
    }

    /// Takes hold of a station that was executed, and has its orders. One that was told to leave
    /// before is told now.
    pub(super) fn take(&self, input: ChildStdin) {
        let mut kept = self.lock();
        *kept = Some(input);
        if *self.is_leaving.borrow() {
            tell(&mut kept);
        }
    }

    /// Lets a station go that has ended.
    pub(super) fn release(&self) {
        *self.lock() = None;
    }

    /// Has the station finish what it runs, and leave.
    pub(crate) fn drain(&self) {
        // Under the lock, so that it is told once.
        let mut kept = self.lock();
        if !self.is_leaving.send_replace(true) {
            tell(&mut kept);
        }
    }

    /// Waits until the station is to leave.
    pub(super) async fn left(&self) {
        // The sender is here, so this ends with the word.
        let _ = self.is_leaving.subscribe().wait_for(|is_leaving| *is_leaving).await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a station to leave, if it is executed. One that has ended hears nothing more.
fn tell(input: &mut Option<ChildStdin>) {
    if let Some(input) = input {
        let _ = input.write_all(&[station::DRAIN]);
    }
}
