//! What a pool and a worker say to each other over their link: by hand, as it is said for every task.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::Epoch;
use crate::codec;
use crate::sys::code::Offset;
use crate::unwind::Panic;

/// Pool to worker, ahead of the tasks that follow it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Tasks of one function. What stands behind is their arguments, each with its length before it.
    Tasks {
        entry: Option<Offset>,
        /// How many.
        count: u32,
        /// The number of the first in its map.
        first: u64,
        /// What the tasks are called, if not by their function.
        name: Option<String>,
        /// How long each may take.
        deadline: Option<Duration>,
    },
    /// What stood before and is not begun is not to be; what follows is.
    Open(Epoch),
}

/// The bytes of an order; what belongs to it is put behind.
pub(super) fn order(order: &Order) -> Vec<u8> {
    codec::encode(order).map(|parcel| parcel.bytes).unwrap_or_default()
}

/// An order, and what stands behind it.
pub(super) fn understand(bytes: &[u8]) -> Option<(Order, &[u8])> {
    codec::decode_front(bytes)
}

/// Puts a value that `write` appends behind `onto`, with its length before it.
pub(super) fn framed<T, E>(onto: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>) -> Result<T, E> {
    let start = onto.len();
    onto.extend_from_slice(&[0; LENGTH]);
    match write(onto) {
        Ok(done) => {
            let length = u32::try_from(onto.len() - start - LENGTH).unwrap_or(u32::MAX);
            onto[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
            Ok(done)
        }
        Err(error) => {
            onto.truncate(start);
            Err(error)
        }
    }
}

/// The longest value: what its length can say.
pub(super) const LONGEST: usize = u32::MAX as usize - 1;

const LENGTH: usize = size_of::<u32>();

/// Where the next value is in `bytes`, from `at` on, which is moved behind it.
#[inline]
pub(super) fn next_frame(bytes: &[u8], at: &mut usize) -> Option<Range<usize>> {
    let (length, _) = bytes.get(*at..)?.split_first_chunk()?;
    let start = *at + LENGTH;
    let end = start.checked_add(u32::from_le_bytes(*length) as usize)?;
    if end > bytes.len() {
        return None;
    }
    *at = end;
    Some(start..end)
}

/// Worker to pool: what became of a task, in the order in which they came. The first byte of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verdict {
    /// The worker is up. The reason why not, if one follows.
    Ready = 0,
    /// The value that the function returned follows.
    Returned = 1,
    /// The panic follows.
    Panicked = 2,
    /// The reason follows.
    BadArguments = 3,
    BadResult = 4,
    NotRun = 5,
}

impl Verdict {
    pub(super) fn of(byte: u8) -> Option<Verdict> {
        use Verdict::{BadArguments, BadResult, NotRun, Panicked, Ready, Returned};
        [Ready, Returned, Panicked, BadArguments, BadResult, NotRun].into_iter().find(|verdict| *verdict as u8 == byte)
    }
}

/// A panic as it crosses.
pub(super) fn panic_bytes(panic: &Panic) -> Vec<u8> {
    codec::encode(panic).map(|parcel| parcel.bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut bytes = Vec::new();
        for value in [&b"one"[..], b"", b"three"] {
            framed::<_, ()>(&mut bytes, |onto| Ok(onto.extend_from_slice(value))).expect("written");
        }
        assert_eq!(framed(&mut bytes, |onto| Err::<(), _>(onto.push(1))), Err(()));
        let mut at = 0;
        let mut next = || next_frame(&bytes, &mut at).map(|range| bytes[range].to_vec());
        assert_eq!(next().as_deref(), Some(&b"one"[..]));
        assert_eq!(next().as_deref(), Some(&b""[..]));
        assert_eq!(next().as_deref(), Some(&b"three"[..]));
        assert_eq!(next(), None);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&[1_u8][..], &[0, 0, 0], &[1, 0, 0, 0], &[255; 8]] {
            assert_eq!(next_frame(bytes, &mut 0), None, "{bytes:?}");
        }
        assert_eq!(next_frame(&[], &mut 9), None);
        assert_eq!(Verdict::of(77), None);
        assert!(understand(&[200]).is_none());
    }
}
