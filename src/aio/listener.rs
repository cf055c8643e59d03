//! Accepting connections.

use std::future::poll_fn;

use super::asynchronous::Async;
use super::readiness::{Readiness, Step};
use crate::channel::{AcceptError, Connection, Listener};

impl Async<Listener> {
    /// Waits for a connection and gives it. Safe to drop at any time: who was not accepted yet is
    /// still there, and who is being asked for the key stays so.
    ///
    /// # Errors
    /// As [`Listener::accept`], but at once: who goes on after an error waits a moment.
    ///
    /// ```
    /// use multiproc::{Address, Async, Connection, Listener, connect};
    ///
    /// let listener = Listener::bind(Address::fresh()?)?;
    /// let address = listener.address().clone();
    /// let mut listener = Async::new(listener);
    /// let client: Connection<u32> = connect(&address)?;
    /// let mut connection: Connection<u32> = async_io::block_on(listener.accept())?;
    /// connection.send(7)?;
    /// # drop(client);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub async fn accept<S, R>(&mut self) -> Result<Connection<S, R>, AcceptError> {
        let mut readiness = Readiness::default();
        poll_fn(|context| {
            readiness.poll(
                context,
                self,
                |this| this.watch_values(),
                |this| match this.end.accept_now() {
                    Err(AcceptError::TimedOut) => Step::Wait,
                    outcome => Step::Done(outcome),
                },
            )
        })
        .await
        .unwrap_or_else(|error| Err(AcceptError::Os(error)))
    }
}
