//! The methods that several channels have in the same words: each wait for a value in its four
//! forms (`x`, `try_x`, `x_timeout`, `x_deadline`), and the iterators. Those for bytes are in
//! `byte_forms`.
//!
//! Each macro is called with the lines of code in which the examples differ: how they begin, and
//! how the queue is shut down.

/// Declares the four forms of putting, over `put_until(value, deadline)`. In the examples, `queue`
/// is empty and has room for one value.
macro_rules! put_forms {
    ($end:ident, $queue:literal, $shutdown:literal) => {
        impl<T: serde::Serialize> $end<T> {
            /// Puts a value; waits for room if the queue is bounded.
            ///
            /// # Errors
            /// [`SendError::Disconnected`](crate::SendError::Disconnected) if the queue was shut
            /// down or, of a half, all receiving halves are gone; `Encode` if the value's type
            /// refuses; else the rest of [`SendError`](crate::SendError). The value comes back.
            ///
            /// ```
            #[doc = $queue]
            /// queue.put("hello".to_owned())?;
            #[doc = $shutdown]
            /// assert_eq!(queue.put("late".to_owned()).unwrap_err().into_value(), "late");
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn put(&self, value: T) -> Result<(), crate::SendError<T>> {
                self.put_until(value, crate::sys::wait::poll::Deadline::Never)
            }

            /// Puts a value if there is room now; never waits.
            ///
            /// # Errors
            /// As [`put`](Self::put), and [`TrySendError::Full`](crate::TrySendError::Full) if
            /// there is none.
            ///
            /// ```
            #[doc = $queue]
            /// queue.try_put(1)?;
            /// assert!(queue.try_put(2).unwrap_err().is_full());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_put(&self, value: T) -> Result<(), crate::TrySendError<T>> {
                self.put_until(value, crate::sys::wait::poll::Deadline::now())
            }

            /// Puts a value; waits for room for `timeout` at most.
            ///
            /// # Errors
            /// As [`put`](Self::put), and
            /// [`SendTimeoutError::Timeout`](crate::SendTimeoutError::Timeout) if there was none in
            /// time.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $queue]
            /// queue.put_timeout(1, Duration::from_secs(1))?;
            /// assert!(queue.put_timeout(2, Duration::from_millis(1)).unwrap_err().is_timeout());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn put_timeout(
                &self,
                value: T,
                timeout: std::time::Duration,
            ) -> Result<(), crate::SendTimeoutError<T>> {
                self.put_until(value, crate::sys::wait::poll::Deadline::after(timeout))
            }

            /// Puts a value; waits for room until `deadline`. One that is over is enough where
            /// nobody has to wait.
            ///
            /// # Errors
            /// As [`put_timeout`](Self::put_timeout).
            ///
            /// ```
            /// use std::time::Instant;
            ///
            #[doc = $queue]
            /// queue.put_deadline(1, Instant::now())?;
            /// assert!(queue.put_deadline(2, Instant::now()).unwrap_err().is_timeout());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn put_deadline(
                &self,
                value: T,
                deadline: std::time::Instant,
            ) -> Result<(), crate::SendTimeoutError<T>> {
                self.put_until(value, crate::sys::wait::poll::Deadline::at(deadline))
            }
        }
    };
}

