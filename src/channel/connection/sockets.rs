//! Connections over sockets that come from elsewhere.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::ends::Connection;
use crate::channel::socket::stream::Stream;
use crate::error::{Error, os};

impl<S, R> TryFrom<OwnedFd> for Connection<S, R> {
    type Error = Error;

    /// Makes a connection over a connected stream socket, Unix or TCP, such as one that a service
    /// manager or another library opened; CPython's `Connection(handle)`. What crosses are
    /// CPython's messages; nobody proves a key.
    ///
    /// # Errors
    /// It is no stream socket, or the system does not say.
    ///
    /// ```
    /// use multiproc::Connection;
    /// use std::os::fd::OwnedFd;
    ///
    /// let not_a_socket = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    /// assert!(Connection::<u8>::try_from(not_a_socket).is_err());
    /// ```
    fn try_from(socket: OwnedFd) -> Result<Connection<S, R>, Error> {
        // The kind of the socket decides whether descriptors cross; anything but a stream is
        // refused.
        let stream = Stream::new(socket).map_err(os("cannot make a connection of a descriptor"))?;
        Ok(Connection::over_stream(stream))
    }
}

impl<S, R> TryFrom<UnixStream> for Connection<S, R> {
    type Error = Error;

    /// Makes a connection over a Unix socket.
    ///
    /// # Errors
    /// The system does not say what it is.
    ///
    /// ```
    /// use multiproc::Connection;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, far) = UnixStream::pair().unwrap();
    /// let mut near: Connection<String> = near.try_into()?;
    /// let mut far: Connection<String> = far.try_into()?;
    /// near.send("hello".to_owned())?;
    /// assert_eq!(far.recv()?, "hello");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    fn try_from(socket: UnixStream) -> Result<Connection<S, R>, Error> {
        OwnedFd::from(socket).try_into()
    }
}

impl<S, R> TryFrom<TcpStream> for Connection<S, R> {
    type Error = Error;

    /// Makes a connection over TCP. Descriptors do not cross it.
    ///
    /// # Errors
    /// The system does not say what it is.
    ///
    /// ```
    /// use multiproc::Connection;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    /// let mut near: Connection<u32> = near.try_into()?;
    /// let mut far: Connection<u32> = listener.accept().unwrap().0.try_into()?;
    /// near.send(7)?;
    /// assert_eq!(far.recv()?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    fn try_from(socket: TcpStream) -> Result<Connection<S, R>, Error> {
        OwnedFd::from(socket).try_into()
    }
}
