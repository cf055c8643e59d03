//! What owners, nodes and stations say to each other, and under which subjects.
//!
//! ```text
//! multiproc.nodes                 node -> all owners      Announcement, each second
//! multiproc.node.<node>           owner -> node           Hire
//! multiproc.pool.<pool>           station -> owner        session id | single message or packet
//! multiproc.session.<session>     owner -> station        packet of the line
//! multiproc.status.<node>         station -> its node     Status, each second
//! ```
//!
//! Announcements, hires and the first words of a station are single messages, sealed with the
//! cluster's key. All else goes over a [`Line`](crate::line::Line), sealed with the session's.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::key::{Digest, Id};

/// The version of all of this: sides of different versions refuse each other.
pub(crate) const VERSION: u32 = 3;

/// The triple of what this was built for, as far as it decides whether a program can run.
pub(crate) const TARGET: &str = concat_target();

const fn concat_target() -> &'static str {
    // Two platforms, as the core has: the kernel and the C library are found out by a start.
    if cfg!(target_arch = "x86_64") { "x86_64-linux" } else { "aarch64-linux" }
}

/// The bucket of the object store that has the programs.
pub(crate) const BUCKET: &str = "multiproc-programs";

/// The stream that the bucket is.
pub(crate) const STREAM: &str = "OBJ_multiproc-programs";

/// Where nodes announce themselves.
pub(crate) const NODES: &str = "multiproc.nodes";

/// Where a node hears.
pub(crate) fn node_subject(node: &Id) -> String {
    format!("multiproc.node.{node}")
}

/// Where the owner of a pool hears.
pub(crate) fn pool_subject(pool: &Id) -> String {
    format!("multiproc.pool.{pool}")
}

/// Where a station hears.
pub(crate) fn session_subject(session: &Id) -> String {
    format!("multiproc.session.{session}")
}

/// Where a node hears of its stations.
pub(crate) fn status_subject(node: &Id) -> String {
    format!("multiproc.status.{node}")
}

/// How a station stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) session: Id,
    /// Tasks that it has begun, and time that its workers have spent on them, in microseconds.
    pub(crate) begun: u64,
    pub(crate) busy: u64,
    /// Workers that run something, and chunks that wait for them.
    pub(crate) running: u32,
    pub(crate) waiting: u32,
}

/// What a node says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) version: u32,
    pub(crate) node: Id,
    pub(crate) name: String,
    pub(crate) target: String,
    pub(crate) pid: u32,
    /// Number of workers that it has for each pool.
    pub(crate) hands: u32,
    /// False once it takes no more pools: it is about to leave.
    pub(crate) is_open: bool,
}

/// What an owner wants of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hire {
    pub(crate) version: u32,
    pub(crate) node: Id,
    pub(crate) session: Id,
    pub(crate) pool: Id,
    /// Who asks, for logs.
    pub(crate) owner: String,
    pub(crate) target: String,
    pub(crate) program: Digest,
    pub(crate) length: u64,
    pub(crate) charter: Sent,
    /// The constant memory that the charter refers to.
    pub(crate) memories: Vec<Named>,
}

/// Bytes in the broker's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) digest: Digest,
    pub(crate) length: u64,
}

/// Bytes that an owner sends along, or that a node fetches, as they are too long for a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sent {
    Here(Vec<u8>),
    Stored(Named),
}

/// Bytes that are sent along at the most: a broker takes messages of 1 MiB.
pub(crate) const LONGEST_HERE: usize = 128 << 10;

/// Bytes of a reason, at the most.
const LONGEST_REASON: usize = 16 << 10;

/// What a station, or its node, says before there is a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Alone {
    /// The station is ready, and has chosen this.
    Ready { nonce: Id, pid: u32, hands: u32 },
    /// There will be none, for this reason. `is_final` if another attempt would end the same way.
    Refused { reason: String, is_final: bool },
    /// It will take a while longer.
    Preparing,
    /// Something of the owner's is not in the object store, or something else under its name.
    Missing { digest: Digest },
}

