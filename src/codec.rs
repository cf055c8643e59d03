//! How values become bytes and back: serde with postcard, and a side table for the descriptors that bytes cannot carry.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::LocalKey;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::socket::Parcel;

/// The most descriptors that one value may bring along: the kernel's 253 a message, less those that a message itself needs.
pub(crate) const MOST_FDS: usize = 240;

const TOO_MANY: &str = "more descriptors than one message can carry (240)";

/// The descriptors of the value that this thread is at; none if it is at none.
///
/// Never dropped, so that it is there to the very end of a process, when exit handlers send a last word. It is empty then.
type Table = RefCell<ManuallyDrop<Option<Vec<Arc<OwnedFd>>>>>;

const NO_VALUE: ManuallyDrop<Option<Vec<Arc<OwnedFd>>>> = ManuallyDrop::new(None);

thread_local! {
    /// What this thread encodes.
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Idle) };
    /// The descriptors of the value that is being encoded.
    static GIVEN: Table = const { RefCell::new(NO_VALUE) };
    /// Those that came with the value that is being decoded.
    static BROUGHT: Table = const { RefCell::new(NO_VALUE) };
}

/// What a thread encodes: most values bring no descriptors, and do not touch the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Encodes,
    /// It has brought a descriptor.
    Brings,
}

/// Puts a table in place for as long as `f` runs, and gives it back. (Values may encode others while they are encoded.)
fn with_table<T>(
    table: &'static LocalKey<Table>,
    fds: Vec<Arc<OwnedFd>>,
    f: impl FnOnce() -> T,
) -> (T, Vec<Arc<OwnedFd>>) {
    /// Puts the outer table back, also if `f` panics.
    struct Outer(&'static LocalKey<Table>, ManuallyDrop<Option<Vec<Arc<OwnedFd>>>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            let inner = self.0.replace(mem::replace(&mut self.1, NO_VALUE));
            drop(ManuallyDrop::into_inner(inner));
        }
    }
    let outer = Outer(table, table.replace(ManuallyDrop::new(Some(fds))));
    let done = f();
    let fds = ManuallyDrop::into_inner(table.replace(NO_VALUE)).unwrap_or_default();
    drop(outer);
    (done, fds)
}

/// Has the descriptors of what `f` encodes collected, and puts them into `fds`.
#[inline]
fn given_to<T>(fds: &mut Vec<Arc<OwnedFd>>, f: impl FnOnce() -> T) -> T {
    /// Ends it if `f` panics.
    struct End(Stage);
    impl Drop for End {
        fn drop(&mut self) {
            if STAGE.replace(self.0) == Stage::Brings && self.0 == Stage::Idle {
                drop(ManuallyDrop::into_inner(GIVEN.replace(NO_VALUE)));
            }
        }
    }
    let end = End(STAGE.replace(Stage::Encodes));
    if end.0 != Stage::Idle {
        // A value that encodes another while it is encoded.
        let (done, given) = with_table(&GIVEN, Vec::new(), f);
        *fds = given;
        return done;
    }
    let done = f();
    mem::forget(end);
    if STAGE.replace(Stage::Idle) == Stage::Brings {
        *fds = ManuallyDrop::into_inner(GIVEN.replace(NO_VALUE)).unwrap_or_default();
    }
    done
}

/// A value as bytes and descriptors; the reason if its type refuses.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Parcel, String> {
    let mut bytes = Vec::new();
    let mut fds = Vec::new();
    encode_within(value, &mut bytes, usize::MAX, &mut fds)?;
    Ok(Parcel { bytes, fds })
}

/// Writes a value behind what `bytes` holds, for as long as it does not get longer than `most`; its descriptors, if it has any,
/// go into `fds`, which is empty. On failure, `bytes` is as it was.
pub(crate) fn encode_within<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
    most: usize,
    fds: &mut Vec<Arc<OwnedFd>>,
) -> Result<(), String> {
    let before = bytes.len();
    let buffer = Appended { bytes, most };
    given_to(fds, || postcard::serialize_with_flavor(value, buffer)).map_err(|error| {
        bytes.truncate(before);
        refused(type_name::<T>(), &error, most, mem::take(fds).len())
    })
}

/// Why a value was not encoded. (postcard keeps no text of ours.)
#[cold]
fn refused(type_name: &str, error: &postcard::Error, most: usize, fds: usize) -> String {
    let why = match error {
        postcard::Error::SerializeBufferFull if most == usize::MAX => "there is no memory for it".to_owned(),
        postcard::Error::SerializeBufferFull => {
            format!("it takes more than {most} bytes, or more memory than there is")
        }
        _ if fds == MOST_FDS => TOO_MANY.to_owned(),
        error => error.to_string(),
    };
    format!("{type_name}: {why}")
}

/// A buffer that postcard writes at the end of.
struct Appended<'a> {
    bytes: &'a mut Vec<u8>,
    most: usize,
}

