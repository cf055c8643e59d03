//! Which failures of a task are tried again, and how often.

use std::fmt;

use crate::codec::Ends;
use crate::error::Failure;
use crate::unwind;

/// Which failures of a task are tried again, and how often. None, by default.
///
/// A task that is retried goes to the end of the queue or, if its worker died, to the front; any
/// worker may get it. Its [deadline](crate::Tasks::deadline) starts anew with each attempt, and the
/// error of the last one tells the number of attempts
/// ([`TaskError::attempts`](crate::TaskError::attempts)).
///
/// A task may have done part of its work before it failed, or all of it, so retry only what may be
/// done twice. The end of a pipe or a connection cannot be an argument of a task that is retried
/// (it fails with [`Failure::BadArguments`]), as the first attempt may have sent or received
/// something. A [`Queue`](crate::Queue) can.
///
/// CPython's `Pool` has no retries, and cannot: it does not notice that a task has died with its
/// worker.
///
/// ```
/// use multiproc::{Failure, Pool, Retry};
///
/// fn flaky(path: String) -> usize {
///     let tries = std::fs::read_to_string(&path).unwrap().len() + 1;
///     std::fs::write(&path, "x".repeat(tries)).unwrap();
///     if tries < 3 { std::process::abort() }
///     tries
/// }
///
/// let path = std::env::temp_dir().join(format!("flaky-{}", std::process::id()));
/// std::fs::write(&path, "")?;
/// let pool = Pool::new(1)?;
/// let crashes = Retry::times(5).only(|failure| matches!(failure, Failure::Signalled { .. }));
/// let tries = pool.tasks().retry(crashes).apply(flaky, (path.display().to_string(),))?;
/// assert_eq!(tries, 3);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct Retry {
    /// Number of attempts after the first.
    times: u32,
    /// Which failures are tried again; `None` for all.
    only: Option<fn(&Failure) -> bool>,
}

impl Retry {
    /// Retries up to `times` times after any failure: a task runs `times + 1` times at the most.
    /// Tasks that were cancelled, and those that could not be submitted, are not retried.
    ///
    /// ```
    /// use multiproc::{Pool, Retry};
    ///
    /// let pool = Pool::new(1)?;
    /// fn fail() { panic!("always") }
    /// let error = pool.tasks().retry(Retry::times(2)).apply(fail, ()).unwrap_err();
    /// assert_eq!(error.attempts(), 3);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn times(times: u32) -> Retry {
        Retry { times, only: None }
    }

    /// Retries only after failures for which `only` returns `true`.
    ///
    /// `only` runs with the pool locked, in its own thread or in one that cancels tasks: it should
    /// look at the failure and return. It is a plain function, so it captures nothing. A panic in
    /// it counts as `false`.
    #[must_use]
    pub fn only(mut self, only: fn(&Failure) -> bool) -> Retry {
        self.only = Some(only);
        self
    }

    /// Returns whether nothing is ever retried.
    pub(crate) fn is_never(self) -> bool {
        self.times == 0
    }

    /// Checks that arguments may be sent as often as this allows.
    ///
    /// # Errors
    /// They have an end of a channel in them, of which there is only one.
    pub(crate) fn check(self, ends: &Ends) -> Result<(), String> {
        // Sent once, so they may have anything in them.
        if self.is_never() {
            Ok(())
        } else {
            ends.must_be_none("a task that is retried gets its arguments anew")
        }
    }

    /// Returns whether a task is tried again after this failure, when it had failed `before` times.
    pub(crate) fn wants(self, failure: &Failure, before: u32) -> bool {
        // The user's function last: it is asked only if it decides.
        before < self.times
            && !matches!(failure, Failure::Cancelled(_))
            && self.only.is_none_or(|only| unwind::catch(|| only(failure)).unwrap_or(false))
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("times", &self.times)
            .field("only", &self.only.is_some())
            .finish()
    }
}
