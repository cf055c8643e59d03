//! `process_map` on any iterator.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::Pool;
use super::singly::{Outcomes, singly};
use crate::error::Result;
use crate::target::{Captureless, Target};

/// Calls a function with every item of an iterator in worker processes: one line, with no pool in
/// sight.
///
/// It uses [`Pool::global`], which starts with the first call. Items are pulled as needed, so the
/// iterator may be endless. rayon's `par_iter` is the same for threads; here a panic, a crash or an
/// exit of one call is its outcome, and the others go on.
///
/// ```
/// use multiproc::ProcessMap;
///
/// fn risky(n: u32) -> u32 {
///     if n == 3 { std::process::abort() }
///     n * 10
/// }
///
/// let outcomes: Vec<_> = (1..=4).process_map(risky)?.collect();
/// assert_eq!(*outcomes[3].as_ref().unwrap(), 40);
/// // task risky[2] in … (pid …) was killed by SIGABRT
/// println!("{}", outcomes[2].as_ref().unwrap_err());
/// # Ok::<(), multiproc::Error>(())
/// ```
pub trait ProcessMap: IntoIterator + Sized {
    /// Returns the outcomes in the order of the items: see [`Pool::imap`].
    ///
    /// # Errors
    /// The global pool cannot be started. What happens to single tasks is in their outcomes.
    fn process_map<F, R>(self, target: F) -> Result<Outcomes<Self, R>>
    where
        F: Target<(Self::Item,), Output = R> + Captureless + Send,
        Self::Item: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        Ok(Pool::global()?.tasks().lazily(target, singly(self), true))
    }

    /// Returns each outcome as soon as it arrives: see
    /// [`Tasks::imap_unordered`](crate::Tasks::imap_unordered).
    ///
    /// # Errors
    /// As for [`process_map`](ProcessMap::process_map).
    ///
    /// ```
    /// use multiproc::ProcessMap;
    ///
    /// let words = ["one", "three"].map(str::to_owned);
    /// let lengths = words.process_map_unordered(|word: String| word.len())?;
    /// assert_eq!(lengths.map(Result::unwrap).sum::<usize>(), 8);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    fn process_map_unordered<F, R>(self, target: F) -> Result<Outcomes<Self, R>>
    where
        F: Target<(Self::Item,), Output = R> + Captureless + Send,
        Self::Item: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        Ok(Pool::global()?.tasks().lazily(target, singly(self), false))
    }
}

impl<Items: IntoIterator> ProcessMap for Items {}
