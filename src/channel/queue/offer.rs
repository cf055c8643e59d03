//! The word by which a record is handed over in a queue that holds none: a rendezvous.
//!
//! Whoever puts holds the producers' lock until its record was taken or it has taken it back, so
//! one record at most is on offer. The word says which, by the number of the record, and how far it
//! has come. Whoever gets holds the consumers' lock.
//!
//! ```text
//!      who puts                                 who gets
//!   1. number and OFFERED into the word
//!   2. publish the record, wake who gets
//!                                            3. OFFERED -> CLAIMED
//!                                            4. count the value as in hand, if it is counted
//!                                            5. CLAIMED -> TAKEN
//!                                            6. take the record out, wake who puts
//!   7. sees TAKEN: done
//!   or, when its time is over:
//!   7. OFFERED -> WITHDRAWN: gives the value back
//! ```
//!
//! The word changes by compare-and-swap from the state that was seen, number included, so of 3 and
//! 7 one wins. A record whose number is not in the word, or that is WITHDRAWN or TAKEN there, is
//! stale: whoever gets next throws it away. When one of the two is killed:
//!
//! - between 1 and 2: the word is of no record; the next one to put overwrites it.
//! - who puts, after 2: the record stays on offer, without an owner. It can be taken until somebody
//!   else puts, which makes it stale.
//! - who gets, before 5: its lock passes to the next one to get, which finds CLAIMED with the lock
//!   in its own hand, so the claimant is dead; it claims the record itself. Or who puts takes the
//!   lock when its time is over, and the record back.
//! - who gets, between 5 and 6: the record was taken, and is lost with who took it. Who puts is
//!   woken by the kernel (the alarm of that end is armed).

use crate::channel::cells::{AtomicU32, Ordering};

/// The word of a queue. It is 0 in a queue that holds records, which needs no offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a>(pub(crate) &'a AtomicU32);

const STATE: u32 = 7;
const WITHDRAWN: u32 = 1;
const OFFERED: u32 = 2;
const CLAIMED: u32 = 3;
const TAKEN: u32 = 4;

/// The word for a record's number (24 bits) and a state.
fn word(number: u32, state: u32) -> u32 {
    number << 3 | state
}

impl Offer<'_> {
    /// Makes a new queue one that hands over.
    pub(crate) fn begin(self) {
        self.0.store(word(0, WITHDRAWN), Ordering::Relaxed);
    }

    /// Returns true if the queue holds no records, but hands them over.
    pub(crate) fn is_rendezvous(self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Offers a record that is about to be published.
    pub(crate) fn make(self, number: u32) {
        // A swap, so that it comes after the last swap of a claimant whom it takes the word from.
        self.0.swap(word(number, OFFERED), Ordering::AcqRel);
    }

    fn go(self, number: u32, from: u32, to: u32) -> bool {
        let (from, to) = (word(number, from), word(number, to));
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes the offer back; false if somebody has claimed or taken the record.
    pub(crate) fn withdraw(self, number: u32) -> bool {
        self.go(number, OFFERED, WITHDRAWN)
    }

    /// Takes the offer back from a claimant that is dead, by who holds the consumers' lock; false
    /// if the record was taken.
    pub(crate) fn withdraw_from_dead(self, number: u32) -> bool {
        self.withdraw(number) || self.go(number, CLAIMED, WITHDRAWN)
    }

    /// Claims a record; false if it was taken back. A claim that stands already is of one who died,
    /// as the caller holds the consumers' lock.
    pub(crate) fn claim(self, number: u32) -> bool {
        !self.is_rendezvous()
            || self.go(number, OFFERED, CLAIMED)
            || self.0.load(Ordering::Acquire) == word(number, CLAIMED)
    }

    /// Gives a claim back: the record is on offer as before.
    pub(crate) fn unclaim(self, number: u32) {
        self.go(number, CLAIMED, OFFERED);
    }

    /// Marks a record that was claimed as taken. If another word is there by now, who put it is
    /// dead and waits for nothing.
    pub(crate) fn settle(self, number: u32) {
        if self.is_rendezvous() {
            self.go(number, CLAIMED, TAKEN);
        }
    }

    pub(crate) fn is_taken(self, number: u32) -> bool {
        self.0.load(Ordering::Acquire) == word(number, TAKEN)
    }

    /// Returns true if a record with that number is not to be had any more.
    pub(crate) fn is_stale(self, number: u32) -> bool {
        let seen = self.0.load(Ordering::Acquire);
        seen != 0 && seen != word(number, OFFERED) && seen != word(number, CLAIMED)
    }

    /// Returns true if a record may be had, if there is one.
    pub(crate) fn is_open(self) -> bool {
        matches!(self.0.load(Ordering::Acquire) & STATE, 0 | OFFERED | CLAIMED)
    }
}
