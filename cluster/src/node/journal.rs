//! What a node writes, of its own and of what its stations write.
//!
//! It may be that nobody reads it: the log is a pipe that was forgotten, or a terminal that is
//! stopped. That must stop neither the node nor the tasks that write. So a thread writes, and who
//! has something to write waits for it a moment; once that was in vain, nobody waits until
//! something is read again, and what finds no room is lost, which is said.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time that the node itself waits until a line is written. It has to announce itself.
const NOTED: Duration = Duration::from_millis(200);

/// Time that what a station wrote waits.
const PASSED: Duration = Duration::from_secs(1);

/// Bytes that wait to be written, at the most.
const ROOM: usize = 64 << 10;

/// The node's standard output.
pub(super) static OUTPUT: Stream = Stream::new(|bytes| {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()
});

/// The node's standard error.
pub(super) static ERRORS: Stream = Stream::new(|bytes| std::io::stderr().write_all(bytes));

/// Writes a line. One that cannot be written, as the disk is full or nobody reads any more, is no
/// reason to stop.
pub(crate) fn note(line: impl Display) {
    // Whole, so that it does not mix with those of others.
    ERRORS.write(format!("multiproc-node: {line}\n").as_bytes(), NOTED);
}

/// Something that is written to by a thread of its own.
pub(super) struct Stream {
    write: fn(&[u8]) -> std::io::Result<()>,
    state: Mutex<State>,
    /// There is something to be written; something was written.
    more: Condvar,
    less: Condvar,
}

struct State {
    queue: VecDeque<Vec<u8>>,
    /// Bytes in the queue.
    queued: usize,
    /// Pieces that were put into the queue, that were written, and that were lost since then.
    put: u64,
    written: u64,
    lost: u64,
    /// True once somebody has waited in vain, until something is written.
    is_stuck: bool,
    has_thread: bool,
}

impl Stream {
    const fn new(write: fn(&[u8]) -> std::io::Result<()>) -> Stream {
        let state = State {
            queue: VecDeque::new(),
            queued: 0,
            put: 0,
            written: 0,
            lost: 0,
            is_stuck: false,
            has_thread: false,
        };
        Stream { write, state: Mutex::new(state), more: Condvar::new(), less: Condvar::new() }
    }

    /// Writes what a station wrote, as it is.
    pub(super) fn pass_on(&'static self, bytes: &[u8]) {
        self.write(bytes, PASSED);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has bytes written, and waits for that, but no longer than so.
    fn write(&'static self, bytes: &[u8], patience: Duration) {
        let mut state = self.lock();
        if !state.has_thread {
            let thread = std::thread::Builder::new().name("node-journal".to_owned());
            state.has_thread = thread.spawn(|| self.run()).is_ok();
        }
        let has_room = |state: &State| state.queue.is_empty() || state.queued + bytes.len() <= ROOM;
        if !has_room(&state) {
            state = self.wait(state, patience, has_room);
        }
        if !has_room(&state) || !state.has_thread {
            state.lost += 1;
            return;
        }
        state.queue.push_back(bytes.to_vec());
        state.queued += bytes.len();
        state.put += 1;
        self.more.notify_one();
        let number = state.put;
        drop(self.wait(state, patience, |state| state.written >= number));
    }

    /// Waits until something is so, unless others have waited in vain.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        patience: Duration,
        is_so: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        if !state.is_stuck {
            let waits = |state: &mut State| !is_so(state) && !state.is_stuck;
            let waited = self.less.wait_timeout_while(state, patience, waits);
            let (after, late) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.is_stuck |= late.timed_out();
        }
        state
    }

    /// Writes what there is to be written, for ever.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            let Some(piece) = state.queue.pop_front() else {
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let lost = std::mem::take(&mut state.lost);
            drop(state);
            let _ = (self.write)(&piece);
            if lost > 0 {
                let line = format!("multiproc-node: {lost} times, nobody read what was written\n");
                let _ = (self.write)(line.as_bytes());
            }
            state = self.lock();
            state.queued -= piece.len();
            state.written += 1;
            state.is_stuck = false;
            self.less.notify_all();
        }
    }
}
