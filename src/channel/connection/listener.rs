//! Listening for connections.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::ends::Connection;
use crate::channel::socket::address::Address;
use crate::channel::socket::auth::{AuthenticationError, Key};
use crate::channel::socket::pending::{Outcome, PendingHandshakes};
use crate::channel::socket::stream::Stream;
use crate::error::{Cause, Error, Result};
use crate::log::get_logger;
use crate::sys::ipc::net::{self, Accepted, Place, SocketFile};
use crate::sys::per_process::Generation;
use crate::sys::wait::poll::{self, Deadline};

/// The time that a handshake may take unless something else is set.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// The most handshakes at a time unless something else is set.
const MAX_PENDING: usize = 128;

/// The connections that wait to be accepted unless something else is set: the kernel's backlog.
const BACKLOG: u32 = 128;

/// Accepts connections at an address: CPython's `multiprocessing.connection.Listener`.
///
/// With a [key](ListenerBuilder::key), only those are accepted who prove that they have it, and it
/// is proved to them. Many are asked at the same time, each for a limited time: strangers, slow
/// ones and floods do not keep others out. Without a key, whoever can reach the address is
/// accepted.
///
/// To drop it closes it, and removes the file that it made if it is at a path; connections stay.
/// After that, `accept` does not compile. A program that is killed leaves its file behind: see
/// [`replace_stale`](ListenerBuilder::replace_stale), or use [`Address::fresh`].
///
/// It can be [waited for](crate::wait); [`accept_timeout`](Listener::accept_timeout) with no time
/// then takes the connection. (With a key, it may be that nobody has proved it yet.)
///
/// ```
/// use multiproc::{Address, Connection, Listener, Process, connect};
///
/// fn greet(address: Address, name: String) {
///     let mut connection: Connection<String> = connect(&address).unwrap();
///     connection.send(format!("hello from {name}")).unwrap();
/// }
///
/// let mut listener = Listener::bind("tcp://127.0.0.1:0".parse::<Address>()?)?;
/// let child = Process::new(greet, (listener.address().clone(), "a child".to_owned())).start()?;
/// let mut connection: Connection<String> = listener.accept()?;
/// assert_eq!(connection.recv()?, "hello from a child");
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: Address,
    gate: Option<PendingHandshakes>,
    file: Option<SocketFile>,
    /// Names the process that made the file: a forked copy does not remove it.
    owner: Generation,
    last_peer: Option<Address>,
    refused: u64,
}

