//! Waiting for a lock without a thread of one's own: what the futures of the feature `async` do.
//!
//! A sleep in `futex(2)` cannot be polled, and a wake-up of one sleeper that a helper swallows
//! would leave another process asleep at a free lock. So for each object that tasks of this process
//! wait for, a thread goes through the *turnstile* in their place: it takes the object by the
//! ordinary, blocking and robust way, gives it back at once, which wakes the next sleeper as any
//! release does, and then calls the task at the front, which tries by itself on the thread that
//! polls it. The thread owns nothing when it calls; a task that is dropped, or a process that is
//! killed at any step, takes nothing along.
//!
//! 1. A task tries, and if that is in vain stands in the line of the object, and a thread is
//!    started if the line has none.
//! 2. The thread passes the turnstile for a bounded time, again and again while somebody is in
//!    line.
//! 3. It takes the front out of the line and calls it. It waits until that task has tried or is
//!    dropped, for `TURN` at the most: an executor that is busy holds up nobody else.
//! 4. A task that another one was faster than stands in front again.
//!
//! The thread ends when its line has been empty for `LINGER`. A forked copy of the process has
//! neither the thread nor the lines; a future that is polled there stands in a line of the copy.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::rounds::{LOOK_AGAIN, Rounds};
use crate::sys::per_process::{Generation, PerProcess};
use crate::sys::wait::poll::Deadline;

/// Time that the thread waits in the object before it looks whether anybody is still in line.
const ROUND: Duration = Duration::from_millis(250);
/// Time that the thread waits for the task that it called.
const TURN: Duration = Duration::from_millis(20);
/// Time after which a thread without tasks ends.
const LINGER: Duration = Duration::from_secs(2);

/// What the thread of a line passes through. It holds the object's memory.
pub(in crate::sync) trait Passage: Send + 'static {
    /// Waits until the object could be had and gives it back at once. False at `deadline`; true
    /// also if a task had better see for itself.
    fn pass(&self, deadline: Deadline) -> bool;

    /// Whether only one task at a time can have the object.
    fn is_for_one(&self) -> bool {
        true
    }
}

/// Where an object's state lies in this process, and in which way it is to be had.
pub(in crate::sync) type Key = (usize, u8);

/// A task in line.
struct Place {
    number: u64,
    waker: Waker,
}

/// The tasks that wait for one object.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Place>,
    /// The task that was called and has not tried yet.
    called: Option<u64>,
    /// Told of all that the thread waits for.
    changed: Arc<Condvar>,
}

/// The lines of this process.
#[derive(Default)]
struct Lines {
    by_key: HashMap<Key, Line>,
    next: u64,
}

/// A copy of the process begins without lines: their threads are not in it.
static LINES: PerProcess<Mutex<Lines>> = PerProcess::new();

fn lines() -> MutexGuard<'static, Lines> {
    LINES.get_or_init(|_| Mutex::default()).lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task's number in a line of one process.
struct Ticket {
    number: u64,
    key: Key,
    process: Generation,
}

impl Drop for Ticket {
    /// Leaves the line. If the task was called, the thread need not wait for it.
    #[inline(never)]
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        let left = {
            let mut lines = lines();
            let Some(line) = lines.by_key.get_mut(&self.key) else { return };
            if line.called == Some(self.number) {
                line.called = None;
                line.changed.notify_all();
            }
            let at = line.waiting.iter().position(|place| place.number == self.number);
            at.and_then(|at| line.waiting.remove(at))
        };
        // Code of the executor's, so not under the lock.
        drop(left);
    }
}

/// A future that looks until there is something to be had. It may be dropped at any time.
pub(in crate::sync) struct Until<L, P> {
    // First, so that the task leaves before its object may go.
    ticket: Option<Ticket>,
    look: L,
    passage: P,
    key: Key,
    /// If no thread could be started: when to look again.
    rounds: Rounds,
}

/// Waits until `look` finds something. `passage` makes what the thread of the line at `key` passes.
pub(in crate::sync) fn until<T, L, P, G>(key: Key, look: L, passage: P) -> Until<L, P>
where
    L: FnMut() -> Option<T> + Unpin,
    P: Fn() -> G + Unpin,
    G: Passage,
{
    Until { ticket: None, look, passage, key, rounds: Rounds::default() }
}

impl<T, L, P, G> Future for Until<L, P>
where
    L: FnMut() -> Option<T> + Unpin,
    P: Fn() -> G + Unpin,
    G: Passage,
{
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if let Some(found) = (this.look)() {
            this.ticket = None;
            return Poll::Ready(found);
        }
        this.wait(context)
    }
}

