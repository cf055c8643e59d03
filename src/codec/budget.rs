//! The budget of one decoded message: what it has used of what it may use.
//!
//! The bytes of a message are chosen by whoever sends it, and their length bounds neither time nor
//! memory nor stack by itself: a list of `()` has no bytes, a `None` of one byte may be a megabyte
//! big, and each byte may open one level more. So three sums are kept, one for each, and compared
//! with the length and `DecodeLimits`. They are kept while decoding, before the memory is taken.

use super::error::CodecError;
use super::limits;
use crate::sys::program::stack;

/// Levels that are not looked at: values of all programs are nested so deep, and take a few hundred
/// bytes of stack for it.
pub(crate) const SHALLOW: u32 = 4;

/// Values of at most this size take what the length of their message explains: nothing is in a list
/// without a byte of its own, but for the items that `claim` counts.
pub(crate) const SMALL: usize = 32;

/// The sums of one message.
pub(crate) struct Budget {
    /// Levels of lists, maps, options and enums that are open at this moment.
    pub(crate) depth: u32,
    /// The length of the message.
    length: u64,
    /// Items and entries that its lists and maps have announced, all together.
    claimed: u64,
    /// The sizes of its values that are bigger than `SMALL`, all together, in bytes.
    taken: u64,
}

impl Budget {
    /// Begins a message of `length` bytes.
    #[inline]
    pub(crate) fn of(length: usize) -> Budget {
        Budget { depth: 0, length: length as u64, claimed: 0, taken: 0 }
    }

    /// Goes one level deeper.
    ///
    /// Every value without end goes through a list, a map, an option or an enum, as only these can
    /// stop; so only these count.
    ///
    /// # Errors
    /// It is deeper than the limit, or the thread's stack is too small.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), CodecError> {
        self.depth += 1;
        check(self.depth)
    }

    /// Comes back from one level. Not called on failure: the message is over then.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts the items that a list or map announces.
    ///
    /// Items that have a byte at least are no more than the message has bytes; so what the sum has
    /// beyond the length is items without bytes.
    ///
    /// # Errors
    /// Those are more than `DecodeLimits::empty_items`.
    #[inline]
    pub(crate) fn claim(&mut self, items: u64) -> Result<(), CodecError> {
        self.claimed = self.claimed.saturating_add(items);
        if self.claimed > self.length { self.check_claims() } else { Ok(()) }
    }

    /// The slow half of `claim`.
    #[cold]
    fn check_claims(&self) -> Result<(), CodecError> {
        let limit = limits::empty_items();
        if self.claimed - self.length <= limit {
            return Ok(());
        }
        let Budget { claimed, length, .. } = self;
        Err(CodecError::text(format!(
            "a message of {length} bytes that says it has {claimed} items, of which {limit} may \
             be without bytes (DecodeLimits::empty_items)"
        )))
    }

    /// Counts a value of `size` bytes that is about to be made. Nothing is given back, as values
    /// that are decoded stay.
    ///
    /// # Errors
    /// The sum is more than `DecodeLimits::memory`, plus `SMALL` for each byte of the message.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> Result<(), CodecError> {
        if size <= SMALL {
            return Ok(());
        }
        self.taken = self.taken.saturating_add(size as u64);
        if self.taken > self.length { self.check_memory() } else { Ok(()) }
    }

    /// Out of the fast path: the limit is read only once the sum is longer than the message.
    fn check_memory(&self) -> Result<(), CodecError> {
        let limit = limits::memory().saturating_add(self.length.saturating_mul(SMALL as u64));
        if self.taken <= limit { Ok(()) } else { Err(self.too_big(limit)) }
    }

    /// Words the error.
    #[cold]
    fn too_big(&self, limit: u64) -> CodecError {
        let length = self.length;
        CodecError::text(format!(
            "a message of {length} bytes whose value takes more than {limit} bytes of memory \
             (DecodeLimits::memory)"
        ))
    }

    /// For how many of the `items` that are announced room may be made at once. A few levels get
    /// what they ask for; deeper ones start small and grow, as many levels together would have room
    /// for much.
    #[inline]
    pub(crate) fn hint(&self, items: usize) -> usize {
        if self.depth > SHALLOW { items.min(16) } else { items }
    }
}

/// Fails if a value may not be nested `depth` deep, by the limit or by what is left of this
/// thread's stack.
#[inline]
pub(crate) fn check(depth: u32) -> Result<(), CodecError> {
    if depth > SHALLOW { check_depth(depth) } else { Ok(()) }
}

/// The slow half of `check`.
#[cold]
fn check_depth(depth: u32) -> Result<(), CodecError> {
    let limit = limits::depth();
    if depth > limit {
        return Err(CodecError::text(format!(
            "a value that is nested more than {limit} deep (DecodeLimits::depth)"
        )));
    }
    // Looked at on each level: user code in between may have a frame of any size.
    if stack::is_low() {
        return Err(CodecError::text(format!(
            "a value that is nested {depth} deep, for which this thread's stack is too small"
        )));
    }
    Ok(())
}
