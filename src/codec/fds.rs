//! Companions of the bytes of a value: descriptors, and marks of things of which there may be only
//! one.
//!
//! serde knows neither. So a value that holds a descriptor writes a number, its place in a table,
//! and puts the descriptor into the table of the message that this thread encodes (`GIVEN`);
//! decoding takes it from the table that came (`BROUGHT`). Both are thread-local, as serde has no
//! place for them, and a stack by way of `Outer`: a `Serialize` may encode another value in
//! between.
//!
//! # Invariants
//! - A descriptor outside of a message is an error, not a number that means nothing elsewhere.
//! - A place is valid only for the message that it came with: decoding cannot reach a descriptor
//!   that was not sent to it.
//! - Dropping `Ends` before the message was sent gives back what was given away.

use std::cell::{Cell, RefCell};
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most descriptors that one value may bring along: the kernel's 253 a message, less those that
/// a message itself needs.
pub(crate) const MAX_FDS: usize = 240;

/// The companions of the value that a thread is at; `None` if it is at none.
///
/// Never dropped, so that it is there to the very end of a process, when exit handlers send a last
/// word. It is empty then.
type Table<T> = RefCell<ManuallyDrop<Option<T>>>;

thread_local! {
    /// The state of this thread: most values leave it at `Encodes`.
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Idle) };
    /// The companions of the value that is being encoded.
    static GIVEN: Table<Box<Baggage>> = const { RefCell::new(ManuallyDrop::new(None)) };
    /// The descriptors that came with the value that is being decoded, but for those that have an
    /// owner by now.
    static BROUGHT: Table<Vec<Option<Arc<OwnedFd>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// The state of a thread. Most values bring nothing along, and do not touch the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Encodes nothing: whatever asks to go along is refused.
    Idle,
    /// Encodes a value that has brought nothing so far.
    Encodes,
    /// It has brought something.
    Brings,
}

/// The companions of one value.
#[derive(Debug, Default)]
pub(crate) struct Baggage {
    fds: Vec<Arc<OwnedFd>>,
    ends: Ends,
}

impl Baggage {
    /// Moves the descriptors into `fds`; returns the marks.
    pub(crate) fn unpack(self, fds: &mut Vec<Arc<OwnedFd>>) -> Ends {
        *fds = self.fds;
        self.ends
    }
}

/// Runs `f`, which encodes a value, and returns what goes along with it.
///
/// The value around it, if `f` is called by a `Serialize`, is set aside and goes on afterwards,
/// also if `f` panics.
#[inline]
pub(crate) fn collected<T>(f: impl FnOnce() -> T) -> (T, Option<Box<Baggage>>) {
    /// The value around this one: its stage, and what it has brought so far.
    struct Outer(Stage, Option<Box<Baggage>>);
    impl Outer {
        /// Puts the outer value back; returns what the inner one brought. Does not touch the table
        /// if there is nothing in it.
        #[inline]
        fn go_on(&mut self) -> Option<Box<Baggage>> {
            let stage = STAGE.replace(self.0);
            if stage != Stage::Brings && self.0 == Stage::Idle {
                return None;
            }
            ManuallyDrop::into_inner(GIVEN.replace(ManuallyDrop::new(self.1.take())))
        }
    }
    impl Drop for Outer {
        fn drop(&mut self) {
            drop(self.go_on());
        }
    }
    let mut outer = Outer(STAGE.replace(Stage::Encodes), None);
    if outer.0 != Stage::Idle {
        outer.1 = ManuallyDrop::into_inner(GIVEN.replace(ManuallyDrop::new(None)));
    }
    let done = f();
    let given = outer.go_on();
    mem::forget(outer);
    (done, given)
}

/// Runs `f`, which has a value written to nowhere: nothing goes along.
#[cfg(feature = "self-describing")]
pub(crate) fn collected_aside<T>(f: impl FnOnce() -> T) -> T {
    let (done, given) = collected(f);
    drop(given);
    done
}

/// Runs `f`, which decodes the value that these descriptors came with. (Values may decode others
/// while they are decoded.)
pub(crate) fn brought<T>(fds: Vec<Arc<OwnedFd>>, f: impl FnOnce() -> T) -> T {
    /// Puts the outer value's back, also if `f` panics.
    struct Outer(ManuallyDrop<Option<Vec<Option<Arc<OwnedFd>>>>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            let inner = BROUGHT.replace(mem::replace(&mut self.0, ManuallyDrop::new(None)));
            drop(ManuallyDrop::into_inner(inner));
        }
    }
    let fds = fds.into_iter().map(Some).collect();
    let _outer = Outer(BROUGHT.replace(ManuallyDrop::new(Some(fds))));
    f()
}

/// Puts something beside the value that is being encoded.
///
/// # Errors
/// No value is being encoded by this codec: a `Serialize` was called by another format.
fn give<T, E: serde::ser::Error>(f: impl FnOnce(&mut Baggage) -> Result<T, E>) -> Result<T, E> {
    if STAGE.get() == Stage::Idle {
        return Err(E::custom("this can only be sent to a process, not be written elsewhere"));
    }
    STAGE.set(Stage::Brings);
    GIVEN.with_borrow_mut(|table| f(table.get_or_insert_default()))
}

/// A descriptor inside a value that goes to another process.
///
/// It encodes as its place in the message's table; one that is in a value several times crosses
/// once.
#[derive(Clone, Debug)]
pub(crate) struct Carried(pub(crate) Arc<OwnedFd>);

