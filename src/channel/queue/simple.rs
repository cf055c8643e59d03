//! A queue with the fewest methods.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::values::Queue;
#[cfg(feature = "async")]
use crate::channel::LooksBriefly;
#[cfg(feature = "async")]
use crate::channel::error::TryRecvError;
use crate::channel::error::{RecvError, SendError};
use crate::error::Result;

/// A [`Queue`] without a bound and time-outs: CPython's `multiprocessing.SimpleQueue`. Unlike that
/// one's, its `put` never waits.
///
/// ```
/// use multiproc::{Process, SimpleQueue};
///
/// # fn main() -> multiproc::Result<()> {
/// let queue = SimpleQueue::new()?;
/// let greet = |queue: SimpleQueue<String>| queue.put("hello".into()).unwrap();
/// let child = Process::new(greet, (queue.clone(),)).start()?;
/// child.join()?;
/// assert_eq!(queue.get()?, "hello");
/// assert!(queue.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SimpleQueue<T>(Queue<T>);

impl<T> SimpleQueue<T> {
    /// Creates a queue.
    ///
    /// # Errors
    /// The system lacks descriptors or memory.
    ///
    /// ```
    /// let queue = multiproc::SimpleQueue::new()?;
    /// queue.put(1)?;
    /// assert_eq!(queue.get()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<SimpleQueue<T>> {
        Queue::new().map(SimpleQueue)
    }

    /// Returns true if the queue has no value at this moment. (CPython's `empty`.)
    ///
    /// ```
    /// let queue = multiproc::SimpleQueue::new()?;
    /// assert!(queue.is_empty());
    /// queue.put(1)?;
    /// assert!(!queue.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if there is a value to get; if not, the descriptor tells when that may have
    /// changed, as of the [`Queue`](Queue::poll_ready).
    ///
    /// ```
    /// let queue = multiproc::SimpleQueue::new()?;
    /// assert!(!queue.poll_ready());
    /// queue.put(1)?;
    /// assert!(queue.poll_ready());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn poll_ready(&self) -> bool {
        self.0.poll_ready()
    }

    /// Drops this handle; what is in the queue stays for the others. (CPython's `close`.)
    ///
    /// ```
    /// let queue = multiproc::SimpleQueue::new()?;
    /// let other = queue.clone();
    /// queue.put(1)?;
    /// queue.close();
    /// assert_eq!(other.get()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn close(self) {
        drop(self);
    }
}

impl<T: Serialize> SimpleQueue<T> {
    /// Puts a value.
    ///
    /// # Errors
    /// See [`SendError`].
    ///
    /// ```
    /// let queue = multiproc::SimpleQueue::new()?;
    /// queue.put(vec![1, 2])?;
    /// assert_eq!(queue.get()?, [1, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn put(&self, value: T) -> Result<(), SendError<T>> {
        self.0.put(value)
    }
}

impl<T: DeserializeOwned> SimpleQueue<T> {
    /// Gets the oldest value; waits for one.
    ///
    /// # Errors
    /// See [`RecvError`].
    ///
    /// ```
    /// let queue = multiproc::SimpleQueue::new()?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| queue.put(7).unwrap());
    ///     assert_eq!(queue.get(), Ok(7));
    /// });
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn get(&self) -> Result<T, RecvError> {
        self.0.get()
    }
}

#[cfg(feature = "async")]
impl<T: DeserializeOwned> SimpleQueue<T> {
    /// Gets the oldest value if there is one.
    pub(crate) fn try_get(&self) -> Result<T, TryRecvError> {
        self.0.try_get()
    }

    /// Where a future looks for a value.
    pub(crate) fn brief(&self) -> impl LooksBriefly {
        self.0.brief()
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimpleQueue").field(&self.0).finish()
    }
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> SimpleQueue<T> {
        SimpleQueue(self.0.clone())
    }
}

impl<T> AsFd for SimpleQueue<T> {
    /// As of the [`Queue`](Queue::poll_ready).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
