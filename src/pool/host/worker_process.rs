//! The process of a worker: how a pool starts it, sends to it, hears it, and ends it.
//!
//! All methods are called with the driver locked, except [`WorkerProcess::start`], and none of them
//! waits.
//!
//! # Sending
//!
//! A message goes into the ring if there is room, else into `outgoing`, from where it follows in
//! order when the worker has read ([`pump`](WorkerProcess::pump)). What is sent is seen by a worker
//! that is awake; one that sleeps has to be woken, which the driver does once for all that it sent.
//!
//! # Hearing
//!
//! The ring's doorbell wakes a side that waits for messages *or* for room, and a reader takes the
//! wake-up of both. So sending and hearing go together ([`exchange`](WorkerProcess::exchange)).
//!
//! # Its end
//!
//! Each way ends in a pidfd that becomes readable, which the supervisor watches:
//!
//! 1. *Dismissed*: the pool shuts the link; the worker meets the end of it when it has done what it
//!    has.
//! 2. *Terminated*, then *killed*: by signals to it and to all that its tasks have started.
//! 3. By itself: a crash, an exit, its own timer, or a lost link.

use std::collections::VecDeque;
use std::mem;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::settings::Settings;
use crate::channel::buffered::MAX_MESSAGE;
use crate::channel::pipe::glance::Glance;
use crate::channel::pipe::link::RingLink;
use crate::channel::transport::{Parts, RecvTransportError, SendTransportError};
use crate::codec::Carried;
use crate::error::{Result, os};
use crate::limits::Limits;
use crate::pool::child::worker_loop::{self, Duty};
use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::claim::{ClaimHandle, Epoch};
use crate::pool::protocol::messages::{self, Request};
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::pool::scheduler::job::{Job, Tag};
use crate::pool::scheduler::state::Words;
use crate::process::{Child, Process};
#[cfg(feature = "tracing")]
use crate::relay::records;
use crate::relay::records::Source;
use crate::signal::Signal;
use crate::sys::ipc::socket;
use crate::sys::limits::weight;
use crate::sys::process::{threads, tree};

/// Bytes that each direction of a link holds: twenty chunks of the largest size that a map makes,
/// and a long message by so large parts that the two sides seldom wait for each other.
const CAPACITY: usize = 256 << 10;

/// Time before descriptors are sent again that the system did not accept: nothing tells when it
/// would.
const CONGESTION: Duration = Duration::from_millis(20);

/// Turns of sending and hearing for one worker, at the most, before others have theirs.
const TURNS: u32 = 16;

/// Batches of messages that are read from one worker, at the most, before others have their turn:
/// it may publish as fast as they are read.
const BATCHES: u32 = 16;

/// Times in a row that a message is asked for again at once which the system refused (no
/// descriptors, no memory).
const MAX_REFUSALS: u32 = 10;

/// The process of a worker, and the pool's ends of what leads to it.
pub(crate) struct WorkerProcess {
    /// Identifies it among those that have had its place: a serial number, then 16 bits of place.
    pub(super) number: u64,
    /// Its name and pid, for errors; shared with what it delivers, as that outlives it.
    pub(crate) tag: Arc<Tag>,
    /// What it is to those who hear what it says beside its answers.
    pub(crate) source: Arc<Source>,
    /// The process, which the supervisor reaps.
    pub(crate) child: Child<()>,
    /// The pool's end of the link; `None` once it was dismissed.
    link: Option<RingLink>,
    /// The socket of its log records; `None` if it forwards none, or the socket has ended.
    pub(super) records: Option<OwnedFd>,
    /// The words that it shares with the pool.
    memory: WorkerMemory,
    /// The pool's side of its claim word.
    claim: ClaimHandle,
    /// Messages that wait for room in the link, in order.
    outgoing: VecDeque<Outgoing>,
    /// End of the pause before descriptors are sent again.
    congested_until: Option<Instant>,
    /// True if it was sent something since it was woken last.
    is_to_be_woken: bool,
    /// True if nothing more comes over the link: it has ended, or was given up as garbled.
    is_silent: bool,
    /// True if a message cannot be sent, for a reason of this program's. Those behind it cannot
    /// either, as order counts.
    is_broken: bool,
    /// Time between SIGTERM and SIGKILL, unless a task sets its own.
    grace: Duration,
    /// CPU time that each of its tasks may use, by the pool's limits.
    cpu_time: Option<Duration>,
}

