//! The core of all queues: a growable ring with a robust lock at each end, and sleeping at both.
//!
//! Who wants a record and finds none sleeps with the lock of its end held, so that there is one at
//! most who is to be woken, and the kernel hands the lock on if that one dies. It raises a flag
//! before it looks a last time; who publishes looks at the flag afterwards. The other end may die
//! between publishing and waking: so it arms an alarm before, which a sleeper watches, too, and
//! whoever finds a dead owner's lock wakes the other end in its place. The same holds for room in a
//! bounded queue.
//!
//! ```text
//!   put:  lock P -> room? -> fill -> publish -> record wanted? wake -> unlock P
//!   get:  lock G -> record? -> read -> take -> room wanted? wake -> unlock G
//! ```
//!
//! A socket pair goes along, for two things: descriptors inside records travel on it, from
//! `put_end` to `get_end`, with the number that their record has; and a token travels the other way
//! for whoever polls, so that `put_end` is readable when there may be a record.
//!
//! Descriptors are sent before their record is published, and thrown away after it was taken out.
//! In between, getting makes duplicates of them: so who dies over it, or has no room for them, has
//! not taken them from the next one. What somebody sent who died before publishing has a number of
//! its own, by which the next one to get descriptors throws it away.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;
#[cfg(feature = "async")]
use std::time::Instant;

use super::offer::Offer;
use super::store::{End, QueueMemory};
use super::tokens;
#[cfg(feature = "async")]
use crate::channel::LooksBriefly;
use crate::channel::cells::{AtomicU32, Ordering, fence};
use crate::channel::spin::Spin;
use crate::codec::Carried;
use crate::sync::raw::alarm;
use crate::sync::raw::mutex::{self, NotTaken, Taken};
use crate::sys::ipc::socket;
use crate::sys::process::threads;
use crate::sys::wait::futex;
use crate::sys::wait::poll::Deadline;
use crate::sys::wait::robust::{self, Own};

/// A queue of bytes and descriptors, as this process has it.
#[derive(Debug)]
pub(crate) struct QueueCore {
    pub(crate) memory: QueueMemory,
    pub(crate) put_end: Carried,
    pub(crate) get_end: Carried,
    /// Tells those who poll for room; a queue without a bound needs none.
    room: Option<RoomBell>,
    /// How long it is worth to look again before sleeping, for a record and for room.
    spins: [Mutex<Spin>; 2],
}

/// A socket pair for tokens that say that there may be room: whoever puts polls the first end,
/// whoever gets sends on the second.
pub(crate) type RoomBell = (Carried, Carried);

/// The values that `shutdown` writes: nothing can be put, and nothing be got either.
const NO_PUT: u32 = 1;
pub(super) const NO_GET: u32 = 2;

/// The longest that one waits for a lock whose holder neither sleeps nor ends, such as a stopped
/// process.
pub(super) const LONGEST_HOLD: Duration =
    Duration::from_micros(if cfg!(multiproc_fuzz) { 50 } else { 5_000_000 });

/// How long to sleep at a time where the kernel cannot watch two words (before Linux 5.16).
const ROUND: Duration = Duration::from_millis(20);

/// The thing that an end waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    Record,
    Room,
}

/// One end, with its lock held.
pub(super) struct Held<'a> {
    own: Own,
    end: End<'a>,
    /// The last holder died, perhaps before it woke the other end.
    pub(super) inherited: bool,
}

