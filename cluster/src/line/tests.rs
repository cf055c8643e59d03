//! A model of the line: two sides, and a way between them that does to packets what it likes.

use std::collections::{BTreeSet, VecDeque};

use super::*;

/// What the way does to the next packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrive,
    Lose,
    Repeat,
    /// Comes after the one that is sent next.
    Late,
}

const FATES: [Fate; 4] = [Fate::Arrive, Fate::Lose, Fate::Repeat, Fate::Late];

/// Both sides, and what each has said and heard.
struct World {
    now: Instant,
    sides: [Line; 2],
    said: [Vec<Vec<u8>>; 2],
    heard: [Vec<Vec<u8>>; 2],
    late: [Option<Vec<u8>>; 2],
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        World {
            now,
            sides: [Line::new(now), Line::new(now)],
            said: Default::default(),
            heard: Default::default(),
            late: Default::default(),
        }
    }

    fn say(&mut self, side: usize, message: Vec<u8>) {
        self.sides[side].say(&message);
        self.said[side].push(message);
    }

    fn arrive(&mut self, to: usize, packet: &[u8]) {
        let heard = &mut self.heard[to];
        self.sides[to].hear(packet, self.now, heard).expect("sense");
        // Safety, at every step: what was heard is the beginning of what was said.
        assert!(self.said[1 - to].starts_with(heard), "once, and in order");
    }

    /// Lets both sides send what they have, with the fates given, then time pass.
    fn round(&mut self, mut fate: impl FnMut() -> Fate) {
        for from in [0, 1] {
            while let Some(packet) = self.sides[from].packet(self.now) {
                let before = self.late[from].take();
                match fate() {
                    Fate::Arrive => self.arrive(1 - from, &packet),
                    Fate::Lose => {}
                    Fate::Repeat => {
                        self.arrive(1 - from, &packet);
                        self.arrive(1 - from, &packet);
                    }
                    Fate::Late => self.late[from] = Some(packet),
                }
                if let Some(before) = before {
                    self.arrive(1 - from, &before);
                }
            }
        }
        self.now = self.sides[0].due().min(self.sides[1].due()).max(self.now);
    }

    fn is_settled(&self) -> bool {
        self.sides.iter().all(Line::is_settled)
            && (0..2).all(|side| self.said[side] == self.heard[1 - side])
    }
}

/// Every sequence of so many fates, with three messages from either side: all arrive once and in
/// order, and after the last misfortune within a few rounds.
#[test]
fn every_order_of_misfortunes_ends_well() {
    const STEPS: u32 = 6;
    let mut endings = BTreeSet::new();
    for number in 0..4_usize.pow(STEPS) {
        let mut fates: VecDeque<Fate> =
            (0..STEPS).map(|step| FATES[number / 4_usize.pow(step) % 4]).collect();
        let mut world = World::new();
        let mut rounds = 0;
        for message in 0..3_u8 {
            world.say(0, vec![message; 3]);
            world.say(1, vec![message]);
            world.round(|| fates.pop_front().unwrap_or(Fate::Arrive));
        }
        while !world.is_settled() {
            world.round(|| fates.pop_front().unwrap_or(Fate::Arrive));
            rounds += 1;
            assert!(rounds < 40, "fates {number} do not end");
        }
        endings.insert(rounds);
    }
    assert!(endings.len() > 3, "the fates made no difference: {endings:?}");
}

/// Random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn random_traffic_arrives_once_and_in_order() {
    for seed in 1..200 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut world = World::new();
        for _ in 0..40 {
            for side in [0, 1] {
                for _ in 0..dice.roll(4) {
                    // Some longer than a unit, some than a packet.
                    let length = match dice.roll(20) {
                        0 => 3 * UNIT + 7,
                        1 => UNIT,
                        _ => dice.roll(50) as usize,
                    };
                    world.say(side, vec![dice.roll(256) as u8; length]);
                }
            }
            let badness = dice.roll(10);
            world.round(|| match dice.roll(10) < badness {
                true => FATES[dice.roll(4) as usize],
                false => Fate::Arrive,
            });
        }
        let mut rounds = 0;
        while !world.is_settled() {
            world.round(|| Fate::Arrive);
            rounds += 1;
            assert!(rounds < 100, "seed {seed} does not end");
        }
    }
}

