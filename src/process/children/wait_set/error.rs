//! The error of adding to a set, which hands the member back.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

/// The error of [`WaitSet::add`](crate::WaitSet::add), with the member that was not added. It
/// converts into [`Error`] by `?`.
///
/// ```
/// use multiproc::{Queue, WaitSet};
///
/// let mut set = WaitSet::new()?;
/// set.add(7, Queue::<u32>::new()?)?;
/// let error = set.add(7, Queue::new()?).unwrap_err();
/// assert_eq!(error.to_string(), "another member of the set has the token 7");
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct AddError<M> {
    member: M,
    error: Error,
}

impl<M> AddError<M> {
    pub(super) fn new(member: M, error: Error) -> AddError<M> {
        AddError { member, error }
    }

    /// Returns the member.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(7, Queue::<u32>::new()?)?;
    /// let queue = set.add(7, Queue::bounded(1)?).unwrap_err().into_member();
    /// assert_eq!(queue.capacity(), Some(1));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn into_member(self) -> M {
        self.member
    }

    /// Returns the reason.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(7, Queue::<u32>::new()?)?;
    /// let error = set.add(7, Queue::new()?).unwrap_err();
    /// assert!(error.reason().to_string().contains("token 7"));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn reason(&self) -> &Error {
        &self.error
    }
}

impl<M> From<AddError<M>> for Error {
    fn from(error: AddError<M>) -> Error {
        error.error
    }
}

impl<M> fmt::Display for AddError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<M> fmt::Debug for AddError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<M> StdError for AddError<M> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