impl Listener {
    /// Listens at an address, without a key.
    ///
    /// # Errors
    /// The address is in use, is nobody's, or the system refuses.
    ///
    /// ```
    /// use multiproc::{Address, Listener};
    ///
    /// let listener = Listener::bind(Address::fresh()?)?;
    /// let error = Listener::bind(listener.address()).unwrap_err();
    /// assert_eq!(error.os_error().unwrap().kind(), std::io::ErrorKind::AddrInUse);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn bind(address: impl Into<Address>) -> Result<Listener> {
        Listener::builder().bind(address)
    }

    /// Begins a listener with a key or other wishes.
    ///
    /// ```
    /// use multiproc::{Address, Listener};
    ///
    /// let listener = Listener::builder().key("secret").backlog(8).bind(Address::fresh()?)?;
    /// # drop(listener);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder {
            key: None,
            timeout: HANDSHAKE,
            most_pending: MAX_PENDING,
            backlog: BACKLOG,
            mode: None,
            stale: Stale::Keep,
        }
    }

    /// Waits for a connection and gives it. Those who fail to authenticate themselves are logged
    /// (debug) and passed over.
    ///
    /// # Errors
    /// The system refuses, as it does when there is no descriptor left. The listener can be used
    /// again. (The error comes some 20 ms late, so that a loop that goes on after it does not keep
    /// a processor busy.)
    ///
    /// ```
    /// use multiproc::{Address, Connection, Listener, connect};
    ///
    /// let mut listener = Listener::bind(Address::fresh()?)?;
    /// let mut near: Connection<u8> = connect(listener.address())?;
    /// let mut far: Connection<u8> = listener.accept()?;
    /// near.send(1)?;
    /// assert_eq!(far.recv()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn accept<S, R>(&mut self) -> Result<Connection<S, R>, AcceptError> {
        self.accept_by(Deadline::Never)
    }

    /// Waits for a connection at most so long.
    ///
    /// # Errors
    /// As [`accept`](Listener::accept), and [`AcceptError::TimedOut`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{AcceptError, Address, Listener};
    ///
    /// let mut listener = Listener::bind(Address::fresh()?)?;
    /// let nobody = listener.accept_timeout::<(), ()>(Duration::from_millis(10));
    /// assert!(matches!(nobody, Err(AcceptError::TimedOut)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn accept_timeout<S, R>(
        &mut self,
        timeout: Duration,
    ) -> Result<Connection<S, R>, AcceptError> {
        self.accept_by(Deadline::after(timeout))
    }

    /// Accepts a connection if one is there; never sleeps, not even after an error.
    #[cfg(feature = "async")]
    pub(crate) fn accept_now<S, R>(&mut self) -> Result<Connection<S, R>, AcceptError> {
        self.accept_by(Deadline::Now)
    }

    fn accept_by<S, R>(&mut self, deadline: Deadline) -> Result<Connection<S, R>, AcceptError> {
        loop {
            match self.next(deadline)? {
                Outcome::Admitted { stream, .. } => return Ok(Connection::over_stream(stream)),
                Outcome::Refused { .. }
                    if matches!(deadline, Deadline::At(_)) && deadline.is_over() =>
                {
                    return Err(AcceptError::TimedOut);
                }
                Outcome::Refused { .. } => {}
            }
        }
    }

    /// As [`accept`](Listener::accept), but also tells of those who fail to authenticate
    /// themselves, one at a time.
    ///
    /// # Errors
    /// [`AcceptError::Authentication`] says who, and why; the listener can be used again. Else as
    /// `accept`.
    ///
    /// ```
    /// use multiproc::{AcceptError, Address, Client, Listener};
    ///
    /// let mut listener = Listener::builder().key("secret").bind(Address::fresh()?)?;
    /// let address = listener.address().clone();
    /// let client = Client::new().key("guess");
    /// let guess = std::thread::spawn(move || client.connect::<u8, u8>(&address));
    /// let error = listener.accept_one::<u8, u8>().unwrap_err();
    /// assert!(matches!(error, AcceptError::Authentication { .. }));
    /// assert!(guess.join().unwrap().is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn accept_one<S, R>(&mut self) -> Result<Connection<S, R>, AcceptError> {
        match self.next(Deadline::Never)? {
            Outcome::Admitted { stream, .. } => Ok(Connection::over_stream(stream)),
            Outcome::Refused { peer, error } => Err(AcceptError::Authentication { peer, error }),
        }
    }

    /// The connections as they come, without an end. Errors are items, as of
    /// [`accept`](Listener::accept).
    ///
    /// ```
    /// # use multiproc::{Address, Connection, Listener, connect};
    /// # let mut listener = Listener::bind(Address::fresh()?)?;
    /// # let connect = |_| connect(listener.address()).unwrap();
    /// # let near: Vec<Connection<u8>> = (0..3).map(connect).collect();
    /// for connection in listener.incoming().take(3) {
    ///     let mut connection: Connection<u8> = connection?;
    ///     connection.send(7)?;
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn incoming<S, R>(
        &mut self,
    ) -> impl Iterator<Item = Result<Connection<S, R>, AcceptError>> + use<'_, S, R> {
        iter::repeat_with(|| self.accept())
    }

    /// Where it listens: with the port that the system chose if 0 was asked for.
    ///
    /// ```
    /// use multiproc::{Address, Listener};
    ///
    /// let listener = Listener::bind("tcp://127.0.0.1:0".parse::<Address>()?)?;
    /// let Address::Tcp(address) = listener.address() else { panic!() };
    /// assert_ne!(address.port(), 0);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whence the connection came that was accepted last, if that has a name: clients of Unix
    /// sockets have none.
    ///
    /// ```
    /// use multiproc::{Address, Connection, Listener, connect};
    ///
    /// let mut listener = Listener::bind("tcp://127.0.0.1:0".parse::<Address>()?)?;
    /// let near: Connection<u8> = connect(listener.address())?;
    /// let far: Connection<u8> = listener.accept()?;
    /// assert!(matches!(listener.last_peer(), Some(Address::Tcp(_))));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn last_peer(&self) -> Option<&Address> {
        self.last_peer.as_ref()
    }

    /// Returns the number of those who came so far and did not authenticate themselves.
    ///
    /// ```
    /// use multiproc::{Address, Listener};
    ///
    /// let listener = Listener::bind(Address::fresh()?)?;
    /// assert_eq!(listener.refused(), 0);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The next who is admitted or refused.
    fn next(&mut self, deadline: Deadline) -> Result<Outcome, AcceptError> {
        let socket = self.socket.as_fd();
        // With a key, strangers wait in `pending` until they have proved it; without, whoever comes
        // is in.
        let outcome = match &mut self.gate {
            Some(gate) => gate
                .next(socket, deadline)
                .map_err(|error| refused(error, deadline))?
                .ok_or(AcceptError::TimedOut)?,
            None => open(socket, deadline)?,
        };
        match &outcome {
            Outcome::Admitted { peer, .. } => self.last_peer.clone_from(peer),
            Outcome::Refused { error, .. } => {
                self.refused += 1;
                get_logger()
                    .debug(format_args!("refused a connection at {}: {error}", self.address));
            }
        }
        Ok(outcome)
    }
}

