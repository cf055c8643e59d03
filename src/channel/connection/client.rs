//! Connecting to a listener.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use super::ends::Connection;
use super::listener::HANDSHAKE;
use crate::channel::socket::address::Address;
use crate::channel::socket::auth::{AuthenticationError, Handshake, Key, Side};
use crate::channel::socket::pending::converse;
use crate::channel::socket::stream::Stream;
use crate::error::{Cause, Error};
use crate::sys::ipc::net;
use crate::sys::wait::poll::Deadline;

/// Connects to a listener without a key. For one with a key, or to wait for less than 20 seconds,
/// see [`Client`].
///
/// # Errors
/// Nobody listens there, there is no room in 20 seconds, or the system refuses.
///
/// ```
/// use multiproc::{Address, Connection, ConnectError, connect};
///
/// let nobody: Result<Connection<u8>, ConnectError> = connect(&Address::fresh()?);
/// let Err(ConnectError::Os { error, .. }) = nobody else { panic!() };
/// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn connect<S, R>(address: &Address) -> Result<Connection<S, R>, ConnectError> {
    Client::new().connect(address)
}

/// Connects to listeners, with a key or other wishes: CPython's
/// `multiprocessing.connection.Client`.
///
/// ```
/// use std::time::Duration;
/// use multiproc::{Address, Client, Connection, Listener, Process};
///
/// fn ask(address: Address) -> u32 {
///     let client = Client::new().key("secret").connect_timeout(Duration::from_secs(5));
///     let mut connection: Connection<u32> = client.connect(&address).unwrap();
///     connection.recv().unwrap()
/// }
///
/// let mut listener = Listener::builder().key("secret").bind(Address::fresh()?)?;
/// let child = Process::new(ask, (listener.address().clone(),)).start()?;
/// let mut connection: Connection<u32> = listener.accept()?;
/// connection.send(42)?;
/// assert_eq!(child.join()?, 42);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing before `connect`"]
pub struct Client {
    key: Option<Key>,
    connect_timeout: Duration,
    handshake_timeout: Duration,
}

impl Client {
    /// Creates a client without a key and with the usual timeouts.
    pub fn new() -> Client {
        Client { key: None, connect_timeout: Duration::from_secs(20), handshake_timeout: HANDSHAKE }
    }

    /// Proves this key, which may be empty, to the listener, and has the listener prove it.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Client {
        self.key = Some(Key::new(key.as_ref()));
        self
    }

    /// Limits the time until the connection stands; 20 seconds unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Client {
        self.connect_timeout = timeout;
        self
    }

    /// Limits the time that the listener may take, after that, to prove the key and to be
    /// satisfied; 10 seconds unless set. A listener that is not accepting is one that takes long.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Client {
        self.handshake_timeout = timeout;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there, it takes too long, the listener has another key or none, or the system
    /// refuses.
    ///
    /// ```
    /// use multiproc::{Address, Client, ConnectError};
    ///
    /// let nobody = Client::new().connect::<u8, u8>(&Address::fresh()?);
    /// assert!(matches!(nobody, Err(ConnectError::Os { .. })));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn connect<S, R>(&self, address: &Address) -> Result<Connection<S, R>, ConnectError> {
        let refused = |error| ConnectError::Os { address: address.clone(), error };
        let socket = net::connect(&address.place(), Deadline::after(self.connect_timeout))
            .map_err(refused)?;
        let mut stream = Stream::new(socket).map_err(refused)?;
        // A time of its own: a listener that is slow to accept has used up none of it.
        if let Some(key) = &self.key {
            let mut handshake =
                Handshake::new(Side::Client, key.clone()).map_err(ConnectError::Authentication)?;
            converse(&mut stream, &mut handshake, Deadline::after(self.handshake_timeout))
                .map_err(ConnectError::Authentication)?;
        }
        Ok(Connection::over_stream(stream))
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

/// Why there is no connection to a listener.
///
/// ```
/// use multiproc::{Address, connect};
///
/// let error = connect::<u8, u8>(&"unix:/nowhere/at/all".parse::<Address>()?).unwrap_err();
/// assert!(error.to_string().starts_with("cannot connect to unix:/nowhere/at/all"));
/// let error = std::io::Error::from(error);
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
#[derive(Debug)]
pub enum ConnectError {
    /// The two sides did not agree that they have the same key.
    Authentication(AuthenticationError),
    /// The operating system refused; `TimedOut` if it took too long.
    #[non_exhaustive]
    Os {
        /// Where the listener was to be.
        address: Address,
        /// The system's error.
        error: io::Error,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Authentication(error) => error.fmt(f),
            ConnectError::Os { address, error } => {
                write!(f, "cannot connect to {address}: {error}")
            }
        }
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ConnectError::Authentication(error) => error.source(),
            ConnectError::Os { error, .. } => Some(error),
        }
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> io::Error {
        let kind = match &error {
            ConnectError::Authentication(error) => error.kind(),
            ConnectError::Os { error, .. } => error.kind(),
        };
        io::Error::new(kind, error)
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Error {
        Cause::Channel(error.into()).into()
    }
}
