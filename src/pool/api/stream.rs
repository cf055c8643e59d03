//! Lazy maps whose inputs are an async stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lazy::Lazy;
use super::tasks::Tasks;
use crate::error::TaskError;
use crate::target::{Captureless, Target};

/// A stream of the outcomes of a map whose inputs are a stream: of [`Tasks::stream`].
///
/// Inputs are pulled while somebody polls for outcomes, and no more of them than the workers need,
/// so memory is bounded however long the stream is. Safe to drop at any time, between two items:
/// tasks that are not begun are not run then.
#[must_use = "streams do nothing unless they are polled"]
pub struct OutcomeStream<S: Stream, R> {
    outcomes: Lazy<Feed<S>, (S::Item,), R, ()>,
}

/// A stream as an iterator that is dry where the stream is pending.
struct Feed<S> {
    inputs: Pin<Box<S>>,
    /// Wakes who polls for outcomes.
    waker: Waker,
    has_ended: bool,
}

impl<S: Stream> Iterator for Feed<S> {
    type Item = (S::Item,);

    fn next(&mut self) -> Option<(S::Item,)> {
        if self.has_ended {
            return None;
        }
        match self.inputs.as_mut().poll_next(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Some(input)) => Some((input,)),
            Poll::Ready(None) => {
                self.has_ended = true;
                None
            }
            Poll::Pending => None,
        }
    }
}

/// The inputs are pinned in a box of their own, and nothing else is.
impl<S: Stream, R> Unpin for OutcomeStream<S, R> {}

impl Tasks<'_> {
    /// Returns a stream of the outcomes of calling `target` with each input of a stream, in the
    /// order of the inputs: the [`imap`](Tasks::imap) of async programs, with its chunks and its
    /// bounds. It needs no runtime, and blocks no thread but to encode inputs.
    ///
    /// A [progress](Tasks::progress) function is not called: how many inputs a stream has is not
    /// known.
    ///
    /// ```
    /// use futures_lite::{StreamExt, stream};
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let squares = pool.tasks().stream(|n: u64| n * n, stream::iter(1..=4));
    /// let squares: Vec<u64> = async_io::block_on(squares.try_collect())?;
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stream<F, S, R>(self, target: F, inputs: S) -> OutcomeStream<S, R>
    where
        F: Target<(S::Item,), Output = R> + Captureless + Send,
        S: Stream,
        S::Item: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.stream_in(target, inputs, true)
    }

    /// Does the same as [`stream`](Tasks::stream), but gives each outcome as soon as it arrives.
    ///
    /// ```
    /// use futures_lite::{StreamExt, stream};
    /// use multiproc::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let texts = stream::iter(["a".to_owned(), "bc".to_owned()]);
    /// let lengths = pool.tasks().stream_unordered(|text: String| text.len(), texts);
    /// let sum = async_io::block_on(lengths.fold(0, |sum, length| sum + length.unwrap()));
    /// assert_eq!(sum, 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn stream_unordered<F, S, R>(self, target: F, inputs: S) -> OutcomeStream<S, R>
    where
        F: Target<(S::Item,), Output = R> + Captureless + Send,
        S: Stream,
        S::Item: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.stream_in(target, inputs, false)
    }

    fn stream_in<F, S, R>(self, target: F, inputs: S, is_ordered: bool) -> OutcomeStream<S, R>
    where
        F: Target<(S::Item,), Output = R> + Captureless + Send,
        S: Stream,
        S::Item: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let feed =
            Feed { inputs: Box::pin(inputs), waker: Waker::noop().clone(), has_ended: false };
        OutcomeStream { outcomes: Lazy::new(self.chunker(target, feed), is_ordered, ()) }
    }
}

impl<S, R> Stream for OutcomeStream<S, R>
where
    S: Stream,
    S::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R, TaskError>;

    /// The outcomes; errors are items, and others follow.
    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<R, TaskError>>> {
        let outcomes = &mut self.outcomes;
        outcomes.inputs_mut().waker.clone_from(context.waker());
        // What was dry may have more by now.
        if !outcomes.inputs_mut().has_ended {
            outcomes.go_on();
        }
        match outcomes.poll_next(context) {
            // All outcomes of what has come are out; the stream wakes when there is more.
            Poll::Ready(None) if !outcomes.inputs_mut().has_ended && !outcomes.is_lost() => {
                Poll::Pending
            }
            polled => polled,
        }
    }
}

impl<S: Stream, R> fmt::Debug for OutcomeStream<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutcomeStream").finish_non_exhaustive()
    }
}
