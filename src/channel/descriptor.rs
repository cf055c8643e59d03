//! Any descriptor as a value that crosses.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::Carried;
use crate::sys::fd;

/// A file, a socket, a pipe or any other owner of a descriptor, as an argument of a process or
/// inside a message.
///
/// The other process gets a descriptor of its own for the same open file: position, locks and flags
/// are shared. It can be written only for another process, not to a file or the like, and over TCP
/// it does not pass. What comes out is of the type that the receiver asks for: what the sender put
/// in decides what it can do.
///
/// # In flight
/// A descriptor that was sent and is not received yet counts against its sender's user, who may
/// have as many of them as a process of that user may have open files (`RLIMIT_NOFILE`; root is
/// exempt). At that limit, to put or send waits as if the channel were full while the receiver has
/// something to receive. If it has received all and the limit is reached elsewhere, nobody would
/// make room: then it is an error, of the kind `QuotaExceeded`, as it is for a start whose
/// arguments, and a result, that bring descriptors.
///
/// ```
/// use std::io::{PipeWriter, Read, Write};
/// use multiproc::{Descriptor, Process};
///
/// fn shout(mut to: Descriptor<PipeWriter>) {
///     to.write_all(b"hello").unwrap();
/// }
///
/// let (mut read, write) = std::io::pipe().unwrap();
/// Process::new(shout, (Descriptor(write),)).start()?.join()?;
/// let mut text = String::new();
/// read.read_to_string(&mut text).unwrap();
/// assert_eq!(text, "hello");
/// # Ok::<(), multiproc::Error>(())
/// ```
pub struct Descriptor<T = OwnedFd>(
    /// The owner of the descriptor.
    pub T,
);

impl<T> Descriptor<T> {
    /// Returns the owner of the descriptor.
    ///
    /// ```
    /// use multiproc::Descriptor;
    /// use std::fs::File;
    ///
    /// let null = Descriptor(File::open("/dev/null").unwrap());
    /// let file: File = null.into_inner();
    /// # drop(file);
    /// ```
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Descriptor<T> {
    fn from(owner: T) -> Descriptor<T> {
        Descriptor(owner)
    }
}

impl<T> Deref for Descriptor<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Descriptor<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: AsFd> AsFd for Descriptor<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for Descriptor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptor").field(&self.0).finish()
    }
}

impl<T: AsFd> Serialize for Descriptor<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A duplicate: the sender goes on using its own.
        Carried::from(fd::duplicate(self).map_err(S::Error::custom)?).serialize(serializer)
    }
}

impl<'de, T: From<OwnedFd>> Deserialize<'de> for Descriptor<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Descriptor<T>, D::Error> {
        // Not a duplicate of what came: a process at its limit of descriptors could not make one.
        Ok(Descriptor(T::from(Carried::deserialize_owned(deserializer)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, RawFd};

    use super::*;
    use crate::codec;

    /// A process at its limit of descriptors could not have them.
    #[test]
    fn what_came_is_taken_and_not_duplicated() {
        let sent: Vec<Descriptor> = (0..3).map(|_| Descriptor(fd::null().expect("open"))).collect();
        let parcel = codec::encode(&sent).expect("encode");
        let came: Vec<RawFd> = parcel.fds.iter().map(|fd| fd.as_raw_fd()).collect();
        let decoded: Vec<Descriptor> = codec::decode(&parcel.bytes, parcel.fds).expect("decode");
        assert!(decoded.iter().map(|one| one.as_fd().as_raw_fd()).eq(came));
    }

    #[test]
    fn one_that_something_else_has_already_is_refused() {
        let parcel = codec::encode(&Descriptor(fd::null().expect("open"))).expect("encode");
        let twice = codec::encode(&(0_u8, 0_u8)).expect("encode");
        assert!(codec::decode::<(Descriptor, Descriptor)>(&twice.bytes, parcel.fds).is_err());
    }
}
