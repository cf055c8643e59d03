//! Waiting for many things at once.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::asynchronous::Async;
use super::readiness::{Direction, Readiness, Step, Watch};
use super::source::{self, Source};
use crate::error::{Result, os};
use crate::process::{WaitSet, Waitable};

/// How often a set looks again although nothing was told: as its members that ask for that.
const ROUND: Duration = Duration::from_secs(1);

impl<M: Waitable> Async<WaitSet<M>> {
    fn poll_tokens(
        &mut self,
        readiness: &mut Readiness,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<u64>>> {
        let polled = readiness.poll(
            context,
            self,
            |this| watch(&this.end, &this.values.source),
            |this| match this.end.try_wait() {
                Ok(tokens) if tokens.is_empty() => Step::Wait,
                outcome => Step::Done(outcome),
            },
        );
        polled.map(|outcome| outcome.map_err(os("cannot wait")).and_then(|outcome| outcome))
    }

    /// Waits until at least one member is ready, and gives the tokens of those that are, as
    /// [`WaitSet::wait`] does. Safe to drop at any time.
    ///
    /// # Errors
    /// As [`WaitSet::wait`]; no descriptor is left.
    ///
    /// ```
    /// use multiproc::{Async, Queue, WaitSet};
    ///
    /// let mut set = Async::new(WaitSet::new()?);
    /// let (one, two) = (Queue::new()?, Queue::new()?);
    /// set.get_mut().add(1, one.clone())?;
    /// set.get_mut().add(2, two.clone())?;
    /// two.put('x')?;
    /// assert_eq!(async_io::block_on(set.wait())?, [2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn wait(&mut self) -> Result<Vec<u64>> {
        let mut readiness = Readiness::default();
        poll_fn(|context| self.poll_tokens(&mut readiness, context)).await
    }
}

/// What to watch for a set: its own descriptor, of which there may be another in a forked copy.
fn watch<M: Waitable>(set: &WaitSet<M>, source: &OnceLock<Source>) -> io::Result<Watch> {
    source::check_reactor()?;
    let source = match source.get() {
        Some(source) => source,
        None => {
            let made = Source::of(set.as_fd())?;
            source.get_or_init(|| made)
        }
    };
    Ok(Watch::new(source, Direction::Readable, Some(ROUND)))
}

impl<M: Waitable + Unpin> Stream for Async<WaitSet<M>> {
    type Item = Result<u64>;

    /// The tokens of members that are ready, one at a time, until the set is empty. A member is
    /// told of again as long as it is ready.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<u64>>> {
        // What was taken out since, or has another token, is not told of.
        while let Some(token) = self.tokens.pop_front() {
            if self.end.get(token).is_some() {
                return Poll::Ready(Some(Ok(token)));
            }
        }
        if self.end.is_empty() {
            return Poll::Ready(None);
        }
        let mut readiness = std::mem::take(&mut self.values.readiness);
        let polled = self.poll_tokens(&mut readiness, context);
        self.values.readiness = readiness;
        polled.map(|outcome| match outcome {
            Ok(tokens) => {
                self.tokens.extend(tokens);
                self.tokens.pop_front().map(Ok)
            }
            Err(error) => Some(Err(error)),
        })
    }
}
