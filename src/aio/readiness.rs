//! One wait for the reactor's word, and the loop that leads to it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{ReadableOwned, Timer, WritableOwned};

use super::source::Source;
use crate::sys::per_process::Generation;

/// Number of looks in one poll after which a future lets others go on: somebody may make the
/// descriptor readable again and again.
const MAX_LOOKS: u32 = 64;

/// Outcomes in a row, on one thread, that were there at once, after which a future lets others go
/// on: a loop over a channel that always has something would keep the thread to itself.
const MAX_IN_A_ROW: u32 = 128;

thread_local! {
    static IN_A_ROW: Cell<u32> = const { Cell::new(0) };
}

/// Returns true, once, after many outcomes in a row that were there at once.
fn is_turn_of_others() -> bool {
    IN_A_ROW.with(|count| {
        let is_theirs = count.get() >= MAX_IN_A_ROW;
        count.set(if is_theirs { 0 } else { count.get() + 1 });
        is_theirs
    })
}

/// What a descriptor is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Readable,
    Writable,
}

/// What a step towards an outcome has come to.
pub(super) enum Step<T> {
    /// The outcome.
    Done(T),
    /// Something may be had: to be tried again.
    Again,
    /// Nothing is there, and the descriptor will tell.
    Wait,
}

/// Number of those in this process who wait for the reactor's word.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// One of them.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Counted {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One who waits for the reactor's word on a descriptor.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    event: Option<Event>,
    /// `Some` while it waits.
    waits: Option<Counted>,
    /// Kept from wait to wait, as to make one wakes the reactor's thread. One that began earlier
    /// has one look too early, at most.
    round: Option<Round>,
}

/// When to look again.
#[derive(Debug)]
pub(super) struct Round {
    /// `Some` until it is dropped.
    timer: Option<Timer>,
    length: Duration,
    made_in: Generation,
}

impl Round {
    fn begin(length: Duration) -> Round {
        Round { timer: Some(Timer::after(length)), length, made_in: Generation::current() }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(context).is_ready())
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        // In a forked copy, a lock of the reactor's may be held by a thread that is not there.
        if !self.made_in.is_current() {
            std::mem::forget(self.timer.take());
        }
    }
}

/// An event that the reactor tells of.
#[derive(Debug)]
enum Event {
    Readable(ReadableOwned<OwnedFd>),
    Writable(WritableOwned<OwnedFd>),
}

impl Readiness {
    /// One that takes over the round of another, if there is one, and leaves its own there in the
    /// end.
    pub(super) fn with_round_of(spare: &Mutex<Option<Round>>) -> Lent<'_> {
        let round = spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        Lent { readiness: Readiness { round, ..Readiness::default() }, spare }
    }

    /// Returns whether nobody in this process waits for the reactor's word.
    pub(super) fn nobody_waits() -> bool {
        WAITING.load(Ordering::Relaxed) == 0
    }

    /// Takes steps with `state` until one gives an outcome or has to wait; what is watched then,
    /// `watch` says. Lets others go on before that, now and then, as what may have outcomes without
    /// an end is to do.
    pub(super) fn poll<S, T>(
        &mut self,
        context: &mut Context<'_>,
        state: &mut S,
        watch: impl FnMut(&mut S) -> io::Result<Watch>,
        mut step: impl FnMut(&mut S) -> Step<T>,
    ) -> Poll<io::Result<T>> {
        // Before anything is taken, so nothing is lost.
        if is_turn_of_others() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_told(context, state, watch, |state, _| step(state))
    }

    /// `poll`, for steps that have to know whether the descriptor has told of something since the
    /// step before. (An executor may poll for nothing.)
    pub(super) fn poll_told<S, T>(
        &mut self,
        context: &mut Context<'_>,
        state: &mut S,
        mut watch: impl FnMut(&mut S) -> io::Result<Watch>,
        mut step: impl FnMut(&mut S, bool) -> Step<T>,
    ) -> Poll<io::Result<T>> {
        let mut is_told = false;
        for _ in 0..MAX_LOOKS {
            match step(state, is_told) {
                Step::Done(outcome) => {
                    self.event = None;
                    self.waits = None;
                    return Poll::Ready(Ok(outcome));
                }
                Step::Again => {}
                Step::Wait => match self.poll_event(context, || watch(state)) {
                    Poll::Pending => {
                        IN_A_ROW.set(0);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(told)) => is_told = told,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                },
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns `Ready` when the reactor has told of the descriptor (true), or a round is over.
    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
        watch: impl FnOnce() -> io::Result<Watch>,
    ) -> Poll<io::Result<bool>> {
        if self.waits.is_none() {
            let Watch { source, round } = watch()?;
            self.event = source.map(|(source, direction)| match direction {
                Direction::Readable => Event::Readable(source.readable_owned()),
                Direction::Writable => Event::Writable(source.writable_owned()),
            });
            let kept = self.round.take().filter(|kept| Some(kept.length) == round);
            self.round = kept.or_else(|| round.map(Round::begin));
            self.waits = Some(Counted::new());
        }
        let told = match self.event.as_mut() {
            Some(Event::Readable(event)) => Pin::new(event).poll(context),
            Some(Event::Writable(event)) => Pin::new(event).poll(context),
            None => Poll::Pending,
        };
        let is_over = self.round.as_mut().is_some_and(|round| round.is_over(context));
        if told.is_pending() && !is_over {
            return Poll::Pending;
        }
        self.event = None;
        self.waits = None;
        if is_over {
            self.round = None;
        }
        match told {
            Poll::Pending => Poll::Ready(Ok(false)),
            Poll::Ready(told) => Poll::Ready(told.map(|()| true)),
        }
    }
}

/// The readiness of one of many futures of the same end.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    pub(super) readiness: Readiness,
    spare: &'a Mutex<Option<Round>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let round = self.readiness.round.take();
        if round.is_some() {
            // What was there goes after the lock does: with its waker may go a task, and with
            // that a future of the same end.
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut *spare, round);
            drop(spare);
            drop(old);
        }
    }
}

/// What a future watches.
pub(super) struct Watch {
    source: Option<(Arc<async_io::Async<OwnedFd>>, Direction)>,
    /// How often one looks again although nothing was told.
    round: Option<Duration>,
}

impl Watch {
    /// A descriptor, and how often one looks again although it has told of nothing.
    pub(super) fn new(source: &Source, direction: Direction, round: Option<Duration>) -> Watch {
        Watch { source: Some((source.watched(), direction)), round }
    }

    /// No descriptor, but a time.
    pub(super) fn after(time: Duration) -> Watch {
        Watch { source: None, round: Some(time) }
    }
}
