//! A set of things that one thread waits for again and again, at a cost that does not grow with
//! their number.
//!
//! `wait` asks each thing before it sleeps, and hands the kernel all descriptors each time. The set
//! leaves the descriptors with the kernel (`epoll(7)`), and asks only those members of which a "no"
//! may not hold any more: new ones, those that it told of the last time, and those that the user
//! has had in hand (`get_mut`).
//!
//! # Why nothing is lost
//! - A member is *armed* when it was asked last and said no. From then on its descriptor tells, by
//!   what `Waitable::poll_ready` promises; and the kernel tells of a descriptor as long as it is
//!   readable, whoever looks at it in the meantime.
//! - A member that is not armed stands in `unasked`, and is asked before every sleep, until it says
//!   no. What is ready and was not taken is therefore told of again.
//! - A member that others share (a queue) may be taken from by them; what they take away of its
//!   wake-ups they make good (`queue/tokens.rs`), and it is asked again in rounds, as `wait` does.
//! - A member that cannot be asked is told of: the call that takes from it says why, and the others
//!   do not wait for that. Where the set of the kernel fails, all that was found ready is put back
//!   into `unasked`.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::error::AddError;
use super::rounds::Rounds;
use super::watched::{Watched, watch};
use crate::error::{Cause, Result, os};
use crate::process::children::wait::Waitable;
use crate::sys::per_process::Generation;
use crate::sys::wait::epoll::Epoll;
use crate::sys::wait::poll::Deadline;

/// A set of members, each with a token of the caller's, which a thread waits for as often as it
/// likes: [`wait`](crate::wait) with a memory. Waiting costs the same for ten members as for ten
/// thousand.
///
/// Members are whatever `wait` takes: ends of channels, queues, listeners, processes, tasks, room
/// in channels, sockets and files, or [`Waitable`] types of your own. The set owns them, and lends
/// them by their tokens; references (`&W`, `Arc<W>`) and `Box<dyn Waitable>` are members, too.
///
/// It is level-triggered: what is ready is told of by each call, until it was taken or its member
/// is removed. A member at its end is ready for ever, so remove it. Ready is not taken: of a queue,
/// another process may get the value first. A member that cannot be asked at the moment (it brings
/// a descriptor, and this process may open no more) is told of as well, and says why when it is
/// received from.
///
/// A member must keep its descriptor: to put another in its place, remove it and add that one.
///
/// ```
/// use multiproc::{Process, Sender, WaitSet, pipe};
///
/// fn squares(mut results: Sender<u64>, from: u64) {
///     (from..from + 3).for_each(|n| results.send(n * n).unwrap());
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let mut set = WaitSet::new()?;
/// for from in [1, 10, 100] {
///     let (sender, receiver) = pipe()?;
///     Process::new(squares, (sender, from)).start()?;
///     set.add(from, receiver)?;
/// }
/// let mut sum = 0;
/// while !set.is_empty() {
///     for token in set.wait()? {
///         let receiver = set.get_mut(token).expect("it is in the set");
///         match receiver.recv() {
///             Ok(square) => sum += square,
///             Err(error) if error.is_disconnected() => drop(set.remove(token)),
///             Err(error) => return Err(error.into()),
///         }
///     }
/// }
/// assert_eq!(sum, 1 + 4 + 9 + 100 + 121 + 144 + 10_000 + 10_201 + 10_404);
/// # Ok(())
/// # }
/// ```
pub struct WaitSet<M> {
    epoll: Epoll,
    /// The process that made the set of the kernel, which a forked copy would share; none if it has
    /// to be made anew.
    owner: Option<Generation>,
    /// The members, by their places; a place that is free is used again.
    members: Vec<Option<Member<M>>>,
    free: Vec<usize>,
    places: HashMap<u64, usize>,
    /// Places of those that are to be asked before the next sleep.
    unasked: Vec<usize>,
    /// The number of the last registration.
    last: u32,
    rounds: Rounds,
}

/// A member, and what is known of it.
struct Member<M> {
    token: u64,
    thing: M,
    watched: Watched,
    /// Tells its events from those of who had its place before.
    number: u32,
    /// It stands in `unasked`.
    is_unasked: bool,
    /// It was found ready by the call that goes on.
    is_ready: bool,
}

