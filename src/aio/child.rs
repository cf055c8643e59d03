//! Waiting for processes.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::readiness::{Direction, Readiness, Step, Watch};
use super::source::{self, Source};
use crate::error::JoinError;
use crate::process::{Child, Handle};

/// Time between two looks at a process of whose end something else has to hear first: a debugger,
/// until when the descriptor tells of it all the time.
const PAUSE: Duration = Duration::from_millis(10);

/// A wait for the end of a process.
#[derive(Debug, Default)]
struct Wait {
    source: Option<Source>,
    readiness: Readiness,
}

impl Wait {
    /// Polls for what `look` finds once the process of `handle` has ended.
    fn poll<V>(
        &mut self,
        handle: &Handle,
        context: &mut Context<'_>,
        mut look: impl FnMut() -> Result<Option<V>, JoinError>,
    ) -> Poll<Result<V, JoinError>> {
        let Wait { source, readiness } = self;
        // Once the descriptor has told of the end and there was none, only time tells.
        let mut looks = 0;
        let polled = readiness.poll_told(
            context,
            source,
            |source| {
                looks += 1;
                let round = handle.core().next_due();
                if looks > 2 {
                    return Ok(Watch::after(round.map_or(PAUSE, |due| due.min(PAUSE))));
                }
                watch(handle, source, round)
            },
            |_, _| match look() {
                Ok(Some(value)) => Step::Done(Ok(value)),
                Ok(None) => Step::Wait,
                Err(error) => Step::Done(Err(error)),
            },
        );
        polled.map(|value| value.unwrap_or_else(|error| Err(handle.core().cannot_ask(error))))
    }
}

/// What to watch for the end of a process.
fn watch(
    handle: &Handle,
    source: &mut Option<Source>,
    round: Option<Duration>,
) -> io::Result<Watch> {
    source::check_reactor()?;
    let source = match source {
        Some(source) => source,
        None => source.insert(Source::of(handle.sentinel().map_err(io::Error::other)?)?),
    };
    Ok(Watch::new(source, Direction::Readable, round))
}

/// A future that gives what a process returns: of `child.await` and `(&child).await`.
///
/// It does what [`Child::join`] does, without blocking: a piped standard input that nobody has
/// taken is closed when it is first polled, and a deadline of the process's is seen to. Safe to
/// drop at any time; with it goes a child that it owns, which then runs on, or is killed if it was
/// started with [`kill_on_drop`](crate::Process::kill_on_drop).
///
/// ```
/// use multiproc::Process;
///
/// let child = Process::new(|a: u32, b: u32| a + b, (3, 4)).start()?;
/// assert_eq!(async_io::block_on(async { (&child).await })?, 7);
/// assert_eq!(async_io::block_on(async { child.await })?, 7);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Joining<C> {
    child: C,
    wait: Wait,
}

impl<C: fmt::Debug> fmt::Debug for Joining<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joining").field(&self.child).finish()
    }
}

/// Implements the future for a child that it owns or borrows.
macro_rules! joining {
    ([$($lifetime:lifetime)?] $child:ty) => {
        impl<$($lifetime,)? T: DeserializeOwned> IntoFuture for $child {
            type Output = Result<T, JoinError>;
            type IntoFuture = Joining<$child>;

            fn into_future(self) -> Joining<$child> {
                Joining { child: self, wait: Wait::default() }
            }
        }

        impl<$($lifetime,)? T: DeserializeOwned> Future for Joining<$child> {
            type Output = Result<T, JoinError>;

            fn poll(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<Result<T, JoinError>> {
                let Joining { child, wait } = &mut *self;
                child.close_stdin();
                wait.poll(child, context, || child.try_join())
            }
        }
    };
}

joining!([] Child<T>);
joining!(['c] &'c Child<T>);

/// A future that gives the exit code of a process, as [`Handle::exitcode`] does: of
/// [`Handle::exited`].
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct Exited {
    handle: Handle,
    wait: Wait,
}

impl Handle {
    /// Waits in a future until the process has ended, and gives its exit code: the negative number
    /// of the signal if one has ended it. Safe to drop at any time.
    ///
    /// # Errors
    /// As [`Handle::join`] for what the system refuses. That the process has failed is no error
    /// here.
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let child = Process::new(|| -> () { std::process::exit(3) }, ()).start()?;
    /// assert_eq!(async_io::block_on(child.exited())?, 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn exited(&self) -> Exited {
        Exited { handle: self.clone(), wait: Wait::default() }
    }
}

impl Future for Exited {
    type Output = Result<i32, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<i32, JoinError>> {
        let Exited { handle, wait } = &mut *self;
        wait.poll(handle, context, || handle.look_for_exit())
    }
}
