//! Every message that is no packet, sealed and not: announcements, requests, refusals, tasks,
//! outcomes, signs of life, log records, orders; and addresses of brokers.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::{Digest, Direction, Id, Key};
use crate::node::station::Orders;
use crate::roll::Roll;
use crate::way::Way;
use crate::wire::{
    self, Alone, Announcement, Hire, Named, Sent, Status, TARGET, ToOwner, ToStation, VERSION,
};

/// Byte 0: which message; then the message.
pub(super) fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 8 {
        0 => announced(bytes),
        1 => drop(again::<Hire>(bytes)),
        2 => drop(again::<Alone>(bytes)),
        3 => drop(again::<ToStation>(bytes)),
        4 => outcome(bytes),
        5 => drop(again::<Status>(bytes)),
        6 => {
            if let Some((orders, _)) = wire::decode::<Orders>(bytes) {
                let text = wire::encode(&orders, &[]);
                assert!(wire::decode::<Orders>(&text).is_some());
            }
        }
        _ => address(bytes),
    }
}

fn key() -> Key {
    Key::new("a key of sixteen bytes").expect("a key")
}

/// Decodes a message, and what it is encoded to.
fn again<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (message, tail) = wire::decode::<T>(bytes)?;
    let _ = format!("{message:?}");
    let text = wire::encode(&message, &[tail]);
    let (back, rest) = wire::decode::<T>(&text).expect("it was encoded");
    assert_eq!(rest, tail);
    assert_eq!(wire::encode(&back, &[tail]), text);
    Some((message, tail))
}

/// A node's word about itself, by somebody who has the key, and by somebody who has not.
fn announced(bytes: &[u8]) {
    let (roll, key) = (Roll::default(), key());
    let sealed = key.seal(Direction::Announcement, bytes);
    let opened = roll.open(&key, &sealed);
    assert_eq!(opened.is_some(), wire::decode::<Announcement>(bytes).is_some());
    if let Some(said) = opened {
        roll.worked(said.node, u64::MAX);
        roll.worked(said.node, u64::MAX);
        roll.lost(said.node);
        roll.refused(said.node, Some(said.name.clone()));
        let nodes = roll.nodes();
        assert!(nodes.len() == 1 && !nodes[0].name.contains(char::is_control), "{nodes:?}");
    }
    assert!(roll.open(&key, bytes).is_none(), "it was not sealed");
    for direction in [Direction::Hire, Direction::Alone, Direction::ToOwner] {
        assert!(roll.open(&key, &key.seal(direction, bytes)).is_none(), "for another purpose");
    }
}

/// What came of tasks.
fn outcome(bytes: &[u8]) {
    let Some((said, tail)) = again::<ToOwner>(bytes) else { return };
    if let ToOwner::Heard { lengths, .. } | ToOwner::Told { lengths, .. } = said
        && let Some(messages) = wire::split(&lengths, tail)
    {
        assert_eq!(messages.concat(), tail);
        assert!(wire::cost(messages.len(), tail.len()) >= tail.len() as u64);
    }
}

fn address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let way = Way { url: text.to_owned(), ..Way::default() };
    let shown = way.shown();
    assert_eq!(shown.split(',').count(), text.split(',').count(), "{shown}");
    // Of all that stands before a server, the scheme is shown at the most.
    for (one, shown) in text.split(',').map(str::trim).zip(shown.split(',')) {
        if let Some((_, host)) = one.rsplit_once('@')
            && shown != ".."
        {
            assert!(shown.ends_with(&format!("://..@{host}")), "{shown}");
            let rest = one.split_once("://").map_or(one, |(_, rest)| rest);
            let login = rest.rsplit_once('@').map_or("", |(login, _)| login);
            assert!(shown.len() <= one.len() - login.len() + "nats://..".len(), "{shown}");
        }
    }
}

/// What a station says of a hand.
fn of_hands() -> [ToOwner; 3] {
    let (hand, life) = (1, 2);
    [
        ToOwner::Heard { hand, life, begun: 7, busy: 5, lengths: vec![2, 0, 3] },
        ToOwner::Told { hand, life, lengths: vec![3, 2] },
        ToOwner::Stands { hand, life, busy: 1, restarts: 2, resident: Some(3) },
    ]
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    fn seed(kind: u8, message: &impl Serialize, tail: &[u8]) -> Vec<u8> {
        [&[kind], wire::encode(message, &[tail]).as_slice()].concat()
    }
    let id = Id([7; 16]);
    let named = Named { digest: Digest([3; 32]), length: 1 << 40 };
    let hire = |charter| Hire {
        version: VERSION,
        node: id,
        session: id,
        pool: id,
        owner: "an owner".to_owned(),
        target: TARGET.to_owned(),
        program: named.digest,
        length: named.length,
        charter,
        memories: vec![named; 2],
    };
    let orders = |hire| Orders {
        way: Way { url: "nats://me:pw@host".to_owned(), ..Way::default() },
        key: vec![1; 20],
        name: "a node".to_owned(),
        hands: 3,
        memory: Some(1 << 30),
        hire,
    };
    let announcement = Announcement {
        version: VERSION,
        node: id,
        name: "a\tnode".to_owned(),
        target: TARGET.to_owned(),
        pid: 7,
        hands: 3,
        is_open: true,
    };
    let (text, hand, life) = ("why".to_owned(), 1, 2);
    let record = ToOwner::Record { level: 2, target: text.clone(), message: text.clone() };
    vec![
        seed(0, &announcement, b""),
        seed(1, &hire(Sent::Here(vec![1, 2, 3])), b""),
        seed(1, &hire(Sent::Stored(named)), b""),
        seed(2, &Alone::Ready { nonce: id, pid: 1, hands: 3 }, b""),
        seed(2, &Alone::refused(&text, true), b""),
        seed(2, &Alone::Missing { digest: named.digest }, b""),
        seed(3, &ToStation::Give { hand, life, memories: vec![named] }, b"request"),
        seed(3, &ToStation::Drop { hand, life, answers: true }, b""),
        seed(3, &ToStation::Forget { digest: named.digest }, b""),
        seed(3, &ToStation::Took { cost: 1 << 17 }, b""),
        seed(4, &of_hands()[0], b"abcde"),
        seed(4, &of_hands()[1], b"abcde"),
        seed(4, &of_hands()[2], b""),
        seed(4, &ToOwner::Dropped { hand, life, begun: u64::MAX }, b""),
        seed(4, &ToOwner::Failed { reason: text }, b""),
        seed(4, &record, b""),
        seed(5, &Status { session: id, begun: 1, busy: 2, running: 3, waiting: 4 }, b""),
        seed(6, &orders(hire(Sent::Here(Vec::new()))), b""),
        b"\x07nats://me:pass%40word@host:4222".to_vec(),
        b"\x07token@host".to_vec(),
    ]
}