#[test]
fn little_is_on_its_way_at_first() {
    let now = Instant::now();
    let mut line = Line::new(now);
    line.say(&vec![1; 3 * WINDOW]);
    let mut out = 0;
    while let Some(packet) = line.packet(now) {
        assert!(packet.len() <= PACKET + UNIT);
        out += packet.len();
    }
    assert!((UNIT..=UNIT + 100).contains(&out), "{out}");
}

/// Sides that send to one, through a broker that passes on so many bytes in a millisecond.
struct Crowd {
    now: Instant,
    senders: Vec<Line>,
    receivers: Vec<Line>,
    queue: VecDeque<(usize, Vec<u8>)>,
    /// Bytes in the queue: now, and at the most so far.
    queued: usize,
    most: usize,
    /// Bytes that arrived, with repetitions.
    arrived: usize,
    heard: Vec<usize>,
}

impl Crowd {
    /// Each sends so much.
    fn new(senders: usize, length: usize) -> Crowd {
        let now = Instant::now();
        let lines = || std::iter::repeat_with(|| Line::new(now)).take(senders).collect::<Vec<_>>();
        let mut crowd = Crowd {
            now,
            senders: lines(),
            receivers: lines(),
            queue: VecDeque::new(),
            queued: 0,
            most: 0,
            arrived: 0,
            heard: vec![0; senders],
        };
        let message = vec![1; length];
        crowd.senders.iter_mut().for_each(|line| line.say(&message));
        crowd
    }

    /// Lets a millisecond pass. Acknowledgements take no time.
    fn step(&mut self, rate: usize) {
        for number in 0..self.senders.len() {
            while let Some(packet) = self.senders[number].packet(self.now) {
                self.queued += packet.len();
                self.queue.push_back((number, packet));
            }
        }
        self.most = self.most.max(self.queued);
        let mut passed = 0;
        while passed < rate
            && let Some((number, packet)) = self.queue.pop_front()
        {
            (self.queued, passed) = (self.queued - packet.len(), passed + packet.len());
            let mut messages = Vec::new();
            self.receivers[number].hear(&packet, self.now, &mut messages).expect("sense");
            self.heard[number] += messages.len();
        }
        self.arrived += passed;
        for number in 0..self.senders.len() {
            while let Some(packet) = self.receivers[number].packet(self.now) {
                let mut messages = Vec::new();
                self.senders[number].hear(&packet, self.now, &mut messages).expect("sense");
            }
        }
        self.now += Duration::from_millis(1);
    }
}

#[test]
fn many_that_send_to_one_do_not_drown_it() {
    // A broker gives up on who has 64 MB waiting. Slow and quick ones, in bytes a millisecond.
    for (senders, rate) in [(16, 20_000), (16, 200_000), (96, 50_000), (1, 10_000)] {
        let length = 4 << 20;
        let mut crowd = Crowd::new(senders, length);
        let mut steps = 0;
        while crowd.heard.contains(&0) {
            crowd.step(rate);
            steps += 1;
            assert!(steps < 60_000, "{senders} at {rate} do not end");
        }
        let all = senders * length;
        assert!(crowd.most < 56 << 20, "{senders} at {rate}: {} wait", crowd.most);
        assert!(crowd.arrived < all * 5 / 4, "{senders} at {rate}: {} for {all}", crowd.arrived);
        assert!(steps < all / rate * 5 / 4 + 2000, "{senders} at {rate} take {steps} ms");
    }
}

#[test]
fn one_that_is_alone_has_much_on_its_way() {
    let mut crowd = Crowd::new(1, 200 << 20);
    while crowd.heard[0] == 0 {
        crowd.step(4 << 20);
    }
    assert!((WINDOW / 2..WINDOW + PACKET).contains(&crowd.most), "{}", crowd.most);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let now = Instant::now();
    let mut messages = Vec::new();
    let head = |number: u64, had: u64| [number.to_le_bytes(), had.to_le_bytes()].concat();
    for packet in [
        vec![],
        vec![0; 15],
        // Has had what was never sent.
        head(0, 1),
        // A unit that is cut off.
        [head(0, 0), vec![9, 0, 0, 0, 1]].concat(),
        [head(0, 0), vec![9, 0]].concat(),
        // Numbers beyond the last.
        [head(u64::MAX, 0), vec![0; 8]].concat(),
    ] {
        assert_eq!(Line::new(now).hear(&packet, now, &mut messages), Err(Garbage), "{packet:?}");
    }
    assert!(messages.is_empty());
}
