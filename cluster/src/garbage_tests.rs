//! Everything that decodes what came from elsewhere, fed with bytes that look almost right: it
//! comes to an end, without a panic, and what it gives is bounded by what it got.

use std::time::Instant;

use crate::key::{Digest, Direction, Id, Key};
use crate::line::Line;
use crate::wire::{
    self, Alone, Announcement, Hire, Named, Sent, Status, TARGET, ToOwner, ToStation, VERSION,
};

const ROUNDS: u64 = 40_000;

/// Random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % sides.max(1)
    }

    /// Changes, cuts or lengthens some bytes.
    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..self.roll(4) {
            match self.roll(4) {
                0 if !bytes.is_empty() => {
                    let at = self.roll(bytes.len());
                    bytes[at] = self.roll(256) as u8;
                }
                1 => bytes.truncate(self.roll(bytes.len() + 1)),
                2 => bytes.extend((0..self.roll(9)).map(|_| 255)),
                _ => {
                    let at = self.roll(bytes.len() + 1);
                    bytes.insert(at, self.roll(256) as u8);
                }
            }
        }
        bytes
    }
}

fn originals() -> Vec<Vec<u8>> {
    let id = Id([7; 16]);
    let announcement = Announcement {
        version: VERSION,
        node: id,
        name: "a node".to_owned(),
        target: TARGET.to_owned(),
        pid: 7,
        hands: 3,
        is_open: true,
    };
    let hire = Hire {
        version: VERSION,
        node: id,
        session: id,
        pool: id,
        owner: "an owner".to_owned(),
        target: TARGET.to_owned(),
        program: Digest([1; 32]),
        length: 5,
        charter: Sent::Here(vec![1, 2, 3]),
        memories: vec![Named { digest: Digest([2; 32]), length: 9 }],
    };
    let heard = ToOwner::Heard { hand: 3, life: 9, begun: 7, busy: 5, lengths: vec![2, 3] };
    let record =
        ToOwner::Record { level: 2, target: "target".to_owned(), message: "text".to_owned() };
    let told = ToOwner::Told { hand: 3, life: 9, lengths: vec![3, 2] };
    let status = Status { session: id, begun: 1, busy: 2, running: 3, waiting: 4 };
    vec![
        wire::encode(&announcement, &[]),
        wire::encode(&hire, &[]),
        wire::encode(&heard, &[b"ab", b"cde"]),
        wire::encode(&record, &[]),
        wire::encode(&told, &[b"abc", b"de"]),
        wire::encode(&ToStation::Took { cost: 1 << 40 }, &[]),
        wire::encode(&status, &[]),
        wire::encode(&ToStation::Give { hand: 1, life: 2, memories: Vec::new() }, &[b"request"]),
        wire::encode(&Alone::refused("no", true), &[]),
    ]
}

#[test]
fn decoders_come_to_an_end_whatever_they_get() {
    let (mut dice, originals) = (Dice(88172645463325252), originals());
    let mut understood = 0;
    for _ in 0..ROUNDS {
        let which = dice.roll(originals.len());
        let bytes = dice.spoil(&originals[which]);
        let said = wire::decode::<ToOwner>(&bytes);
        if let Some((ToOwner::Heard { lengths, .. } | ToOwner::Told { lengths, .. }, tail)) = said
            && let Some(messages) = wire::split(&lengths, tail)
        {
            assert_eq!(messages.iter().map(Vec::len).sum::<usize>(), tail.len());
            understood += 1;
        }
        understood += u32::from(wire::decode::<Announcement>(&bytes).is_some());
        understood += u32::from(wire::decode::<Hire>(&bytes).is_some());
        understood += u32::from(wire::decode::<ToStation>(&bytes).is_some());
        understood += u32::from(wire::decode::<Alone>(&bytes).is_some());
        understood += u32::from(wire::decode::<Status>(&bytes).is_some());
    }
    assert!(understood > 1000, "nothing came through: {understood}");
}

#[test]
fn lines_come_to_an_end_whatever_they_get() {
    let now = Instant::now();
    let mut dice = Dice(1442695040888963407);
    let mut refused = 0;
    for _ in 0..ROUNDS / 10 {
        let (mut from, mut to) = (Line::new(now), Line::new(now));
        let mut messages = Vec::new();
        for _ in 0..4 {
            from.say(&vec![1; dice.roll(40)]);
            let Some(packet) = from.packet(now) else { continue };
            let spoilt = dice.spoil(&packet);
            // Whoever has the key is believed, so what is heard may be wrong, but not more than
            // what came.
            refused += u32::from(to.hear(&spoilt, now, &mut messages).is_err());
            let all: usize = messages.iter().map(Vec::len).sum();
            assert!(all <= 4 * (40 + 64), "{all}");
        }
        while to.packet(now).is_some() {}
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn nothing_spoilt_is_opened() {
    let key = Key::new("a key of sixteen bytes").expect("key");
    let mut dice = Dice(977);
    for original in originals() {
        let sealed = key.seal(Direction::Hire, &original);
        for _ in 0..500 {
            let spoilt = dice.spoil(&sealed);
            assert!(spoilt == sealed || key.open(Direction::Hire, &spoilt).is_none());
        }
    }
}
