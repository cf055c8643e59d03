//! A worker as its pool sees it: its process, the way to it, and what it is at.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Job, Tag};
use super::ledger::Ledger;
use super::settings::Settings;
use crate::channel::buffered::MAX_MESSAGE;
use crate::channel::pipe::link::RingLink;
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::codec::Carried;
use crate::error::{Failure, Result, os};
use crate::limits::Limits;
use crate::pool::child::worker_loop::{self, Duty};
use crate::pool::protocol::claim::ClaimHandle;
use crate::pool::protocol::messages::{self, Request};
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::process::{Child, Process};
use crate::signal::Signal;
use crate::sys::ipc::socket;
use crate::sys::limits::weight;
use crate::sys::process::tree;

/// Sets how much each direction of a link holds.
const CAPACITY: usize = 128 << 10;

/// Sets how long a worker with much to do has ahead of it, in nanoseconds: enough for the pool to
/// be late.
const AHEAD: u64 = 1_000_000;

/// The most and the least jobs that are out to one worker: one that it is at, and one more.
const MAX_JOBS: u64 = 1024;
const MIN_JOBS: usize = 2;

/// Sets how long a worker that may not be killed has to leave by itself.
const LEAVE: Duration = Duration::from_secs(1);

/// Sets how long a worker may take to begin a task that it has.
const BEGIN_LIMIT: Duration = Duration::from_secs(1);

/// The longest that a worker may take to begin a task that has a long deadline or none. Then
/// somebody has stopped it, and its tasks go to others.
pub(crate) const STUCK: Duration = Duration::from_secs(5);

/// Sets how long to wait before descriptors are sent again that could not go out.
const CONGESTION: Duration = Duration::from_millis(20);

/// A worker that was started.
pub(crate) struct Worker {
    /// Holds what tells it from those that were in its place before.
    pub(crate) number: u64,
    pub(crate) child: Child<()>,
    /// None once it is told to leave.
    pub(crate) link: Option<RingLink>,
    /// It was given something and not called for it.
    pub(crate) is_to_be_woken: bool,
    /// Nothing more comes over the link.
    pub(crate) is_silent: bool,
    /// Counts how many tasks were finished when all that could be was taken back, unless it was
    /// given more since.
    taken_back_at: Option<u64>,
    /// It has done its share, and leaves when it is done with what it is at.
    pub(crate) is_spent: bool,
    /// It was told to leave.
    pub(crate) is_dismissed: bool,
    pub(crate) records: Option<OwnedFd>,
    memory: WorkerMemory,
    gate: ClaimHandle,
    pub(crate) ledger: Ledger,
    outgoing: VecDeque<Outgoing>,
    /// Why it is being ended, for the task that it is at.
    pub(crate) kill_reason: Option<KillReason>,
    /// When it is killed, if it is still there.
    pub(crate) kill_at: Option<Instant>,
    pub(crate) started: Instant,
    /// When to listen once more, called or not.
    pub(crate) look_at: Option<Instant>,
    /// Until when it is no use to send descriptors again: nobody tells when there is room for them.
    congested_until: Option<Instant>,
    /// Says how long it has between SIGTERM and SIGKILL, unless a task says otherwise.
    grace: Duration,
    /// When it was last looked whether somebody has stopped it.
    pub(crate) looked_for_stop: Instant,
    /// It may not be signalled. When it is given up, if it has not ended by itself.
    pub(crate) give_up_at: Option<Instant>,
    /// Holds what each of its tasks may compute.
    cpu_time: Option<Duration>,
    /// Says how long it was at work, and how many tasks were finished, when that was last looked
    /// at.
    seen: (Duration, u64),
    /// Nanoseconds that a job takes.
    pace: u64,
    /// Its private memory when it was ready, and when it was looked at last.
    pub(crate) resident: Option<u64>,
    pub(crate) weighed: Instant,
}