/// A message that waits for room.
struct Outgoing {
    front: Vec<u8>,
    /// What follows, if that is long.
    rest: Bulk,
    fds: Vec<Arc<OwnedFd>>,
    /// Bytes of it that went out. One that was begun must be finished: the worker has read its
    /// beginning.
    sent: usize,
}

/// The result of reading from a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// All that it has published was read.
    All,
    /// There is more; other workers have their turn first.
    Part,
    /// There is more, and the system has no descriptors or memory for it.
    Refused,
    /// The link has ended, or what it carries makes no sense.
    End,
    /// There is a message that is longer than any may be.
    TooLong,
}

impl Outgoing {
    /// Bytes of it that have not gone out.
    fn left(&self) -> usize {
        self.front.len().saturating_add(self.rest.len()).saturating_sub(self.sent)
    }
}

impl WorkerProcess {
    /// Starts the worker with this number, for the place `id`, counted from 1. Called without the
    /// driver's lock.
    ///
    /// 1. Make the link, the words and the socket for records: both ends are here.
    /// 2. Start the process, which gets the far ends with its duty.
    ///
    /// If the process does not start, all of it is closed when this returns. If this program ends
    /// in between, the worker ends by its lifeline.
    ///
    /// # Errors
    /// The system has no descriptors or memory; those of [`Process::start`](crate::Process::start).
    pub(crate) fn start(settings: &Settings, id: usize, number: u64) -> Result<WorkerProcess> {
        let name = settings.worker_name(id);
        let cannot = |error| os(format!("cannot make the link to {name}"))(error);
        let (link, far) = RingLink::pair(CAPACITY).map_err(cannot)?;
        // Fresh for each worker: the counts of one that died are not mixed with those of the next.
        let memory = WorkerMemory::create()?;
        let level = log::max_level();
        // The level is fixed here: a worker does not learn of later changes, so `records::give`
        // filters again.
        let trace_level = settings.trace_level();
        let is_wanted = level > log::LevelFilter::Off || trace_level > 0;
        let (records, far_records) = if settings.forwards_records && is_wanted {
            let (near, far) = socket::pair().map_err(cannot)?;
            (Some(near), Some((Carried::from(far), level as usize)))
        } else {
            (None, None)
        };
        let duty = Duty {
            link: far,
            memory: memory.clone(),
            id,
            initializer: settings.initializer.clone(),
            records: far_records,
            trace_level,
        };
        // `for_pool` gives it a session of its own, so that signals reach all that its tasks start.
        let process = Process::new(worker_loop::serve, (duty,)).name(name.clone()).for_pool();
        let child = settings.prepare(process).start()?;
        let source = Source::new(name.clone(), child.pid(), trace_level);
        #[cfg(feature = "tracing")]
        let source = match &settings.onward {
            Some(onward) => source.onward(onward.clone(), id.saturating_sub(1)),
            None => source,
        };
        Ok(WorkerProcess {
            number,
            source: Arc::new(source),
            tag: Arc::new(Tag { name, pid: child.pid() }),
            child,
            link: Some(link),
            records,
            memory,
            claim: ClaimHandle::default(),
            outgoing: VecDeque::new(),
            congested_until: None,
            is_to_be_woken: false,
            is_silent: false,
            is_broken: false,
            grace: settings.grace,
            cpu_time: settings.limits.cpu(),
        })
    }

    /// Makes the number of the `serial`th worker of a pool, which is for this place.
    pub(crate) fn number(serial: u64, place: usize) -> u64 {
        serial << 16 | place as u64
    }

    /// Returns the descriptor that tells of its messages, and the one that tells of its end.
    pub(super) fn fds(&self) -> Result<(Option<BorrowedFd<'_>>, BorrowedFd<'_>)> {
        Ok((self.link.as_ref().map(RingLink::as_fd), self.child.sentinel()?))
    }

