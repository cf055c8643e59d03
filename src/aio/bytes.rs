//! Streams of bytes: the standard streams of children, and the messages of a connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::asynchronous::{Async, Watcher};
use super::readiness::{Direction, Step, Watch};
use super::source::{self, Source};
use crate::channel::{Connection, SendError, SendFailure, Unsent};
use crate::sys::fd;

/// The longest message that a stream of bytes is cut into.
const LONGEST: usize = 64 << 10;

/// Reads from a pipe when it is readable, or writes to it when it has room.
fn poll_pipe<E: std::os::fd::AsFd>(
    this: &mut Async<E>,
    direction: Direction,
    context: &mut Context<'_>,
    mut transfer: impl FnMut(&mut E) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    let Async { end, values, .. } = this;
    if values.source.get().is_none() {
        // Only now, so that who takes the pipe out of the wrapper before finds it as it was.
        fd::set_nonblocking(end.as_fd())?;
        values.was_blocking = true;
        let made = Source::of(end.as_fd())?;
        values.source.get_or_init(|| made);
    }
    let source = &values.source;
    let watch = |_: &mut &mut E| {
        source::check_reactor()?;
        let source = source.get().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Watch::new(source, direction, None))
    };
    let polled = values.readiness.poll(context, &mut &mut *end, watch, |end| match transfer(end) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Wait,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Step::Again,
        outcome => Step::Done(outcome),
    });
    polled.map(|outcome| outcome.and_then(|outcome| outcome))
}

/// Implements reading for a pipe that a child writes to.
macro_rules! reads {
    ($($pipe:ident),*) => {
        $(impl AsyncRead for Async<$pipe> {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                poll_pipe(&mut self, Direction::Readable, context, |pipe| {
                    io::Read::read(pipe, buffer)
                })
            }
        })*
    };
}

reads!(ChildStdout, ChildStderr);

impl AsyncWrite for Async<ChildStdin> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_pipe(&mut self, Direction::Writable, context, |pipe| io::Write::write(pipe, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes the pipe: the child reads the end of the file. To write to it is an error from then
    /// on.
    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe whose reader is gone takes its place. Both duplicates of the old one go.
        let (_, broken) = fd::pipe()?;
        self.end = ChildStdin::from(broken);
        self.values = Watcher::default();
        Poll::Ready(Ok(()))
    }
}

/// A connection as a stream of bytes in both directions: of [`Async::into_byte_stream`].
///
/// What is written goes as messages of up to 64 KiB; what is read is the bytes of the messages one
/// behind the other, whoever sent them. The end of the connection is the end of the file.
pub struct ByteStream<S, R> {
    connection: Async<Connection<S, R>>,
    /// A message that was not read to its end, and how much of it was.
    message: Vec<u8>,
    read: usize,
}

impl<S, R> Async<Connection<S, R>> {
    /// Has the connection be a stream of bytes, `AsyncRead` and `AsyncWrite`.
    ///
    /// ```
    /// use multiproc::{Async, connection};
    /// use futures_lite::{AsyncReadExt, AsyncWriteExt};
    ///
    /// let (near, far) = connection::<(), ()>()?;
    /// let mut near = Async::new(near).into_byte_stream();
    /// let mut far = Async::new(far).into_byte_stream();
    /// async_io::block_on(async {
    ///     near.write_all(b"some bytes").await?;
    ///     drop(near);
    ///     let mut text = String::new();
    ///     far.read_to_string(&mut text).await?;
    ///     assert_eq!(text, "some bytes");
    ///     std::io::Result::Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_byte_stream(self) -> ByteStream<S, R> {
        ByteStream { connection: self, message: Vec::new(), read: 0 }
    }
}

impl<S, R> ByteStream<S, R> {
    /// Gives the connection back. The rest of a message that was not read to its end is lost.
    ///
    /// ```
    /// use multiproc::{Async, connection};
    ///
    /// let (near, far) = connection::<u8, u8>()?;
    /// let mut near = Async::new(near).into_byte_stream().into_inner();
    /// async_io::block_on(near.send(7))?;
    /// # drop(far);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn into_inner(self) -> Async<Connection<S, R>> {
        self.connection
    }
}

impl<S, R> AsyncRead for ByteStream<S, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // An empty message is not the end of the file.
        while this.read == this.message.len() && !buffer.is_empty() {
            match ready!(this.connection.poll_recv_bytes(context)) {
                Ok(message) => (this.message, this.read) = (message, 0),
                Err(error) if error.is_disconnected() => return Poll::Ready(Ok(0)),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        let left = &this.message[this.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        this.read += count;
        Poll::Ready(Ok(count))
    }
}

impl<S, R> AsyncWrite for ByteStream<S, R> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.as_mut().poll_flush(context))?;
        let part = &bytes[..bytes.len().min(LONGEST)];
        if !part.is_empty() {
            self.connection.unsent = Some(Unsent::of_bytes(part));
            // It is taken, whether it is out or not; an error that is known now is told now.
            if let Poll::Ready(Err(error)) = self.connection.poll_unsent(context) {
                return Poll::Ready(Err(SendError::new(error, ()).into()));
            }
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(self.connection.poll_unsent(context));
        Poll::Ready(done.map_err(|error| SendError::new(error, ()).into()))
    }

    /// Sends what is unsent. The other side may still send, so it is told of the end only when this
    /// is dropped.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl<S, R> fmt::Debug for ByteStream<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("connection", &self.connection).finish_non_exhaustive()
    }
}
