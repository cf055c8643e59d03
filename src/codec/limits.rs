//! Limits to what a message may ask of the process that decodes it.
//!
//! Process-wide and atomic: they are read on slow paths only, and may be set at any time by any
//! thread. They cross to children in their job (`start::wire`).

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Limits to what a message may ask of the process that decodes it, beyond what its length
/// explains.
///
/// Whoever sends a message chooses its bytes, and a few of them can stand for a value that takes
/// all stack, time or memory there is: lists in lists in lists, a list of 2^64 empty values, a
/// thousand variants of an enum that is a megabyte big. Such a message is an error where it is
/// decoded ([`RecvError::Decode`](crate::RecvError::Decode),
/// [`Failure::BadResult`](crate::Failure::BadResult),
/// [`Failure::BadArguments`](crate::Failure::BadArguments)), and the next message arrives. What is
/// nested deeper than [`depth`](DecodeLimits::depth) is also refused where it is encoded.
///
/// The limits are those of a process ([`set_decode_limits`]); its children begin with the same
/// ones.
///
/// How long a message may be is not said here, but by
/// [`Receiver::set_max_message`](crate::Receiver::set_max_message),
/// [`Connection::set_max_message`](crate::Connection::set_max_message) and
/// [`Process::max_result`](crate::Process::max_result).
///
/// ```
/// use multiproc::{DecodeLimits, Process, decode_limits, set_decode_limits};
///
/// // A list of nothing: a few bytes that take a million steps to decode.
/// let process = || Process::new(|| vec![(); 3_000_000], ());
/// let nothing = || process().start()?.join().map_err(multiproc::Error::from);
/// assert!(nothing().is_err());
///
/// set_decode_limits(DecodeLimits::new().empty_items(4_000_000));
/// assert_eq!(nothing()?.len(), 3_000_000);
/// assert_eq!(decode_limits().empty_items, 4_000_000);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeLimits {
    /// Levels to which lists, maps, options and enums may lie in each other: 1,000 unless set.
    ///
    /// Less where the thread's stack, or what is left of it, does not hold so many: nothing that is
    /// decoded overflows it.
    pub depth: u32,
    /// Items without any bytes, such as those of a `Vec<()>`, that one message may have, all its
    /// lists and maps taken together: 2^20, about a million, unless set.
    pub empty_items: u64,
    /// Bytes of memory that a value may take beyond 32 times the length of its message: 64 MiB
    /// unless set.
    ///
    /// Counted are the sizes of the types in it that are bigger than 32 bytes. Tables and lists
    /// have room to grow beyond that, so the process may take some hundred MiB for a message at the
    /// very most.
    pub memory: u64,
}

/// Each limit by itself: a reader that sees one of two changes does no harm.
static DEPTH: AtomicU64 = AtomicU64::new(DecodeLimits::new().depth as u64);
static EMPTY_ITEMS: AtomicU64 = AtomicU64::new(DecodeLimits::new().empty_items);
static MEMORY: AtomicU64 = AtomicU64::new(DecodeLimits::new().memory);

impl DecodeLimits {
    /// Returns the limits that hold unless others are set: 1,000 levels, 2^20 empty items, 64 MiB.
    ///
    /// ```
    /// use multiproc::DecodeLimits;
    ///
    /// let limits = DecodeLimits::new();
    /// assert_eq!((limits.depth, limits.empty_items, limits.memory), (1000, 1 << 20, 64 << 20));
    /// assert_eq!(limits, DecodeLimits::default());
    /// ```
    #[must_use]
    pub const fn new() -> DecodeLimits {
        DecodeLimits { depth: 1000, empty_items: 1 << 20, memory: 64 << 20 }
    }

