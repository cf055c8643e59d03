//! The wrapper by which such a type crosses: [`SelfDescribing`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::guard::{self, Guarded};
use super::nulls::Nulls;
use crate::codec::budget::Budget;
use crate::codec::fds;

/// A value that crosses in a self-describing format (MessagePack, with names), for types whose
/// `Deserialize` asks what comes next: enums with `#[serde(untagged)]` or `#[serde(tag = "..")]`,
/// structs with `#[serde(flatten)]`, `serde_json::Value`. (With the feature `self-describing`.)
///
/// Everything else crosses without it in a format that is smaller and quicker, which such types are
/// refused by, with an error that names this one. It can be an argument, a result, a message or an
/// input of a task, or a part of one:
///
/// ```
/// use multiproc::{Process, SelfDescribing};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(untagged)]
/// enum Id {
///     Number(u64),
///     Name(String),
/// }
///
/// fn next(SelfDescribing(id): SelfDescribing<Id>) -> SelfDescribing<Id> {
///     SelfDescribing(match id {
///         Id::Number(n) => Id::Number(n + 1),
///         Id::Name(name) => Id::Name(name + "'"),
///     })
/// }
///
/// let child = Process::new(next, (SelfDescribing(Id::Number(1)),)).start()?;
/// assert_eq!(child.join()?.0, Id::Number(2));
/// assert!(Process::new(|id: Id| id, (Id::Number(1),)).start()?.join().is_err());
/// # Ok::<(), multiproc::Error>(())
/// ```
///
/// Keys of maps need not be texts, and numbers may have 128 bits. What the format has no form for,
/// an option whose value is written as nothing is (`Some(None)`, `Some(())`), is refused where it
/// is encoded. Descriptors and what has some (ends of pipes, locks, shared memory) cross, but not
/// inside of what serde keeps aside (the fields that are flattened, the variants of untagged
/// enums).
///
/// [`DecodeLimits`](crate::DecodeLimits) hold, with these differences: it is nested 128 deep at
/// most, less where the thread's stack is small (16 KiB a level are asked for, as serde reads what
/// it kept aside by code of its own); what is inside of what serde keeps aside does not count for
/// [`memory`](crate::DecodeLimits::memory).
///
/// In formats for people, as JSON, it is the value itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SelfDescribing<T>(pub T);

impl<T> From<T> for SelfDescribing<T> {
    fn from(value: T) -> SelfDescribing<T> {
        SelfDescribing(value)
    }
}

impl<T: Serialize> Serialize for SelfDescribing<T> {
    /// 1. Look for options that would arrive as `None`, and at the depth.
    /// 2. Write the value as MessagePack, with names.
    /// 3. Write that as bytes of this codec. In a format for people, the value itself.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        // Aside: what is given away with the value is given when it is written.
        fds::collected_aside(|| self.0.serialize(Nulls(0))).map_err(S::Error::custom)?;
        let mut bytes = Vec::new();
        // As serde reads by the rules of texts what it kept aside, so it has to be written.
        let mut format =
            rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
        self.0.serialize(&mut format).map_err(S::Error::custom)?;
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for SelfDescribing<T> {
    /// The other way round, through the guard.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SelfDescribing<T>, D::Error> {
        if deserializer.is_human_readable() {
            return T::deserialize(deserializer).map(SelfDescribing);
        }
        deserializer.deserialize_bytes(Bytes(PhantomData)).map(SelfDescribing)
    }
}

/// Reads the MessagePack that is in a message of this codec.
struct Bytes<T>(PhantomData<T>);

impl<T: DeserializeOwned> Visitor<'_> for Bytes<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a self-describing value")
    }

    /// Reads the value, and sees that nothing is behind it.
    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        let mut format = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
        // The guard's limit comes first.
        format.set_max_depth(usize::from(u16::MAX));
        let mut budget = Budget::of(bytes.len());
        let value = T::deserialize(Guarded::new(&mut format, &mut budget))
            .map_err(|error| E::custom(guard::text(&error)))?;
        // One that has nothing left cannot read another value.
        format.set_max_depth(1);
        match IgnoredAny::deserialize(&mut format) {
            Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
            _ => Err(E::custom("there is something behind a self-describing value")),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
