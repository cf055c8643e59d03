//! Iterators over the values that come over a connection.

use serde::de::DeserializeOwned;

use super::ends::Connection;
use crate::channel::forms;

impl<S, R: DeserializeOwned> Connection<S, R> {
    /// Returns an iterator over the values that come, until the other end is gone. Other errors are
    /// items: behind [`RecvError::Decode`](crate::RecvError::Decode) there can be more values,
    /// behind what ends the connection comes the end.
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
        self.into_iter()
    }
}

forms::iterators!(
    Connection[S] by recv, &mut,
    /// An iterator over the values that come over a connection: [`Connection::iter`].
    ConnectionIter,
    /// An iterator over the values that come over a connection, which has this end: of `into_iter`.
    ConnectionIntoIter
);
