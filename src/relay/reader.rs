//! The thread that passes on what children say, one for all of this process's.
//!
//! # Its life
//! 1. The first stream starts it; streams are added and taken out while it runs.
//! 2. It sleeps on all of them, and gives each that has something one turn.
//! 3. It ends with the last, or is called off before a fork and started anew behind it.
//!
//! A forked copy of this process has neither the thread nor the streams.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{collections::HashMap, fmt};

use super::stream::{self, Stream};
use crate::sys::per_process::PerProcess;
use crate::sys::wait::epoll::{Epoll, WakeUp};
use crate::sys::wait::poll::Deadline;

/// The number of the call in the set, which no stream has.
const CALL: u64 = 0;

/// Time after which the thread tries again what the system refused.
const PAUSE: Duration = Duration::from_millis(20);

/// One for each process.
static RELAY: PerProcess<Relay> = PerProcess::new();

/// The streams of a process's children, and the thread that reads them.
#[derive(Default)]
struct Relay {
    state: Mutex<State>,
    /// Told when the thread ends.
    over: Condvar,
}

/// What the thread sleeps on.
struct Bed {
    set: Epoll,
    /// Calls the thread away from its sleep.
    call: WakeUp,
}

/// Held for moments, never while a stream is read.
#[derive(Default)]
struct State {
    streams: HashMap<u64, Arc<Stream>>,
    /// There is one as long as there are streams.
    bed: Option<Arc<Bed>>,
    is_running: bool,
    /// So many forks want no thread.
    called_off: u32,
    thread: Option<JoinHandle<()>>,
}

/// All that one child says beside its result.
#[derive(Default)]
pub(crate) struct Relayed(Vec<Arc<Stream>>);

impl Relayed {
    /// Has a stream passed on from now on.
    ///
    /// # Errors
    /// The system lacks descriptors, memory or threads. The stream is closed then.
    pub(crate) fn add(&mut self, stream: Arc<Stream>) -> io::Result<()> {
        RELAY.get_or_init(|_| Relay::default()).add(&stream)?;
        self.0.push(stream);
        Ok(())
    }

    /// Returns when all that the child said before its end has been passed on. The end was seen.
    /// In code that was called to pass something on, it returns at once.
    pub(crate) fn finish(&self) {
        for stream in &self.0 {
            stream.finish(|fd| {
                if let Some(relay) = RELAY.get() {
                    relay.forget(stream, fd);
                }
            });
        }
    }
}

impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relayed").field(&self.0.len()).finish()
    }
}

impl Bed {
    fn new() -> io::Result<Bed> {
        let (set, call) = (Epoll::new()?, WakeUp::new()?);
        set.add(call.as_fd(), CALL)?;
        Ok(Bed { set, call })
    }
}

impl State {
    /// Returns what the thread sleeps on; made with the first stream.
    fn bed(&mut self) -> io::Result<Arc<Bed>> {
        if let Some(bed) = &self.bed {
            return Ok(Arc::clone(bed));
        }
        let bed = Arc::new(Bed::new()?);
        self.bed = Some(Arc::clone(&bed));
        Ok(bed)
    }
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&'static self, stream: &Arc<Stream>) -> io::Result<()> {
        let bed = {
            let mut state = self.lock();
            let bed = state.bed()?;
            state.streams.insert(stream.number, Arc::clone(stream));
            bed
        };
        let added = stream.with_fd(|fd| bed.set.add(fd, stream.number)).unwrap_or(Ok(()));
        let started = added.and_then(|()| self.ensure_thread());
        if started.is_err() {
            stream.with_fd(|fd| self.forget(stream, fd));
        }
        started
    }

    /// Takes out a stream that is at its end. Its state is locked.
    fn forget(&self, stream: &Stream, fd: std::os::fd::BorrowedFd<'_>) {
        let mut state = self.lock();
        let gone = state.streams.remove(&stream.number);
        if let Some(bed) = &state.bed {
            bed.set.remove(fd);
        }
        if state.streams.is_empty() {
            if state.is_running {
                state.bed.iter().for_each(|bed| bed.call.wake());
            } else {
                state.bed = None;
            }
        }
        drop(state);
        drop(gone);
    }

    /// Starts the thread if there is something to read and none does.
    fn ensure_thread(&'static self) -> io::Result<()> {
        let mut state = self.lock();
        if state.is_running || state.called_off > 0 || state.streams.is_empty() {
            return Ok(());
        }
        // The last one is at its end, and needs the lock no more.
        if let Some(last) = state.thread.take() {
            let _ = last.join();
        }
        // Under the lock, so that two who come at the same time start one thread.
        let bed = state.bed()?;
        let thread = thread::Builder::new().name("multiproc-relay".to_owned());
        state.thread = Some(thread.spawn(move || self.work(&bed))?);
        state.is_running = true;
        Ok(())
    }

    /// The thread's work. It ends under the lock, so that whoever comes after starts a new one.
    fn work(&self, bed: &Bed) {
        let mut heard = Vec::new();
        loop {
            heard.clear();
            if bed.set.wait(&mut heard, Deadline::Never).is_err() {
                thread::sleep(PAUSE);
            }
            for number in &heard {
                if *number == CALL {
                    bed.call.clear();
                    continue;
                }
                let stream = self.lock().streams.get(number).cloned();
                if let Some(stream) = stream {
                    stream.turn(|fd| self.forget(&stream, fd));
                }
            }
            let mut state = self.lock();
            if state.called_off > 0 || state.streams.is_empty() {
                state.is_running = false;
                if state.streams.is_empty() {
                    state.bed = None;
                }
                self.over.notify_all();
                return;
            }
        }
    }

    /// Waits for the end of the thread that was called off, at the most until `deadline`.
    fn await_end(&self, deadline: Deadline) {
        let mut state = self.lock();
        while state.is_running {
            let left = deadline.left().unwrap_or(Duration::MAX);
            if left.is_zero() {
                return;
            }
            state = self.over.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let thread = state.thread.take();
        drop(state);
        if let Some(thread) = thread {
            // It does nothing any more but end.
            let _ = thread.join();
        }
    }
}

/// A time without the thread: until this is dropped, in this process.
pub(crate) struct Silence(Option<&'static Relay>);

/// Ends the thread before a fork, which must be alone; waits for it for `timeout` at the most. What
/// children say meanwhile waits in their streams. Called by the thread itself, in code of the
/// user's, it changes nothing.
pub(crate) fn silence(timeout: Duration) -> Silence {
    let Some(relay) = RELAY.get().filter(|_| !stream::passes_on()) else { return Silence(None) };
    {
        let mut state = relay.lock();
        state.called_off += 1;
        state.bed.iter().for_each(|bed| bed.call.wake());
    }
    relay.await_end(Deadline::after(timeout));
    Silence(Some(relay))
}

impl Drop for Silence {
    fn drop(&mut self) {
        // In the copy, the streams are not its own.
        let Some(relay) = self.0.filter(|_| RELAY.get().is_some()) else { return };
        let mut state = relay.lock();
        state.called_off = state.called_off.saturating_sub(1);
        drop(state);
        // If the system has no thread now, the next stream that is added starts it.
        let _ = relay.ensure_thread();
    }
}
