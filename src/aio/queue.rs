//! Putting into queues and getting from them, by any number of tasks.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::asynchronous::Async;
use super::readiness::{Readiness, Step};
use super::receive::{asked, item, looked, recv_fault};
use super::send::{Sent, lost, sink};
use crate::channel::{
    JoinableQueue, LooksBriefly, PushesOut, Queue, QueueReceiver, QueueSender, RecvError,
    SendError, SendFailure, SendTransportError, SimpleQueue, TryRecvError, TrySendError, Unsent,
};
use crate::process::Waitable;

/// Polls for what `take` finds, in a queue that others get from as well.
fn poll_get<Q: Waitable, V>(
    this: &Async<Q>,
    mut brief: impl LooksBriefly,
    readiness: &mut Readiness,
    context: &mut Context<'_>,
    take: impl Fn(&Q) -> Result<V, TryRecvError>,
) -> Poll<Result<V, RecvError>> {
    let in_vain = &this.values.in_vain;
    if let Ok(mut in_vain) = in_vain.try_lock() {
        in_vain.look(&mut brief);
    }
    let polled = readiness.poll(
        context,
        &mut (),
        |()| this.watch_values(),
        |()| match looked(take(&this.end)) {
            Some(outcome) => Step::Done(outcome),
            None => asked(this.end.poll_ready(), |error| Err(recv_fault(error))),
        },
    );
    if polled.is_ready() {
        in_vain.lock().unwrap_or_else(PoisonError::into_inner).came(&mut brief);
    }
    polled.map(|outcome| outcome.unwrap_or_else(|error| Err(RecvError::Os(error))))
}

/// Declares for a queue the future that gets, and the stream.
macro_rules! gets {
    ($queue:ident $(.$typed:ident())*, $queue_lines:literal) => {
        impl<T: DeserializeOwned> Async<$queue<T>> {
            /// Gets the oldest value; waits for one. Any number of tasks may wait. Safe to drop at
            /// any time: a value that was not returned is in the queue.
            ///
            /// # Errors
            /// As the queue's own `get`.
            ///
            /// ```
            /// use multiproc::Async;
            ///
            #[doc = $queue_lines]
            /// let queue = Async::new(queue);
            /// assert_eq!(async_io::block_on(queue.get())?, 1);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub async fn get(&self) -> Result<T, RecvError> {
                let mut lent = Readiness::with_round_of(&self.values.round);
                let readiness = &mut lent.readiness;
                poll_fn(|context| {
                    let brief = self.end$(.$typed())*.brief();
                    poll_get(self, brief, readiness, context, $queue::try_get)
                })
                .await
            }
        }

        impl<T: DeserializeOwned> Stream for Async<$queue<T>> {
            type Item = Result<T, RecvError>;

            /// The values as they come, until the queue is empty and shut down or without senders.
            /// Other errors are items.
            fn poll_next(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Option<Result<T, RecvError>>> {
                let mut readiness = std::mem::take(&mut self.values.readiness);
                let brief = self.end$(.$typed())*.brief();
                let polled = poll_get(&self, brief, &mut readiness, context, $queue::try_get);
                self.values.readiness = readiness;
                polled.map(item)
            }
        }
    };
}

gets!(Queue, "let queue = multiproc::Queue::<u32>::new()?;\nqueue.put(1)?;");
gets!(
    JoinableQueue.queue(),
    "let queue = multiproc::JoinableQueue::<u32>::new()?;\nqueue.put(1)?;"
);
gets!(SimpleQueue, "let queue = multiproc::SimpleQueue::<u32>::new()?;\nqueue.put(1)?;");
gets!(
    QueueReceiver.queue(),
    "let (sender, queue) = multiproc::Queue::<u32>::new()?.split()?;\nsender.put(1)?;"
);

/// Declares for a queue the future that puts, and the sink.
macro_rules! puts {
    ($queue:ident, $queue_lines:literal) => {
        impl<T: Serialize> Async<$queue<T>> {
            /// Puts a value; waits for room if the queue is bounded. Any number of tasks may wait.
            /// Safe to drop at any time: the value is in the queue, or it is not and is dropped
            /// with the future.
            ///
            /// # Errors
            /// As the queue's own `put`; the value comes back.
            ///
            /// ```
            /// use multiproc::Async;
            ///
            #[doc = $queue_lines]
            /// let queue = Async::new(queue);
            /// async_io::block_on(queue.put(1))?;
            /// assert!(queue.get_ref().try_put(2).unwrap_err().is_full());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub async fn put(&self, value: T) -> Result<(), SendError<T>> {
                let mut readiness = Readiness::default();
                let mut value = Some(value);
                let polled = poll_fn(|context| {
                    readiness.poll(
                        context,
                        &mut value,
                        |_| self.watch_room(),
                        |value| {
                            let Some(given) = value.take() else {
                                return Step::Done(Ok(()));
                            };
                            match self.end.try_put(given) {
                                Ok(()) => return Step::Done(Ok(())),
                                Err(TrySendError::Full(back)) => *value = Some(back),
                                Err(error) => {
                                    let (back, error) = error.into_parts();
                                    *value = Some(back);
                                    return Step::Done(Err(error));
                                }
                            }
                            match self.has_room() {
                                Ok(true) => Step::Again,
                                Ok(false) => Step::Wait,
                                Err(error) => Step::Done(Err(SendTransportError::Os(error))),
                            }
                        },
                    )
                })
                .await;
                let done = polled.unwrap_or_else(|error| Err(SendTransportError::Os(error)));
                match (done, value) {
                    (Err(error), Some(value)) => Err(SendError::new(error, value)),
                    _ => Ok(()),
                }
            }
        }

        sink!([T: Serialize] $queue<T>, T by try_put);
    };
}

puts!(Queue, "let queue = multiproc::Queue::bounded(1)?;");
puts!(JoinableQueue, "let queue = multiproc::JoinableQueue::bounded(1)?;");
puts!(
    QueueSender,
    "let (queue, receiver) = multiproc::Queue::bounded(1)?.split()?;\n# let _receiver = receiver;"
);

impl<T: Serialize> Async<SimpleQueue<T>> {
    /// Puts a value, without a wait: the queue has no bound.
    ///
    /// # Errors
    /// As [`SimpleQueue::put`]; the value comes back.
    ///
    /// ```
    /// use multiproc::{Async, SimpleQueue};
    ///
    /// let queue = Async::new(SimpleQueue::new()?);
    /// async_io::block_on(queue.put(1))?;
    /// assert!(!queue.get_ref().is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn put(&self, value: T) -> Result<(), SendError<T>> {
        self.end.put(value)
    }
}
