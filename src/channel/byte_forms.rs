//! The methods for bytes, which the ends of pipes and connections have in the same words: see
//! `forms`.

/// Declares the four forms of sending bytes, over `send_bytes_by(bytes, deadline)`. In the
/// examples, `near` sends to `far`, and holds 4096 bytes.
macro_rules! send_bytes_forms {
    ([$($generics:tt)*] $end:ty, $ends:literal) => {
        impl<$($generics)*> $end {
            /// Sends bytes as one message, which may be empty; waits until there is room for them.
            /// A part of a buffer is a slice. (CPython's `send_bytes`.)
            ///
            /// # Errors
            /// The other end is gone, or the system refuses.
            ///
            /// ```
            #[doc = $ends]
            /// near.send_bytes(b"")?;
            /// near.send_bytes(&b"abcdef"[2..5])?;
            /// assert_eq!(far.recv_bytes()?, b"");
            /// assert_eq!(far.recv_bytes()?, b"cde");
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), crate::SendError<()>> {
                self.send_bytes_by(bytes, crate::sys::wait::poll::Deadline::Never)
            }

            /// Sends bytes if there is room for all of them now; never waits. (Over a socket, if
            /// there is room for some: the rest counts as sent, and goes out later.)
            ///
            /// # Errors
            /// As [`send_bytes`](Self::send_bytes), and
            /// [`TrySendError::Full`](crate::TrySendError::Full).
            ///
            /// ```
            #[doc = $ends]
            /// near.try_send_bytes(&[1; 3000])?;
            /// assert!(near.try_send_bytes(&[2; 3000]).unwrap_err().is_full());
            /// assert_eq!(far.recv_bytes()?, [1; 3000]);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_send_bytes(&mut self, bytes: &[u8]) -> Result<(), crate::TrySendError<()>> {
                self.send_bytes_by(bytes, crate::sys::wait::poll::Deadline::now())
            }

            /// Sends bytes; waits for room for `timeout` at most.
            ///
            /// # Errors
            /// As [`send_bytes`](Self::send_bytes), and
            /// [`SendTimeoutError::Timeout`](crate::SendTimeoutError::Timeout) after that time.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $ends]
            /// near.send_bytes_timeout(&[1; 3000], Duration::from_secs(1))?;
            /// let moment = Duration::from_millis(1);
            /// let error = near.send_bytes_timeout(&[2; 3000], moment).unwrap_err();
            /// assert!(error.is_timeout());
            /// assert_eq!(far.recv_bytes()?, [1; 3000]);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn send_bytes_timeout(
                &mut self,
                bytes: &[u8],
                timeout: std::time::Duration,
            ) -> Result<(), crate::SendTimeoutError<()>> {
                self.send_bytes_by(bytes, crate::sys::wait::poll::Deadline::after(timeout))
            }

            /// Sends bytes; waits for room until `deadline`.
            ///
            /// # Errors
            /// As [`send_bytes_timeout`](Self::send_bytes_timeout).
            ///
            /// ```
            /// use std::time::Instant;
            ///
            #[doc = $ends]
            /// near.send_bytes_deadline(b"abc", Instant::now())?;
            /// assert_eq!(far.recv_bytes()?, b"abc");
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn send_bytes_deadline(
                &mut self,
                bytes: &[u8],
                deadline: std::time::Instant,
            ) -> Result<(), crate::SendTimeoutError<()>> {
                self.send_bytes_by(bytes, crate::sys::wait::poll::Deadline::at(deadline))
            }

            fn send_bytes_by<E: crate::channel::error::SendFailure<()>>(
                &mut self,
                bytes: &[u8],
                deadline: crate::sys::wait::poll::Deadline,
            ) -> Result<(), E> {
                let checked = self.sole.check(WHAT).map_err(SendTransportError::Os);
                checked
                    .and_then(|()| self.transmit(bytes, deadline))
                    .map_err(|error| E::new(error, ()))
            }
        }
    };
}

