//! The process of a worker: how a pool sends to it, hears it, and ends it.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::settings::Settings;
use crate::channel::buffered::MAX_MESSAGE;
use crate::channel::pipe::link::RingLink;
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::codec::Carried;
use crate::error::{Result, os};
use crate::limits::Limits;
use crate::pool::child::worker_loop::{self, Duty};
use crate::pool::protocol::claim::{ClaimHandle, Epoch};
use crate::pool::protocol::messages::{self, Request};
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::pool::scheduler::job::{Job, Tag};
use crate::pool::scheduler::state::Words;
use crate::process::{Child, Process};
use crate::signal::Signal;
use crate::sys::ipc::socket;
use crate::sys::limits::weight;
use crate::sys::process::tree;

/// Bytes that each direction of a link holds.
const CAPACITY: usize = 128 << 10;

/// Time before descriptors are sent again that could not go out: nothing tells when there is room
/// for them.
const CONGESTION: Duration = Duration::from_millis(20);

/// Turns of sending and listening, at the most, before other workers have theirs.
const TURNS: u32 = 16;

/// Batches of messages, at the most, that are heard before other workers have their turn: a worker
/// may go on for as long as it has tasks.
const BATCHES: u32 = 16;

/// Times in a row that what the system refuses is asked for again at once.
const MAX_REFUSALS: u32 = 10;

/// The process of a worker, and the ways to it.
pub(crate) struct WorkerProcess {
    /// Tells it from those that were in its place before.
    pub(super) number: u64,
    pub(crate) tag: Arc<Tag>,
    pub(crate) child: Child<()>,
    /// `None` once it is told to leave.
    link: Option<RingLink>,
    /// The socket of its log records, if it forwards them.
    pub(super) records: Option<OwnedFd>,
    memory: WorkerMemory,
    claim: ClaimHandle,
    /// Messages that wait for room in the link.
    outgoing: VecDeque<Outgoing>,
    /// Until when it is of no use to send descriptors again.
    congested_until: Option<Instant>,
    /// True if it was sent something and not called for it.
    is_to_be_woken: bool,
    /// True if nothing more comes over the link.
    is_silent: bool,
    /// True if the link cannot be sent to any more, for a reason of this program's.
    is_broken: bool,
    /// Time between SIGTERM and SIGKILL, unless a task says otherwise.
    grace: Duration,
    /// Processor time that each of its tasks may use.
    cpu_time: Option<Duration>,
}

/// A message on its way to a worker.
struct Outgoing {
    bytes: Vec<u8>,
    fds: Vec<Arc<OwnedFd>>,
    /// Number of bytes that went out.
    sent: usize,
}

/// What came of listening to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// All that it has said so far.
    All,
    /// Not all of it: others are to have their turn.
    Part,
    /// Not all of it: the system has no descriptors or memory for the next message.
    Refused,
    /// The link has ended, or is of no use any more.
    End,
    /// A message that is longer than any may be.
    TooLong,
}