impl Carried {
    /// Decodes a descriptor for nobody else: takes it out of the message's table, so that it needs
    /// no duplicate, which a process at its limit of open files could not have. If something else
    /// in the message holds it, too, a duplicate is made.
    ///
    /// # Errors
    /// The descriptor did not come along, or was taken; `dup` failed (EMFILE).
    pub(crate) fn deserialize_owned<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OwnedFd, D::Error> {
        // 240 at the most, so a byte is enough. It is checked by the lookup.
        let place = u8::deserialize(deserializer)?;
        let taken =
            BROUGHT.with_borrow_mut(|table| table.as_mut()?.get_mut(usize::from(place))?.take());
        let fd = taken.ok_or_else(did_not_come)?;
        Arc::try_unwrap(fd).or_else(crate::sys::fd::duplicate).map_err(D::Error::custom)
    }
}

/// A place behind the end of the table: the kernel drops descriptors that do not fit into the
/// receiver's limit (`MSG_CTRUNC`), and a message may be forged.
fn did_not_come<E: serde::de::Error>() -> E {
    E::custom("the descriptor did not come along")
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
    /// Puts the descriptor into the table, unless it is there, and writes its place.
    ///
    /// # Errors
    /// No value is being encoded by this codec; the table is full.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = give(|baggage| {
            let fds = &mut baggage.fds;
            // By the `Arc`: handles of one object share it, so that one descriptor crosses for all
            // of them.
            if let Some(place) = fds.iter().position(|fd| Arc::ptr_eq(fd, &self.0)) {
                return Ok(place);
            }
            if fds.len() == MAX_FDS {
                return Err(S::Error::custom("more descriptors than one message can carry (240)"));
            }
            fds.push(Arc::clone(&self.0));
            Ok(fds.len() - 1)
        })?;
        u8::try_from(place).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Carried {
    /// Takes a share of the descriptor at a place of the table.
    ///
    /// # Errors
    /// It did not come along, or was taken by `deserialize_owned`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Carried, D::Error> {
        let place = u8::deserialize(deserializer)?;
        BROUGHT.with_borrow(|table| {
            let fd = table.as_ref().and_then(|table| table.get(usize::from(place))?.as_ref());
            fd.map(|fd| Carried(Arc::clone(fd))).ok_or_else(did_not_come)
        })
    }
}

/// Makes the table for descriptors that came, as `decode` takes it.
pub(crate) fn table(fds: Vec<OwnedFd>) -> Vec<Arc<OwnedFd>> {
    fds.into_iter().map(Arc::new).collect()
}

/// The mark of a thing of which there may be only one, such as the end of a pipe: true once it was
/// given to another process.
///
/// The other process goes on where this one was: two would take each other's messages, or write
/// over them.
#[derive(Debug, Default)]
pub(crate) struct Sole(Arc<AtomicBool>);

impl Sole {
    /// Fails if the thing was given away. `what` names it in the error.
    #[inline]
    pub(crate) fn check(&self, what: &'static str) -> std::io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(gone(what)) } else { Ok(()) }
    }

    /// Notes that the thing goes to another process with the value that is being encoded. The mark
    /// is set at once, so that a value that has it twice is refused, and taken back if the `Ends`
    /// are dropped.
    ///
    /// # Errors
    /// It was given away before; no value is being encoded.
    pub(crate) fn give<E: serde::ser::Error>(&self, what: &'static str) -> Result<(), E> {
        give(|baggage| {
            if self.0.swap(true, Ordering::Relaxed) {
                return Err(E::custom(format_args!(
                    "{what} was given to a process before: {INSTEAD}"
                )));
            }
            baggage.ends.0.get_or_insert_default().0.push(Given(Arc::clone(&self.0), what));
            Ok(())
        })
    }
}

/// The error of using what was given away.
#[cold]
fn gone(what: &'static str) -> std::io::Error {
    std::io::Error::other(format!(
        "{what} was given to another process, and cannot be used here any more"
    ))
}

const INSTEAD: &str = "only one process can have it; several can have a `Queue`";

/// The marks of all things of which there may be only one that a value has in it. Dropped, they are
/// not given away after all. Mostly empty, hence behind one pointer.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Ends(Option<Box<AllGiven>>);

/// In a box of its own, so that `Ends` is one pointer.
#[derive(Debug, Default)]
struct AllGiven(Vec<Given>);

/// The mark of a thing that is given away, and what it is.
#[derive(Debug)]
struct Given(Arc<AtomicBool>, &'static str);

impl Ends {
    /// Those of a value that has nothing of the kind.
    pub(crate) const fn none() -> Ends {
        Ends(None)
    }

    /// The value is on its way: what is in it stays given away.
    #[inline]
    pub(crate) fn keep(mut self) {
        if self.0.is_some() {
            self.0 = None;
        }
    }

    /// Refuses a value that only one process may decode, where several would: arguments of an
    /// initializer, for example. `why` says so in the error.
    pub(crate) fn must_be_none(&self, why: &str) -> Result<(), String> {
        match self.0.as_deref().and_then(|all| all.0.first()) {
            Some(Given(_, what)) => {
                Err(format!("{what} would be given away more than once, as {why}: {INSTEAD}"))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for Given(end, _) in self.0.iter().flat_map(|all| &all.0) {
            end.store(false, Ordering::Relaxed);
        }
    }
}