/// The system's error, after a moment: the connection that could not be accepted stays, and so does
/// the lack of descriptors or memory that mostly is the reason. Whoever goes on at once would find
/// the same, and keep a processor busy.
fn refused(error: io::Error, deadline: Deadline) -> AcceptError {
    const PAUSE: Duration = Duration::from_millis(20);
    // Not beyond the caller's deadline, which may be near.
    std::thread::sleep(deadline.left().map_or(PAUSE, |left| left.min(PAUSE)));
    AcceptError::Os(error)
}

/// Whoever comes is admitted.
fn open(socket: BorrowedFd<'_>, deadline: Deadline) -> Result<Outcome, AcceptError> {
    loop {
        match net::accept(socket).map_err(|error| refused(error, deadline))? {
            Accepted::Socket(accepted, place) => {
                let stream = Stream::new(accepted).map_err(AcceptError::Os)?;
                return Ok(Outcome::Admitted { stream, peer: place.map(Address::from) });
            }
            // It hung up before it was accepted. Nobody learns of it, and there is nothing to
            // report.
            Accepted::Gone => {}
            Accepted::Nothing => {
                if !poll::one_readable(socket, deadline).map_err(AcceptError::Os)? {
                    return Err(AcceptError::TimedOut);
                }
            }
        }
    }
}

impl AsFd for Listener {
    /// Readable when [`accept_timeout`](Listener::accept_timeout) has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gate.as_ref().map_or(self.socket.as_fd(), PendingHandshakes::as_fd)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A forked copy of the listener leaves the file to the process that made it.
        if let Some(file) = self.file.take().filter(|_| self.owner == Generation::current()) {
            file.remove();
        }
    }
}

