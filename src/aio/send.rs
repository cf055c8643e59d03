//! Sending, and sinks.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;

use super::asynchronous::Async;
use super::readiness::Step;
use crate::channel::{
    Connection, HasRoom, PushesOut, SendError, SendFailure, SendTransportError, Sender,
    TrySendError, Unsent,
};

impl<E> Async<E> {
    /// Sends what is unsent, as there is room.
    pub(super) fn poll_unsent(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendTransportError>>
    where
        E: PushesOut + HasRoom,
    {
        if self.unsent.is_none() {
            return Poll::Ready(Ok(()));
        }
        let mut readiness = std::mem::take(&mut self.room.readiness);
        let polled = readiness.poll(
            context,
            self,
            |this| this.watch_room(),
            |this| {
                let Some(message) = &mut this.unsent else { return Step::Done(Ok(())) };
                match this.end.push(message) {
                    Ok(true) => {
                        if let Some(message) = this.unsent.take() {
                            message.sent();
                        }
                        return Step::Done(Ok(()));
                    }
                    Ok(false) => {}
                    Err(error) => {
                        this.unsent = None;
                        return Step::Done(Err(error));
                    }
                }
                match this.has_room() {
                    Ok(true) => Step::Again,
                    Ok(false) => Step::Wait,
                    Err(error) => Step::Done(Err(SendTransportError::Os(error))),
                }
            },
        );
        self.room.readiness = readiness;
        let polled =
            polled.map(|done| done.unwrap_or_else(|error| Err(SendTransportError::Os(error))));
        self.room.note(&polled, context);
        // To look for room takes wake-ups, of which one may have told of a value.
        if self.values.waker.is_some()
            && self.end.has_unheard_value()
            && let Some(waker) = self.values.waker.take()
        {
            waker.wake();
        }
        polled
    }

    /// Sends a message, behind one that has begun. Dropped before anything of it is out, it is not
    /// sent; dropped later, the rest follows with the next one.
    async fn send_unsent(&mut self, message: Unsent) -> Result<(), SendTransportError>
    where
        E: PushesOut + HasRoom,
    {
        /// Withdraws what has not begun.
        struct Unbegun<'a, E>(&'a mut Async<E>);
        impl<E> Drop for Unbegun<'_, E> {
            fn drop(&mut self) {
                if self.0.unsent.as_ref().is_some_and(|unsent| !unsent.has_begun()) {
                    self.0.unsent = None;
                }
            }
        }
        self.unsent = Some(message);
        let sending = Unbegun(self);
        poll_fn(|context| sending.0.poll_unsent(context)).await
    }

    /// Notes that a part of what was sent last is left, which the end itself keeps.
    pub(super) fn note_rest(&mut self)
    where
        E: PushesOut,
    {
        if self.end.has_rest() {
            self.unsent = Some(Unsent::rest());
        }
    }
}

/// What a sink has as its error: the value is lost by then, or sent in part.
pub(super) fn lost(error: SendTransportError) -> SendError<()> {
    SendError::new(error, ())
}

/// The outcome of a step of a sink.
pub(super) type Sent = Result<(), SendError<()>>;

