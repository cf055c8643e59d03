//! Where a listener is.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Cause, Error, Result, os};
use crate::sys::ipc::net::Place;
use crate::sys::random;

/// Where a [`Listener`](crate::Listener) listens. It can be an argument of a process.
///
/// Its text form begins with the family: `unix:/run/service.sock`, `abstract:name`,
/// `tcp://127.0.0.1:5000`. In it, a backslash is `\\`, and a byte that is no text or a control
/// character is `\x` with two hexadecimal digits; the scope and the flow of an IPv6 address stand
/// as in `tcp://[fe80::1%2]:5000?flowinfo=7`. So every address with a name or a path is read back
/// from its text as it was. Read, the family may also be left out, as in CPython: `127.0.0.1:5000`
/// is TCP, what has a slash is a path, what begins with `@` or a NUL is abstract; then a backslash
/// is a backslash.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket that is a file. Its permissions say who may connect.
    Unix(PathBuf),
    /// A Unix socket with a name that is in no file system (Linux). Whoever shares the network
    /// namespace may connect: use a key.
    Abstract(Vec<u8>),
    /// TCP. At a listener, port 0 takes a free one, which
    /// [`Listener::address`](crate::Listener::address) tells.
    Tcp(SocketAddr),
}

impl Address {
    /// One that nobody has: an abstract name of 32 random digits. It leaves nothing behind.
    ///
    /// # Errors
    /// The system has no random numbers.
    ///
    /// ```
    /// use multiproc::Address;
    ///
    /// assert_ne!(Address::fresh()?, Address::fresh()?);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn fresh() -> Result<Address> {
        let random: [u8; 16] = random::bytes().map_err(os("cannot make a name"))?;
        Ok(Address::Abstract(
            format!("multiproc-{:032x}", u128::from_ne_bytes(random)).into_bytes(),
        ))
    }

    /// The TCP address of a host by its name (`"localhost:5000"`, `("example.org", 5000)`), the
    /// first that it has. This asks the system's resolver, which can take its time.
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

    pub(crate) fn place(&self) -> Place {
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
        let unknown = || {
            Error::from(Cause::BadInput(format!("address family of '{text}' is not recognized")))
        };
        // Forms that name their family first, as `Display` writes them: these are read back to the
        // byte.
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(OsString::from_vec(unescaped(path)).into()));
        }
        if let Some(name) = text.strip_prefix("abstract:").filter(|name| !name.is_empty()) {
            return Ok(Address::Abstract(unescaped(name)));
        }
        // Then CPython's forms, which are told apart by how they look.
        if let Some(name) = text.strip_prefix(['@', '\0']).filter(|name| !name.is_empty()) {
            return Ok(Address::Abstract(name.into()));
        }
        if let Some(address) = socket_address(text.strip_prefix("tcp://").unwrap_or(text)) {
            return Ok(Address::Tcp(address));
        }
        // A family that is not known is not taken for a path.
        if text.contains('/') && !text.contains("://") {
            Ok(Address::Unix(text.into()))
        } else {
            Err(unknown())
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", Escaped(path.as_os_str().as_bytes())),
            Address::Abstract(name) => write!(f, "abstract:{}", Escaped(name)),
            Address::Tcp(SocketAddr::V6(address)) if address.flowinfo() != 0 => {
                write!(f, "tcp://{address}?flowinfo={}", address.flowinfo())
            }
            Address::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// An address and port, as `Display` writes them.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let Some((address, flowinfo)) = text.split_once("?flowinfo=") else { return text.parse().ok() };
    let mut address: SocketAddrV6 = address.parse().ok()?;
    address.set_flowinfo(flowinfo.parse().ok()?);
    Some(address.into())
}

/// Bytes as a text that says each of them.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\\' => f.write_str("\\\\")?,
                    _ if char.is_control() => {
                        char.encode_utf8(&mut [0; 4])
                            .bytes()
                            .try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
                    }
                    _ => f.write_char(char)?,
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// The bytes that `Escaped` wrote; a backslash before anything else is one.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        (rest, _) = match (byte, behind) {
            (b'\\', [b'\\', behind @ ..]) => (behind, bytes.push(b'\\')),
            (b'\\', [b'x', high, low, behind @ ..])
                if digit(*high).is_some() && digit(*low).is_some() =>
            {
                let value = digit(*high).unwrap_or(0) * 16 + digit(*low).unwrap_or(0);
                (behind, bytes.push(value as u8))
            }
            _ => (behind, bytes.push(byte)),
        };
    }
    bytes
}