/// Describes what is on its way to a worker.
struct Outgoing {
    bytes: Vec<u8>,
    fds: Vec<Arc<OwnedFd>>,
    /// Says how much of it went out.
    sent: usize,
}

/// Why a worker is being ended.
#[derive(Debug)]
pub(crate) enum KillReason {
    /// The task took too long.
    Deadline(Duration),
    Cancelled,
    /// The pool is terminated.
    Terminated,
    /// It did what no worker does.
    Rogue(&'static str),
}

/// Describes what came of listening to a worker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// All that it said so far.
    All,
    /// Not all of it.
    Part,
    /// Not all of it: the system has no descriptors or memory for the next.
    Refused,
    /// Its end of the link is gone, or of no use any more.
    End,
}

impl Worker {
    /// Starts one. `id` is that of its place, from 1.
    pub(crate) fn start(settings: &Settings, id: usize, number: u64) -> Result<Worker> {
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
        let mut process = Process::new(worker_loop::serve, (duty,)).name(name.clone()).for_pool();
        process = settings.prepare(process);
        let child = process.start()?;
        let tag = Arc::new(Tag { name, pid: child.pid() });
        let now = Instant::now();
        Ok(Worker {
            number,
            child,
            link: Some(link),
            is_to_be_woken: false,
            is_silent: false,
            taken_back_at: None,
            is_spent: false,
            is_dismissed: false,
            records,
            memory,
            gate: ClaimHandle::default(),
            ledger: Ledger::new(tag, settings.processes),
            outgoing: VecDeque::new(),
            kill_reason: None,
            kill_at: None,
            started: now,
            look_at: None,
            congested_until: None,
            grace: settings.grace,
            looked_for_stop: now,
            give_up_at: None,
            cpu_time: settings.limits.cpu(),
            seen: (Duration::ZERO, 0),
            pace: 0,
            resident: None,
            weighed: now,
        })
    }

    /// The descriptor that tells of its messages, and the one that tells of its end.
    pub(crate) fn fds(&self) -> Result<(Option<BorrowedFd<'_>>, BorrowedFd<'_>)> {
        Ok((self.link.as_ref().map(RingLink::as_fd), self.child.sentinel()?))
    }

    /// Returns whether it takes tasks.
    pub(crate) fn is_open(&self) -> bool {
        self.link.is_some() && !self.is_silent && !self.is_spent && self.kill_reason.is_none()
    }

    /// Returns whether it has tasks that another might do, as far as one knows: of those that it
    /// has begun together, none comes back.
    pub(crate) fn could_share(&self) -> bool {
        self.is_open()
            && self.ledger.has_several()
            && self.taken_back_at != Some(self.ledger.finished)
    }