/// A listener that is not there yet: see [`Listener::builder`].
///
/// ```
/// use std::time::Duration;
/// use multiproc::{Client, Connection, Listener};
///
/// let path = std::env::temp_dir().join(format!("multiproc-doc-{}", std::process::id()));
/// let mut listener = Listener::builder()
///     .key("open sesame")
///     .handshake_timeout(Duration::from_secs(2))
///     .mode(0o600)
///     .replace_stale()
///     .bind(path)?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || {
///     let client = Client::new().key("open sesame");
///     let mut connection: Connection<String> = client.connect(&address).unwrap();
///     connection.send("hello".to_owned()).unwrap();
/// });
/// let mut connection: Connection<String> = listener.accept()?;
/// assert_eq!(connection.recv()?, "hello");
/// client.join().unwrap();
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does not listen before `bind`"]
pub struct ListenerBuilder {
    key: Option<Key>,
    timeout: Duration,
    most_pending: usize,
    backlog: u32,
    mode: Option<u32>,
    stale: Stale,
}

/// The fate of a file that a dead listener left.
#[derive(Clone, Copy, Debug)]
enum Stale {
    Keep,
    Replace,
}

impl ListenerBuilder {
    /// Accepts only who has this key, which may be empty. Both sides prove it by HMAC-SHA256, as
    /// CPython 3.12 and newer do, so its clients and listeners work with ours; neither sends it.
    ///
    /// What crosses afterwards is neither hidden nor protected from change: over a network that
    /// others can write to, use a tunnel.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> ListenerBuilder {
        self.key = Some(Key::new(key.as_ref()));
        self
    }

    /// Limits the time that one who connects may take to prove the key; 10 seconds unless set.
    pub fn handshake_timeout(mut self, timeout: Duration) -> ListenerBuilder {
        self.timeout = timeout;
        self
    }

    /// Limits the number of those who are about to prove the key at the same time, each with a
    /// descriptor; 128 unless set. When more come, those who have taken longest, and at least a
    /// second, make room.
    pub fn most_pending(mut self, count: usize) -> ListenerBuilder {
        self.most_pending = count;
        self
    }

    /// Limits the number of connections that the system keeps waiting until they are accepted
    /// (`listen(2)`); 128 unless set. More are refused (TCP) or wait (Unix).
    pub fn backlog(mut self, count: u32) -> ListenerBuilder {
        self.backlog = count;
        self
    }

    /// The permissions of the file of a Unix socket, such as `0o600`: who may connect. Unless set,
    /// those that the umask leaves.
    ///
    /// ```
    /// use multiproc::Listener;
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let path = std::env::temp_dir().join(format!("multiproc-mode-{}", std::process::id()));
    /// let listener = Listener::builder().mode(0o600).bind(path.as_path())?;
    /// assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    /// # drop(listener);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn mode(mut self, mode: u32) -> ListenerBuilder {
        self.mode = Some(mode);
        self
    }

    /// Takes the place of a Unix socket that no process has any more, such as one whose program was
    /// killed. One that lives is in use all the same, whether it listens yet or not, and what is no
    /// socket stays. Of several listeners that replace one at the same time, one gets the path; for
    /// the others, it is in use.
    ///
    /// While it is replaced, the folder is locked (`flock`), so it must be readable; that somebody
    /// else keeps it locked for ten seconds is an error (`TimedOut`).
    ///
    /// ```
    /// use multiproc::Listener;
    /// use std::os::unix::net::UnixListener;
    ///
    /// let path = std::env::temp_dir().join(format!("multiproc-stale-{}", std::process::id()));
    /// drop(UnixListener::bind(&path).unwrap()); // leaves its file
    /// assert!(Listener::bind(path.as_path()).is_err());
    /// let listener = Listener::builder().replace_stale().bind(path.as_path())?;
    /// assert!(Listener::builder().replace_stale().bind(path.as_path()).is_err());
    /// drop(listener);
    /// assert!(!path.exists());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn replace_stale(mut self) -> ListenerBuilder {
        self.stale = Stale::Replace;
        self
    }

    /// Listens.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind(self, address: impl Into<Address>) -> Result<Listener> {
        let address = address.into();
        let named = |error: io::Error| match address.place() {
            Place::Path(path)
                if error.kind() == io::ErrorKind::AddrInUse && net::is_abandoned(&path) =>
            {
                let what = "a socket is there that no process has any more, see \
                     `ListenerBuilder::replace_stale`";
                Error::os(format!("cannot listen at {address} ({what})"), error)
            }
            _ => Error::os(format!("cannot listen at {address}"), error),
        };
        let (socket, file) = self.listen(&address.place()).map_err(named)?;
        // From here on, an error removes the file.
        let mut listener = Listener {
            socket,
            address,
            gate: None,
            file,
            owner: Generation::current(),
            last_peer: None,
            refused: 0,
        };
        // What can fail from here on drops the listener, and so removes the file.
        let ready = |listener: &mut Listener| -> io::Result<()> {
            let socket = listener.socket.as_fd();
            // Port 0 has become a free one, which clients have to be told.
            if let Address::Tcp(_) = &listener.address
                && let Some(place) = net::local(socket)?
            {
                listener.address = place.into();
            }
            if let Some(key) = self.key {
                listener.gate =
                    Some(PendingHandshakes::new(key, self.timeout, self.most_pending, socket)?);
            }
            Ok(())
        };
        ready(&mut listener)
            .map_err(|error| Error::os(format!("cannot listen at {}", listener.address), error))?;
        Ok(listener)
    }

    fn listen(&self, place: &Place) -> io::Result<(OwnedFd, Option<SocketFile>)> {
        match (net::listener(place, self.backlog, self.mode), self.stale, place) {
            // Only after the plain way has failed: a path that is free needs no lock on its folder.
            (Err(error), Stale::Replace, Place::Path(path))
                if error.kind() == io::ErrorKind::AddrInUse =>
            {
                net::listener_in_place(path, self.backlog, self.mode)
            }
            (done, ..) => done,
        }
    }
}