impl<'a> Held<'a> {
    fn take(end: End<'a>, deadline: Deadline) -> Option<Held<'a>> {
        let own = robust::own();
        // A robust lock: if its owner dies, the kernel hands it to one who waits, and says so.
        match mutex::lock_as(own, end.lock, deadline) {
            Ok(taken) => {
                // Whoever waits for us spins only if we run on another processor. Stored only when
                // it changes, as the line is shared.
                let cpu = threads::cpu() + 1;
                if end.cpu.load(Ordering::Relaxed) != cpu {
                    end.cpu.store(cpu, Ordering::Relaxed);
                }
                Some(Held { own, end, inherited: taken == Taken::FromDead })
            }
            // Our own: to wait for ourselves would be for ever.
            Err(NotTaken::Busy | NotTaken::Own) => None,
        }
    }

    /// Changes something and tells the other end of it; if we die between, the kernel tells it.
    pub(super) fn change(&self, change: impl FnOnce(), tell: impl FnOnce()) {
        // 1. Armed: the cell is in this thread's robust list, so the kernel marks it and wakes who
        //    sleeps on it if the thread dies before it is out of the list.
        // 2. The change, by one store.
        // 3. The waking, in at most two steps.
        // 4. Disarmed.
        alarm::arm(self.own, self.end.alarm);
        change();
        tell();
        alarm::disarm(self.own, self.end.alarm);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        mutex::unlock_as(self.own, self.end.lock);
    }
}

#[cfg(feature = "async")]
impl LooksBriefly for &QueueCore {
    /// Of several who would look at once, one does.
    fn look_briefly(&mut self, limit: Duration) -> Option<Instant> {
        // What is handed over is there only for one who waits.
        if self.count() > 0 || self.offer().is_rendezvous() {
            return None;
        }
        let mut spin = self.spins[0].try_lock().ok()?;
        let own = spin.own_cpu();
        let putter = self.memory.put_end().cpu.load(Ordering::Relaxed);
        spin.until_within(limit, own, putter, || self.count() > 0).err()
    }

    fn came_late(&mut self, since: Instant) {
        if let Ok(mut spin) = self.spins[0].try_lock() {
            spin.slept(since.elapsed());
        }
    }
}

/// Wakes the one who sleeps on a flag, if it is raised.
fn wake(flag: &AtomicU32) {
    fence(Ordering::SeqCst);
    // A load first: nobody sleeps most of the time, and a load leaves the line where it is. Then a
    // swap, so that of several who wake one does it. Who dies between swap and wake has its alarm
    // armed.
    if flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::AcqRel) != 0 {
        futex::wake(flag, 1);
    }
}

impl QueueCore {
    /// Creates a queue for which nobody polls for room.
    pub(crate) fn create() -> io::Result<QueueCore> {
        let memory = QueueMemory::create()?;
        // One pair serves both ways: lots of descriptors from `put_end` to `get_end`, tokens back.
        let (put_end, get_end) = socket::pair()?;
        Ok(QueueCore::of(memory, put_end.into(), get_end.into(), None))
    }

    /// Creates a queue for which one can poll for room: two descriptors more. If it is to hold no
    /// records at all, it hands them over.
    pub(crate) fn create_bounded(most: u64) -> io::Result<QueueCore> {
        let (polled, telling) = socket::pair()?;
        let core =
            QueueCore { room: Some((polled.into(), telling.into())), ..QueueCore::create()? };
        if most == 0 {
            core.offer().begin();
        }
        Ok(core)
    }

    /// One that came from somewhere.
    pub(crate) fn open(
        memory: Carried,
        put_end: Carried,
        get_end: Carried,
        room: Option<RoomBell>,
    ) -> io::Result<QueueCore> {
        Ok(QueueCore::of(QueueMemory::open(memory.0)?, put_end, get_end, room))
    }

    fn of(
        memory: QueueMemory,
        put_end: Carried,
        get_end: Carried,
        room: Option<RoomBell>,
    ) -> QueueCore {
        QueueCore { memory, put_end, get_end, room, spins: [const { Mutex::new(Spin::new()) }; 2] }
    }

    /// Returns what `open` takes in another process.
    pub(crate) fn descriptors(&self) -> (Carried, Carried, Carried, Option<RoomBell>) {
        let memory = Carried(Arc::clone(self.memory.fd()));
        (memory, self.put_end.clone(), self.get_end.clone(), self.room.clone())
    }

    /// Returns how many records there are at this moment.
    pub(crate) fn count(&self) -> u64 {
        self.memory.growable().count().unwrap_or(0)
    }

