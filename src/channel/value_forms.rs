//! The methods for values, which the ends of pipes and connections have in the same words: see
//! `forms`.

/// Declares the four forms of sending a value, over `send_by(value, deadline)`. In the examples,
/// `near` sends numbers to `far`, and holds 4096 bytes.
macro_rules! send_forms {
    ([$($generics:tt)*] $end:ty, $value:ident, $ends:literal) => {
        impl<$($generics)*> $end {
            /// Sends a value; waits until there is room for it.
            ///
            /// That a value was sent does not mean that it will be received: the other side may end
            /// before. When that is known, the next `send` is an error.
            ///
            /// # Errors
            /// The other end is gone, the value's type refuses, or the system does; the value comes
            /// back.
            ///
            /// ```
            #[doc = $ends]
            /// near.send(1)?;
            /// assert_eq!(far.recv()?, 1);
            /// drop(far);
            /// let error = near.send(2).unwrap_err();
            /// assert!(error.is_disconnected());
            /// assert_eq!(error.into_value(), 2);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn send(&mut self, value: $value) -> Result<(), crate::SendError<$value>> {
                self.send_by(value, crate::sys::wait::poll::Deadline::Never)
            }

            /// Sends a value if there is room for all of it now; never waits. There never is for
            /// one that is longer than the capacity. Over a socket, room for a part is enough: the
            /// value counts as sent, and the rest goes out later.
            ///
            /// # Errors
            /// As [`send`](Self::send), and [`TrySendError::Full`](crate::TrySendError::Full).
            ///
            /// ```
            #[doc = $ends]
            /// let sent = (0..1000).take_while(|n| near.try_send(*n).is_ok()).count();
            /// assert_eq!(sent, 4096 / 16); // 8 bytes each, and 8 for the header
            /// assert!(near.try_send(7).unwrap_err().is_full());
            /// assert_eq!(far.try_iter().count(), sent);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_send(
                &mut self,
                value: $value,
            ) -> Result<(), crate::TrySendError<$value>> {
                self.send_by(value, crate::sys::wait::poll::Deadline::now())
            }

            /// Sends a value; waits for room for `timeout` at most.
            ///
            /// If the time is over in the middle of a message that goes in parts, the receiver
            /// discards what it has of it. Over a socket, it counts as sent, and the rest goes out
            /// later.
            ///
            /// # Errors
            /// As [`send`](Self::send), and
            /// [`SendTimeoutError::Timeout`](crate::SendTimeoutError::Timeout) after that time.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $ends]
            /// while near.try_send(1).is_ok() {}
            /// let error = near.send_timeout(2, Duration::from_millis(1)).unwrap_err();
            /// assert!(error.is_timeout());
            /// assert_eq!(far.recv()?, 1);
            /// near.send_timeout(2, Duration::from_secs(1))?;
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn send_timeout(
                &mut self,
                value: $value,
                timeout: std::time::Duration,
            ) -> Result<(), crate::SendTimeoutError<$value>> {
                self.send_by(value, crate::sys::wait::poll::Deadline::after(timeout))
            }

            /// Sends a value; waits for room until `deadline`. One that is over is enough where
            /// nobody has to wait.
            ///
            /// # Errors
            /// As [`send_timeout`](Self::send_timeout).
            ///
            /// ```
            /// use std::time::Instant;
            ///
            #[doc = $ends]
            /// near.send_deadline(1, Instant::now())?;
            /// assert_eq!(far.recv()?, 1);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn send_deadline(
                &mut self,
                value: $value,
                deadline: std::time::Instant,
            ) -> Result<(), crate::SendTimeoutError<$value>> {
                self.send_by(value, crate::sys::wait::poll::Deadline::at(deadline))
            }
        }
    };
}

