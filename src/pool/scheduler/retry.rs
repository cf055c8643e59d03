//! Says how often a task is tried again, and after what.

use std::fmt;

use crate::codec::Ends;
use crate::error::Failure;
use crate::unwind;

/// Says how often a task that failed is tried again, and after which failures: not at all, unless
/// said.
///
/// A task may have done part of its work before it failed, or all of it; retry what may be done
/// twice. The end of a pipe or a connection cannot be an argument of a task that is retried (it
/// fails with [`Failure::BadArguments`]): the first attempt may have sent or received something. A
/// [`Queue`](crate::Queue) can.
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
    times: u32,
    only: Option<fn(&Failure) -> bool>,
}

impl Retry {
    /// Tries again up to so many times, whatever the failure. (Not what was cancelled, and not what
    /// could not be handed out.)
    #[must_use]
    pub fn times(times: u32) -> Retry {
        Retry { times, only: None }
    }

    /// Only after the failures for which `only` is true. A panic in it counts as no.
    #[must_use]
    pub fn only(mut self, only: fn(&Failure) -> bool) -> Retry {
        self.only = Some(only);
        self
    }

    /// Returns whether nothing is ever tried again.
    pub(crate) fn is_never(self) -> bool {
        self.times == 0
    }

    /// That arguments which have these things in them may be sent so often.
    pub(crate) fn check(self, ends: &Ends) -> Result<(), String> {
        if self.is_never() {
            Ok(())
        } else {
            ends.must_be_none("a task that is retried gets its arguments anew")
        }
    }

    /// Returns whether a task that failed so is tried again, when it failed `before` times before.
    pub(crate) fn wants(self, failure: &Failure, before: u32) -> bool {
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
