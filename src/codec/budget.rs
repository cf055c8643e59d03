//! Describes what the decoding of one message has used of what it may use.

use super::error::CodecError;
use super::limits;
use crate::sys::program::stack;

/// The stack that so many levels of lists and options take is what honest values take, too; it
/// is not looked at.
pub(crate) const SHALLOW: u32 = 4;

/// Values of at most this size take what the length of their message explains: nothing is in a list
/// without a byte of its own, but for the items that `claim` counts.
pub(crate) const SMALL: usize = 32;

/// Sums for one message.
pub(crate) struct Budget {
    pub(crate) depth: u32,
    /// The length of the message.
    length: u64,
    /// Counts how many items its lists and maps say that they have.
    claimed: u64,
    /// The sizes of the values that are not small.
    taken: u64,
}

impl Budget {
    #[inline]
    pub(crate) fn of(length: usize) -> Budget {
        Budget { depth: 0, length: length as u64, claimed: 0, taken: 0 }
    }

    /// Goes one level deeper. Every value without end goes through a list, a map, an option or an
    /// enum, as only these can stop.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), CodecError> {
        self.depth += 1;
        check(self.depth)
    }

    #[inline]
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// A list or map says that it has so many items. All that have a byte at least are no more than
    /// the message has bytes.
    #[inline]
    pub(crate) fn claim(&mut self, items: u64) -> Result<(), CodecError> {
        self.claimed = self.claimed.saturating_add(items);
        if self.claimed > self.length { self.check_claims() } else { Ok(()) }
    }

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

    /// A value of this size is made.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> Result<(), CodecError> {
        if size <= SMALL {
            return Ok(());
        }
        self.taken = self.taken.saturating_add(size as u64);
        if self.taken > self.length { self.check_memory() } else { Ok(()) }
    }

    fn check_memory(&self) -> Result<(), CodecError> {
        let limit = limits::memory().saturating_add(self.length.saturating_mul(SMALL as u64));
        if self.taken <= limit { Ok(()) } else { Err(self.too_big(limit)) }
    }

    #[cold]
    fn too_big(&self, limit: u64) -> CodecError {
        let length = self.length;
        CodecError::text(format!(
            "a message of {length} bytes whose value takes more than {limit} bytes of memory \
             (DecodeLimits::memory)"
        ))
    }

    /// For how many items room may be made at once, of so many that are said to come: many levels
    /// would have room for much.
    #[inline]
    pub(crate) fn hint(&self, items: usize) -> usize {
        if self.depth > SHALLOW { items.min(16) } else { items }
    }
}

/// Returns whether a value may be nested so deep, here.
#[inline]
pub(crate) fn check(depth: u32) -> Result<(), CodecError> {
    if depth > SHALLOW { check_depth(depth) } else { Ok(()) }
}

#[cold]
fn check_depth(depth: u32) -> Result<(), CodecError> {
    let limit = limits::depth();
    if depth > limit {
        return Err(CodecError::text(format!(
            "a value that is nested more than {limit} deep (DecodeLimits::depth)"
        )));
    }
    if stack::is_low() {
        return Err(CodecError::text(format!(
            "a value that is nested {depth} deep, for which this thread's stack is too small"
        )));
    }
    Ok(())
}