    /// Returns whether it has said that it is up.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.ledger.ready, Some(Ok(())))
    }

    /// Returns whether it has nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.ledger.jobs() == 0
    }

    /// Returns how many more jobs it may have now.
    pub(crate) fn room(&self) -> usize {
        let most = match self.pace {
            _ if !self.outgoing.is_empty() => 0,
            0 => MIN_JOBS,
            pace => usize::try_from(AHEAD.checked_div(pace).unwrap_or(0).min(MAX_JOBS))
                .unwrap_or(MIN_JOBS)
                .max(MIN_JOBS),
        };
        most.saturating_sub(self.ledger.jobs())
    }

    /// Gives it a job. `true` if it is to be called for it by `wake`, or by `pump` if there is
    /// more to go out.
    pub(crate) fn give(&mut self, job: Job, scratch: &mut Vec<u8>) {
        let call = job.sink.call();
        let order = Request::Tasks {
            entry: call.entry,
            count: job.count,
            first: job.first,
            name: call.options.name.clone(),
            deadline: call
                .options
                .deadline
                .map(|deadline| (deadline, call.options.grace.unwrap_or(self.grace))),
            limits: self.limits_for(&call.options.limits),
        };
        scratch.clear();
        scratch.reserve(job.bytes.len().saturating_add(64));
        messages::put_request(scratch, &order);
        scratch.extend_from_slice(&job.bytes);
        let fds = job.fds.clone();
        self.ledger.enter(job);
        self.taken_back_at = None;
        self.send(scratch, fds);
    }

    /// Returns what the worker is to see to at each task: what the tasks bring, and the time that
    /// the pool gives each.
    fn limits_for(&self, own: &Limits) -> Option<Box<Limits>> {
        let limits = match self.cpu_time {
            Some(time) if own.cpu().is_none_or(|own| own > time) => own.clone().cpu_time(time),
            _ => own.clone(),
        };
        (!limits.is_empty()).then(|| Box::new(limits))
    }

    /// Sends what it keeps if there is no room for it.
    fn send(&mut self, bytes: &mut Vec<u8>, fds: Vec<Arc<OwnedFd>>) {
        let Some(link) = &mut self.link else { return };
        if self.outgoing.is_empty()
            && fds.is_empty()
            && matches!(link.push_quietly(bytes), Ok(true))
        {
            return;
        }
        self.outgoing.push_back(Outgoing { bytes: mem::take(bytes), fds, sent: 0 });
    }

    /// Returns whether descriptors could not go out, a moment ago.
    fn is_congested(&self) -> bool {
        self.congested_until.is_some_and(|until| until > Instant::now())
    }

    /// Returns whether there is something that only `pump` sends.
    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Returns whether more could go out now.
    fn could_pump(&mut self) -> bool {
        if self.is_congested() {
            return false;
        }
        let Worker { link: Some(link), outgoing, .. } = self else { return false };
        outgoing.front().is_some_and(|next| {
            link.outbound().has_room_for_next(next.bytes.len().saturating_sub(next.sent))
        })
    }

    /// Sends what there is room for, and takes what it says. Each of these may take the wake-up
    /// that was for the other, so that both are done until neither has anything to do.
    pub(crate) fn exchange(&mut self, scratch: &mut Vec<u8>) -> Heard {
        /// Sets how often, at the most, before others have their turn.
        const TURNS: u32 = 16;
        for _ in 0..TURNS {
            if self.has_outgoing() {
                self.pump();
                self.wake();
            }
            let heard = self.listen(scratch);
            if heard != Heard::All || !self.could_pump() {
                if self.is_congested() {
                    self.look_at = [self.look_at, self.congested_until].into_iter().flatten().min();
                }
                return heard;
            }
        }
        self.look_soon();
        Heard::All
    }

    /// Sends what there is room for. (It may take wake-ups that are for the receiver: listen
    /// afterwards.)
    pub(crate) fn pump(&mut self) {
        if self.is_congested() {
            return;
        }
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
                Err(_) => {
                    // Its descriptors cannot go out now; it is as good as none.
                    self.kill_reason.get_or_insert(KillReason::Rogue("the way to it is broken"));
                    self.kill_at = Some(Instant::now());
                    return;
                }
            };
        }
    }

    /// Wakes it, if it sleeps.
    pub(crate) fn wake(&mut self) {
        if let Some(link) = &mut self.link {
            let _ = link.wake_peer();
        }
    }

    /// Takes what it says.
    pub(crate) fn listen(&mut self, scratch: &mut Vec<u8>) -> Heard {
        /// Sets how often what the system refuses is asked for again at once.
        const MAX_REFUSALS: u32 = 10;
        /// Sets how many batches are taken before others have their turn: a worker may go on for as
        /// long as it likes.
        const BATCHES: u32 = 16;
        let Worker { link: Some(link), ledger, .. } = self else { return Heard::End };
        let before = (ledger.finished, ledger.ready.is_some());
        let (mut refusals, mut batches) = (0, 0);
        let drained = loop {
            let drained =
                link.drain(scratch, MAX_MESSAGE, |message, fds| ledger.hear(message, fds));
            match &drained {
                _ if ledger.is_garbled => break drained,
                Ok(true) if batches < BATCHES => batches = batches.saturating_add(1),
                Err(RecvTransportError::Os(_)) if refusals < MAX_REFUSALS => {
                    refusals = refusals.saturating_add(1)
                }
                _ => break drained,
            }
        };
        if matches!(drained, Err(RecvTransportError::TooLong { .. })) {
            self.kill_reason.get_or_insert(KillReason::Rogue("its answer is longer than 1 GiB"));
            self.kill_at = Some(Instant::now());
        }
        let heard = match drained {
            _ if ledger.is_garbled => Heard::End,
            Ok(false) => Heard::All,
            Ok(true) => Heard::Part,
            // What the system refuses now, it may give in a moment.
            Err(RecvTransportError::Os(_)) => Heard::Refused,
            Err(_) => Heard::End,
        };
        self.ledger.flush();
        self.look_at = None;
        if before != (self.ledger.finished, self.ledger.ready.is_some()) {
            self.ledger.since = Instant::now();
            if self.ledger.jobs() > 0 {
                self.look_soon();
            }
        }
        self.look_at_pace();
        heard
    }

    /// Listens to it once more when it may have said something without a call.
    pub(crate) fn look_soon(&mut self) {
        self.look_at = Instant::now().checked_add(worker_loop::WAKE_INTERVAL.saturating_mul(2));
    }

    /// Sees how long its tasks take.
    fn look_at_pace(&mut self) {
        let now = (self.memory.busy(), self.ledger.finished);
        let (busy, finished) =
            (now.0.saturating_sub(self.seen.0), now.1.saturating_sub(self.seen.1));
        if finished == 0 || busy.is_zero() {
            return;
        }
        self.seen = now;
        let each =
            u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX).checked_div(finished).unwrap_or(0);
        if let Some(head) = self.ledger.head() {
            head.job.sink.call().took(each);
            let job = each.saturating_mul(u64::from(head.job.count));
            self.pace = if self.pace == 0 {
                job
            } else {
                (self.pace / 4).saturating_mul(3).saturating_add(job / 4)
            }
            .max(1);
        } else {
            if let Some(sink) = self.ledger.delivered.last() {
                sink.call().took(each);
            }
            self.pace = each.max(1);
        }
    }

    /// Takes back what is not begun.
    pub(crate) fn take_back(&mut self) -> Vec<Job> {
        let (begun, epoch) = self.memory.close(&mut self.gate);
        // What was finished before is said by now: a worker says what became of a task before it
        // begins the next.
        let _ = self.listen(&mut Vec::new());
        let back = self.ledger.take_back(begun);
        self.taken_back_at = Some(self.ledger.finished);
        // What has begun to go out has to go out whole.
        self.outgoing.retain(|outgoing| outgoing.sent > 0);
        let mut order = Vec::new();
        messages::put_request(&mut order, &Request::Open(epoch));
        self.send(&mut order, Vec::new());
        self.pump();
        self.wake();
        self.look_soon();
        back
    }

    /// Returns whether it is at a task.
    pub(crate) fn is_running(&self) -> bool {
        self.memory.begun(&self.gate) > self.ledger.finished
    }

    /// Returns how long the task that it is at may still take; `None` if as long as it likes.
    pub(crate) fn overdue(&self) -> Option<Duration> {
        let deadline = self.ledger.head()?.job.sink.call().options.deadline;
        if self.kill_reason.is_some() {
            return None;
        }
        let waits = self.ledger.since.elapsed();
        if self.is_running() {
            // What it says of its begin is believed for a while only: a hostile one says what it
            // likes.
            let ran = self.running_for().max(waits.saturating_sub(BEGIN_LIMIT));
            return deadline.map(|deadline| deadline.saturating_sub(ran));
        }
        // It is about to begin. If it never does, somebody has stopped it.
        let begins = deadline.map_or(STUCK, |deadline| {
            deadline.saturating_mul(2).saturating_add(BEGIN_LIMIT).min(STUCK)
        });
        self.is_ready().then(|| begins.saturating_sub(waits))
    }

    /// Returns how long the task that it is at has been running.
    pub(crate) fn running_for(&self) -> Duration {
        self.memory.running_for()
    }

    pub(crate) fn busy(&self) -> Duration {
        self.memory.busy()
    }

    /// Returns what it was at when it ended is failed, the rest is to be given to another.
    pub(crate) fn settle(
        &mut self,
        failure: impl FnOnce() -> Failure,
    ) -> (Vec<Job>, Option<crate::pool::host::ledger::Failed>) {
        let begun = self.memory.begun(&self.gate);
        self.outgoing.clear();
        self.salvage();
        self.ledger.settle(begun, failure)
    }

    /// Takes what it had written but not published when it ended.
    fn salvage(&mut self) {
        let Some(link) = &self.link else { return };
        let ahead = self.memory.ahead();
        let mut message = Vec::new();
        if ahead.count > 0
            && link.salvage(ahead.mark, ahead.bytes.into(), &mut message)
            && let Some(answers) = message.get(messages::BLOCK_HEAD..)
        {
            self.ledger.hear_block(ahead.count.into(), answers);
        }
    }

    /// Makes it leave when it has done what it has: it sees the end of the link.
    ///
    /// A forked copy of this process may hold the link open, too, so it is not enough to close it.
    pub(crate) fn dismiss(&mut self) {
        self.is_dismissed = true;
        if let Some(mut link) = self.link.take() {
            link.shut();
        }
    }

    /// Its private memory, in bytes.
    pub(crate) fn weigh(&self) -> Option<u64> {
        weight::private(self.child.pid())
    }

    /// Returns whether its private memory has grown by more than that since it was ready.
    pub(crate) fn has_grown(&mut self, most: Option<u64>) -> bool {
        /// Sets how often memory is looked at.
        const OFTEN: Duration = Duration::from_millis(50);
        let (Some(most), Some(before)) = (most, self.resident) else { return false };
        if !self.is_idle() && self.weighed.elapsed() < OFTEN {
            return false;
        }
        self.weighed = Instant::now();
        self.weigh().is_some_and(|now| now.saturating_sub(before) > most)
    }

    /// Continues it if somebody has stopped it, or its task has stopped itself.
    pub(crate) fn continue_if_stopped(&mut self) {
        self.looked_for_stop = Instant::now();
        if tree::is_stopped(self.child.pid()) {
            let _ = self.child.send_signal(Signal::CONT);
        }
    }

    /// Ends it and all that it started, by SIGTERM at first; it is killed after `grace`.
    pub(crate) fn terminate(&mut self, kill_reason: KillReason, grace: Duration) {
        self.kill_reason.get_or_insert(kill_reason);
        let _ = self.child.terminate_tree();
        self.kill_at = Instant::now().checked_add(grace);
    }

    /// Kills it and all that it started.
    ///
    /// One that runs as another user (this program became another one since) may not be killed. It
    /// is told to leave, which it does when its task is done, or its own timer ends it, and it is
    /// given up if that takes long.
    pub(crate) fn kill(&mut self) {
        self.kill_at = None;
        let killed = self.child.kill_tree();
        if killed.is_err_and(|error| error.os_error().is_some_and(is_forbidden)) {
            self.dismiss();
            if self.give_up_at.is_none() {
                self.give_up_at = Instant::now().checked_add(LEAVE);
            }
        }
    }

    /// The descriptor of what it logs.
    pub(crate) fn records_fd(&self) -> Option<BorrowedFd<'_>> {
        self.records.as_ref().map(AsFd::as_fd)
    }
}

fn is_forbidden(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}