/// Declares the four forms of receiving bytes, and those of receiving them into a buffer, over
/// `receive(onto, deadline)` and `receive_into(target, deadline)`. In the examples, `near` sends to
/// `far`.
macro_rules! recv_bytes_forms {
    ([$($generics:tt)*] $end:ty, $ends:literal) => {
        impl<$($generics)*> $end {
            /// Receives a message as it is; waits until one comes. Descriptors that came with it
            /// are closed. (CPython's `recv_bytes`.)
            ///
            /// # Errors
            /// As [`recv`](Self::recv), except that any bytes will do.
            ///
            /// ```
            #[doc = $ends]
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.recv_bytes()?, b"abc");
            /// drop(near);
            /// assert!(far.recv_bytes().unwrap_err().is_disconnected());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_bytes(&mut self) -> Result<Vec<u8>, crate::RecvError> {
                self.recv_bytes_by(crate::sys::wait::poll::Deadline::Never)
            }

            /// Receives a message as it is if one is there; never waits.
            ///
            /// # Errors
            /// As [`recv_bytes`](Self::recv_bytes), and
            /// [`TryRecvError::Empty`](crate::TryRecvError::Empty) if none is there.
            ///
            /// ```
            #[doc = $ends]
            /// assert!(far.try_recv_bytes().unwrap_err().is_empty());
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.try_recv_bytes()?, b"abc");
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_recv_bytes(&mut self) -> Result<Vec<u8>, crate::TryRecvError> {
                self.recv_bytes_by(crate::sys::wait::poll::Deadline::now())
            }

            /// Receives a message as it is; waits for one for `timeout` at most. What arrived of it
            /// by then is kept for the next call.
            ///
            /// # Errors
            /// As [`recv_bytes`](Self::recv_bytes), and
            /// [`RecvTimeoutError::Timeout`](crate::RecvTimeoutError::Timeout) if none came in
            /// time.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $ends]
            /// assert!(far.recv_bytes_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.recv_bytes_timeout(Duration::from_secs(1))?, b"abc");
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_bytes_timeout(
                &mut self,
                timeout: std::time::Duration,
            ) -> Result<Vec<u8>, crate::RecvTimeoutError> {
                self.recv_bytes_by(crate::sys::wait::poll::Deadline::after(timeout))
            }

            /// Receives a message as it is; waits for one until `deadline`.
            ///
            /// # Errors
            /// As [`recv_bytes_timeout`](Self::recv_bytes_timeout).
            ///
            /// ```
            /// use std::time::Instant;
            ///
            #[doc = $ends]
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.recv_bytes_deadline(Instant::now())?, b"abc");
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_bytes_deadline(
                &mut self,
                deadline: std::time::Instant,
            ) -> Result<Vec<u8>, crate::RecvTimeoutError> {
                self.recv_bytes_by(crate::sys::wait::poll::Deadline::at(deadline))
            }

            fn recv_bytes_by<E: crate::channel::error::RecvFailure>(
                &mut self,
                deadline: crate::sys::wait::poll::Deadline,
            ) -> Result<Vec<u8>, E> {
                self.sole.check(WHAT).map_err(crate::RecvError::Os)?;
                let mut bytes = Vec::new();
                self.receive(&mut bytes, deadline)?;
                Ok(bytes)
            }

            /// Receives a message into the beginning of `buffer`, and says how many bytes it is
            /// long; waits until one comes. To begin elsewhere, give a part of a buffer. (CPython's
            /// `recv_bytes_into`.)
            ///
            /// # Errors
            /// [`RecvIntoError::BufferTooShort`](crate::RecvIntoError::BufferTooShort) has the
            /// whole message if it does not fit; else as [`recv_bytes`](Self::recv_bytes).
            ///
            /// ```
            /// use multiproc::RecvIntoError;
            ///
            #[doc = $ends]
            /// let mut buffer = [b'.'; 6];
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.recv_bytes_into(&mut buffer[2..])?, 3);
            /// assert_eq!(&buffer, b"..abc.");
            ///
            /// near.send_bytes(b"too long")?;
            /// let too_short = far.recv_bytes_into(&mut buffer).unwrap_err();
            /// assert_eq!(too_short, RecvIntoError::BufferTooShort(b"too long".to_vec()));
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_bytes_into(
                &mut self,
                buffer: &mut [u8],
            ) -> Result<usize, crate::RecvIntoError> {
                self.recv_bytes_into_by(buffer, crate::sys::wait::poll::Deadline::Never)
            }

            /// Receives a message into the beginning of `buffer` if one is there; never waits.
            ///
            /// # Errors
            /// As [`recv_bytes_into`](Self::recv_bytes_into), and
            /// [`TryRecvError::Empty`](crate::TryRecvError::Empty) if none is there.
            ///
            /// ```
            #[doc = $ends]
            /// let mut buffer = [0; 8];
            /// assert!(far.try_recv_bytes_into(&mut buffer).is_err());
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.try_recv_bytes_into(&mut buffer)?, 3);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn try_recv_bytes_into(
                &mut self,
                buffer: &mut [u8],
            ) -> Result<usize, crate::RecvIntoError<crate::TryRecvError>> {
                self.recv_bytes_into_by(buffer, crate::sys::wait::poll::Deadline::now())
            }

            /// Receives a message into the beginning of `buffer`; waits for one for `timeout` at
            /// most.
            ///
            /// # Errors
            /// As [`recv_bytes_into`](Self::recv_bytes_into), and
            /// [`RecvTimeoutError::Timeout`](crate::RecvTimeoutError::Timeout) if none came in
            /// time.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $ends]
            /// let mut buffer = [0; 8];
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.recv_bytes_into_timeout(&mut buffer, Duration::from_secs(1))?, 3);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_bytes_into_timeout(
                &mut self,
                buffer: &mut [u8],
                timeout: std::time::Duration,
            ) -> Result<usize, crate::RecvIntoError<crate::RecvTimeoutError>> {
                self.recv_bytes_into_by(buffer, crate::sys::wait::poll::Deadline::after(timeout))
            }

            /// Receives a message into the beginning of `buffer`; waits for one until `deadline`.
            ///
            /// # Errors
            /// As [`recv_bytes_into_timeout`](Self::recv_bytes_into_timeout).
            ///
            /// ```
            /// use std::time::Instant;
            ///
            #[doc = $ends]
            /// let mut buffer = [0; 8];
            /// near.send_bytes(b"abc")?;
            /// assert_eq!(far.recv_bytes_into_deadline(&mut buffer, Instant::now())?, 3);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn recv_bytes_into_deadline(
                &mut self,
                buffer: &mut [u8],
                deadline: std::time::Instant,
            ) -> Result<usize, crate::RecvIntoError<crate::RecvTimeoutError>> {
                self.recv_bytes_into_by(buffer, crate::sys::wait::poll::Deadline::at(deadline))
            }

            fn recv_bytes_into_by<E: crate::channel::error::RecvFailure>(
                &mut self,
                buffer: &mut [u8],
                deadline: crate::sys::wait::poll::Deadline,
            ) -> Result<usize, crate::RecvIntoError<E>> {
                self.sole.check(WHAT).map_err(|error| E::from(crate::RecvError::Os(error)))?;
                self.receive_into(buffer, deadline)
            }

            /// Returns true if a message, or the end, can be received without waiting; waits for
            /// that for `timeout` at most, and for ever without one. The message stays.
            ///
            /// Stronger than CPython's: a message that has arrived in part does not count, so
            /// whoever sends drop by drop does not block the `recv` that follows.
            ///
            /// # Errors
            /// The system refuses to wait or to receive.
            ///
            /// ```
            /// use std::time::Duration;
            ///
            #[doc = $ends]
            /// assert!(!far.poll(Some(Duration::ZERO))?);
            /// near.send_bytes(b"abc")?;
            /// assert!(far.poll(None)?);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn poll(
                &mut self,
                timeout: Option<std::time::Duration>,
            ) -> Result<bool, crate::RecvError> {
                self.sole.check(WHAT).map_err(crate::RecvError::Os)?;
                self.poll_by(crate::sys::wait::poll::Deadline::within(timeout))
                    .map_err(crate::RecvError::Os)
            }

            /// Sets how long a message may be that is received here, in bytes; 1 GiB at first. A
            /// longer one is [`RecvError::TooLong`](crate::RecvError::TooLong), and the end of what
            /// can be received.
            ///
            /// Whatever the limit: room is made only for what has arrived.
            ///
            /// ```
            #[doc = $ends]
            /// far.set_max_message(2);
            /// near.send_bytes(b"abc")?;
            /// let error = far.recv_bytes().unwrap_err();
            /// assert!(error.to_string().contains("longer than the limit of 2 bytes"));
            /// assert!(far.recv_bytes().unwrap_err().is_disconnected());
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            pub fn set_max_message(&mut self, bytes: u64) {
                self.max_message = bytes;
            }

            /// Returns the length of the longest message that is accepted here, in bytes.
            ///
            /// ```
            #[doc = $ends]
            /// assert_eq!(far.max_message(), 1 << 30);
            /// # drop(near);
            /// # Ok::<(), multiproc::Error>(())
            /// ```
            #[must_use]
            pub fn max_message(&self) -> u64 {
                self.max_message
            }
        }
    };
}

pub(super) use {recv_bytes_forms, send_bytes_forms};