    /// Sets [`depth`](field@DecodeLimits::depth), in levels.
    ///
    /// ```
    /// use multiproc::{DecodeLimits, Process, set_decode_limits};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Chain(Option<Box<Chain>>);
    ///
    /// fn chain(length: u32) -> Chain {
    ///     (0..length).fold(Chain(None), |inner, _| Chain(Some(Box::new(inner))))
    /// }
    ///
    /// set_decode_limits(DecodeLimits::new().depth(100));
    /// assert!(Process::new(chain, (99,)).start()?.join().is_ok());
    /// assert!(Process::new(chain, (101,)).start()?.join().is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub const fn depth(self, depth: u32) -> DecodeLimits {
        DecodeLimits { depth, ..self }
    }

    /// Sets [`empty_items`](field@DecodeLimits::empty_items). See [`DecodeLimits`] for an example.
    ///
    /// ```
    /// use multiproc::{DecodeLimits, Process, set_decode_limits};
    ///
    /// set_decode_limits(DecodeLimits::new().empty_items(1000));
    /// let nothing = |count: usize| vec![(); count];
    /// assert!(Process::new(nothing, (1000,)).start()?.join().is_ok());
    /// assert!(Process::new(nothing, (2000,)).start()?.join().is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub const fn empty_items(self, empty_items: u64) -> DecodeLimits {
        DecodeLimits { empty_items, ..self }
    }

    /// Sets [`memory`](field@DecodeLimits::memory), in bytes.
    ///
    /// ```
    /// use multiproc::{DecodeLimits, Process, set_decode_limits};
    ///
    /// type Page = Option<[[u64; 32]; 16]>; // 4 KiB, of which `None` takes one byte in a message
    ///
    /// set_decode_limits(DecodeLimits::new().memory(1 << 20));
    /// let pages = |count: usize| -> Vec<Page> { vec![None; count] };
    /// assert!(Process::new(pages, (100,)).start()?.join().is_ok());
    /// assert!(Process::new(pages, (1000,)).start()?.join().is_err());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub const fn memory(self, memory: u64) -> DecodeLimits {
        DecodeLimits { memory, ..self }
    }
}

impl Default for DecodeLimits {
    fn default() -> DecodeLimits {
        DecodeLimits::new()
    }
}

/// Sets the limits for messages that this process decodes from now on, and for the children that it
/// starts later. The workers of a pool that exists keep what they began with; those that replace
/// them begin with the new limits.
///
/// See [`DecodeLimits`].
///
/// ```
/// use multiproc::{DecodeLimits, decode_limits, set_decode_limits, Process};
///
/// set_decode_limits(DecodeLimits::new().memory(1 << 20));
/// assert_eq!(decode_limits().memory, 1 << 20);
/// assert_eq!(Process::new(|| decode_limits().memory, ()).start()?.join()?, 1 << 20);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn set_decode_limits(limits: DecodeLimits) {
    DEPTH.store(limits.depth.into(), Ordering::Relaxed);
    EMPTY_ITEMS.store(limits.empty_items, Ordering::Relaxed);
    MEMORY.store(limits.memory, Ordering::Relaxed);
}

/// Returns this process's limits for messages.
///
/// ```
/// use multiproc::{decode_limits, set_decode_limits};
///
/// set_decode_limits(decode_limits().depth(50).memory(1 << 20));
/// assert_eq!((decode_limits().depth, decode_limits().empty_items), (50, 1 << 20));
/// ```
#[must_use]
pub fn decode_limits() -> DecodeLimits {
    DecodeLimits { depth: depth(), empty_items: empty_items(), memory: memory() }
}

/// The limit of levels, for `budget`.
pub(crate) fn depth() -> u32 {
    DEPTH.load(Ordering::Relaxed) as u32
}

/// The limit of items without bytes, for `budget`.
pub(crate) fn empty_items() -> u64 {
    EMPTY_ITEMS.load(Ordering::Relaxed)
}

/// The limit of memory in bytes, for `budget`.
pub(crate) fn memory() -> u64 {
    MEMORY.load(Ordering::Relaxed)
}
