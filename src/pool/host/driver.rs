//! Carries out what the scheduler decides, and tells it what workers say.
//!
//! The driver holds the scheduler and the processes of its workers behind one lock. Threads that
//! submit or cancel tasks use it for a moment, and so send to workers themselves; the supervisor
//! does the rest. Nothing in here sleeps.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::settings::Settings;
use super::worker_process::{Heard, WorkerProcess};
use crate::codec;
use crate::error::{Failure, Result};
use crate::pool::protocol::records::{self, Said};
use crate::pool::scheduler::event::{Action, Event, Link, Recall};
use crate::pool::scheduler::job::{Job, Sink};
use crate::pool::scheduler::scheduler::Scheduler;
use crate::sys::limits::rlimit;

/// Rounds in one turn of the supervisor in which what was sent makes room for more, before other
/// workers have their turn.
const ROUNDS: u32 = 64;

/// A pool's scheduler and its workers' processes.
pub(crate) struct Driver {
    pub(crate) scheduler: Scheduler,
    pub(super) settings: Settings,
    /// The process in each place.
    workers: Vec<Option<WorkerProcess>>,
    /// Number of processes that were started, which tells them apart.
    started: u64,
    scratch: Vec<u8>,
    /// Places of workers that were sent something without a call.
    to_wake: Vec<usize>,
    /// Places of workers that are to be listened to once more, as they have said more than was
    /// heard.
    unheard: Vec<usize>,
    /// Places that the supervisor is to start workers in.
    to_start: Vec<usize>,
    /// Workers that this program may not signal, which the supervisor is to forget.
    to_give_up: Vec<usize>,
    /// True if the system refused what a worker's answer needs (descriptors, memory); asked again
    /// at once, it would refuse again.
    is_refused: bool,
    /// Until when the supervisor sleeps if nothing wakes it; `None` for ever.
    sleeps_until: Option<Instant>,
    /// Workers that this program could not end, and why.
    pub(super) unended: Vec<String>,
}

impl Driver {
    /// A driver of workers that are installed next.
    pub(super) fn new(settings: Settings) -> Driver {
        let count = settings.processes;
        Driver {
            scheduler: Scheduler::new(settings.policy()),
            settings,
            workers: std::iter::repeat_with(|| None).take(count).collect(),
            started: count as u64,
            scratch: Vec::new(),
            to_wake: Vec::new(),
            unheard: Vec::new(),
            to_start: Vec::new(),
            to_give_up: Vec::new(),
            is_refused: false,
            sleeps_until: None,
            unended: Vec::new(),
        }
    }

    /// Puts a worker that was started into its place.
    pub(super) fn install(&mut self, place: usize, worker: WorkerProcess) {
        let tag = Arc::clone(&worker.tag);
        if let Some(slot) = self.workers.get_mut(place) {
            *slot = Some(worker);
        }
        let fd_quota = fd_quota(self.settings.processes);
        self.scheduler.on(Event::Started { place, tag, fd_quota }, Instant::now());
        self.run();
    }

    pub(crate) fn worker(&self, place: usize) -> Option<&WorkerProcess> {
        self.workers.get(place)?.as_ref()
    }

    fn worker_mut(&mut self, place: usize) -> Option<&mut WorkerProcess> {
        self.workers.get_mut(place)?.as_mut()
    }

