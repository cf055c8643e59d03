//! Waiting for words whose change wakes all who sleep on them, such as an event's: one thread for
//! many.
//!
//! Who sleeps on such a word takes nothing from others. So one thread can sleep on many at once
//! (`futex_waitv(2)`), and need not be robust. It sleeps on up to `ROOM` objects, whatever the
//! number of tasks at each, and on a word of its own; for more objects there are more threads.
//!
//! 1. A task looks, and if that is in vain enrols with the thread that watches the object, or
//!    another one, or a new one. If the object was not watched, the thread is called. The task
//!    arms the object, or looks again.
//! 2. The thread arms each object for each of its tasks, and takes out and calls those that had
//!    better look. An object that has had no tasks for `LINGER` is given up; until then it is
//!    watched, so that the next task need not call the thread.
//! 3. It sleeps until one of the words has another value than it had in 2, or is woken.
//!
//! A change behind 2 makes the sleep of 3 end at once. A task that arms an object while the thread
//! sleeps on it changes its word, which wakes nobody; but whoever sets it then wakes all who sleep
//! on the word, whatever value they found there. A kernel that cannot sleep on several words
//! (before Linux 5.16) has the thread look in rounds instead.
//!
//! The thread ends when it has had no tasks for `LINGER`. A forked copy of the process has neither
//! the threads nor who is enrolled; a future that is polled there enrols in the copy.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::rounds::{LOOK_AGAIN, Rounds};
use crate::sys::per_process::{Generation, PerProcess};
use crate::sys::wait::futex;
use crate::sys::wait::poll::Deadline;

/// Number of objects that one thread watches: one word less than the kernel takes.
const ROOM: usize = futex::MAX_WORDS - 1;
/// Time after which an object without tasks is given up, and a thread without objects ends.
const LINGER: Duration = Duration::from_secs(2);

/// An object that a thread watches. It holds the object's memory.
pub(in crate::sync) trait Watched: Send + Sync + 'static {
    /// The word that changes.
    fn word(&self) -> &AtomicU32;

    /// Prepares the word to be slept on for who began at `since`. Returns the value that it has
    /// then; `None` if that one had better look.
    fn arm(&self, since: u32) -> Option<u32>;
}

/// A task at an object.
struct Place {
    number: u64,
    since: u32,
    waker: Waker,
}

/// An object and its tasks.
struct Group {
    watched: Arc<dyn Watched>,
    tasks: Vec<Place>,
    /// Since when it has no tasks, as the thread has seen.
    idle_since: Option<Instant>,
}

/// What one thread watches, by where it lies in this process.
#[derive(Default)]
struct Bank {
    groups: HashMap<usize, Group>,
    /// Changed to call the thread.
    call: Arc<AtomicU32>,
}

/// All of this process.
#[derive(Default)]
struct Banks {
    /// By the number of the thread.
    by_thread: HashMap<u64, Bank>,
    next: u64,
}

static BANKS: PerProcess<Mutex<Banks>> = PerProcess::new();

fn banks() -> MutexGuard<'static, Banks> {
    BANKS.get_or_init(|_| Mutex::default()).lock().unwrap_or_else(PoisonError::into_inner)
}

fn call(call: &AtomicU32) {
    call.fetch_add(1, Ordering::SeqCst);
    futex::wake(call, u32::MAX);
}

impl Group {
    /// Whether it has no tasks, and the thread does not know.
    fn is_unseen(&self) -> bool {
        self.tasks.is_empty() && self.idle_since.is_none()
    }
}

impl Banks {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Finds the thread that watches the object at `key`, or that is going to.
    fn thread_for(&mut self, key: usize) -> io::Result<u64> {
        let has_it =
            |(thread, bank): (&u64, &Bank)| bank.groups.contains_key(&key).then_some(*thread);
        let has_room =
            |(thread, bank): (&u64, &Bank)| (bank.groups.len() < ROOM).then_some(*thread);
        let found = self.by_thread.iter().find_map(has_it);
        if let Some(thread) = found.or_else(|| self.by_thread.iter().find_map(has_room)) {
            return Ok(thread);
        }
        let thread = self.number();
        // It finds its bank, as the list is locked until that is in it.
        std::thread::Builder::new()
            .name("multiproc-events".into())
            .spawn(move || while serve(thread) {})?;
        self.by_thread.insert(thread, Bank::default());
        Ok(thread)
    }
}

/// A task that is enrolled.
struct Ticket {
    number: u64,
    key: usize,
    thread: u64,
    process: Generation,
}

impl Drop for Ticket {
    /// Takes the task out, if the thread has not done so.
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        let mut banks = banks();
        let Some(bank) = banks.by_thread.get_mut(&self.thread) else { return };
        let Some(group) = bank.groups.get_mut(&self.key) else { return };
        let at = group.tasks.iter().position(|place| place.number == self.number);
        let place = at.map(|at| group.tasks.swap_remove(at));
        // The thread sees when it was the last, and gives the object up some time.
        let bell = group.is_unseen().then(|| Arc::clone(&bank.call));
        drop(banks);
        // Code of the executor's, and a call of the kernel: not under the lock.
        drop(place);
        if let Some(bell) = bell {
            call(&bell);
        }
    }
}

/// A future that looks until there is something to be had. It may be dropped at any time.
pub(in crate::sync) struct Until<L, W> {
    // First, so that the task leaves before its object may go.
    ticket: Option<Ticket>,
    look: L,
    watched: W,
    key: usize,
    since: u32,
    rounds: Rounds,
}

/// Waits until `look` finds something. `watched` makes what a thread watches, whose word lies at
/// `key`.
pub(in crate::sync) fn until<T, L, W, G>(key: usize, since: u32, look: L, watched: W) -> Until<L, W>
where
    L: FnMut() -> Option<T> + Unpin,
    W: Fn() -> G + Unpin,
    G: Watched,
{
    Until { ticket: None, look, watched, key, since, rounds: Rounds::default() }
}

