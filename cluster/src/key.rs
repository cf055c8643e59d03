//! The cluster's key: who has it may have code run.
//!
//! Everything that makes a node do something is sealed: it carries an HMAC-SHA256 of its content.
//! Whoever controls the broker can keep messages back, and repeat them, but make none; what a
//! repetition could do is seen to where messages are opened (sessions have keys of their own, made
//! of what both sides chose at random).

use std::fmt;
use std::fs;
use std::path::Path;

use hmac_sha256::{HMAC, Hash};

use crate::error::{Error, Result};

/// Length of a seal.
const SEAL: usize = 32;

/// The shortest key that is accepted, in bytes.
const SHORTEST: usize = 16;

/// The key that all programs and nodes of a cluster share.
///
/// Whoever has it can run any program on every node, so it is as secret as a private key of SSH.
///
/// ```
/// use multiproc_cluster::Key;
///
/// let key = Key::new("a secret of 16 bytes or more")?;
/// assert!(Key::new("short").is_err());
/// assert_eq!(format!("{key:?}"), "Key(..)");
/// # Ok::<(), multiproc_cluster::Error>(())
/// ```
#[derive(Clone)]
pub struct Key(Vec<u8>);

/// The direction of a message of a session: one that is sent back to its author is none for him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToStation = 1,
    ToOwner = 2,
    /// A node's word about itself.
    Announcement = 3,
    /// An owner's request to a node.
    Hire = 4,
    /// A station's first word, or its node's about it.
    Alone = 5,
    /// A station's word to its node.
    Status = 6,
}

impl Key {
    /// Makes a key of its bytes, at least 16.
    ///
    /// # Errors
    /// There are fewer.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Key> {
        let bytes = bytes.as_ref();
        if bytes.len() < SHORTEST {
            return Err(Error::config(format!(
                "the cluster's key has {} bytes, and must have at least {SHORTEST}",
                bytes.len()
            )));
        }
        Ok(Key(bytes.to_vec()))
    }

    /// Reads a key from a file, without the white space around it.
    ///
    /// # Errors
    /// The file cannot be read, or is too short.
    ///
    /// ```
    /// let path = std::env::temp_dir().join(format!("key-{}", std::process::id()));
    /// std::fs::write(&path, "a secret of 16 bytes or more\n")?;
    /// multiproc_cluster::Key::from_file(&path)?;
    /// std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Key> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| {
            Error::config(format!("cannot read the key file {}: {error}", path.display()))
        })?;
        Key::new(bytes.trim_ascii())
    }

    /// Makes a random key.
    ///
    /// ```
    /// let key = multiproc_cluster::Key::random()?;
    /// # let _ = key;
    /// # Ok::<(), multiproc_cluster::Error>(())
    /// ```
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Key> {
        let bytes: [u8; 32] = random()?;
        Ok(Key(hex(&bytes).into_bytes()))
    }

    /// Returns a random key as the text of its file.
    #[doc(hidden)]
    #[must_use]
    pub fn text_for_tests(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Returns the bytes of the key, for a process that is to have it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Derives the key of a session from what its two sides chose.
    pub(crate) fn of_session(&self, session: &Id, nonce: &Id) -> Key {
        let mut mac = HMAC::new(&self.0);
        mac.update(b"multiproc session");
        mac.update(session.0);
        mac.update(nonce.0);
        Key(mac.finalize().to_vec())
    }

    /// Seals a message.
    pub(crate) fn seal(&self, direction: Direction, message: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(SEAL + message.len());
        sealed.extend_from_slice(&self.mac(direction, message));
        sealed.extend_from_slice(message);
        sealed
    }

    /// Opens a message; `None` if it was not sealed with this key, for this direction.
    pub(crate) fn open<'a>(&self, direction: Direction, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (seal, message) = sealed.split_first_chunk::<SEAL>()?;
        let expected = self.mac(direction, message);
        // Every byte is looked at: how long this takes says nothing about the seal.
        let differs = seal.iter().zip(&expected).fold(0, |all, (a, b)| all | (a ^ b));
        (std::hint::black_box(differs) == 0).then_some(message)
    }

    fn mac(&self, direction: Direction, message: &[u8]) -> [u8; SEAL] {
        let mut mac = HMAC::new(&self.0);
        mac.update([direction as u8]);
        mac.update(message);
        mac.finalize()
    }
}

impl fmt::Debug for Key {
    /// Shows nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A random name of a node, a pool, a session, or one start of a station.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct Id(pub(crate) [u8; 16]);

impl Id {
    /// A name that nothing else has.
    pub(crate) fn random() -> Result<Id> {
        random().map(Id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns random bytes of the system.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(Error::os("cannot get random numbers", error.into()));
            }
        }
    }
    Ok(bytes)
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a program, or of other bytes: their SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl Digest {
    /// The digest of what a reader gives, and its length.
    pub(crate) fn of(mut from: impl std::io::Read) -> std::io::Result<(Digest, u64)> {
        let (mut hash, mut length) = (Hash::new(), 0);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok((Digest(hash.finalize()), length)),
                Ok(count) => {
                    hash.update(&buffer[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digest of bytes, and their length.
    pub(crate) fn of_bytes(bytes: &[u8]) -> (Digest, u64) {
        (Digest(Hash::hash(bytes)), bytes.len() as u64)
    }

    /// The name in the object store.
    pub(crate) fn name(&self) -> String {
        hex(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_for_its_key_direction_and_content_only() {
        let (key, other) = (Key::random().expect("key"), Key::random().expect("key"));
        let sealed = key.seal(Direction::ToOwner, b"content");
        assert_eq!(key.open(Direction::ToOwner, &sealed), Some(&b"content"[..]));
        assert_eq!(key.open(Direction::ToStation, &sealed), None);
        assert_eq!(other.open(Direction::ToOwner, &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(Direction::ToOwner, &changed), None);
        }
        assert_eq!(key.open(Direction::ToOwner, &sealed[..SEAL - 1]), None);
    }

    #[test]
    fn sessions_have_keys_of_their_own() {
        let key = Key::random().expect("key");
        let (a, b) = (Id::random().expect("id"), Id::random().expect("id"));
        let sealed = key.of_session(&a, &b).seal(Direction::ToStation, b"run this");
        assert_eq!(key.of_session(&a, &a).open(Direction::ToStation, &sealed), None);
        assert_eq!(key.of_session(&b, &a).open(Direction::ToStation, &sealed), None);
        assert!(key.of_session(&a, &b).open(Direction::ToStation, &sealed).is_some());
    }
}
