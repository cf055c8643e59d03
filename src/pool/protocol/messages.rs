//! Describes what a pool and a worker say to each other over their link: by hand, as it is said for
//! every task.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::Epoch;
use crate::codec;
use crate::limits::Limits;
use crate::sys::program::code::Offset;
use crate::unwind::Panic;

/// Time that a worker with more to do works before it wakes the pool to take what has come of it.
///
/// What it publishes within this time after the last call may go unheard, so the pool listens once
/// more by itself when it has passed.
pub(crate) const WAKE_INTERVAL: Duration = Duration::from_micros(250);

/// Pool to worker, ahead of the tasks that follow it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Tasks of one function. What stands behind is their arguments, each with its length before
    /// it.
    Tasks {
        entry: Option<Offset>,
        /// Counts how many.
        count: u32,
        /// The number of the first in its map.
        first: u64,
        /// Holds what the tasks are called, if not by their function.
        name: Option<String>,
        /// Says how long each may take, and its worker has then to end.
        deadline: Option<(Duration, Duration)>,
        /// Holds what each may use, if the worker is to see to it.
        limits: Option<Box<Limits>>,
    },
    /// Drops what stood before and is not begun; what follows is to be done.
    Open(Epoch),
}

/// Puts an order behind `onto`; what belongs to it goes behind it.
pub(crate) fn put_request(onto: &mut Vec<u8>, order: &Request) {
    // It brings no descriptors, and is refused only for want of memory; a worker that cannot
    // understand it ends.
    let _ = codec::encode_plain(order, onto);
}

/// An order, and what stands behind it.
pub(crate) fn understand(bytes: &[u8]) -> Option<(Request, &[u8])> {
    codec::decode_front(bytes).ok()
}

/// Holds what the byte before a value says, if it is not its length: that the length follows, or a
/// verdict and the length.
const LONG: u8 = 254;
const OTHER: u8 = 255;

/// The longest value whose length is one byte.
pub(crate) const SHORT: usize = 253;

/// The longest value: what its length can say.
pub(crate) const LONGEST: usize = u32::MAX as usize - 8;

/// Puts a value that `write` appends behind `onto`, with its length before it.
#[inline]
pub(crate) fn framed<T, E>(
    onto: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
) -> Result<T, E> {
    let start = onto.len();
    onto.push(0);
    let done = write(onto);
    match done {
        Ok(_) => close_frame(onto, start),
        Err(_) => onto.truncate(start),
    }
    done
}

/// Puts the length of what stands behind the byte at `start` there.
#[inline]
pub(crate) fn close_frame(onto: &mut Vec<u8>, start: usize) {
    let length = onto.len().saturating_sub(start).saturating_sub(1);
    match u8::try_from(length) {
        Ok(short) if length <= SHORT => onto[start] = short,
        _ => close_long_frame(onto, start),
    }
}

#[cold]
fn close_long_frame(onto: &mut Vec<u8>, start: usize) {
    let length = u32::try_from(onto.len().saturating_sub(start).saturating_sub(1))
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    onto[start] = LONG;
    onto.splice(start.saturating_add(1)..start.saturating_add(1), length);
}

/// Puts a verdict and what belongs to it behind `onto`.
pub(crate) fn put_answer(onto: &mut Vec<u8>, verdict: Reply, value: &[u8]) {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes();
    match (verdict, u8::try_from(value.len())) {
        (Reply::Returned, Ok(short)) if value.len() <= SHORT => onto.push(short),
        (Reply::Returned, _) => {
            onto.push(LONG);
            onto.extend_from_slice(&length);
        }
        (verdict, _) => {
            onto.extend_from_slice(&[OTHER, verdict as u8]);
            onto.extend_from_slice(&length);
        }
    }
    onto.extend_from_slice(value);
}

/// The next value in `bytes`, from `at` on, which is moved behind it.
#[inline]
pub(crate) fn next_frame<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    next_answer(bytes, at).map(|(_, value)| value)
}

/// `next_frame`, with the verdict.
#[inline]
pub(crate) fn next_answer<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(Reply, &'a [u8])> {
    let first = *bytes.get(*at)?;
    if usize::from(first) > SHORT {
        return next_other(bytes, at);
    }
    let start = at.checked_add(1)?;
    let value = bytes.get(start..start.checked_add(first.into())?)?;
    *at = start.saturating_add(value.len());
    Some((Reply::Returned, value))
}