impl WorkerProcess {
    /// Starts one. `id` is that of its place, counted from 1.
    pub(crate) fn start(settings: &Settings, id: usize, number: u64) -> Result<WorkerProcess> {
        let name = settings.worker_name(id);
        let cannot = |error| os(format!("cannot make the link to {name}"))(error);
        let (link, far) = RingLink::pair(CAPACITY).map_err(cannot)?;
        let memory = WorkerMemory::create()?;
        let level = log::max_level();
        let (records, far_records) = if settings.forwards_records && level > log::LevelFilter::Off {
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
        };
        let process = Process::new(worker_loop::serve, (duty,)).name(name.clone()).for_pool();
        let child = settings.prepare(process).start()?;
        Ok(WorkerProcess {
            number,
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

    /// Returns the number of the `serial`th worker of a pool, in a place.
    pub(crate) fn number(serial: u64, place: usize) -> u64 {
        serial << 16 | place as u64
    }

    /// Returns the descriptor that tells of its messages, and the one that tells of its end.
    pub(super) fn fds(&self) -> Result<(Option<BorrowedFd<'_>>, BorrowedFd<'_>)> {
        Ok((self.link.as_ref().map(RingLink::as_fd), self.child.sentinel()?))
    }

    /// Returns the descriptor of what it logs.
    pub(super) fn records_fd(&self) -> Option<BorrowedFd<'_>> {
        self.records.as_ref().map(AsFd::as_fd)
    }

    /// Returns whether nothing more comes over the link.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Returns whether the link cannot be sent to any more.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Returns whether messages wait for room in the link.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Returns until when it is of no use to send descriptors again.
    pub(super) fn congested_until(&self) -> Option<Instant> {
        self.congested_until.filter(|_| self.has_outgoing())
    }

    /// Returns what its memory says.
    pub(super) fn words(&self, now: Instant) -> Words {
        Words {
            begun: self.memory.begun(&self.claim),
            running_for: self.memory.running_for(),
            busy: self.memory.busy(),
            read_at: now,
        }
    }

    /// Returns how long it was at work, by its own account.
    pub(crate) fn busy(&self) -> Duration {
        self.memory.busy()
    }

    /// Sends it a job, without waking it. Returns whether all went out that it was ever sent.
    pub(super) fn give(&mut self, job: &Job, scratch: &mut Vec<u8>) -> bool {
        let call = job.sink.call();
        let options = &call.options;
        let grace = options.grace.unwrap_or(self.grace);
        let request = Request::Tasks {
            entry: call.entry,
            count: job.count,
            first: job.first,
            name: options.name.clone(),
            deadline: options.deadline.map(|deadline| (deadline, grace)),
            limits: self.limits_for(&options.limits),
        };
        scratch.clear();
        scratch.reserve(job.bytes.len().saturating_add(64));
        messages::put_request(scratch, &request);
        scratch.extend_from_slice(&job.bytes);
        self.send(scratch, job.fds.clone())
    }

    /// Returns what the worker is to see to at each task: the limits of the tasks, and the time
    /// that the pool gives each.
    fn limits_for(&self, own: &Limits) -> Option<Box<Limits>> {
        let limits = match self.cpu_time {
            Some(time) if own.cpu().is_none_or(|own| own > time) => own.clone().cpu_time(time),
            _ => own.clone(),
        };
        (!limits.is_empty()).then(|| Box::new(limits))
    }

    /// Sends a message, or keeps it if there is no room for it. Returns whether all is out.
    fn send(&mut self, bytes: &mut Vec<u8>, fds: Vec<Arc<OwnedFd>>) -> bool {
        let Some(link) = &mut self.link else { return true };
        if self.outgoing.is_empty()
            && fds.is_empty()
            && matches!(link.push_quietly(bytes), Ok(true))
        {
            return true;
        }
        self.outgoing.push_back(Outgoing { bytes: mem::take(bytes), fds, sent: 0 });
        false
    }

    /// Returns whether descriptors could not go out, a moment ago.
    fn is_congested(&self) -> bool {
        self.congested_until.is_some_and(|until| until > Instant::now())
    }

    /// Returns whether more could go out now.
    fn could_pump(&mut self) -> bool {
        if self.outgoing.is_empty() || self.is_congested() {
            return false;
        }
        let WorkerProcess { link: Some(link), outgoing, .. } = self else { return false };
        outgoing.front().is_some_and(|next| {
            link.outbound().has_room_for_next(next.bytes.len().saturating_sub(next.sent))
        })
    }

    /// Sends what there is room for, and hears what it says; `each` returns whether it is worth
    /// listening further. Either of these may take the wake-up that was for the other, so they are
    /// done in turns until neither has anything to do.
    pub(super) fn exchange(
        &mut self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>) -> bool,
    ) -> Heard {
        for _ in 0..TURNS {
            if self.has_outgoing() {
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

    /// Sends what there is room for. (It may take wake-ups that are for the receiver: listen
    /// afterwards.)
    fn pump(&mut self) {
        if self.is_congested() {
            return;
        }
        self.congested_until = None;
        let Some(link) = &mut self.link else { return };
        while let Some(Outgoing { bytes, fds, sent }) = self.outgoing.front_mut() {
            match link.send_some(bytes, fds, sent) {
                Ok(true) => self.outgoing.pop_front(),
                // A worker that is gone is found so.
                Err(SendTransportError::Disconnected) => return,
                Ok(false) | Err(SendTransportError::Full) => {
                    // Else the worker tells when there is room in the ring.
                    if !fds.is_empty()
                        && link.outbound().has_room_for_next(bytes.len().saturating_sub(*sent))
                    {
                        self.congested_until = Instant::now().checked_add(CONGESTION);
                    }
                    return;
                }
                // Sent as soon as others have received theirs.
                Err(SendTransportError::Os(error)) if socket::is_congestion(&error) => {
                    self.congested_until = Instant::now().checked_add(CONGESTION);
                    return;
                }
                // Its descriptors cannot go out now; it is as good as none.
                Err(_) => {
                    self.is_broken = true;
                    return;
                }
            };
        }
    }

    /// Takes note that it is to be woken; returns whether that is new.
    pub(super) fn must_be_woken(&mut self) -> bool {
        !mem::replace(&mut self.is_to_be_woken, true)
    }

    /// Wakes it, if it sleeps, for all that it was sent.
    pub(super) fn wake(&mut self) {
        self.is_to_be_woken = false;
        if let Some(link) = &mut self.link {
            let _ = link.wake_peer();
        }
    }

    /// Hears what it says, in so many batches at the most.
    fn listen(
        &mut self,
        scratch: &mut Vec<u8>,
        max_batches: u32,
        each: &mut impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>) -> bool,
    ) -> Heard {
        let Some(link) = &mut self.link else { return Heard::End };
        let (mut refusals, mut batches) = (0_u32, 0_u32);
        let mut goes_on = true;
        let drained = loop {
            let drained =
                link.drain(scratch, MAX_MESSAGE, |message, fds| goes_on &= each(message, fds));
            match &drained {
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
            // What the system refuses now, it may give in a moment.
            Err(RecvTransportError::Os(_)) => Heard::Refused,
            Err(RecvTransportError::TooLong { .. }) => Heard::TooLong,
            Err(_) => Heard::End,
        }
    }

    /// Hears all that it has said so far. That is bounded: it may say no more than its tasks come
    /// to.
    pub(super) fn listen_to_all(
        &mut self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&mut Vec<u8>, Vec<Arc<OwnedFd>>) -> bool,
    ) -> Heard {
        self.listen(scratch, u32::MAX, &mut each)
    }

    /// Keeps it from beginning more tasks until it meets what [`reopen`] sends.
    ///
    /// [`reopen`]: WorkerProcess::reopen
    pub(super) fn close(&mut self) -> Epoch {
        self.memory.close(&mut self.claim).1
    }

    /// Drops what has not begun to go out, and lets it begin again what it is sent from now on.
    pub(super) fn reopen(&mut self, epoch: Epoch) {
        // What has begun to go out has to go out whole.
        self.outgoing.retain(|outgoing| outgoing.sent > 0);
        let mut request = Vec::new();
        messages::put_request(&mut request, &Request::Open(epoch));
        self.send(&mut request, Vec::new());
        self.pump();
        self.wake();
    }

    /// Takes what it had written but not published when it ended: how many answers, and their
    /// frames.
    pub(super) fn salvage<'a>(&self, message: &'a mut Vec<u8>) -> Option<(u32, &'a [u8])> {
        let ahead = self.memory.ahead();
        let is_any =
            ahead.count > 0 && self.link.as_ref()?.salvage(ahead.mark, ahead.bytes.into(), message);
        let answers = message.get(messages::BLOCK_HEAD..)?;
        is_any.then_some((ahead.count.into(), answers))
    }

    /// Makes it leave when it has done what it has: it sees the end of the link.
    ///
    /// A forked copy of this process may hold the link open, too, so it is not enough to close it.
    pub(super) fn dismiss(&mut self) {
        if let Some(mut link) = self.link.take() {
            link.shut();
        }
    }

    /// Returns its private memory, in bytes.
    pub(crate) fn weigh(&self) -> Option<u64> {
        weight::private(self.child.pid())
    }

    /// Continues it if somebody has stopped it, or its task has stopped itself.
    pub(super) fn continue_if_stopped(&self) {
        if tree::is_stopped(self.child.pid()) {
            let _ = self.child.send_signal(Signal::CONT);
        }
    }

    /// Sends SIGTERM to it and all that it started.
    pub(super) fn terminate(&self) {
        let _ = self.child.terminate_tree();
    }

    /// Kills it and all that it started; `false` if this program may not, as the worker runs as
    /// another user.
    pub(super) fn kill(&self) -> bool {
        let killed = self.child.kill_tree();
        !killed.is_err_and(|error| error.os_error().is_some_and(is_forbidden))
    }
}

fn is_forbidden(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}