impl Alone {
    /// A refusal, with as much of the reason as a message holds.
    pub(crate) fn refused(reason: &str, is_final: bool) -> Alone {
        let longest = reason.len().min(LONGEST_REASON);
        let end = (0..=longest).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        let reason = reason[..end].to_owned();
        Alone::Refused { reason, is_final }
    }
}

/// What an owner tells a station, over the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToStation {
    /// A chunk for a hand; the request follows. A life that is new to the hand ends the one before.
    /// It refers to these memories.
    Give { hand: u32, life: u32, memories: Vec<Named> },
    /// To forget what the hand has not begun.
    Recall { hand: u32, life: u32 },
    /// To kill what the hand runs, and forget the rest; with `answers`, to say when that is done.
    Drop { hand: u32, life: u32, answers: bool },
    /// To forget memory that no task refers to any more.
    Forget { digest: Digest },
    /// The pool is over.
    Bye,
    /// As much of what was told of spans and events was passed on, by its [`cost`].
    Took { cost: u64 },
}

/// What a station tells its owner, over the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToOwner {
    /// How a hand stands. Messages of so many bytes each follow.
    Heard { hand: u32, life: u32, begun: u64, busy: u64, lengths: Vec<u32> },
    /// How a hand stands beside that: time at work in microseconds, processes replaced, memory.
    Stands { hand: u32, life: u32, busy: u64, restarts: u32, resident: Option<u64> },
    /// The answer to a recall.
    Recalled { hand: u32, life: u32, begun: u64 },
    /// The answer to a drop.
    Dropped { hand: u32, life: u32, begun: u64 },
    /// The station takes nothing more, and goes once its hands are done.
    Leaving,
    /// The station cannot go on.
    Failed { reason: String },
    /// A log record of a task.
    Record { level: u8, target: String, message: String },
    /// What a hand tells of spans and events: messages of so many bytes each follow.
    Told { hand: u32, life: u32, lengths: Vec<u32> },
}

/// What is on its way of what hands tell of spans and events, at the most, by its [`cost`].
pub(crate) const WINDOW: u64 = 1 << 20;

/// What so many messages of so many bytes in all count for: also those without bytes take memory.
pub(crate) fn cost(count: usize, bytes: usize) -> u64 {
    (count as u64).saturating_mul(64).saturating_add(bytes as u64)
}

/// Encodes a message, and appends what follows it.
pub(crate) fn encode<T: Serialize>(message: &T, tail: &[&[u8]]) -> Vec<u8> {
    // Only a want of memory could fail it, which ends the process anyway.
    let mut bytes = postcard::to_stdvec(message).unwrap_or_default();
    for part in tail {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Decodes a message, and returns it with what follows it; `None` for what is none.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, &[u8])> {
    postcard::take_from_bytes(bytes).ok()
}

/// Cuts the tail of [`ToOwner::Heard`] into its messages; `None` if the lengths are wrong.
pub(crate) fn split(lengths: &[u32], mut tail: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    for length in lengths {
        let (message, rest) = tail.split_at_checked(*length as usize)?;
        messages.push(message.to_vec());
        tail = rest;
    }
    tail.is_empty().then_some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let heard = ToOwner::Heard { hand: 3, life: 9, begun: 7, busy: 5, lengths: vec![2, 0, 3] };
        let bytes = encode(&heard, &[b"ab", b"", b"cde"]);
        let (back, tail) = decode::<ToOwner>(&bytes).expect("decoded");
        assert_eq!(back, heard);
        let messages = split(&[2, 0, 3], tail).expect("split");
        assert_eq!(messages, [b"ab".to_vec(), b"".to_vec(), b"cde".to_vec()]);
        assert_eq!(split(&[2, 0, 4], tail), None);
        assert_eq!(split(&[2, 0, 2], tail), None);
    }

    #[test]
    fn garbage_is_none() {
        for bytes in [&[][..], &[255; 20], &[0, 255, 255, 255, 255, 255]] {
            assert!(decode::<ToStation>(bytes).is_none(), "{bytes:?}");
        }
        assert!(decode::<Hire>(&[255; 100]).is_none());
        assert!(decode::<Announcement>(&[7; 10]).is_none());
    }
}