/// Declares the four forms of receiving a value, over `recv_by(deadline)`, and the iterators'
/// methods. In the examples, `near` sends numbers to `far`.
macro_rules! recv_forms {
    ([$($generics:tt)*] $end:ty, $value:ident, $ends:literal) => {
        impl<$($generics)*> $end {
            /// Receives a value; waits until one comes.
            ///
            /// # Errors
            /// The other end is gone and nothing is left
            /// ([`RecvError::Disconnected`](crate::RecvError::Disconnected), Python's `EOFError`),
            /// what came is no such value (later ones can be received), or the rest of
            /// [`RecvError`](crate::RecvError).
            ///
            /// ```
            #[doc = $ends]
            /// near.send(1)?;
            /// drop(near);
            /// assert_eq!(far.recv()?, 1);
            /// assert!(far.recv().unwrap_err().is_disconnected());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv(&mut self) -> Result<$value, crate::RecvError> {
                self.recv_by(crate::sys::wait::poll::Deadline::Never)
            }

            /// Receives a value if one is there; never waits.
            ///
            /// # Errors
            /// As [`recv`](Self::recv), and [`TryRecvError::Empty`](crate::TryRecvError::Empty) if
            /// none is there.
            ///
            /// ```
            #[doc = $ends]
            /// assert!(far.try_recv().unwrap_err().is_empty());
            /// near.send(1)?;
            /// drop(near);
            /// assert_eq!(far.try_recv()?, 1);
            /// assert!(far.try_recv().unwrap_err().is_disconnected());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_recv(&mut self) -> Result<$value, crate::TryRecvError> {
                self.recv_by(crate::sys::wait::poll::Deadline::now())
            }

            /// Receives a value; waits for one for `timeout` at most. What arrived of one by then
            /// is kept for the next call.
            ///
            /// # Errors
            /// As [`recv`](Self::recv), and
            /// [`RecvTimeoutError::Timeout`](crate::RecvTimeoutError::Timeout) if none came in
            /// time.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $ends]
            /// assert!(far.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
            /// near.send(1)?;
            /// assert_eq!(far.recv_timeout(Duration::from_secs(1))?, 1);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_timeout(
                &mut self,
                timeout: std::time::Duration,
            ) -> Result<$value, crate::RecvTimeoutError> {
                self.recv_by(crate::sys::wait::poll::Deadline::after(timeout))
            }

            /// Receives a value; waits for one until `deadline`.
            ///
            /// # Errors
            /// As [`recv_timeout`](Self::recv_timeout).
            ///
            /// ```
            /// use std::time::Instant;
            ///
            #[doc = $ends]
            /// near.send(1)?;
            /// assert_eq!(far.recv_deadline(Instant::now())?, 1);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_deadline(
                &mut self,
                deadline: std::time::Instant,
            ) -> Result<$value, crate::RecvTimeoutError> {
                self.recv_by(crate::sys::wait::poll::Deadline::at(deadline))
            }

            /// Returns an iterator over the values that come, which waits for each, until the other
            /// end is gone. Other errors are items: behind
            /// [`RecvError::Decode`](crate::RecvError::Decode) there can be more values, behind
            /// what ends the channel comes the end.
            ///
            /// ```
            #[doc = $ends]
            /// near.send(1)?;
            /// near.send(2)?;
            /// drop(near);
            /// assert_eq!(far.iter().collect::<Result<Vec<u64>, _>>()?, [1, 2]);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn iter(&mut self) -> <&mut Self as IntoIterator>::IntoIter {
                self.into_iter()
            }

            /// Returns an iterator over the values that are there now; it never waits. It ends
            /// where nothing is there yet and where the other end is gone; other errors are items.
            ///
            /// ```
            #[doc = $ends]
            /// near.send(1)?;
            /// near.send(2)?;
            /// assert_eq!(far.try_iter().collect::<Result<Vec<u64>, _>>()?, [1, 2]);
            /// assert!(far.try_recv().unwrap_err().is_empty());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_iter(&mut self) -> impl Iterator<Item = Result<$value, crate::RecvError>> {
                crate::channel::error::try_iter(|| self.try_recv())
            }
        }
    };
}

pub(super) use {recv_forms, send_forms};
