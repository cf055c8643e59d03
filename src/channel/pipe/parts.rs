//! How a message is cut into records.

use super::ring::Ring;
use crate::channel::transport::Parts;

/// Splits the part off that goes first of a message that is too long for one record; `None` if it
/// is not.
pub(super) fn first_part<'a>(ring: Ring<'_>, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    bytes.split_at_checked(ring.longest()).filter(|(_, rest)| !rest.is_empty())
}

/// Returns the next part of a message of which `sent` bytes went out, and whether it is the last.
pub(super) fn next_part<'a>(ring: Ring<'_>, parts: Parts<'a>, sent: usize) -> (&'a [u8], bool) {
    let longest = ring.longest();
    match parts.front.get(sent..) {
        // What is in front is a part by itself.
        Some(front) if !front.is_empty() && !parts.rest.is_empty() => {
            (&front[..front.len().min(longest)], false)
        }
        Some(front) if !front.is_empty() => {
            (&front[..front.len().min(longest)], front.len() <= longest)
        }
        _ => {
            let rest = &parts.rest[sent - parts.front.len()..];
            (&rest[..rest.len().min(longest)], rest.len() <= longest)
        }
    }
}
