//! Iterators over the values that come over a connection.

use super::ends::Connection;
use crate::channel::forms;

forms::iterators!(
    Connection[S] by recv, &mut,
    /// An iterator over the values that come over a connection: [`Connection::iter`].
    ConnectionIter,
    /// An iterator over the values that come over a connection, which has this end: of `into_iter`.
    ConnectionIntoIter
);
