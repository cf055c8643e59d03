//! One wait for the reactor's word, and the loop that leads to it.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{ReadableOwned, Timer, WritableOwned};

use super::source::Source;

/// Number of looks in one poll after which a future lets others go on: somebody may make the
/// descriptor readable again and again.
const MAX_LOOKS: u32 = 64;

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

/// One who waits for the reactor's word on a descriptor.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    event: Option<Event>,
    round: Option<Timer>,
}

/// An event that the reactor tells of.
#[derive(Debug)]
enum Event {
    Readable(ReadableOwned<OwnedFd>),
    Writable(WritableOwned<OwnedFd>),
}

impl Readiness {
    /// Takes steps with `state` until one gives an outcome or has to wait; what is watched then,
    /// `watch` says.
    pub(super) fn poll<S, T>(
        &mut self,
        context: &mut Context<'_>,
        state: &mut S,
        mut watch: impl FnMut(&mut S) -> io::Result<Watch>,
        mut step: impl FnMut(&mut S) -> Step<T>,
    ) -> Poll<io::Result<T>> {
        for _ in 0..MAX_LOOKS {
            match step(state) {
                Step::Done(outcome) => {
                    *self = Readiness::default();
                    return Poll::Ready(Ok(outcome));
                }
                Step::Again => {}
                Step::Wait => match self.poll_event(context, || watch(state)) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                },
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns `Ready` when the reactor has told of the descriptor, or a round is over.
    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
        watch: impl FnOnce() -> io::Result<Watch>,
    ) -> Poll<io::Result<()>> {
        if self.event.is_none() && self.round.is_none() {
            let Watch { source, round } = watch()?;
            self.event = source.map(|(source, direction)| match direction {
                Direction::Readable => Event::Readable(source.readable_owned()),
                Direction::Writable => Event::Writable(source.writable_owned()),
            });
            self.round = round.map(Timer::after);
        }
        let told = match self.event.as_mut() {
            Some(Event::Readable(event)) => Pin::new(event).poll(context),
            Some(Event::Writable(event)) => Pin::new(event).poll(context),
            None => Poll::Pending,
        };
        let is_over =
            self.round.as_mut().is_some_and(|round| Pin::new(round).poll(context).is_ready());
        if told.is_pending() && !is_over {
            return Poll::Pending;
        }
        *self = Readiness::default();
        match told {
            Poll::Pending => Poll::Ready(Ok(())),
            told => told,
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
