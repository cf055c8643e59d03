//! Iterators over the values that come over a connection.

use std::fmt;

use serde::de::DeserializeOwned;

use super::ends::Connection;
use crate::channel::error::{self, RecvError};

impl<S, R: DeserializeOwned> Connection<S, R> {
    /// Returns an iterator over the values that come, until the other end is gone. Other errors are
    /// items: behind [`RecvError::Decode`] there can be more values, behind what ends the
    /// connection comes the end.
    ///
    /// ```
    /// # use multiproc::{Address, Connection, Listener, connect};
    /// # let mut listener = Listener::bind(Address::fresh()?)?;
    /// # let mut near: Connection<u8> = connect(listener.address())?;
    /// # let mut far: Connection<u8> = listener.accept()?;
    /// near.send(1)?;
    /// near.send(2)?;
    /// near.close()?;
    /// assert_eq!(far.iter().collect::<Result<Vec<u8>, _>>()?, [1, 2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn iter(&mut self) -> ConnectionIter<'_, S, R> {
        ConnectionIter { connection: self }
    }
}

/// The values that come over a connection: see [`Connection::iter`].
pub struct ConnectionIter<'a, S, R> {
    connection: &'a mut Connection<S, R>,
}

impl<S, R: DeserializeOwned> Iterator for ConnectionIter<'_, S, R> {
    type Item = Result<R, RecvError>;

    fn next(&mut self) -> Option<Result<R, RecvError>> {
        error::item(self.connection.recv())
    }
}

impl<S, R> fmt::Debug for ConnectionIter<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionIter").field("connection", &self.connection).finish()
    }
}

/// The values that come over a connection that is the iterator's own: see [`Connection::iter`].
#[derive(Debug)]
pub struct ConnectionIntoIter<S, R> {
    connection: Connection<S, R>,
}

impl<S, R: DeserializeOwned> Iterator for ConnectionIntoIter<S, R> {
    type Item = Result<R, RecvError>;

    fn next(&mut self) -> Option<Result<R, RecvError>> {
        self.connection.iter().next()
    }
}

impl<S, R: DeserializeOwned> IntoIterator for Connection<S, R> {
    type Item = Result<R, RecvError>;
    type IntoIter = ConnectionIntoIter<S, R>;

    fn into_iter(self) -> ConnectionIntoIter<S, R> {
        ConnectionIntoIter { connection: self }
    }
}

impl<'a, S, R: DeserializeOwned> IntoIterator for &'a mut Connection<S, R> {
    type Item = Result<R, RecvError>;
    type IntoIter = ConnectionIter<'a, S, R>;

    fn into_iter(self) -> ConnectionIter<'a, S, R> {
        self.iter()
    }
}