impl<M> WaitSet<M> {
    /// Makes an empty set. It costs a descriptor.
    ///
    /// # Errors
    /// The system has no descriptor left.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let set = WaitSet::<Queue<u32>>::new()?;
    /// assert!(set.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn new() -> Result<WaitSet<M>> {
        Ok(WaitSet {
            epoll: new_epoll()?,
            owner: Some(Generation::current()),
            members: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            unasked: Vec::new(),
            last: 0,
            rounds: Rounds::new(),
        })
    }

    /// Returns the number of members.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(1, Queue::<u32>::new()?)?;
    /// set.add(2, Queue::new()?)?;
    /// assert_eq!(set.len(), 2);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns true if there are no members.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(1, Queue::<u32>::new()?)?;
    /// assert!(!set.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the member with this token.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(7, Queue::<u32>::bounded(3)?)?;
    /// assert_eq!(set.get(7).and_then(Queue::capacity), Some(3));
    /// assert!(set.get(8).is_none());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self, token: u64) -> Option<&M> {
        let place = *self.places.get(&token)?;
        self.members[place].as_ref().map(|member| &member.thing)
    }

    /// Returns the member with this token, to receive from it, say. The next wait asks it anew.
    ///
    /// ```
    /// use multiproc::{WaitSet, pipe};
    ///
    /// let (mut sender, receiver) = pipe::<u32>()?;
    /// let mut set = WaitSet::new()?;
    /// set.add(7, receiver)?;
    /// sender.send(1)?;
    /// assert_eq!(set.get_mut(7).expect("a member").recv()?, 1);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn get_mut(&mut self, token: u64) -> Option<&mut M> {
        let place = *self.places.get(&token)?;
        self.ask_later(place);
        self.members[place].as_mut().map(|member| &mut member.thing)
    }

    /// Gives the member with the token `old` the token `new` instead. Returns false, and changes
    /// nothing, if there is no such member, or another has the new token.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let queue = Queue::new()?;
    /// let mut set = WaitSet::new()?;
    /// set.add(1, queue.clone())?;
    /// assert!(set.set_token(1, 2));
    /// queue.put("value".to_owned())?;
    /// assert_eq!(set.wait()?, [2]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn set_token(&mut self, old: u64, new: u64) -> bool {
        let Some(place) = self.places.get(&old).copied() else { return false };
        if old == new {
            return true;
        }
        if self.places.contains_key(&new) {
            return false;
        }
        self.places.remove(&old);
        self.places.insert(new, place);
        if let Some(member) = &mut self.members[place] {
            member.token = new;
        }
        true
    }

    /// Goes through the members and their tokens, in no particular order.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(1, Queue::<u32>::new()?)?;
    /// set.get(1).expect("a member").put(7)?;
    /// assert_eq!(set.iter().map(|(token, queue)| (token, queue.len())).next(), Some((1, 1)));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (u64, &M)> {
        self.members.iter().flatten().map(|member| (member.token, &member.thing))
    }

    /// Returns true if the set of the kernel is this process's own, and has the members in it.
    fn is_own(&self) -> bool {
        self.owner.is_some_and(Generation::is_current)
    }

    /// Takes places out of `unasked` that have no member to be asked, or stand there twice.
    fn forget_stale(&mut self) {
        let members = self.members.iter().enumerate();
        let is_unasked = |member: &Option<Member<M>>| member.as_ref().is_some_and(|m| m.is_unasked);
        self.unasked = members.filter(|(_, m)| is_unasked(m)).map(|(place, _)| place).collect();
    }

    /// Has a member asked before the next sleep.
    fn ask_later(&mut self, place: usize) {
        if let Some(member) = &mut self.members[place]
            && !member.is_unasked
        {
            member.is_unasked = true;
            self.unasked.push(place);
        }
    }
}