/// Declares the four forms of getting, over `get_until(deadline)`, and the iterators. In the
/// examples, `queue` has the value 1, of type `u32`, and `sender` puts more.
macro_rules! get_forms {
    ($end:ident, $queue:literal, $shutdown:literal) => {
        impl<T: serde::de::DeserializeOwned> $end<T> {
            /// Gets the oldest value; waits for one.
            ///
            /// # Errors
            /// [`RecvError::Disconnected`](crate::RecvError::Disconnected) if the queue is empty
            /// and was shut down or, of a half, all sending halves are gone; `Decode` if the oldest
            /// value is not of this type (it is lost, later ones can be got); else the rest of
            /// [`RecvError`](crate::RecvError).
            ///
            /// ```
            #[doc = $queue]
            /// assert_eq!(queue.get()?, 1);
            #[doc = $shutdown]
            /// assert!(queue.get().unwrap_err().is_disconnected());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn get(&self) -> Result<T, crate::RecvError> {
                self.get_until(crate::sys::wait::poll::Deadline::Never)
            }

            /// Gets the oldest value if there is one; never waits.
            ///
            /// # Errors
            /// As [`get`](Self::get), and [`TryRecvError::Empty`](crate::TryRecvError::Empty) if
            /// there is none.
            ///
            /// ```
            #[doc = $queue]
            /// assert_eq!(queue.try_get()?, 1);
            /// assert!(queue.try_get().unwrap_err().is_empty());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_get(&self) -> Result<T, crate::TryRecvError> {
                self.get_until(crate::sys::wait::poll::Deadline::now())
            }

            /// Gets the oldest value; waits for one for `timeout` at most.
            ///
            /// # Errors
            /// As [`get`](Self::get), and
            /// [`RecvTimeoutError::Timeout`](crate::RecvTimeoutError::Timeout) if none came in
            /// time.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $queue]
            /// assert_eq!(queue.get_timeout(Duration::from_secs(1))?, 1);
            /// assert!(queue.get_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn get_timeout(
                &self,
                timeout: std::time::Duration,
            ) -> Result<T, crate::RecvTimeoutError> {
                self.get_until(crate::sys::wait::poll::Deadline::after(timeout))
            }

            /// Gets the oldest value; waits for one until `deadline`. One that is over is enough
            /// where nobody has to wait.
            ///
            /// # Errors
            /// As [`get_timeout`](Self::get_timeout).
            ///
            /// ```
            /// use std::time::Instant;
            ///
            #[doc = $queue]
            /// assert_eq!(queue.get_deadline(Instant::now())?, 1);
            /// assert!(queue.get_deadline(Instant::now()).unwrap_err().is_timeout());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn get_deadline(
                &self,
                deadline: std::time::Instant,
            ) -> Result<T, crate::RecvTimeoutError> {
                self.get_until(crate::sys::wait::poll::Deadline::at(deadline))
            }

            /// Returns an iterator over the values as they come, which waits for each. It ends
            /// where [`get`](Self::get) is `Disconnected`; other errors are items, and behind
            /// [`RecvError::Decode`](crate::RecvError::Decode) there can be more values.
            ///
            /// ```
            #[doc = $queue]
            /// sender.put(2)?;
            #[doc = $shutdown]
            /// assert_eq!(queue.iter().collect::<Result<Vec<u32>, _>>()?, [1, 2]);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn iter(&self) -> <&Self as IntoIterator>::IntoIter {
                self.into_iter()
            }

            /// Returns an iterator over the values that are there now; it never waits. It ends
            /// where the queue is empty; errors are items.
            ///
            /// ```
            #[doc = $queue]
            /// sender.put(2)?;
            /// assert_eq!(queue.try_iter().collect::<Result<Vec<u32>, _>>()?, [1, 2]);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_iter(&self) -> impl Iterator<Item = Result<T, crate::RecvError>> {
                crate::channel::error::try_iter(|| self.try_get())
            }
        }
    };
}

/// Declares the iterators of an end that receives by `$recv`: one that borrows it (exclusively, if
/// `mut` is given), and one that has it.
macro_rules! iterators {
    (
        $end:ident[$($other:ident)?] by $recv:ident, & $($exclusive:ident)?,
        $(#[$about:meta])* $iter:ident,
        $(#[$about_owning:meta])* $into_iter:ident
    ) => {
        $(#[$about])*
        pub struct $iter<'a, $($other,)? T> {
            end: &'a $($exclusive)? $end<$($other,)? T>,
        }

        $(#[$about_owning])*
        pub struct $into_iter<$($other,)? T> {
            end: $end<$($other,)? T>,
        }

        impl<$($other,)? T: serde::de::DeserializeOwned> Iterator for $iter<'_, $($other,)? T> {
            type Item = Result<T, crate::RecvError>;

            #[inline]
            fn next(&mut self) -> Option<Result<T, crate::RecvError>> {
                crate::channel::error::item(self.end.$recv())
            }
        }

        impl<$($other,)? T: serde::de::DeserializeOwned> Iterator for $into_iter<$($other,)? T> {
            type Item = Result<T, crate::RecvError>;

            #[inline]
            fn next(&mut self) -> Option<Result<T, crate::RecvError>> {
                crate::channel::error::item(self.end.$recv())
            }
        }

        impl<'a, $($other,)? T: serde::de::DeserializeOwned> IntoIterator
            for &'a $($exclusive)? $end<$($other,)? T>
        {
            type Item = Result<T, crate::RecvError>;
            type IntoIter = $iter<'a, $($other,)? T>;

            fn into_iter(self) -> Self::IntoIter {
                $iter { end: self }
            }
        }

        impl<$($other,)? T: serde::de::DeserializeOwned> IntoIterator for $end<$($other,)? T> {
            type Item = Result<T, crate::RecvError>;
            type IntoIter = $into_iter<$($other,)? T>;

            fn into_iter(self) -> Self::IntoIter {
                $into_iter { end: self }
            }
        }

        impl<$($other,)? T> std::fmt::Debug for $iter<'_, $($other,)? T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($iter)).field(&self.end).finish()
            }
        }

        impl<$($other,)? T> std::fmt::Debug for $into_iter<$($other,)? T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($into_iter)).field(&self.end).finish()
            }
        }
    };
}

pub(super) use {get_forms, iterators, put_forms};