    /// Returns the place of the worker with a number, if it is still there.
    pub(super) fn place_of(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number & 0xffff).ok()?;
        self.worker(place).is_some_and(|worker| worker.number == number).then_some(place)
    }

    /// Returns the number of the next worker in a place.
    pub(super) fn next_number(&mut self, place: usize) -> u64 {
        let number = WorkerProcess::number(self.started, place);
        self.started = self.started.saturating_add(1);
        number
    }

    /// Takes jobs. Returns whether the supervisor is to be woken.
    ///
    /// # Errors
    /// Why the pool takes none.
    pub(super) fn submit(&mut self, jobs: impl IntoIterator<Item = Job>) -> Result<bool, Failure> {
        let now = Instant::now();
        // If others wait already, no worker has room.
        if self.scheduler.submit(jobs, now)? {
            self.run_at(now);
        }
        Ok(self.needs_supervisor())
    }

    /// Reports an event that no worker caused, and does what follows.
    pub(super) fn on(&mut self, event: Event<'_>) {
        self.scheduler.on(event, Instant::now());
        self.run();
    }

    /// Returns whether the supervisor has to come earlier than it planned to.
    fn needs_supervisor(&mut self) -> bool {
        let soonest = self.scheduler.soonest();
        let comes_late = match (soonest, self.sleeps_until) {
            (Some(soonest), Some(until)) => soonest < until,
            (soonest, None) => soonest.is_some(),
            (None, Some(_)) => false,
        };
        if comes_late {
            // Called once, it need not be called again.
            self.sleeps_until = soonest;
        }
        comes_late || self.scheduler.has_touched() || !self.unheard.is_empty()
    }

    /// Carries out all that the scheduler wants done.
    pub(super) fn run(&mut self) {
        self.run_at(Instant::now());
    }

    fn run_at(&mut self, now: Instant) {
        while let Some(action) = self.scheduler.next_action(now) {
            self.perform(action);
        }
        for place in mem::take(&mut self.to_wake) {
            if let Some(worker) = self.worker_mut(place) {
                worker.wake();
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Give { place } => self.give(place),
            Action::Listen { place } => self.attend(place),
            Action::Recall { place, why } => self.recall(place, why),
            Action::Weigh { place } => {
                let Some(worker) = self.worker(place) else { return };
                let bytes = worker.weigh();
                self.scheduler.on(Event::Weighed { place, bytes }, Instant::now());
            }
            Action::Continue { place } => {
                if let Some(worker) = self.worker(place) {
                    worker.continue_if_stopped();
                }
            }
            Action::Dismiss { place } => {
                if let Some(worker) = self.worker_mut(place) {
                    worker.dismiss();
                }
            }
            Action::Terminate { place } => {
                if let Some(worker) = self.worker(place) {
                    worker.terminate();
                }
            }
            Action::Kill { place } => {
                let Some(worker) = self.worker_mut(place) else { return };
                if !worker.kill() {
                    worker.dismiss();
                    self.scheduler.on(Event::Unkillable { place }, Instant::now());
                }
            }
            Action::GiveUp { place } => self.to_give_up.push(place),
            Action::Start { place } => self.to_start.push(place),
        }
    }

    /// Sends a worker the job that the scheduler has assigned to it.
    fn give(&mut self, place: usize) {
        let Driver { scheduler, workers, scratch, to_wake, unheard, .. } = self;
        let (Some(Some(worker)), Some(job)) = (workers.get_mut(place), scheduler.last_given(place))
        else {
            return;
        };
        let is_out = worker.give(job, scratch);
        // One call for all that goes to a worker.
        if worker.must_be_woken() {
            to_wake.push(place);
        }
        if !is_out {
            scheduler.on(Event::Full { place }, Instant::now());
            unheard.push(place);
        }
    }

    /// Takes back what a worker has not begun, in this order:
    ///
    /// 1. Close the claim word. From here on nothing is begun that was not.
    /// 2. Hear all that is published. A worker publishes what came of a task before it begins the
    ///    next, so what it has begun and not answered are tasks of one job: those that it runs.
    /// 3. Send the message that opens the word again, behind what the worker is to drop.
    /// 4. Have the scheduler take back what was not begun.
    fn recall(&mut self, place: usize, why: Recall) {
        let Driver { scheduler, workers, scratch, unheard, .. } = self;
        let Some(Some(worker)) = workers.get_mut(place) else { return };
        let now = Instant::now();
        let epoch = worker.close();
        let heard =
            worker.listen_to_all(scratch, |message, fds| hear(scheduler, place, message, fds, now));
        worker.reopen(epoch);
        scheduler.on(Event::Recalled { place, words: worker.words(now), why }, now);
        if heard != Heard::All || worker.has_outgoing() {
            unheard.push(place);
        }
    }

    /// Sends to a worker what there is room for, and hears what it has said.
    pub(super) fn attend(&mut self, place: usize) {
        let Driver { scheduler, workers, scratch, .. } = self;
        let Some(Some(worker)) = workers.get_mut(place) else { return };
        let was_silent = worker.is_silent();
        let now = Instant::now();
        let mut heard =
            worker.exchange(scratch, |message, fds| hear(scheduler, place, message, fds, now));
        if scheduler.is_garbled(place) {
            heard = Heard::End;
        }
        let link = match heard {
            Heard::End if was_silent => Link::Open,
            Heard::End => Link::Ended,
            Heard::TooLong => Link::Broken("its answer is longer than 1 GiB"),
            _ if worker.is_broken() => Link::Broken("the way to it is broken"),
            _ if worker.has_outgoing() => Link::Full { retry_at: worker.congested_until() },
            Heard::All | Heard::Part | Heard::Refused => Link::Open,
        };
        let now = Instant::now();
        scheduler.on(Event::Listened { place, words: worker.words(now), link }, now);
        match heard {
            Heard::Part => self.unheard.push(place),
            Heard::Refused => self.is_refused = true,
            Heard::All | Heard::End | Heard::TooLong => {}
        }
    }

    /// Settles a worker that has ended, or that is given up. Its process is forgotten.
    pub(super) fn end(&mut self, place: usize, why: Failure) {
        let Driver { scheduler, workers, scratch, .. } = self;
        let Some(mut worker) = workers.get_mut(place).and_then(Option::take) else { return };
        let now = Instant::now();
        worker.listen_to_all(scratch, |message, fds| hear(scheduler, place, message, fds, now));
        let words = worker.words(now);
        let link = if scheduler.is_garbled(place) { Link::Ended } else { Link::Open };
        scheduler.on(Event::Listened { place, words, link }, now);
        let mut message = Vec::new();
        let unpublished = worker.salvage(&mut message);
        scheduler.on(Event::Ended { place, words, unpublished, why }, now);
    }

    /// For a supervisor that cannot go on: no task is left without an outcome, and no worker.
    pub(super) fn abandon(&mut self) {
        let now = Instant::now();
        self.scheduler.on(Event::Abandoned, now);
        for (place, worker) in self.workers.iter_mut().enumerate() {
            let Some(worker) = worker.take() else { continue };
            worker.kill();
            let why = Failure::Lost("the pool's own thread has failed".to_owned());
            let words = worker.words(now);
            self.scheduler.on(Event::Ended { place, words, unpublished: None, why }, now);
        }
    }

    /// Takes what a worker has logged. Returns the socket of its records if that has ended, which
    /// is then to be watched no more.
    pub(super) fn take_records(
        &mut self,
        place: usize,
        said: &mut Vec<(String, Said)>,
    ) -> Option<OwnedFd> {
        let worker = self.worker_mut(place)?;
        let (records, is_over) = records::take(worker.records.as_ref()?);
        said.extend(records.into_iter().map(|said| (worker.tag.name.clone(), said)));
        if is_over { worker.records.take() } else { None }
    }

    /// Does the work of one turn of the supervisor, after it has reported what happened. Returns
    /// what is left to be done without the lock.
    ///
    /// 1. Carry out what follows from it, and send and listen in turns as long as that makes room
    ///    for more.
    /// 2. Do what is due by now, and what follows from that.
    pub(super) fn turn(&mut self) -> Left {
        for _ in 0..ROUNDS {
            self.run();
            // What is sent here makes room for more, and may take wake-ups that were for who
            // listens.
            let places = mem::take(&mut self.unheard);
            if places.is_empty() {
                break;
            }
            for place in places {
                self.attend(place);
            }
        }
        self.scheduler.on(Event::Tick, Instant::now());
        self.run();
        let now = Instant::now();
        let mut until = self.scheduler.next_look(now);
        if !self.unheard.is_empty() {
            until = Some(now);
        }
        Left {
            touched: self.scheduler.take_touched(),
            to_start: mem::take(&mut self.to_start),
            to_give_up: mem::take(&mut self.to_give_up),
            until,
            is_refused: mem::take(&mut self.is_refused),
            is_over: self.scheduler.is_over(),
        }
    }

    /// Takes note of when the supervisor comes back if nothing wakes it.
    pub(super) fn supervisor_sleeps_until(&mut self, until: Option<Instant>) {
        self.sleeps_until = until;
    }
}

/// What is left of a turn of the supervisor.
pub(super) struct Left {
    /// The sinks that are to be woken.
    pub(super) touched: Vec<Arc<dyn Sink>>,
    pub(super) to_start: Vec<usize>,
    pub(super) to_give_up: Vec<usize>,
    /// When something is due next.
    pub(super) until: Option<Instant>,
    /// The system refused what is needed to go on at once.
    pub(super) is_refused: bool,
    pub(super) is_over: bool,
}

/// Reports a message of a worker; returns whether it is worth listening further.
fn hear(
    scheduler: &mut Scheduler,
    place: usize,
    message: &mut Vec<u8>,
    fds: Vec<Arc<OwnedFd>>,
    now: Instant,
) -> bool {
    scheduler.on(Event::Heard { place, message, fds }, now);
    !scheduler.is_garbled(place)
}

/// Returns how many descriptors of one worker's answers may be open in this program.
///
/// A worker may send descriptors with answers of any type. They stay open until the answer is
/// taken, so all workers together may have this program keep half of what it can open.
fn fd_quota(workers: usize) -> usize {
    let half = usize::try_from(rlimit::open_files() / 2).unwrap_or(usize::MAX);
    half.checked_div(workers).unwrap_or(half).max(codec::MAX_FDS)
}
