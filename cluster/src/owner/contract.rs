//! What the owner of a pool knows of one node that works for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subject;
use multiproc::elsewhere::Report;
use tokio::sync::Notify;

use super::window::Window;
use crate::key::{Direction, Id, Key};
use crate::line::{Garbage, Line};
use crate::wire::{self, Announcement, TARGET, ToOwner, ToStation, VERSION};

/// Time of silence after which a node is lost.
pub(crate) const LOST: Duration = Duration::from_secs(5);

/// Interval at which a node is asked that has not answered.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Time that a node has to answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// Time before a node is asked again that has refused for a reason that may pass.
pub(crate) const REFUSED: Duration = Duration::from_secs(5);

/// Time after its last announcement after which a node that refuses is forgotten: whether others
/// work does not depend on it any more.
pub(crate) const GONE: Duration = Duration::from_secs(6);

/// Time that a station has to kill what a hand runs.
const KILL: Duration = Duration::from_secs(3);

/// A session of a node for a pool.
pub(crate) struct Contract {
    pub(crate) node: Announcement,
    /// Time of its last announcement.
    pub(crate) announced: Instant,
    pub(crate) session: Id,
    pub(crate) stage: Stage,
}

impl Contract {
    /// A session with a node that is about to be asked, unless it says itself that it is of no use.
    pub(crate) fn new(node: Announcement, session: Id) -> Contract {
        let now = Instant::now();
        let stage = match unfit(&node) {
            Some(reason) => Stage::Refused { reason, again: None },
            None => Stage::Asked { first: now, last: now },
        };
        Contract { node, announced: now, session, stage }
    }
}

/// The stages of a session. It only goes on, never back.
pub(crate) enum Stage {
    /// The node was asked, first and last at these times.
    Asked { first: Instant, last: Instant },
    /// Its station works.
    Serving(Box<Serving>),
    /// It will not work, for this reason, unless it is asked again at this time.
    Refused { reason: String, again: Option<Instant> },
}

/// A station that works for the pool.
pub(crate) struct Serving {
    pub(crate) key: Key,
    pub(crate) line: Line,
    pub(crate) subject: Subject,
    pub(crate) pid: u32,
    pub(crate) hands: Vec<Hand>,
    /// Time of its last sign of life.
    pub(crate) heard: Instant,
    /// What it has told of spans and events that was not passed on.
    pub(crate) window: Arc<Window>,
    /// True once it takes nothing more.
    pub(crate) is_leaving: bool,
}

/// A worker of a station.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hand {
    /// The pool's place that it fills.
    pub(crate) place: Option<usize>,
    /// Tells apart the times that it filled a place. Whatever it says of an earlier one is void.
    pub(crate) life: u32,
    /// Time by which it is to have killed what it runs, if it was told to.
    pub(crate) kill_by: Option<Instant>,
    /// Number of chunks that it was given and has not finished, for the load.
    pub(crate) begun: u64,
}

impl Serving {
    /// A station that has just said that it is ready.
    pub(crate) fn new(key: &Key, session: Id, nonce: Id, pid: u32, hands: u32) -> Serving {
        let now = Instant::now();
        let mut line = Line::new(now);
        // It waits for a sign that it was heard.
        line.greet();
        Serving {
            key: key.of_session(&session, &nonce),
            line,
            subject: wire::session_subject(&session).into(),
            pid,
            // Bounded: a node that lies must not have this program take memory for it.
            hands: vec![Hand::default(); hands.clamp(1, 4096) as usize],
            heard: now,
            window: Arc::default(),
            is_leaving: false,
        }
    }

    /// Returns the number of hands that fill no place.
    pub(crate) fn free(&self) -> usize {
        if self.is_leaving {
            return 0;
        }
        self.hands.iter().filter(|hand| hand.place.is_none()).count()
    }

    /// Has a free hand fill a place. Returns its number.
    pub(crate) fn fill(&mut self, place: usize) -> Option<usize> {
        let number = self.hands.iter().position(|hand| hand.place.is_none())?;
        let life = self.hands[number].life.wrapping_add(1);
        self.hands[number] = Hand { place: Some(place), life, ..Hand::default() };
        Some(number)
    }