impl<T, L, W, G> Future for Until<L, W>
where
    L: FnMut() -> Option<T> + Unpin,
    W: Fn() -> G + Unpin,
    G: Watched,
{
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if let Some(found) = (this.look)() {
            this.ticket = None;
            return Poll::Ready(found);
        }
        match this.enrol(context.waker()) {
            Ok(true) => return Poll::Pending,
            Ok(false) => {}
            Err(_) => {
                this.ticket = None;
                this.rounds.wait(context);
                return Poll::Pending;
            }
        }
        // It has changed since the first look, or changes all the time.
        if let Some(found) = (this.look)() {
            this.ticket = None;
            return Poll::Ready(found);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<L, W, G> Until<L, W>
where
    W: Fn() -> G,
    G: Watched,
{
    /// Enrols, or gives the thread the waker of now, and arms the object. Returns false if it had
    /// better be looked at.
    ///
    /// # Errors
    /// No thread can be made.
    #[inline(never)]
    fn enrol(&mut self, waker: &Waker) -> io::Result<bool> {
        // A copy of the process has other threads.
        self.ticket.take_if(|ticket| !ticket.process.is_current());
        // The waker is code of the executor's: cloned and dropped without the lock.
        let mut waker = waker.clone();
        let mut banks = banks();
        let thread = banks.thread_for(self.key)?;
        let number = match &self.ticket {
            Some(ticket) => ticket.number,
            None => banks.number(),
        };
        let Some(bank) = banks.by_thread.get_mut(&thread) else { return Ok(false) };
        let is_new = !bank.groups.contains_key(&self.key);
        let group = bank.groups.entry(self.key).or_insert_with(|| Group {
            watched: Arc::new((self.watched)()),
            tasks: Vec::new(),
            idle_since: None,
        });
        let is_armed = group.watched.arm(self.since).is_some();
        let mut old = None;
        match group.tasks.iter_mut().find(|place| place.number == number) {
            Some(place) => {
                std::mem::swap(&mut place.waker, &mut waker);
                old = Some(waker);
            }
            None => group.tasks.push(Place { number, since: self.since, waker }),
        }
        let bell = is_new.then(|| Arc::clone(&bank.call));
        drop(banks);
        drop(old);
        if let Some(bell) = bell {
            call(&bell);
        }
        match &mut self.ticket {
            // The thread that it was enrolled with may have ended.
            Some(ticket) => ticket.thread = thread,
            None => {
                let process = Generation::current();
                self.ticket = Some(Ticket { number, key: self.key, thread, process });
            }
        }
        Ok(is_armed)
    }
}

impl<L, W> fmt::Debug for Until<L, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Until")
    }
}

/// What a thread has looked at: whom to call, on what to sleep and until when, and what it gives
/// up.
#[derive(Default)]
struct Look {
    wakers: Vec<Waker>,
    sleeps_on: Vec<(Arc<dyn Watched>, u32)>,
    idle_since: Option<Instant>,
    given_up: Vec<Arc<dyn Watched>>,
}

/// One turn of a thread. Returns whether there is another one.
fn serve(thread: u64) -> bool {
    let (bell, called, look) = {
        let mut banks = banks();
        let Some(bank) = banks.by_thread.get_mut(&thread) else { return false };
        // Before the look: who comes later changes it.
        let called = bank.call.load(Ordering::SeqCst);
        (Arc::clone(&bank.call), called, look_at(&mut bank.groups, Instant::now()))
    };
    let Look { wakers, sleeps_on, idle_since, given_up } = look;
    // Code of users and calls of the kernel, with nothing locked. A waker that panics has shown it.
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
    drop(given_up);
    let mut words: Vec<(&AtomicU32, u32)> = vec![(&*bell, called)];
    words.extend(sleeps_on.iter().map(|(watched, value)| (watched.word(), *value)));
    if !sleeps_on.is_empty() {
        let deadline = idle_since.map_or(Deadline::Never, |since| Deadline::at(since + LINGER));
        if !futex::wait_any(&words, deadline) {
            std::thread::sleep(LOOK_AGAIN);
        }
        return true;
    }
    futex::wait(&bell, called, Deadline::after(LINGER));
    let mut banks = banks();
    let is_idle = bell.load(Ordering::SeqCst) == called
        && banks.by_thread.get(&thread).is_some_and(|bank| bank.groups.is_empty());
    if is_idle {
        banks.by_thread.remove(&thread);
    }
    !is_idle
}

/// Arms all objects, and takes out the tasks that had better look.
fn look_at(groups: &mut HashMap<usize, Group>, now: Instant) -> Look {
    let mut look = Look::default();
    groups.retain(|_, group| {
        // Before it is armed for anybody: what changes later is seen by the sleep.
        let mut value = group.watched.word().load(Ordering::SeqCst);
        for at in (0..group.tasks.len()).rev() {
            match group.watched.arm(group.tasks[at].since) {
                Some(armed) => value = armed,
                None => look.wakers.push(group.tasks.swap_remove(at).waker),
            }
        }
        group.idle_since = group.tasks.is_empty().then(|| group.idle_since.unwrap_or(now));
        let is_kept = group.idle_since.is_none_or(|since| now < since + LINGER);
        if is_kept {
            look.idle_since = look.idle_since.into_iter().chain(group.idle_since).min();
            look.sleeps_on.push((Arc::clone(&group.watched), value));
        } else {
            look.given_up.push(Arc::clone(&group.watched));
        }
        is_kept
    });
    // In the order in which they came, as far as that is known.
    look.wakers.reverse();
    look
}