impl Appended<'_> {
    /// Makes room for more.
    #[cold]
    fn grow(&mut self, more: usize) -> postcard::Result<()> {
        self.bytes.try_reserve(more).map_err(|_| postcard::Error::SerializeBufferFull)
    }

    #[inline]
    fn check(&mut self, more: usize) -> postcard::Result<()> {
        if more > self.most.saturating_sub(self.bytes.len()) {
            return Err(postcard::Error::SerializeBufferFull);
        }
        if more > self.bytes.capacity() - self.bytes.len() { self.grow(more) } else { Ok(()) }
    }
}

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.check(1)?;
        self.bytes.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.check(bytes.len())?;
        // A number, mostly; to have it copied takes longer.
        if bytes.len() <= 4 {
            for byte in bytes {
                self.bytes.push(*byte);
            }
        } else {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// A value from all of `bytes` and what came with them; the reason if they are not one of this type, or too many.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], fds: Vec<Arc<OwnedFd>>) -> Result<T, String> {
    // Most messages bring none; the table costs as much as a small value.
    let decoded = if fds.is_empty() {
        postcard::take_from_bytes(bytes)
    } else {
        with_table(&BROUGHT, fds, || postcard::take_from_bytes(bytes)).0
    };
    match decoded {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(too_long(type_name::<T>(), rest.len())),
        Err(error) => Err(wrong(type_name::<T>(), &error)),
    }
}

#[cold]
fn too_long(type_name: &str, rest: usize) -> String {
    format!("{type_name}: {rest} bytes too many")
}

#[cold]
fn wrong(type_name: &str, error: &postcard::Error) -> String {
    format!("{type_name}: {error}")
}

/// A value from the beginning of `bytes`, and what is behind it.
pub(crate) fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, &[u8])> {
    postcard::take_from_bytes(bytes).ok()
}

/// A descriptor inside a value that goes to another process.
///
/// It encodes as its place in the message's table; one that is in a value several times crosses once.
#[derive(Clone, Debug)]
pub(crate) struct Carried(pub(crate) Arc<OwnedFd>);

impl Carried {
    /// The descriptor for nobody else; a duplicate if the message has it several times.
    pub(crate) fn into_owned(self) -> std::io::Result<OwnedFd> {
        Arc::try_unwrap(self.0).or_else(crate::sys::fd::duplicate)
    }
}

impl From<OwnedFd> for Carried {
    fn from(fd: OwnedFd) -> Carried {
        Carried(Arc::new(fd))
    }
}

impl AsFd for Carried {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = GIVEN.with_borrow_mut(|table| {
            if STAGE.replace(Stage::Brings) == Stage::Idle {
                STAGE.set(Stage::Idle);
                return Err(S::Error::custom("a descriptor can only be sent to a process, not be written elsewhere"));
            }
            let table = table.get_or_insert_default();
            if let Some(place) = table.iter().position(|fd| Arc::ptr_eq(fd, &self.0)) {
                return Ok(place);
            }
            if table.len() == MOST_FDS {
                return Err(S::Error::custom(TOO_MANY));
            }
            table.push(Arc::clone(&self.0));
            Ok(table.len() - 1)
        })?;
        u8::try_from(place).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Carried, D::Error> {
        let place = u8::deserialize(deserializer)?;
        BROUGHT.with_borrow(|table| {
            let fd = table.as_ref().and_then(|table| table.get(usize::from(place)));
            fd.map(|fd| Carried(Arc::clone(fd))).ok_or_else(|| D::Error::custom("the descriptor did not come along"))
        })
    }
}

/// The table for descriptors that came, as `decode` takes it.
pub(crate) fn table(fds: Vec<OwnedFd>) -> Vec<Arc<OwnedFd>> {
    fds.into_iter().map(Arc::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;

    #[test]
    fn what_goes_in_comes_out() {
        let value = (1_u8, "text".to_owned(), vec![Some(2.5_f64), None]);
        assert_eq!(decode(&encode(&value).expect("encode").bytes, Vec::new()), Ok(value));
    }

    #[test]
    fn too_few_and_too_many_bytes_are_refused() {
        let bytes = encode(&300_u32).expect("encode").bytes;
        assert!(decode::<u32>(&bytes[..1], Vec::new()).is_err());
        let long = [bytes.as_slice(), &[0]].concat();
        assert_eq!(decode::<u32>(&long, Vec::new()).expect_err("trailing"), "u32: 1 bytes too many");
    }

    #[test]
    fn a_descriptor_goes_along_once() {
        let one = Carried::from(fd::null().expect("open"));
        let parcel = encode(&vec![one.clone(), one.clone(), Carried::from(fd::null().expect("open"))]).expect("encode");
        assert_eq!(parcel.fds.len(), 2);
        let came: Vec<Carried> = decode(&parcel.bytes, parcel.fds).expect("decode");
        assert!(Arc::ptr_eq(&came[0].0, &came[1].0) && !Arc::ptr_eq(&came[0].0, &came[2].0));
    }

    #[test]
    fn a_descriptor_outside_of_a_message_is_refused() {
        let one = Carried::from(fd::null().expect("open"));
        assert!(postcard::to_stdvec(&one).is_err());
        let parcel = encode(&one).expect("encode");
        assert!(decode::<Carried>(&parcel.bytes, Vec::new()).is_err(), "it did not come along");
        let many: Vec<Carried> = (0..=MOST_FDS).map(|_| Carried::from(fd::null().expect("open"))).collect();
        assert!(encode(&many).expect_err("too many").contains("more descriptors"));
    }
}