/// An address as it crosses: bytes, as a path need not be text; with the scope and the flow, which
/// serde's form of an IPv6 address lacks.
#[derive(Serialize, Deserialize)]
enum Crossing<'a> {
    Unix(Cow<'a, [u8]>),
    Abstract(Cow<'a, [u8]>),
    V4(SocketAddrV4),
    V6 { ip: Ipv6Addr, port: u16, flowinfo: u32, scope: u32 },
}

impl Serialize for Address {
    /// In a format for people, its text.
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let crossing = match self {
            Address::Unix(path) => Crossing::Unix(path.as_os_str().as_bytes().into()),
            Address::Abstract(name) => Crossing::Abstract(name.into()),
            Address::Tcp(SocketAddr::V4(address)) => Crossing::V4(*address),
            Address::Tcp(SocketAddr::V6(address)) => Crossing::V6 {
                ip: *address.ip(),
                port: address.port(),
                flowinfo: address.flowinfo(),
                scope: address.scope_id(),
            },
        };
        crossing.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Address, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        Ok(match Crossing::deserialize(deserializer)? {
            Crossing::Unix(path) => Address::Unix(OsString::from_vec(path.into_owned()).into()),
            Crossing::Abstract(name) => Address::Abstract(name.into_owned()),
            Crossing::V4(address) => Address::Tcp(address.into()),
            Crossing::V6 { ip, port, flowinfo, scope } => {
                Address::Tcp(SocketAddrV6::new(ip, port, flowinfo, scope).into())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        for text in
            ["unix:relative", "unix:/a b/c", "abstract:name", "tcp://[::1]:80", "tcp://10.0.0.1:0"]
        {
            assert_eq!(text.parse::<Address>().expect("address").to_string(), text);
        }
        let inet = |ip: [u16; 8], flowinfo, scope| {
            Address::Tcp(SocketAddrV6::new(ip.into(), 80, flowinfo, scope).into())
        };
        let path = |bytes: &[u8]| Address::Unix(OsString::from_vec(bytes.to_vec()).into());
        let mut all = vec![
            inet([0xfe80, 0, 0, 0, 0, 0, 0, 1], 7, 3),
            inet([0xfe80, 0, 0, 0, 0, 0, 0, 1], 0, u32::MAX),
            inet([0, 0, 0, 0, 0, 0xffff, 1, 2], u32::MAX, 0),
            Address::Abstract((0..=255).collect()),
            path(&(1..=255).collect::<Vec<u8>>()),
        ];
        for name in [
            r"\\",
            r"\x",
            r"\x41",
            r"\\x41",
            r"a\",
            r"\xzz",
            "@",
            "tcp://1.2.3.4:5",
            "unix:",
            "?flowinfo=1",
            "é\u{85}\n",
            " ",
        ] {
            all.extend([path(name.as_bytes()), Address::Abstract(name.as_bytes().to_vec())]);
        }
        for address in &all {
            assert_eq!(
                address.to_string().parse::<Address>().as_ref().ok(),
                Some(address),
                "{address}"
            );
            assert_eq!(
                serde_json::to_string(address)
                    .ok()
                    .and_then(|text| serde_json::from_str(&text).ok()),
                Some(address.clone())
            );
            let parcel = crate::codec::encode(&(1, address, 2)).expect("encode");
            assert_eq!(
                crate::codec::decode(&parcel.bytes, parcel.fds),
                Ok((1, address.clone(), 2))
            );
        }
        assert_eq!("\0x".parse::<Address>().expect("address"), Address::Abstract(b"x".to_vec()));
        for text in
            ["", "name", "unix:", "@", "tcp://", "tcp://host", "udp://1.2.3.4:5", "localhost:5000"]
        {
            let error = text.parse::<Address>().expect_err(text);
            assert_eq!(error.to_string(), format!("address family of '{text}' is not recognized"));
        }
    }
}