impl<M: Waitable> WaitSet<M> {
    /// Adds a member with a token, by which the set tells of it and lends it.
    ///
    /// # Errors
    /// Another member has the token; the member has no descriptor to be had; the system has no
    /// descriptor left (for a second member with the same one) or watches no more (ENOSPC:
    /// `/proc/sys/fs/epoll/max_user_watches`). The member is handed back.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(1, Queue::<u32>::new()?)?;
    /// let error = set.add(1, Queue::bounded(3)?).unwrap_err();
    /// assert_eq!(error.into_member().capacity(), Some(3));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn add(&mut self, token: u64, member: M) -> std::result::Result<(), AddError<M>> {
        if self.places.contains_key(&token) {
            let text = format!("another member of the set has the token {token}");
            return Err(AddError::new(member, Cause::BadInput(text).into()));
        }
        if let Err(error) = self.be_own() {
            return Err(AddError::new(member, error));
        }
        let place = self.free.last().copied().unwrap_or(self.members.len());
        self.last = self.last.wrapping_add(1);
        let number = self.last;
        let watched = match watch(&self.epoll, &member, data(place, number)) {
            Ok(watched) => watched,
            Err(error) => return Err(AddError::new(member, error)),
        };
        if let Some(time) = member.look_again() {
            self.rounds.join(time);
        }
        let member =
            Member { token, thing: member, watched, number, is_unasked: true, is_ready: false };
        if self.free.pop().is_some() {
            self.members[place] = Some(member);
        } else {
            self.members.push(Some(member));
        }
        self.places.insert(token, place);
        self.unasked.push(place);
        Ok(())
    }

    /// Takes the member with this token out of the set.
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(1, Queue::<u32>::new()?)?;
    /// assert!(set.remove(1).is_some());
    /// assert!(set.remove(1).is_none());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn remove(&mut self, token: u64) -> Option<M> {
        let place = self.places.remove(&token)?;
        let member = self.members[place].take()?;
        self.free.push(place);
        // Its place is left in `unasked`, where it does no harm; but not without end.
        if self.unasked.len() > 2 * self.places.len() + 64 {
            self.forget_stale();
        }
        if member.thing.look_again().is_some() {
            self.rounds.leave();
        }
        // A forked copy makes a set of its own before it waits; this one is its parent's.
        if self.is_own() {
            match &member.watched {
                Watched::Own(number) => match member.thing.wait_fd() {
                    Ok(fd) if fd.as_raw_fd() == *number => self.epoll.remove(fd),
                    // It is registered by a descriptor that nobody knows any more.
                    _ => self.owner = None,
                },
                Watched::Duplicate(_, duplicate) => self.epoll.remove(duplicate.as_fd()),
                Watched::Not(_) => {}
            }
        }
        Some(member.thing)
    }

    /// Waits until at least one member is ready. Returns the tokens of those that are, none of them
    /// twice; others may be ready, too, which the next calls tell of. Waits for ever if there are
    /// no members.
    ///
    /// # Errors
    /// The system has no descriptor left in a forked copy, which makes a set of its own. Nothing is
    /// lost: the next call tells of it.
    ///
    /// ```
    /// use multiproc::{Pool, WaitSet};
    ///
    /// let pool = Pool::new(2)?;
    /// let mut set = WaitSet::new()?;
    /// for n in 0..10 {
    ///     set.add(n, pool.submit(|n: u64| n * n, (n,)))?;
    /// }
    /// let mut sum = 0;
    /// while !set.is_empty() {
    ///     for n in set.wait()? {
    ///         sum += set.remove(n).expect("a task").join()?;
    ///     }
    /// }
    /// assert_eq!(sum, 285);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait(&mut self) -> Result<Vec<u64>> {
        self.wait_by(Deadline::Never)
    }

    /// Returns the tokens of members that are ready now; none if there are none. Never sleeps.
    ///
    /// # Errors
    /// As for [`wait`](WaitSet::wait).
    ///
    /// ```
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let queue = Queue::new()?;
    /// let mut set = WaitSet::new()?;
    /// set.add(1, queue.clone())?;
    /// assert!(set.try_wait()?.is_empty());
    /// queue.put(7)?;
    /// assert_eq!(set.try_wait()?, [1]);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn try_wait(&mut self) -> Result<Vec<u64>> {
        self.wait_by(Deadline::Now)
    }

    /// Waits as [`wait`](WaitSet::wait) does, but no longer than `timeout`. Returns no token then.
    ///
    /// # Errors
    /// As for [`wait`](WaitSet::wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(1, Queue::<u32>::new()?)?;
    /// assert!(set.wait_timeout(Duration::from_millis(1))?.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Vec<u64>> {
        self.wait_by(Deadline::after(timeout))
    }

    /// Waits as [`wait`](WaitSet::wait) does, but not beyond `deadline`. Returns no token then.
    ///
    /// # Errors
    /// As for [`wait`](WaitSet::wait).
    ///
    /// ```
    /// use std::time::Instant;
    /// use multiproc::{Queue, WaitSet};
    ///
    /// let mut set = WaitSet::new()?;
    /// set.add(1, Queue::<u32>::new()?)?;
    /// assert!(set.wait_deadline(Instant::now())?.is_empty());
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_deadline(&mut self, deadline: Instant) -> Result<Vec<u64>> {
        self.wait_by(Deadline::at(deadline))
    }

    /// Waits, and puts all that was found ready back among those to be asked.
    fn wait_by(&mut self, deadline: Deadline) -> Result<Vec<u64>> {
        let mut ready = Vec::new();
        let waited = self.be_own().and_then(|()| self.find_ready(&mut ready, deadline));
        let mut tokens = Vec::with_capacity(ready.len());
        for place in ready {
            if let Some(member) = &mut self.members[place] {
                member.is_ready = false;
                tokens.push(member.token);
            }
            self.ask_later(place);
        }
        waited.map(|()| tokens)
    }

    /// Puts the places of those that are ready into `ready`.
    fn find_ready(&mut self, ready: &mut Vec<usize>, deadline: Deadline) -> Result<()> {
        self.ask_unasked(ready)?;
        let mut events = Vec::new();
        loop {
            let until = if ready.is_empty() { self.rounds.before(deadline) } else { Deadline::Now };
            events.clear();
            self.epoll.wait(&mut events, until).map_err(os("cannot wait"))?;
            for event in &events {
                self.hear(*event, ready);
            }
            if self.rounds.is_due() {
                for place in 0..self.members.len() {
                    let asks = |member: &Member<M>| member.thing.look_again().is_some();
                    if self.members[place].as_ref().is_some_and(asks) {
                        self.ask(place, ready);
                    }
                }
            }
            if !ready.is_empty() || deadline.is_over() {
                return Ok(());
            }
        }
    }

    /// Asks those of which nothing is known. Whoever says no is armed.
    fn ask_unasked(&mut self, ready: &mut Vec<usize>) -> Result<()> {
        if self.unasked.iter().any(|place| !self.is_registered(*place)) {
            self.make_own_epoll()?;
        }
        while let Some(place) = self.unasked.pop() {
            if let Some(member) = &mut self.members[place]
                && member.is_unasked
            {
                member.is_unasked = false;
                self.ask(place, ready);
            }
        }
        Ok(())
    }

    /// Returns true if a member has the descriptor that it was registered with.
    fn is_registered(&self, place: usize) -> bool {
        self.members[place].as_ref().is_none_or(|member| {
            member.thing.wait_fd().is_ok_and(|fd| fd.as_raw_fd() == member.watched.fd())
        })
    }

    /// Asks a member. One that cannot be asked is for the user to look at.
    fn ask(&mut self, place: usize, ready: &mut Vec<usize>) {
        if let Some(member) = &mut self.members[place]
            && !member.is_ready
            && (matches!(member.watched, Watched::Not(_))
                || member.thing.poll_ready().unwrap_or(true))
        {
            member.is_ready = true;
            ready.push(place);
        }
    }

    /// Takes an event of the kernel's.
    fn hear(&mut self, event: u64, ready: &mut Vec<usize>) {
        let (place, number) = (event as u32 as usize, (event >> 32) as u32);
        let Some(Some(member)) = self.members.get_mut(place) else { return };
        if member.number != number || member.is_ready {
            return;
        }
        if member.thing.may_wake_for_nothing() {
            self.ask(place, ready);
        } else {
            member.is_ready = true;
            ready.push(place);
        }
    }

    /// Sees to it that the set of the kernel is this process's own: what a forked copy changes in
    /// its parent's would be changed there.
    fn be_own(&mut self) -> Result<()> {
        if self.is_own() { Ok(()) } else { self.make_own_epoll() }
    }

    /// Makes a new set of the kernel with all members, and has all of them asked.
    fn make_own_epoll(&mut self) -> Result<()> {
        let epoll = new_epoll()?;
        let mut watched = Vec::with_capacity(self.members.len());
        for (place, member) in self.members.iter().enumerate() {
            let Some(member) = member else { continue };
            watched.push((place, watch(&epoll, &member.thing, data(place, member.number))?));
        }
        for (place, watched) in watched {
            if let Some(member) = &mut self.members[place] {
                member.watched = watched;
            }
            self.ask_later(place);
        }
        self.epoll = epoll;
        self.owner = Some(Generation::current());
        Ok(())
    }
}

/// Makes an empty set of the kernel.
fn new_epoll() -> Result<Epoll> {
    Epoll::new().map_err(os("cannot make a set to wait for"))
}

/// What the kernel keeps with a descriptor, and tells.
fn data(place: usize, number: u32) -> u64 {
    u64::from(number) << 32 | place as u64 & u64::from(u32::MAX)
}

impl<M> AsFd for WaitSet<M> {
    /// To poll for reading, in `epoll` or an async runtime: after a
    /// [`try_wait`](WaitSet::try_wait) that found nothing, readable means that a member may be
    /// ready now. Queues are to be asked once a second all the same, as
    /// [`Waitable::look_again`] says.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl<M> fmt::Debug for WaitSet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitSet").field("len", &self.len()).finish_non_exhaustive()
    }
}