impl<L, P, G> Until<L, P>
where
    P: Fn() -> G,
    G: Passage,
{
    /// Stands in line, or looks in rounds.
    #[inline(never)]
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<T> {
        if self.stand_in_line(context.waker()) {
            return Poll::Pending;
        }
        // No thread looks in our place: in rounds, by the clock of the executor's reactor.
        self.ticket = None;
        self.rounds.wait(context);
        Poll::Pending
    }

    /// Stands in line: in the place that it has, in front if it was called in vain, or else at the
    /// end. False if the line has no thread and none can be started.
    fn stand_in_line(&mut self, waker: &Waker) -> bool {
        let key = self.key;
        // A copy of the process has other lines.
        self.ticket.take_if(|ticket| !ticket.process.is_current());
        // The waker is code of the executor's: cloned and dropped without the lock.
        let mut waker = waker.clone();
        let mut lines = lines();
        let number = self.ticket.as_ref().map_or(lines.next, |ticket| ticket.number);
        lines.next = lines.next.max(number + 1);
        let line = match lines.by_key.entry(key) {
            Entry::Occupied(line) => line.into_mut(),
            Entry::Vacant(vacant) => {
                let Ok(()) = start(key, (self.passage)()) else { return false };
                vacant.insert(Line::default())
            }
        };
        let mut old = None;
        match line.waiting.iter_mut().find(|place| place.number == number) {
            Some(place) => {
                std::mem::swap(&mut place.waker, &mut waker);
                old = Some(waker);
            }
            None => {
                let place = Place { number, waker };
                if self.ticket.is_some() {
                    line.waiting.push_front(place);
                } else {
                    line.waiting.push_back(place);
                }
            }
        }
        if line.called == Some(number) {
            line.called = None;
        }
        line.changed.notify_all();
        drop(lines);
        drop(old);
        self.ticket.get_or_insert_with(|| Ticket { number, key, process: Generation::current() });
        true
    }
}

impl<L, P> fmt::Debug for Until<L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Until")
    }
}

/// Starts the thread of the line at `key`. The caller holds the lock, so that the thread finds it.
fn start(key: Key, passage: impl Passage) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("multiproc-locks".into());
    thread.spawn(move || serve(key, &passage)).map(drop)
}

/// The work of a line's thread.
fn serve(key: Key, passage: &impl Passage) {
    // A waker that panics ends the thread: the others are called, and start another one.
    let _end = End(key);
    while is_wanted(key) {
        let deadline = Deadline::after(ROUND);
        if passage.pass(deadline) {
            call(key, passage.is_for_one());
        } else if !deadline.is_over() {
            // Somebody who means no good has written there, and it cannot be waited for.
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Waits until somebody is in line; false if nobody comes: then the line is no more.
fn is_wanted(key: Key) -> bool {
    let until = Instant::now() + LINGER;
    let mut lines = lines();
    loop {
        let Some(line) = lines.by_key.get(&key) else { return false };
        if !line.waiting.is_empty() {
            return true;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            lines.by_key.remove(&key);
            return false;
        }
        let changed = Arc::clone(&line.changed);
        lines = changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Takes the front out of the line and wakes its task; waits until that one has tried, if the next
/// one would try in vain.
fn call(key: Key, waits: bool) {
    let waker = {
        let mut lines = lines();
        let Some(line) = lines.by_key.get_mut(&key) else { return };
        let Some(first) = line.waiting.pop_front() else { return };
        line.called = waits.then_some(first.number);
        first.waker
    };
    waker.wake();
    if !waits {
        return;
    }
    let until = Instant::now() + TURN;
    let mut lines = lines();
    loop {
        let Some(line) = lines.by_key.get_mut(&key) else { return };
        let left = until.saturating_duration_since(Instant::now());
        if line.called.is_none() || left.is_zero() {
            line.called = None;
            return;
        }
        let changed = Arc::clone(&line.changed);
        lines = changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Removes the line of a thread that ends while tasks are in it, and calls them all.
struct End(Key);

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let line = lines().by_key.remove(&self.0);
            for place in line.into_iter().flat_map(|line| line.waiting) {
                let waker = std::panic::AssertUnwindSafe(place.waker);
                let _ = std::panic::catch_unwind(|| { waker }.0.wake());
            }
        }
    }
}