    pub(super) fn offer(&self) -> Offer<'_> {
        Offer(self.memory.flags().offer)
    }

    /// Returns true if somebody sleeps or polls for a record.
    pub(super) fn is_awaited(&self) -> bool {
        let flags = self.memory.flags();
        flags.wants_record.load(Ordering::Acquire) != 0 || flags.polled.load(Ordering::Acquire) != 0
    }

    /// Takes the lock of an end, and tells what its last owner may have died over.
    pub(super) fn hold<'a>(&self, end: End<'a>, deadline: Deadline) -> Option<Held<'a>> {
        // What the dead owner had not done is done twice rather than not at all: waking costs a
        // look.
        let held = Held::take(end, deadline)?;
        if held.inherited {
            // Like any change: dying between taking down a flag and waking would leave a sleeper
            // whom nobody wakes any more.
            held.change(
                || {},
                || {
                    wake(self.memory.flags().wants_room);
                    wake(self.memory.flags().wants_record);
                    self.send_token();
                    self.send_room_token();
                },
            );
        }
        Some(held)
    }

    /// Takes the lock of an end. Who holds it may sleep there because `is_hopeless`: then there is
    /// no use in waiting longer than the deadline; else, it is held for moments only, and these are
    /// waited for.
    pub(super) fn enter<'a>(
        &self,
        end: End<'a>,
        deadline: Deadline,
        is_hopeless: impl Fn() -> bool,
    ) -> Option<Held<'a>> {
        let entered = self.hold(end, deadline);
        if entered.is_some() || matches!(deadline, Deadline::Never) {
            return entered;
        }
        // Somebody is in the middle of putting or getting. That is a matter of microseconds, so a
        // `try` waits for it: else two who try at once would both be told that the queue is full or
        // empty. A holder that was stopped is waited for up to this time only.
        let patient = Deadline::after(LONGEST_HOLD);
        while !is_hopeless() && !patient.is_over() {
            let entered = self.hold(end, Deadline::after(Duration::from_millis(1)));
            if entered.is_some() {
                return entered;
            }
        }
        None
    }

    /// Sleeps, with the lock of the own end held, until it `may_go_on`; false at the deadline.
    pub(super) fn sleep(
        &self,
        want: Want,
        deadline: Deadline,
        may_go_on: impl Fn() -> bool,
    ) -> bool {
        if matches!(deadline, Deadline::Now) {
            return may_go_on();
        }
        let flags = self.memory.flags();
        let (flag, other, spin) = match want {
            // Each end sleeps on its own flag, and watches the alarm of the other, whose owner is
            // to wake it.
            Want::Record => (flags.wants_record, self.memory.put_end(), &self.spins[0]),
            Want::Room => (flags.wants_room, self.memory.get_end(), &self.spins[1]),
        };
        // Whoever waits holds the lock of its end, so nobody else is at it, unless this is a forked
        // copy of one who was.
        let mut fresh = Spin::new();
        let mut kept = spin.try_lock().ok();
        let spin = match &mut kept {
            Some(kept) => &mut **kept,
            None => &mut fresh,
        };
        // Spinning first: a partner that is just about to act makes two system calls needless.
        let own_cpu = spin.own_cpu();
        let Err(started) = spin.until(own_cpu, other.cpu.load(Ordering::Relaxed), &may_go_on)
        else {
            return true;
        };
        let may_go_on = loop {
            // 1. Raise the flag. Whoever changes something looks at it afterwards.
            // 2. Note the alarm's word: a death that comes later changes it, and the sleep ends at
            //    once.
            // 3. Look. After the fence, either we see the change, or who makes it sees the flag.
            // 4. Sleep on both words, as long as both are as they were.
            // Back to 1, as a waking says only that there is a reason to look.
            flag.swap(1, Ordering::AcqRel);
            if matches!(want, Want::Record) {
                self.tell_of_awaiting();
            }
            let seen = other.alarm.word.load(Ordering::Acquire);
            fence(Ordering::SeqCst);
            if may_go_on() {
                break true;
            }
            if deadline.is_over() {
                break false;
            }
            // Before Linux 5.16 a thread sleeps on one word only: then a death is noticed by
            // looking in rounds.
            if !futex::wait_any(&[(flag, 1), (&other.alarm.word, seen)], deadline) {
                futex::wait(flag, 1, deadline.within_next(ROUND));
            }
        };
        flag.swap(0, Ordering::AcqRel);
        // How long it took decides how long the next one spins.
        spin.slept(started.elapsed());
        may_go_on
    }

    /// Wakes whoever sleeps for a record, by the flag or by the descriptor.
    pub(super) fn tell_of_record(&self) {
        let flags = self.memory.flags();
        wake(flags.wants_record);
        tokens::tell(flags.polled, || self.send_token());
    }

    /// Wakes whoever sleeps for room, by the flag or by the descriptor.
    pub(super) fn tell_of_room(&self) {
        let flags = self.memory.flags();
        wake(flags.wants_room);
        tokens::tell(flags.room_polled, || self.send_room_token());
    }

    /// Tells those who poll for room that somebody waits to get: that is all the room that a queue
    /// has that hands over.
    fn tell_of_awaiting(&self) {
        if self.offer().is_rendezvous() {
            fence(Ordering::SeqCst);
            tokens::tell(self.memory.flags().room_polled, || self.send_room_token());
        }
    }

    /// Makes the descriptor of those who poll for a record readable. If the socket is full of
    /// tokens, it is readable already.
    fn send_token(&self) {
        let _ = socket::send(self.get_end.as_fd(), &[&[0]], &[]);
    }

    /// Makes the descriptor of those who poll for room readable.
    fn send_room_token(&self) {
        if let Some((_, telling)) = &self.room {
            // A queue that came from a hostile process may have anything as its bell. It is written
            // to as a socket without waiting, which any other descriptor refuses.
            let _ = socket::send(telling.as_fd(), &[&[0]], &[]);
        }
    }

    /// The descriptor that turns readable when there may be a record, once `arm` said no.
    pub(crate) fn pollable(&self) -> BorrowedFd<'_> {
        self.put_end.as_fd()
    }

    /// Returns true if there is a record, or an end, to be had; if not, the descriptor of
    /// `pollable` tells when that changes.
    pub(crate) fn arm(&self) -> bool {
        // A record that was taken back may lie there until somebody gets; it is no reason to wake
        // up.
        let is_ready = || self.count() > 0 && self.offer().is_open() || self.is_shut_down();
        let polled = self.memory.flags().polled;
        let is_ready = tokens::arm(polled, self.put_end.as_fd(), is_ready, || self.send_token());
        if !is_ready {
            self.tell_of_awaiting();
        }
        is_ready
    }

    /// The descriptor that turns readable when there may be room for less than `most` records, once
    /// `arm_room` said no.
    pub(crate) fn room_pollable(&self) -> BorrowedFd<'_> {
        self.room.as_ref().map_or(self.put_end.as_fd(), |(polled, _)| polled.as_fd())
    }

    /// Returns true if fewer than `most` records are there (if that is 0: if somebody waits to
    /// get), or nothing can be put any more; if not, the descriptor of `room_pollable` tells when
    /// that changes.
    pub(crate) fn arm_room(&self, most: u64) -> bool {
        // Those who poll for a record count as waiting to get: they come and take what is offered.
        let has_room = || if most == 0 { self.is_awaited() } else { self.count() < most };
        let is_ready = || has_room() || self.is_shut_down();
        let room_polled = self.memory.flags().room_polled;
        tokens::arm(room_polled, self.room_pollable(), is_ready, || self.send_room_token())
    }

    /// Ends it for all: nothing can be put any more, and perhaps nothing be got.
    pub(crate) fn shut_down(&self, how: ShutDown) {
        let flags = self.memory.flags();
        let how = match how {
            ShutDown::Put => NO_PUT,
            ShutDown::PutAndGet => NO_GET,
        };
        // With a lock held, so that the others are woken if we die before we wake them. The one
        // that is held by somebody who sleeps is not to be had; but then the other end's alarm is
        // what that one watches.
        // The order of the two locks does not matter: one is held at a time.
        let hold = |end| self.hold(end, Deadline::after(Duration::from_millis(10)));
        let end = hold(self.memory.put_end()).or_else(|| hold(self.memory.get_end()));
        let raise = || {
            // The greater value wins, so `shutdown` does not take back what `shutdown_now` said.
            flags.shut_down.fetch_max(how, Ordering::SeqCst);
        };
        let tell = || {
            self.tell_of_room();
            self.tell_of_record();
        };
        match end {
            Some(end) => end.change(raise, tell),
            None => {
                raise();
                tell();
            }
        }
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.memory.flags().shut_down.load(Ordering::Acquire) != 0
    }
}

/// How to end a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutDown {
    Put,
    PutAndGet,
}