/// Why no connection was accepted. The listener can be used again.
///
/// ```
/// use multiproc::{AcceptError, Address, Listener};
/// use std::time::Duration;
///
/// let mut listener = Listener::bind(Address::fresh()?)?;
/// match listener.accept_timeout::<u8, u8>(Duration::ZERO) {
///     Ok(_) => unreachable!("nobody connects"),
///     Err(AcceptError::TimedOut) => {}
///     Err(error) => panic!("{error}"),
/// }
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
#[derive(Debug)]
pub enum AcceptError {
    /// None came in the time given.
    TimedOut,
    /// One came that did not authenticate itself; only [`Listener::accept_one`] tells.
    #[non_exhaustive]
    Authentication {
        /// Whence it came, if that has a name.
        peer: Option<Address>,
        /// The reason.
        error: AuthenticationError,
    },
    /// The operating system refused, for example for lack of descriptors.
    Os(io::Error),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcceptError::TimedOut => f.write_str("no connection came in time"),
            AcceptError::Authentication { peer: Some(peer), error } => {
                write!(f, "a connection from {peer}: {error}")
            }
            AcceptError::Authentication { peer: None, error } => write!(f, "a connection: {error}"),
            AcceptError::Os(error) => write!(f, "cannot accept a connection: {error}"),
        }
    }
}

impl StdError for AcceptError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            AcceptError::TimedOut => None,
            AcceptError::Authentication { error, .. } => error.source(),
            AcceptError::Os(error) => Some(error),
        }
    }
}

impl From<AcceptError> for io::Error {
    fn from(error: AcceptError) -> io::Error {
        let kind = match &error {
            AcceptError::TimedOut => io::ErrorKind::TimedOut,
            AcceptError::Authentication { error, .. } => error.kind(),
            AcceptError::Os(error) => error.kind(),
        };
        io::Error::new(kind, error)
    }
}

impl From<AcceptError> for Error {
    fn from(error: AcceptError) -> Error {
        Cause::Channel(error.into()).into()
    }
}
