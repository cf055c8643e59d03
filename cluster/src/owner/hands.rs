//! The pool's hands on its nodes: calls become commands for the desk.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use multiproc::elsewhere::{Bell, Hands, Memory};
use tokio::sync::mpsc::UnboundedSender;

/// What the pool wants done.
#[derive(Debug)]
pub(crate) enum Command {
    Want(usize),
    Give(usize, Vec<u8>, Vec<Memory>),
    Recall(usize),
    Release(usize),
    Kill(usize),
    /// The pool is over; the sender is dropped when the nodes were told.
    Close(mpsc::Sender<()>),
}

/// Time that the end of a pool waits for its nodes to be told. They notice by themselves as well,
/// by the owner's silence.
const FAREWELL: Duration = Duration::from_millis(500);

/// The hands of one pool.
pub(crate) struct Remote {
    pub(crate) bell: Bell,
    /// Commands of this round.
    pub(crate) batch: Vec<Command>,
    pub(crate) desk: UnboundedSender<Vec<Command>>,
    /// Its runtime is there as long as the pool.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) cluster: Arc<dyn Send + Sync>,
}

impl Hands for Remote {
    fn bell(&self) -> Bell {
        self.bell.clone()
    }

    fn want(&mut self, place: usize) {
        self.batch.push(Command::Want(place));
    }

    fn give(&mut self, place: usize, request: Vec<u8>, memories: Vec<Memory>) {
        self.batch.push(Command::Give(place, request, memories));
    }

    fn recall(&mut self, place: usize) {
        self.batch.push(Command::Recall(place));
    }

    fn release(&mut self, place: usize) {
        self.batch.push(Command::Release(place));
    }

    fn kill(&mut self, place: usize) {
        self.batch.push(Command::Kill(place));
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            // A desk that is gone has ended with its cluster: the process is about to end.
            let _ = self.desk.send(std::mem::take(&mut self.batch));
        }
    }
}

impl Drop for Remote {
    /// Tells the nodes that the pool is over, and waits a moment for that to go out.
    fn drop(&mut self) {
        let (told, heard) = mpsc::channel();
        self.batch.push(Command::Close(told));
        self.flush();
        let _ = heard.recv_timeout(FAREWELL);
    }
}
