//! The messages of the link between a pool and a worker, and their encoding.
//!
//! The formats are written by hand, not by `codec`, as each task passes through them twice. All
//! lengths are checked where they are read: neither side trusts the other's bytes.
//!
//! ```text
//! pool to worker:   Request (encoded) | arguments, one frame for each task
//! worker to pool:   Reply byte | value or reason                     (one task, or `Ready`)
//!                   Reply::Block, 0, count (u16), 0 0 0 0 | frames   (several that returned)
//!
//! frame:            length (u8, at most 253)            | value
//!                   254, length (u32)                   | value
//!                   255, Reply byte, length (u32)       | reason     (only in a ledger's answers)
//! ```
//!
//! A worker answers its tasks in the order in which it was given them, and each exactly once. So an
//! answer carries no number: the pool's ledger knows whose it is. An answer too many is garbage,
//! for which the worker is killed.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::Epoch;
use crate::codec;
use crate::limits::Limits;
use crate::sys::program::code::Offset;
use crate::unwind::Panic;

/// Time that a worker with more to do works on before it wakes the pool to fetch its answers. A
/// wake-up costs a system call and a switch of threads, as much as dozens of short tasks.
///
/// What the worker publishes within this time after its last wake-up may go unnoticed, so the pool
/// listens once more, unasked, when twice the time has passed (`WorkerRecord::look_soon`).
pub(crate) const WAKE_INTERVAL: Duration = Duration::from_micros(250);

/// A message from the pool to a worker. Requests are followed in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run tasks of one function. Their arguments stand behind the request, one frame for each.
    Tasks {
        /// The function's entry, relative to the program's code; a worker that cannot find it ends.
        entry: Option<Offset>,
        /// Number of tasks.
        count: u32,
        /// Number of tasks of a chunk, if there are several: the chunks are begun one by one.
        chunk: Option<NonZeroU32>,
        /// Number of the first task in its map.
        first: u64,
        /// Name of the tasks, unless they are called by their function.
        name: Option<String>,
        /// Time that each task may take from its begin, and time that the worker then has between
        /// SIGTERM and SIGKILL.
        deadline: Option<(Duration, Duration)>,
        /// Limits of each task; `None` if there are none.
        limits: Option<Box<Limits>>,
        /// The job's number in what the worker tells of its tasks, and the greatest level of spans
        /// and events that it is to tell of from now on; `None` if it tells nothing.
        traced: Option<(u64, u8)>,
        /// The context of the trace that the tasks are part of.
        context: Option<String>,
    },
    /// Open the claim word. Tasks that stood before this message and were not begun have been taken
    /// back: the worker skips them, and begins with what follows.
    Open(Epoch),
}

/// Appends an encoded request to `onto`. Arguments go behind it.
pub(crate) fn put_request(onto: &mut Vec<u8>, order: &Request) {
    // A request has no descriptors in it, so only a want of memory could fail it; the worker cannot
    // decode what is then missing, and ends.
    let _ = codec::encode_plain(order, onto);
}

/// Decodes a request, and returns it with the bytes that stand behind it. `None` for garbage.
pub(crate) fn understand(bytes: &[u8]) -> Option<(Request, &[u8])> {
    codec::decode_front(bytes).ok()
}

/// First byte of a frame whose length follows as a `u32`.
const LONG: u8 = 254;
/// First byte of a frame whose reply byte and length follow.
const OTHER: u8 = 255;

/// The longest value whose frame has a length of one byte: the worker writes these ahead.
pub(crate) const SHORT: usize = 253;

/// The longest value: as much as its `u32` length can say, beside what stands before it.
pub(crate) const LONGEST: usize = u32::MAX as usize - 8;

/// Appends a frame whose value `write` appends. On an error of `write`, `onto` is as it was.
///
/// A value that turns out long is moved, unless it `may_be_long`: then one that turns out short is.
#[inline]
pub(crate) fn framed<T, E>(
    onto: &mut Vec<u8>,
    may_be_long: bool,
    write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
) -> Result<T, E> {
    let start = onto.len();
    if may_be_long {
        onto.extend_from_slice(&[LONG, 0, 0, 0, 0]);
    } else {
        onto.push(0);
    }
    let done = write(onto);
    match done {
        Ok(_) if may_be_long => close_wide_frame(onto, start),
        Ok(_) => close_frame(onto, start),
        Err(_) => onto.truncate(start),
    }
    done
}

/// Fills in the length of the frame that begins at `start`, where five bytes were kept for it.
fn close_wide_frame(onto: &mut Vec<u8>, start: usize) {
    let (place, value) = (start.saturating_add(1), start.saturating_add(5));
    let length = onto.len().saturating_sub(value);
    match u8::try_from(length) {
        Ok(short) if length <= SHORT => {
            onto[start] = short;
            onto.drain(place..value);
        }
        _ => {
            let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
            onto[place..value].copy_from_slice(&length);
        }
    }
}

/// Fills in the length of the frame that begins at `start`, where one byte was kept for it.
#[inline]
pub(crate) fn close_frame(onto: &mut Vec<u8>, start: usize) {
    let length = onto.len().saturating_sub(start).saturating_sub(1);
    match u8::try_from(length) {
        // Nearly all values are short, so one byte is kept for the length, and a long value is
        // moved.
        Ok(short) if length <= SHORT => onto[start] = short,
        _ => close_long_frame(onto, start),
    }
}