    /// Says something to a hand, followed by what is not part of the message.
    pub(crate) fn tell(
        &mut self,
        number: usize,
        message: impl FnOnce(u32, u32) -> ToStation,
        tail: &[u8],
    ) {
        let Some(hand) = self.hands.get(number) else { return };
        let message = message(u32::try_from(number).unwrap_or(u32::MAX), hand.life);
        self.line.say(&wire::encode(&message, &[tail]));
    }

    /// Has a hand kill what it runs.
    pub(crate) fn kill(&mut self, number: usize) {
        self.tell(number, |hand, life| ToStation::Drop { hand, life, answers: true }, &[]);
        if let Some(hand) = self.hands.get_mut(number) {
            hand.kill_by = Some(Instant::now() + KILL);
        }
    }

    /// Has a hand forget all, and takes it out of its place.
    pub(crate) fn release(&mut self, number: usize) {
        self.tell(number, |hand, life| ToStation::Drop { hand, life, answers: false }, &[]);
        self.free_hand(number);
    }

    /// Takes a hand out of its place. Returns the place.
    pub(crate) fn free_hand(&mut self, number: usize) -> Option<usize> {
        let hand = self.hands.get_mut(number)?;
        hand.kill_by = None;
        hand.place.take()
    }

    /// Returns the place of the hand that speaks, unless it speaks of an earlier life.
    pub(crate) fn place_of(&self, hand: u32, life: u32) -> Option<usize> {
        let hand = self.hands.get(hand as usize)?;
        hand.place.filter(|_| hand.life == life)
    }

    /// Makes a report of what a hand says that changes nothing here; none if it speaks of an
    /// earlier life. `news` is told when the pool has passed on what is lent to it.
    ///
    /// # Errors
    /// It makes no sense, or is more than the window allows.
    pub(super) fn report(
        &self,
        said: ToOwner,
        tail: &[u8],
        news: &Arc<Notify>,
    ) -> Result<Option<Report>, Garbage> {
        Ok(match said {
            ToOwner::Stands { hand, life, busy, restarts, resident } => {
                let busy = Duration::from_micros(busy);
                self.place_of(hand, life).map(|place| Report::Stands {
                    place,
                    busy,
                    restarts,
                    resident,
                })
            }
            ToOwner::Recalled { hand, life, begun } => {
                self.place_of(hand, life).map(|place| Report::Recalled { place, begun })
            }
            ToOwner::Told { hand, life, lengths } => {
                let cost = wire::cost(lengths.len(), tail.len());
                let lent = self.window.lend(cost, news).ok_or(Garbage)?;
                let told = wire::split(&lengths, tail).ok_or(Garbage)?;
                self.place_of(hand, life).map(|place| Report::Told {
                    place,
                    told,
                    lent: Box::new(lent),
                })
            }
            _ => None,
        })
    }

    /// Returns the packets that are to go out now, sealed.
    pub(crate) fn packets(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if let Some(cost) = self.window.took() {
            self.line.say(&wire::encode(&ToStation::Took { cost }, &[]));
        }
        let packets = std::iter::from_fn(|| self.line.packet(now));
        packets.map(|packet| self.key.seal(Direction::ToStation, &packet)).collect()
    }
}

/// Returns why a node cannot work for this program, whatever it says to it.
fn unfit(node: &Announcement) -> Option<String> {
    if node.version != VERSION {
        Some(format!("it speaks version {} of the protocol, not {VERSION}", node.version))
    } else if node.target != TARGET {
        Some(format!("it runs programs for {}, not for {TARGET}", node.target))
    } else {
        None
    }
}

/// The station of a contract, if it works.
pub(super) fn serving(contract: &Contract) -> Option<&Serving> {
    match &contract.stage {
        Stage::Serving(serving) => Some(serving),
        _ => None,
    }
}

/// The station of a contract, if it works.
pub(super) fn serving_mut(contract: &mut Contract) -> Option<&mut Serving> {
    match &mut contract.stage {
        Stage::Serving(serving) => Some(serving),
        _ => None,
    }
}
