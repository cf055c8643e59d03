//! Work that nobody waits for: a thread does it, which is started for the first piece and ends with
//! the last.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::sys::wait::poll::Deadline;

/// Pieces of work of one kind that this process has not finished. One for each process: a forked
/// copy has neither the thread nor the work.
pub(super) struct Errands<T> {
    /// The name of the thread.
    name: &'static str,
    /// Does a piece of work; gives it back if it is not done, to be gone on with after the others.
    carry_out: fn(T) -> Option<T>,
    waiting: Mutex<Waiting<T>>,
    /// Told when nothing waits any more.
    done: Condvar,
}

/// What waits, and the thread that works on it.
struct Waiting<T> {
    errands: VecDeque<T>,
    /// A thread is at them; it ends with the last.
    is_running: bool,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Errands<T> {
    /// None yet.
    pub(super) fn new(name: &'static str, carry_out: fn(T) -> Option<T>) -> Errands<T> {
        let waiting = Waiting { errands: VecDeque::new(), is_running: false, thread: None };
        Errands { name, carry_out, waiting: Mutex::new(waiting), done: Condvar::new() }
    }

    /// Gives a piece of work to the thread, and starts it if there is none.
    ///
    /// # Errors
    /// The system has no thread left; the work is handed back, all that waited with it.
    pub(super) fn hand_over(&'static self, errand: T) -> Result<(), VecDeque<T>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.errands.push_back(errand);
        if waiting.is_running {
            return Ok(());
        }
        // The last one is at its end, and needs the lock no more. Joined, it is no hindrance to a
        // fork, which looks after the new one only.
        if let Some(last) = waiting.thread.take() {
            let _ = last.join();
        }
        // Under the lock, so that two who come at the same time start one thread.
        match thread::Builder::new().name(self.name.to_owned()).spawn(|| self.work()) {
            Ok(thread) => {
                waiting.is_running = true;
                waiting.thread = Some(thread);
                Ok(())
            }
            Err(_) => Err(std::mem::take(&mut waiting.errands)),
        }
    }

    /// The thread's work: takes the pieces one by one, and ends under the lock with the last, so
    /// that whoever comes after starts a new one.
    fn work(&self) {
        let mut left = None;
        loop {
            let next = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.errands.extend(left.take());
                let next = waiting.errands.pop_front();
                if next.is_none() {
                    waiting.is_running = false;
                    self.done.notify_all();
                }
                next
            };
            let Some(next) = next else { return };
            left = (self.carry_out)(next);
        }
    }

    /// Waits until all is done and the thread has ended, at the most until `deadline`. Returns
    /// whether it has.
    pub(super) fn finish(&self, deadline: Deadline) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.is_running {
            let left = deadline.left().unwrap_or(Duration::MAX);
            if left.is_zero() {
                return false;
            }
            waiting =
                self.done.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let thread = waiting.thread.take();
        drop(waiting);
        if let Some(thread) = thread {
            // It does nothing any more but end.
            let _ = thread.join();
        }
        true
    }
}