    /// Returns the descriptor that tells of its log records.
    pub(super) fn records_fd(&self) -> Option<BorrowedFd<'_>> {
        self.records.as_ref().map(AsFd::as_fd)
    }

    /// Returns whether nothing more comes over the link.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Returns whether a message could not be sent for good.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns whether messages wait for room.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Returns when to try again to send descriptors, if some wait.
    pub(super) fn congested_until(&self) -> Option<Instant> {
        self.congested_until.filter(|_| self.has_outgoing())
    }

    /// Reads its words. The driver has read its messages before, so `begun` is never behind what
    /// they say.
    pub(super) fn words(&self, now: Instant) -> Words {
        Words {
            begun: self.memory.begun(&self.claim),
            is_closed: self.memory.is_closed(),
            running_for: self.memory.running_for(),
            busy: self.memory.busy(),
            read_at: now,
        }
    }

    /// Returns the time that it has spent on tasks, by its own account.
    pub(crate) fn busy(&self) -> Duration {
        self.memory.busy()
    }

    /// Sends it a job, without waking it. Returns whether the job, and all before it, went into the
    /// link.
    pub(super) fn give(&mut self, job: &Job, scratch: &mut Vec<u8>) -> bool {
        let call = job.sink.call();
        let options = &call.options;
        let grace = options.grace.unwrap_or(self.grace);
        // A pool elsewhere, for which this one runs the job, has numbered it.
        #[cfg(feature = "tracing")]
        let traced = call.traced.or_else(|| {
            let number = self.source.given(&call.origin, job.count)?;
            Some((number, records::trace_level()))
        });
        #[cfg(not(feature = "tracing"))]
        let traced = None;
        let request = Request::Tasks {
            entry: call.entry,
            count: job.count,
            chunk: NonZeroU32::new(job.chunk()).filter(|chunk| chunk.get() < job.count),
            first: job.first,
            name: options.name.clone(),
            deadline: options.deadline.map(|deadline| (deadline, grace)),
            limits: self.limits_for(&options.limits),
            traced,
            context: call.context.as_deref().map(str::to_owned),
        };
        scratch.clear();
        messages::put_request(scratch, &request);
        // Long arguments are sent from where they are.
        if job.bytes.is_long() {
            return self.send(scratch, job.bytes.clone(), job.fds.clone());
        }
        scratch.extend_from_slice(&job.bytes);
        self.send(scratch, Bulk::Few(Vec::new()), job.fds.clone())
    }

    /// Returns the limits that the worker sets around each task: the tasks' own, and the CPU time
    /// that the pool gives each. `None` if there are none, which spares short tasks the system
    /// calls.
    fn limits_for(&self, own: &Limits) -> Option<Box<Limits>> {
        let limits = match self.cpu_time {
            // The lower of the two holds.
            Some(time) if own.cpu().is_none_or(|own| own > time) => own.clone().cpu_time(time),
            _ => own.clone(),
        };
        (!limits.is_empty()).then(|| Box::new(limits))
    }

    /// Sends a message, `front` and then `rest`, or keeps it until there is room. Returns whether
    /// all that was ever sent has gone out.
    fn send(&mut self, front: &[u8], rest: Bulk, fds: Vec<Arc<OwnedFd>>) -> bool {
        let Some(link) = &mut self.link else { return true };
        // It looks for more before it sleeps only if we are on another processor.
        link.outbound().sender_is_on(threads::cpu().saturating_add(1));
        // Nothing may overtake what waits.
        if self.outgoing.is_empty()
            && fds.is_empty()
            && rest.is_empty()
            && matches!(link.push_quietly(front), Ok(true))
        {
            return true;
        }
        self.outgoing.push_back(Outgoing { front: front.to_vec(), rest, fds, sent: 0 });
        false
    }

    /// Returns whether descriptors were refused a moment ago.
    fn is_congested(&self) -> bool {
        self.congested_until.is_some_and(|until| until > Instant::now())
    }

    /// Returns whether the next message that waits could go out now, in part at least.
    fn could_pump(&mut self) -> bool {
        if self.outgoing.is_empty() || self.is_congested() {
            return false;
        }
        let WorkerProcess { link: Some(link), outgoing, .. } = self else { return false };
        outgoing.front().is_some_and(|next| link.outbound().has_room_for_next(next.left()))
    }

    /// Sends what there is room for, and reads what the worker has published; `each` gets every
    /// message, and returns `false` if what follows cannot be understood.
    ///
    /// Each of the two may take the wake-up that was for the other, so they take turns until
    /// neither has anything to do.
    pub(super) fn exchange(
        &mut self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>) -> bool,
    ) -> Heard {
        for _ in 0..TURNS {
            if self.has_outgoing() {
                // Sending first: it makes room for more to be said, and the worker may have nothing
                // else to do.
                self.pump();
                self.wake();
            }
            let heard = self.listen(scratch, BATCHES, &mut each);
            self.is_silent |= matches!(heard, Heard::End | Heard::TooLong);
            if heard != Heard::All || !self.could_pump() {
                return heard;
            }
        }
        Heard::Part
    }

    /// Sends what there is room for. It may take a wake-up that was for the reader: read
    /// afterwards.
    fn pump(&mut self) {
        if self.is_congested() {
            return;
        }
        // The pause is over; what is refused again sets it anew.
        self.congested_until = None;
        let Some(link) = &mut self.link else { return };
        while let Some(next) = self.outgoing.front_mut() {
            let parts = Parts { front: &next.front, rest: &next.rest };
            match link.send_some(parts, &next.fds, &mut next.sent) {
                Ok(true) => self.outgoing.pop_front(),
                // The worker is gone; its pidfd tells the supervisor.
                Err(SendTransportError::Disconnected) => return,
                Ok(false) | Err(SendTransportError::Full) => {
                    // If the ring has room, the descriptors were what did not fit, and nothing
                    // tells when they would. Else the worker rings the doorbell when it has read.
                    if !next.fds.is_empty() && link.outbound().has_room_for_next(next.left()) {
                        self.congested_until = Instant::now().checked_add(CONGESTION);
                    }
                    return;
                }
                // Too many descriptors are in flight for this user: sent once others have received
                // theirs.
                Err(SendTransportError::Os(error)) if socket::is_congestion(&error) => {
                    self.congested_until = Instant::now().checked_add(CONGESTION);
                    return;
                }
                // These descriptors cannot be sent at all. The worker is replaced, as its stream
                // stops in the middle of a message.
                Err(_) => {
                    self.is_broken = true;
                    return;
                }
            };
        }
    }

    /// Notes that it is to be woken. Returns whether that is new.
    pub(super) fn must_be_woken(&mut self) -> bool {
        !mem::replace(&mut self.is_to_be_woken, true)
    }

    /// Wakes it, if it sleeps, for all that it was sent.
    pub(super) fn wake(&mut self) {
        self.is_to_be_woken = false;
        if let Some(link) = &mut self.link {
            // A failure means that it is gone, which its pidfd tells.
            let _ = link.wake_peer();
        }
    }

    /// Reads what it has published, and sends what there is room for, for who goes on looking.
    /// Returns `false` if something is left that takes the longer way
    /// ([`exchange`](WorkerProcess::exchange)).
    pub(super) fn hear_awake(
        &mut self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>) -> bool,
    ) -> bool {
        let Some(link) = self.link.as_mut().filter(|_| !self.is_silent) else { return false };
        while let Some(next) = self.outgoing.front_mut() {
            if !next.fds.is_empty() {
                return false;
            }
            let parts = Parts { front: &next.front, rest: &next.rest };
            match link.send_some_awake(parts, &mut next.sent) {
                Ok(true) => self.outgoing.pop_front(),
                Ok(false) => break,
                Err(_) => return false,
            };
        }
        let mut goes_on = true;
        let is_all = link.drain_awake(scratch, MAX_MESSAGE, |message, fds| {
            goes_on = goes_on && each(message, fds);
        });
        is_all && goes_on
    }

    /// Returns whether it was last seen on another processor than `own`, so that looking at what it
    /// publishes does not keep it from running. Tells it where this thread is.
    pub(super) fn is_elsewhere(&mut self, own: u64) -> bool {
        let Some(link) = &mut self.link else { return false };
        let cpu = link.outbound().sender_is_on(own);
        cpu != 0 && cpu != own
    }

    /// Prepares a look at what it publishes, without the driver's lock and without wake-ups until
    /// [`look_no_more`](WorkerProcess::look_no_more). `None` if nothing more comes of it.
    pub(super) fn glance(&self, own: u64) -> Option<Glance> {
        let left = self.outgoing.front().map_or(0, Outgoing::left);
        self.link.as_ref().filter(|_| !self.is_silent).map(|link| link.glance(own, left))
    }

    /// Has it wake this program again when it publishes something. Returns `false` if it has
    /// published something meanwhile, without a wake-up, or if it is to make room for what waits,
    /// and was not asked to tell.
    pub(super) fn look_no_more(&self) -> bool {
        self.link.as_ref().is_none_or(RingLink::look_no_more) && !self.has_outgoing()
    }

    /// Reads what it has published, in up to `max_batches` batches.
    fn listen(
        &mut self,
        scratch: &mut Vec<u8>,
        max_batches: u32,
        each: &mut impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>) -> bool,
    ) -> Heard {
        let Some(link) = &mut self.link else { return Heard::End };
        // Refusals are bounded apart from batches, which `listen_to_all` does not bound.
        let (mut refusals, mut batches) = (0_u32, 0_u32);
        let mut goes_on = true;
        let drained = loop {
            let drained =
                link.drain(scratch, MAX_MESSAGE, |message, fds| goes_on &= each(message, fds));
            match &drained {
                // After garbage: the rest of the link means nothing.
                _ if !goes_on => break drained,
                Ok(true) if batches < max_batches => batches = batches.saturating_add(1),
                Err(RecvTransportError::Os(_)) if refusals < MAX_REFUSALS => {
                    refusals = refusals.saturating_add(1);
                }
                _ => break drained,
            }
        };
        match drained {
            _ if !goes_on => Heard::End,
            Ok(false) => Heard::All,
            Ok(true) => Heard::Part,
            // The message stays in the link; what the system refuses now, it may give in a moment.
            Err(RecvTransportError::Os(_)) => Heard::Refused,
            Err(RecvTransportError::TooLong { .. }) => Heard::TooLong,
            Err(_) => Heard::End,
        }
    }

    /// Reads all that it has published. That is bounded: it can have no more answers than tasks.
    pub(super) fn listen_to_all(
        &mut self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>) -> bool,
    ) -> Heard {
        self.listen(scratch, u32::MAX, &mut each)
    }

    /// Closes its claim word, so that it begins no more tasks until it meets what [`reopen`] sends
    /// with this epoch.
    ///
    /// [`reopen`]: WorkerProcess::reopen
    pub(super) fn close(&mut self) -> Epoch {
        self.memory.close(&mut self.claim).1
    }

    /// Drops what has not begun to go out, and sends the message that opens the claim word. What is
    /// sent afterwards will be begun.
    pub(super) fn reopen(&mut self, epoch: Epoch) {
        // What has begun to go out has to go out whole.
        self.outgoing.retain(|outgoing| outgoing.sent > 0);
        let mut request = Vec::new();
        messages::put_request(&mut request, &Request::Open(epoch));
        self.send(&request, Bulk::Few(Vec::new()), Vec::new());
        self.pump();
        self.wake();
    }

    /// Takes what a worker that has ended had written and not published: the number of answers and
    /// their frames, in `message`. `None` if there is nothing.
    ///
    /// Called after all that was published was read: the ring then expects the very record that the
    /// word describes, or the word is of one that was published.
    pub(super) fn salvage<'a>(&self, message: &'a mut Vec<u8>) -> Option<(u32, &'a [u8])> {
        let ahead = self.memory.ahead();
        let is_any =
            ahead.count > 0 && self.link.as_ref()?.salvage(ahead.mark, ahead.bytes.into(), message);
        // The head was not filled in yet; the word has the number.
        let answers = message.get(messages::BLOCK_HEAD..)?;
        is_any.then_some((ahead.count.into(), answers))
    }

    /// Dismisses it: it leaves when it has done its tasks and meets the end of the link.
    ///
    /// The link is shut, not only closed: a forked copy of this process may hold it open, too.
    pub(super) fn dismiss(&mut self) {
        if let Some(mut link) = self.link.take() {
            link.shut();
        }
    }

    /// Measures its private memory, in bytes; `None` if the system does not tell.
    pub(crate) fn weigh(&self) -> Option<u64> {
        weight::private(self.child.pid())
    }

    /// Sends SIGCONT if somebody has stopped it, or its task has stopped itself: a stopped task
    /// would hold up others for ever.
    pub(super) fn continue_if_stopped(&self) {
        if tree::is_stopped(self.child.pid()) {
            let _ = self.child.send_signal(Signal::CONT);
        }
    }

    /// Sends SIGTERM to it and all that it started. A failure is met again at SIGKILL.
    pub(super) fn terminate(&self) {
        let _ = self.child.terminate_tree();
    }

    /// Sends SIGKILL to it and all that it started. Returns `false` if this program may not, as the
    /// worker runs as another user.
    pub(super) fn kill(&self) -> bool {
        // Any other failure means that it is gone already.
        let killed = self.child.kill_tree();
        !killed.is_err_and(|error| error.os_error().is_some_and(is_forbidden))
    }
}

/// Returns whether the system refused for want of permission.
fn is_forbidden(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}
