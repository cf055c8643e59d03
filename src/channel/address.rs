//! Where a listener is.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Cause, Error, Result, os};
use crate::sys::net::Place;
use crate::sys::random;

/// Where a [`Listener`](crate::Listener) listens. It can be an argument of a process.
///
/// Its text form begins with the family: `unix:/run/service.sock`, `abstract:name`, `tcp://127.0.0.1:5000`. Read, it may also be
/// left out, as in CPython: `127.0.0.1:5000` is TCP, what has a slash is a path, what begins with `@` or a NUL is abstract.
///
/// ```
/// use multiproc::Address;
///
/// assert_eq!("/run/service.sock".parse::<Address>()?, Address::Unix("/run/service.sock".into()));
/// assert_eq!("@service".parse::<Address>()?, Address::Abstract(b"service".to_vec()));
/// assert_eq!("127.0.0.1:5000".parse::<Address>()?.to_string(), "tcp://127.0.0.1:5000");
/// assert!("carrier pigeon".parse::<Address>().is_err());
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    /// A Unix socket that is a file. Its permissions say who may connect.
    Unix(PathBuf),
    /// A Unix socket with a name that is in no file system (Linux). Whoever shares the network namespace may connect: use a key.
    Abstract(Vec<u8>),
    /// TCP. At a listener, port 0 takes a free one, which [`Listener::address`](crate::Listener::address) tells.
    Tcp(SocketAddr),
}

impl Address {
    /// One that nobody has: an abstract name of 32 random digits. It leaves nothing behind.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn fresh() -> Result<Address> {
        let random: [u8; 16] = random::bytes().map_err(os("cannot make a name"))?;
        Ok(Address::Abstract(format!("multiproc-{:032x}", u128::from_ne_bytes(random)).into_bytes()))
    }

    /// The TCP address of a host by its name (`"localhost:5000"`, `("example.org", 5000)`), the first that it has. This asks the
    /// system's resolver, which can take its time.
    ///
    /// # Errors
    /// There is no such host.
    ///
    /// ```
    /// use multiproc::Address;
    ///
    /// let Address::Tcp(address) = Address::resolve("localhost:5000")? else { panic!() };
    /// assert!(address.ip().is_loopback());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn resolve(host: impl ToSocketAddrs) -> Result<Address> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let first = host.to_socket_addrs().and_then(|mut all| all.next().ok_or_else(none));
        first.map(Address::Tcp).map_err(os("cannot resolve the name of a host"))
    }

    pub(super) fn place(&self) -> Place {
        match self {
            Address::Unix(path) => Place::Path(path.clone()),
            Address::Abstract(name) => Place::Abstract(name.clone()),
            Address::Tcp(address) => Place::Inet(*address),
        }
    }
}

impl From<Place> for Address {
    fn from(place: Place) -> Address {
        match place {
            Place::Path(path) => Address::Unix(path),
            Place::Abstract(name) => Address::Abstract(name),
            Place::Inet(address) => Address::Tcp(address),
        }
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Address {
        Address::Unix(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Unix(path.to_owned())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Address {
        address.clone()
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address> {
        let unknown = || Error::from(Cause::BadInput(format!("address family of '{text}' is not recognized")));
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(path.into()));
        }
        if let Some(name) = text.strip_prefix("abstract:").or(text.strip_prefix(['@', '\0'])) {
            return if name.is_empty() { Err(unknown()) } else { Ok(Address::Abstract(name.into())) };
        }
        if let Ok(address) = text.strip_prefix("tcp://").unwrap_or(text).parse() {
            return Ok(Address::Tcp(address));
        }
        if text.contains('/') && !text.contains("://") { Ok(Address::Unix(text.into())) } else { Err(unknown()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "abstract:{}", name.escape_ascii()),
            Address::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        for text in ["unix:relative", "unix:/a b/c", "abstract:name", "tcp://[::1]:80", "tcp://10.0.0.1:0"] {
            assert_eq!(text.parse::<Address>().expect("address").to_string(), text);
        }
        assert_eq!("\0x".parse::<Address>().expect("address"), Address::Abstract(b"x".to_vec()));
        for text in ["", "name", "unix:", "@", "tcp://", "tcp://host", "udp://1.2.3.4:5", "localhost:5000"] {
            let error = text.parse::<Address>().expect_err(text);
            assert_eq!(error.to_string(), format!("address family of '{text}' is not recognized"));
        }
    }
}