/// Makes room for a length of four bytes, which moves the value.
#[cold]
fn close_long_frame(onto: &mut Vec<u8>, start: usize) {
    let length = u32::try_from(onto.len().saturating_sub(start).saturating_sub(1))
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    onto[start] = LONG;
    onto.splice(start.saturating_add(1)..start.saturating_add(1), length);
}

/// Appends the frame of a reply and its value or reason: how a ledger keeps answers until they are
/// decoded.
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

/// Returns the value of the frame at `at`, and moves `at` behind it. `None` at the end of `bytes`,
/// or for what is no frame; `at` is then unchanged.
#[inline]
pub(crate) fn next_frame<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    next_answer(bytes, at).map(|(_, value)| value)
}

/// Like [`next_frame`], with the reply: [`Reply::Returned`] unless the frame says otherwise.
#[inline]
pub(crate) fn next_answer<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(Reply, &'a [u8])> {
    let first = *bytes.get(*at)?;
    if usize::from(first) > SHORT {
        return next_other(bytes, at);
    }
    // Checked arithmetic: `bytes` comes from the other side, and may end anywhere.
    let start = at.checked_add(1)?;
    let value = bytes.get(start..start.checked_add(first.into())?)?;
    *at = start.saturating_add(value.len());
    Some((Reply::Returned, value))
}

/// Reads a frame that does not begin with a short length.
#[cold]
fn next_other<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(Reply, &'a [u8])> {
    let (verdict, head, rest) = match bytes.get(*at..)? {
        [LONG, rest @ ..] => (Reply::Returned, 1_usize, rest),
        [OTHER, verdict, rest @ ..] => (Reply::of(*verdict)?, 2, rest),
        _ => return None,
    };
    // Compared with what is there before anything is allocated or cut.
    let (length, rest) = rest.split_first_chunk()?;
    let value = rest.get(..u32::from_le_bytes(*length) as usize)?;
    *at = at.saturating_add(head).saturating_add(length.len()).saturating_add(value.len());
    Some((verdict, value))
}

/// Splits the message of one answer into its reply and the value or reason.
pub(crate) fn only_answer(message: &[u8]) -> Option<(Reply, &[u8])> {
    let (&verdict, rest) = message.split_first()?;
    Some((Reply::of(verdict)?, rest))
}

/// Length of a block's head: reply, count and padding.
pub(crate) const BLOCK_HEAD: usize = 8;

/// The head of a block of `count` answers.
pub(crate) fn block_head(count: u16) -> [u8; BLOCK_HEAD] {
    let [low, high] = count.to_le_bytes();
    [Reply::Block as u8, 0, low, high, 0, 0, 0, 0]
}

/// Returns the number of answers that a block announces, and their frames.
///
/// An empty block is garbage: a worker could send them without end, where all else that it sends is
/// bounded by the number of tasks that it was given.
pub(crate) fn open_block(message: &[u8]) -> Option<(u32, &[u8])> {
    let (head, answers) = message.split_first_chunk::<BLOCK_HEAD>()?;
    let count = u16::from_le_bytes([head[2], head[3]]);
    (count > 0).then(|| (count.into(), answers))
}

/// The first byte of a message from a worker to the pool: what came of its next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    /// The worker is ready for tasks, if nothing follows; else the reason why it will never be.
    /// Sent once, before all else.
    Ready = 0,
    /// The function returned; the encoded value follows.
    Returned = 1,
    /// The function panicked; the encoded panic follows (see [`panic_bytes`]).
    Panicked = 2,
    /// The arguments could not be decoded, and the function was not called. The reason follows, as
    /// UTF-8.
    BadArguments = 3,
    /// The function returned, and its value could not be encoded or sent. The reason follows.
    BadResult = 4,
    /// The task was not run. The reason follows.
    NotRun = 5,
    /// Several tasks in a row returned. See [`block_head`].
    Block = 6,
    /// The task failed in another way, such as by the death of its worker. The encoded failure
    /// follows (see [`failures`](super::failures)). Pools of other machines send this; a worker
    /// that does harms its own task only.
    Failed = 7,
}

impl Reply {
    /// The reply of a byte; `None` for a byte that no worker sends.
    pub(crate) fn of(byte: u8) -> Option<Reply> {
        use Reply::{BadArguments, BadResult, Block, Failed, NotRun, Panicked, Ready, Returned};
        [Ready, Returned, Panicked, BadArguments, BadResult, NotRun, Block, Failed]
            .into_iter()
            .find(|verdict| *verdict as u8 == byte)
    }
}

/// Encodes a panic: its text, place and backtrace.
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
            framed::<_, ()>(&mut bytes, false, |onto| {
                onto.extend_from_slice(value);
                Ok(())
            })
            .expect("written");
        }
        let mut others = Vec::new();
        for value in [&b"one"[..], b"", &long, b"three"] {
            framed::<_, ()>(&mut others, true, |onto| {
                onto.extend_from_slice(value);
                Ok(())
            })
            .expect("written");
        }
        let refused = framed(&mut others, true, |onto| {
            onto.push(1);
            Err::<(), _>("refused")
        });
        assert_eq!((refused, &others), (Err("refused"), &bytes));
        let refused = framed(&mut bytes, false, |onto| {
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
