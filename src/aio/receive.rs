//! Receiving at the ends of pipes and connections.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::asynchronous::{Async, Watcher};
use super::brief::InVain;
use super::readiness::Step;
use crate::channel::{Connection, LooksBriefly, Receiver, RecvError, TryRecvError};
use crate::error::Error;
use crate::process::Waitable;

/// The outcome of a look for a value: `None` if there is none yet.
pub(super) fn looked<V>(outcome: Result<V, TryRecvError>) -> Option<Result<V, RecvError>> {
    match outcome {
        Ok(value) => Some(Ok(value)),
        Err(error) => error.other_than_empty().map(Err),
    }
}

/// The outcome of asking whether there is something to take.
pub(super) fn asked<V>(answer: Result<bool, Error>, fault: impl FnOnce(Error) -> V) -> Step<V> {
    match answer {
        Ok(true) => Step::Again,
        Ok(false) => Step::Wait,
        Err(error) => Step::Done(fault(error)),
    }
}

/// The error of a wait, as one of receiving.
pub(super) fn recv_fault(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RecvError {
    RecvError::Os(std::io::Error::other(error))
}

/// Polls for what `take` finds, at an end that one task at a time receives from.
fn poll_take<E: Waitable + LooksBriefly, V>(
    this: &mut Async<E>,
    context: &mut Context<'_>,
    mut take: impl FnMut(&mut E) -> Result<V, TryRecvError>,
) -> Poll<Result<V, RecvError>> {
    // The state is taken out, so that the end and it can be borrowed at once.
    let mut readiness = std::mem::take(&mut this.values.readiness);
    in_vain(&mut this.values).look(&mut this.end);
    let polled = readiness.poll(
        context,
        this,
        |this| this.watch_values(),
        |this| match looked(take(&mut this.end)) {
            Some(outcome) => Step::Done(outcome),
            None => asked(this.end.poll_ready(), |error| Err(recv_fault(error))),
        },
    );
    this.values.readiness = readiness;
    if polled.is_ready() {
        in_vain(&mut this.values).came(&mut this.end);
    }
    let polled = polled.map(|outcome| outcome.unwrap_or_else(|error| Err(RecvError::Os(error))));
    this.values.note(&polled, context);
    polled
}

/// What was looked for in vain, at an end that one task at a time receives from.
fn in_vain(values: &mut Watcher) -> &mut InVain {
    values.in_vain.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// The item of a stream: the end of the channel is that of the stream.
pub(super) fn item<V>(outcome: Result<V, RecvError>) -> Option<Result<V, RecvError>> {
    match outcome {
        Err(error) if error.is_disconnected() => None,
        outcome => Some(outcome),
    }
}

impl<T: DeserializeOwned> Async<Receiver<T>> {
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<T, RecvError>> {
        poll_take(self, context, Receiver::try_recv)
    }

    /// Receives a value; waits for one. Safe to drop at any time: what arrived of a value is kept
    /// for the next call.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    ///
    /// ```
    /// use multiproc::{Async, pipe};
    ///
    /// let (mut sender, receiver) = pipe()?;
    /// let mut receiver = Async::new(receiver);
    /// sender.send('a')?;
    /// assert_eq!(async_io::block_on(receiver.recv())?, 'a');
    /// drop(sender);
    /// assert!(async_io::block_on(receiver.recv()).unwrap_err().is_disconnected());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}

impl<T: DeserializeOwned> Stream for Async<Receiver<T>> {
    type Item = Result<T, RecvError>;

    /// The values as they come, until the other end is gone. Other errors are items.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<T, RecvError>>> {
        self.poll_recv(context).map(item)
    }
}

impl<S, R> Async<Connection<S, R>> {
    /// `poll_take` at an end where somebody may wait for room, too.
    fn poll_taking<V>(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnMut(&mut Connection<S, R>) -> Result<V, TryRecvError>,
    ) -> Poll<Result<V, RecvError>> {
        let polled = poll_take(self, context, take);
        // To look for a value takes wake-ups, of which one may have told of room.
        if self.room.waker.is_some()
            && self.end.has_unheard_room()
            && let Some(waker) = self.room.waker.take()
        {
            waker.wake();
        }
        polled
    }

    pub(super) fn poll_recv_bytes(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<u8>, RecvError>> {
        self.poll_taking(context, Connection::try_recv_bytes)
    }

    /// Receives the bytes of a message; waits for one. Safe to drop at any time, as
    /// [`recv`](Async::recv).
    ///
    /// # Errors
    /// As [`Connection::recv_bytes`].
    ///
    /// ```
    /// use multiproc::{Async, connection};
    ///
    /// let (mut near, far) = connection::<(), ()>()?;
    /// near.send_bytes(b"abc")?;
    /// assert_eq!(async_io::block_on(Async::new(far).recv_bytes())?, b"abc");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn recv_bytes(&mut self) -> Result<Vec<u8>, RecvError> {
        poll_fn(|context| self.poll_recv_bytes(context)).await
    }
}

impl<S, R: DeserializeOwned> Async<Connection<S, R>> {
    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<R, RecvError>> {
        self.poll_taking(context, Connection::try_recv)
    }

    /// Receives a value; waits for one. Safe to drop at any time: what arrived of a value is kept
    /// for the next call.
    ///
    /// # Errors
    /// As [`Connection::recv`].
    ///
    /// ```
    /// use multiproc::{Async, connection};
    ///
    /// let (mut near, far) = connection::<u32, u32>()?;
    /// near.send(7)?;
    /// assert_eq!(async_io::block_on(Async::new(far).recv())?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn recv(&mut self) -> Result<R, RecvError> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}

impl<S, R: DeserializeOwned> Stream for Async<Connection<S, R>> {
    type Item = Result<R, RecvError>;

    /// The values as they come, until the other end is gone. Other errors are items.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<R, RecvError>>> {
        self.poll_recv(context).map(item)
    }
}