/// Declares for an end the sink, which sends by `$try_send`.
macro_rules! sink {
    ([$($generics:tt)*] $end:ty, $value:ident by $try_send:ident) => {
        impl<$($generics)*> Async<$end> {
            /// Waits until all that a sink took is out, or a message of which a future that was
            /// dropped had sent a part. Safe to drop at any time.
            ///
            /// # Errors
            /// Nobody will receive it, or the system refuses.
            pub async fn flush(&mut self) -> Sent {
                poll_fn(|context| self.poll_unsent(context)).await.map_err(lost)
            }
        }

        impl<$($generics)*> futures_sink::Sink<$value> for Async<$end> {
            type Error = SendError<()>;

            fn poll_ready(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Sent> {
                self.poll_unsent(context).map_err(lost)
            }

            /// Sends the value, or keeps it encoded until there is room.
            fn start_send(mut self: Pin<&mut Self>, value: $value) -> Sent {
                if self.unsent.is_some() {
                    // Against the rules of sinks; nothing may overtake what has begun.
                    let error = std::io::ErrorKind::WouldBlock.into();
                    return Err(lost(
                        SendTransportError::Os(error),
                    ));
                }
                match self.end.$try_send(value) {
                    Ok(()) => self.note_rest(),
                    Err(TrySendError::Full(value)) => {
                        self.unsent = Some(Unsent::of(&value).map_err(lost)?);
                    }
                    Err(error) => return Err(lost(error.into_parts().1)),
                }
                Ok(())
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Sent> {
                self.poll_unsent(context).map_err(lost)
            }

            /// Sends what is unsent. A `Sender` ends its pipe then, as to drop it does: the
            /// receiver gets what was sent, and then hears of the end. A queue goes on, and so does
            /// a connection, whose other direction may be in use: these end when they are dropped.
            fn poll_close(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Sent> {
                let closed = std::task::ready!(self.poll_unsent(context));
                PushesOut::hang_up(&mut self.end);
                Poll::Ready(closed.map_err(lost))
            }
        }
    };
}
pub(super) use sink;

sink!([T: Serialize + Unpin] Sender<T>, T by try_send);
sink!([S: Serialize, R] Connection<S, R>, S by try_send);

/// Declares the future that sends a value at an end that one task at a time sends at.
macro_rules! send {
    ([$($generics:tt)*] $end:ty, $value:ident, $ends:literal) => {
        impl<$($generics)*> Async<$end> {
            /// Sends a value; waits until there is room for it, and until all of it is out.
            ///
            /// Dropped before anything of the value is out, it is not sent. Dropped later, which
            /// takes a value that is longer than an eighth of the capacity or goes over a socket,
            /// it counts as sent: the rest follows with the next value, or by
            /// [`flush`](Async::flush), and is lost with this end.
            ///
            /// # Errors
            /// The other end is gone, the value's type refuses, or the system does; the value comes
            /// back.
            ///
            /// ```
            /// use multiproc::Async;
            ///
            #[doc = $ends]
            /// let mut near = Async::new(near);
            /// async_io::block_on(near.send(7))?;
            /// assert_eq!(far.recv()?, 7);
            /// drop(far);
            /// assert_eq!(async_io::block_on(near.send(8)).unwrap_err().into_value(), 8);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub async fn send(&mut self, value: $value) -> Result<(), SendError<$value>> {
                if let Err(error) = poll_fn(|context| self.poll_unsent(context)).await {
                    return Err(SendError::new(error, value));
                }
                let value = match self.try_first(value) {
                    Ok(()) => return Ok(()),
                    Err(TrySendError::Full(value)) => value,
                    Err(error) => {
                        let (value, error) = error.into_parts();
                        return Err(SendError::new(error, value));
                    }
                };
                let sent = match Unsent::of(&value) {
                    Ok(message) => self.send_unsent(message).await,
                    Err(error) => Err(error),
                };
                sent.map_err(|error| SendError::new(error, value))
            }

            /// Sends a value if there is room, without a copy. Not where a part of it might go out,
            /// as then it could not be given back.
            fn try_first(&mut self, value: $value) -> Result<(), TrySendError<$value>> {
                if self.end.may_keep_rest() {
                    return Err(TrySendError::Full(value));
                }
                self.end.try_send(value)
            }
        }
    };
}

send!(
    [T: Serialize] Sender<T>, T,
    "let (near, mut far) = multiproc::pipe::<u64>()?;"
);
send!(
    [S: Serialize, R] Connection<S, R>, S,
    "let (near, mut far) = multiproc::connection::<u64, u64>()?;"
);

impl<S, R> Async<Connection<S, R>> {
    /// Sends bytes as one message; waits until there is room for it, and until all of it is out. To
    /// drop it means what it means for [`send`](Async::send).
    ///
    /// # Errors
    /// The other end is gone, or the system refuses.
    ///
    /// ```
    /// use multiproc::{Async, connection};
    ///
    /// let (near, mut far) = connection::<(), ()>()?;
    /// async_io::block_on(Async::new(near).send_bytes(b"abc"))?;
    /// assert_eq!(far.recv_bytes()?, b"abc");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), SendError<()>> {
        poll_fn(|context| self.poll_unsent(context)).await.map_err(lost)?;
        self.send_unsent(Unsent::of_bytes(bytes)).await.map_err(lost)
    }
}