#[cold]
fn next_other<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(Reply, &'a [u8])> {
    let (verdict, head, rest) = match bytes.get(*at..)? {
        [LONG, rest @ ..] => (Reply::Returned, 1_usize, rest),
        [OTHER, verdict, rest @ ..] => (Reply::of(*verdict)?, 2, rest),
        _ => return None,
    };
    let (length, rest) = rest.split_first_chunk()?;
    let value = rest.get(..u32::from_le_bytes(*length) as usize)?;
    *at = at.saturating_add(head).saturating_add(length.len()).saturating_add(value.len());
    Some((verdict, value))
}

/// The verdict that a message begins with, and what belongs to it.
pub(crate) fn only_answer(message: &[u8]) -> Option<(Reply, &[u8])> {
    let (&verdict, rest) = message.split_first()?;
    Some((Reply::of(verdict)?, rest))
}

/// Holds what stands before the answers of a block: that it is one, and how many there are.
pub(crate) const BLOCK_HEAD: usize = 8;

/// The first bytes of a block of so many answers.
pub(crate) fn block_head(count: u16) -> [u8; BLOCK_HEAD] {
    let [low, high] = count.to_le_bytes();
    [Reply::Block as u8, 0, low, high, 0, 0, 0, 0]
}

/// Returns how many answers a block says that it has, and the answers. A block of none is garbage:
/// a worker could send them without end, where all else that it says is bounded by the tasks that
/// it was given.
pub(crate) fn open_block(message: &[u8]) -> Option<(u32, &[u8])> {
    let (head, answers) = message.split_first_chunk::<BLOCK_HEAD>()?;
    let count = u16::from_le_bytes([head[2], head[3]]);
    (count > 0).then(|| (count.into(), answers))
}

/// Worker to pool: what became of a task, in the order in which they came. The first byte of a
/// message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
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
    /// Several that returned: their number and their values follow.
    Block = 6,
}

impl Reply {
    pub(crate) fn of(byte: u8) -> Option<Reply> {
        use Reply::{BadArguments, BadResult, Block, NotRun, Panicked, Ready, Returned};
        [Ready, Returned, Panicked, BadArguments, BadResult, NotRun, Block]
            .into_iter()
            .find(|verdict| *verdict as u8 == byte)
    }
}

/// A panic as it crosses.
pub(crate) fn panic_bytes(panic: &Panic) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = codec::encode_plain(panic, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let long = vec![7; 300];
        let mut bytes = Vec::new();
        for value in [&b"one"[..], b"", &long, b"three"] {
            framed::<_, ()>(&mut bytes, |onto| {
                onto.extend_from_slice(value);
                Ok(())
            })
            .expect("written");
        }
        let refused = framed(&mut bytes, |onto| {
            onto.push(1);
            Err::<(), _>("refused")
        });
        assert_eq!(refused, Err("refused"));
        put_answer(&mut bytes, Reply::Panicked, b"why");
        put_answer(&mut bytes, Reply::Returned, &long);
        put_answer(&mut bytes, Reply::Returned, b"x");
        let mut at = 0;
        let mut next =
            || next_answer(&bytes, &mut at).map(|(verdict, value)| (verdict, value.to_vec()));
        for value in [&b"one"[..], b"", &long, b"three"] {
            assert_eq!(next(), Some((Reply::Returned, value.to_vec())));
        }
        assert_eq!(next(), Some((Reply::Panicked, b"why".to_vec())));
        assert_eq!(next(), Some((Reply::Returned, long.clone())));
        assert_eq!(next(), Some((Reply::Returned, b"x".to_vec())));
        assert_eq!(next(), None);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [
            &[1_u8][..],
            &[LONG, 0, 0],
            &[LONG, 1, 0, 0, 0],
            &[OTHER],
            &[OTHER, 77, 0, 0, 0, 0],
            &[255; 8],
        ] {
            assert_eq!(next_frame(bytes, &mut 0), None, "{bytes:?}");
        }
        assert_eq!(next_frame(&[], &mut 9), None);
        assert_eq!(Reply::of(77), None);
        assert!(understand(&[200]).is_none());
        assert!(open_block(&[6, 0, 1]).is_none());
        assert!(open_block(&block_head(0)).is_none());
        assert_eq!(open_block(&block_head(515)), Some((515, &[][..])));
    }
}
