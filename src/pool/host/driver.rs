//! Carries out what the scheduler decides, and reports to it what workers say.
//!
//! The driver holds the scheduler and the processes of its workers behind one lock. User threads
//! that submit or cancel tasks hold it for a moment, and so send to workers themselves; the
//! supervisor does the rest. Nothing in here sleeps or waits: what takes long (starting a worker)
//! or calls code of users (waking a sink) is left to the supervisor, in [`Left`].
//!
//! # One round
//!
//! [`Driver::run`] alternates with the scheduler until that has no action left:
//!
//! 1. An event goes in, with the time at which it is handled.
//! 2. Actions come out one at a time, and each is carried out before the next is asked for: an
//!    action may be answered by an event at once ([`Recall`], `Weigh`), which the next action
//!    depends on.
//! 3. Workers that were sent something are woken, once each, after the last action: to wake one
//!    costs a system call, and it may be sent several jobs.
//!
//! A worker may die anywhere in this. Sending to it then does nothing, its end is an event of its
//! own, and what it had is settled from the ledger, in which the scheduler enters a job *before* it
//! is sent.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::remote::Remote;
use super::settings::Settings;
use super::worker_process::{Heard, WorkerProcess};
use crate::channel::pipe::glance::Glance;
use crate::error::{Failure, Result};
use crate::pool::protocol::bulk;
use crate::pool::scheduler::event::{Action, Event, Link, Recall};
use crate::pool::scheduler::job::{Job, Sink};
use crate::pool::scheduler::scheduler::Scheduler;
use crate::relay::records::{self, Said, Source};

/// Rounds of one turn in which sending and listening may make room for each other, before the
/// driver looks at what is due and the supervisor at other descriptors.
const ROUNDS: u32 = 64;

/// Workers that the leader looks at at once, at the most: more of them are seldom all about to
/// answer.
const MAX_GLANCES: usize = 4;

/// A pool's scheduler and the processes of its workers. Behind the lock of
/// [`Shared`](super::supervisor::Shared).
pub(crate) struct Driver {
    /// The decisions. It knows no link and no process.
    pub(crate) scheduler: Scheduler,
    /// Settings that workers are started with.
    pub(super) settings: Settings,
    /// The process in each place; `None` while there is none.
    workers: Vec<Option<WorkerProcess>>,
    /// Number of processes started so far; it tells apart those that have had the same place.
    started: u64,
    /// A buffer for the message that is being written or read.
    scratch: Vec<u8>,
    /// Places of workers that were sent something in this round and not woken yet.
    to_wake: Vec<usize>,
    /// Places of workers that may have said more than was read, or for which something waits to go
    /// out: they are attended once more in this turn.
    unheard: Vec<usize>,
    /// See [`Left`].
    taken_back: Vec<Arc<Source>>,
    /// Places that the supervisor is to start workers in.
    to_start: Vec<usize>,
    /// Places of workers that this program may not signal, and that the supervisor is to forget.
    to_give_up: Vec<usize>,
    /// Number of workers that the leader looks at, at the most: fewer than there are processors, as
    /// it would take one from them.
    max_glances: usize,
    /// Numbers of workers whose publishing the leader looks at, so that they need not wake anybody.
    looked_at: Vec<u64>,
    /// True while a leader submits what it is going to wait for.
    is_led: bool,
    /// True if the system refused what a worker's message needs (descriptors, memory). Asked again
    /// at once, it would refuse again, so the supervisor pauses.
    is_refused: bool,
    /// Time at which the supervisor comes back if nobody wakes it; `None` for never.
    sleeps_until: Option<Instant>,
    /// The workers of a pool whose workers are elsewhere; its places have no processes then.
    pub(super) remote: Option<Remote>,
    /// Reasons why workers could not be ended, for [`Pool::join`](crate::Pool::join).
    pub(super) unended: Vec<String>,
}

impl Driver {
    /// A driver with empty places; [`install`](Driver::install) fills them.
    pub(super) fn new(settings: Settings) -> Driver {
        let count = settings.processes;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Driver {
            scheduler: Scheduler::new(settings.policy()),
            settings,
            workers: std::iter::repeat_with(|| None).take(count).collect(),
            started: count as u64,
            scratch: Vec::new(),
            to_wake: Vec::new(),
            unheard: Vec::new(),
            taken_back: Vec::new(),
            to_start: Vec::new(),
            to_give_up: Vec::new(),
            max_glances: processors.saturating_sub(1).min(MAX_GLANCES),
            looked_at: Vec::new(),
            is_led: false,
            is_refused: false,
            sleeps_until: None,
            remote: None,
            unended: Vec::new(),
        }
    }

    /// Puts a worker that was started into its place, and gives it what waits.
    pub(super) fn install(&mut self, place: usize, worker: WorkerProcess) {
        let tag = Arc::clone(&worker.tag);
        if let Some(slot) = self.workers.get_mut(place) {
            *slot = Some(worker);
        }
        // Read for each worker, as the program may change its limit of open files.
        let fd_quota = self.settings.fd_quota();
        self.scheduler.on(Event::Started { place, tag, fd_quota }, Instant::now());
        self.run();
    }

    /// The process in a place.
    pub(crate) fn worker(&self, place: usize) -> Option<&WorkerProcess> {
        self.workers.get(place)?.as_ref()
    }

    /// The process in a place.
    fn worker_mut(&mut self, place: usize) -> Option<&mut WorkerProcess> {
        self.workers.get_mut(place)?.as_mut()
    }

    /// Returns the place of the worker with this number; `None` if it is not there any more.
    pub(super) fn place_of(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number & 0xffff).ok()?;
        self.worker(place).is_some_and(|worker| worker.number == number).then_some(place)
    }

    /// Returns a number for the next worker of a place.
    pub(super) fn next_number(&mut self, place: usize) -> u64 {
        let number = WorkerProcess::number(self.started, place);
        self.started = self.started.saturating_add(1);
        number
    }

    /// Submits jobs. Returns whether the supervisor is to be woken.
    ///
    /// # Errors
    /// Why the pool takes no tasks.
    pub(super) fn submit(&mut self, jobs: impl IntoIterator<Item = Job>) -> Result<bool, Failure> {
        self.enter(jobs)?;
        Ok(self.needs_supervisor())
    }

    /// Submits a job for a leader, which waits for it. The worker that gets it may answer before
    /// the leader waits, without waking anybody: its looks are begun here.
    ///
    /// # Errors
    /// Why the pool takes no tasks.
    pub(super) fn submit_led(&mut self, job: Job) -> Result<(), Failure> {
        self.is_led = true;
        let entered = self.enter([job]);
        self.is_led = false;
        entered
    }

    /// Queues jobs, and sends workers with room what waits.
    fn enter(&mut self, jobs: impl IntoIterator<Item = Job>) -> Result<(), Failure> {
        if self.remote.is_some() {
            return self.enter_remote(jobs);
        }
        let now = Instant::now();
        // If jobs waited before these, no worker has room: there is nothing to assign.
        if self.scheduler.submit(jobs, now)? {
            // In the submitting thread: a worker with room has the task before this call returns.
            self.run_at(now);
            self.scheduler.note_held_up();
        }
        Ok(())
    }

    /// Reports an event that no worker caused, and carries out what follows.
    pub(super) fn on(&mut self, event: Event<'_>) {
        self.scheduler.on(event, Instant::now());
        self.run();
    }

    /// Returns whether the supervisor would come too late by itself. The second half of the
    /// protocol that the module `supervisor` describes under "Sleep and wake-up".
    pub(super) fn needs_supervisor(&mut self) -> bool {
        let soonest = self.scheduler.soonest();
        let comes_late = match (soonest, self.sleeps_until) {
            (Some(soonest), Some(until)) => soonest < until,
            (soonest, None) => soonest.is_some(),
            (None, Some(_)) => false,
        };
        if comes_late {
            // From here on it counts as awake by then: others that submit need not wake it again.
            self.sleeps_until = soonest;
        }
        // Outcomes are passed on by the supervisor; only it attends a worker again and again,
        // starts workers, and gives them up.
        let is_any_left =
            !(self.unheard.is_empty() && self.to_start.is_empty() && self.to_give_up.is_empty());
        let is_told = self.scheduler.has_touched() || self.has_echo();
        comes_late || is_any_left || self.is_refused || is_told
    }

    /// Carries out all that the scheduler wants done now.
    pub(super) fn run(&mut self) {
        self.run_at(Instant::now());
    }

    /// `run`, with a clock that was read already.
    fn run_at(&mut self, now: Instant) {
        while let Some(action) = self.scheduler.next_action(now) {
            self.perform(action);
        }
        if let Some(remote) = &mut self.remote {
            remote.flush();
        }
        for place in mem::take(&mut self.to_wake) {
            if let Some(worker) = self.worker_mut(place) {
                worker.wake();
            }
        }
    }

    /// Carries out one action.
    fn perform(&mut self, action: Action) {
        if let Some(remote) = &mut self.remote {
            return remote.perform(action, &mut self.scheduler, Instant::now());
        }
        match action {
            Action::Give { place } => self.give(place),
            Action::Listen { place } => self.attend(place),
            Action::Recall { place, why } => self.recall(place, why),
            Action::Weigh { place } => {
                let Some(worker) = self.worker(place) else { return };
                // A system call of some microseconds; the policy asks rarely.
                let bytes = worker.weigh();
                self.scheduler.on(Event::Weighed { place, bytes }, Instant::now());
            }
            Action::Continue { place } => {
                if let Some(worker) = self.worker(place) {
                    worker.continue_if_stopped();
                }
            }
            // No answer: its end is reported by its pidfd, like any other.
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
                // Forbidden: the worker runs as a user that this program was before. It is asked to
                // leave instead; it does when its task is done or its own timer fires.
                if !worker.kill() {
                    worker.dismiss();
                    self.scheduler.on(Event::Unkillable { place }, Instant::now());
                }
            }
            // The supervisor removes its descriptors from the epoll set first.
            Action::GiveUp { place } => self.to_give_up.push(place),
            Action::Start { place } => self.to_start.push(place),
        }
    }

    /// Sends a worker the job that the scheduler has just entered in its ledger.
    fn give(&mut self, place: usize) {
        // Before it is sent: it may answer at once.
        if self.is_led {
            self.glance(place, 0);
        }
        let Driver { scheduler, workers, scratch, to_wake, unheard, .. } = self;
        let (Some(Some(worker)), Some(job)) = (workers.get_mut(place), scheduler.last_given(place))
        else {
            return;
        };
        let is_out = worker.give(job, scratch);
        // Woken at the end of the round, once for all that it is sent.
        if worker.must_be_woken() {
            to_wake.push(place);
        }
        // The rest waits in this process until the worker reads. Meanwhile the scheduler gives it
        // no more, and its answers are read, as it may wait for room itself.
        if !is_out {
            scheduler.on(Event::Full { place }, Instant::now());
            unheard.push(place);
        }
    }

    /// Takes back what a worker has not begun.
    ///
    /// The order of operations, and why it holds if the worker is killed between two steps:
    ///
    /// 1. **Close** the claim word. From here on nothing is begun that was not. Killed from here
    ///    on: the word keeps its count, and the worker is settled by it.
    /// 2. **Hear** all that it has published. It publishes what came of a task before it claims the
    ///    next ones, so what it has begun and not answered are tasks of one job: those that it
    ///    runs. (Heard before closing, an answer could be published and the next job begun in
    ///    between.)
    /// 3. **Reopen**: send the message that opens the word, behind all that the worker is to drop,
    ///    and drop here what has not begun to go out. Killed before it reads that: nothing was
    ///    begun anyway.
    /// 4. **Report** to the scheduler, which takes back what was not begun and gives it to others.
    ///    The lock is held since step 1, so nothing was sent to the worker in between.
    fn recall(&mut self, place: usize, why: Recall) {
        let Driver { scheduler, workers, scratch, unheard, taken_back, .. } = self;
        let Some(Some(worker)) = workers.get_mut(place) else { return };
        let now = Instant::now();
        let epoch = worker.close();
        let heard =
            worker.listen_to_all(scratch, |message, fds| hear(scheduler, place, message, fds, now));
        worker.reopen(epoch);
        let words = worker.words(now);
        if worker.source.taken_back(words.begun) {
            taken_back.push(Arc::clone(&worker.source));
        }
        scheduler.on(Event::Recalled { place, words, why }, now);
        // It goes on with new tasks from here, or has more to say than could be read now.
        if heard != Heard::All || worker.has_outgoing() {
            unheard.push(place);
        }
    }

    /// Sends a worker what there is room for, reads what it has published, and reports how its link
    /// stands.
    pub(super) fn attend(&mut self, place: usize) {
        let Driver { scheduler, workers, scratch, .. } = self;
        let Some(Some(worker)) = workers.get_mut(place) else { return };
        let was_silent = worker.is_silent();
        let now = Instant::now();
        let mut heard =
            worker.exchange(scratch, |message, fds| hear(scheduler, place, message, fds, now));
        // After garbage nothing that follows can be understood: answers carry no numbers.
        if scheduler.is_garbled(place) {
            heard = Heard::End;
        }
        let link = match heard {
            // The end of its link was reported before.
            Heard::End if was_silent => Link::Open,
            Heard::End => Link::Ended,
            Heard::TooLong => Link::Broken("its answer is longer than 1 GiB"),
            _ if worker.is_broken() => Link::Broken("the way to it is broken"),
            // Not full any more is reported as well: each call says how the link stands now.
            _ if worker.has_outgoing() => Link::Full { retry_at: worker.congested_until() },
            Heard::All | Heard::Part | Heard::Refused => Link::Open,
        };
        // Read anew, as reading the messages may have taken long.
        let now = Instant::now();
        scheduler.on(Event::Listened { place, words: worker.words(now), link }, now);
        match heard {
            Heard::Part => self.unheard.push(place),
            // Attended again after the supervisor's pause, whoever was told of the link.
            Heard::Refused => {
                self.is_refused = true;
                self.unheard.push(place);
            }
            Heard::All | Heard::End | Heard::TooLong => {}
        }
    }

    /// Hears a worker for the leader, which goes on looking at what it publishes: without a call of
    /// the kernel, and without asking to be woken.
    pub(super) fn attend_awake(&mut self, place: usize) {
        let Driver { scheduler, workers, scratch, .. } = self;
        let Some(Some(worker)) = workers.get_mut(place) else { return };
        let now = Instant::now();
        if !worker.hear_awake(scratch, |message, fds| hear(scheduler, place, message, fds, now)) {
            // What was heard counts, and the rest takes the usual way.
            return self.attend(place);
        }
        let words = worker.words(now);
        let link = if worker.has_outgoing() { Link::Full { retry_at: None } } else { Link::Open };
        scheduler.on(Event::Listened { place, words, link }, now);
    }

    /// Prepares looks at what the workers that have tasks publish; none if one of them may need the
    /// processor `own`, or if they are many. Looks at other workers are ended.
    /// [`look_no_more`](Driver::look_no_more) has to follow in any case.
    pub(super) fn glances(&mut self, own: u64) -> Vec<(u64, Glance)> {
        let mut glances = Vec::new();
        let before = mem::take(&mut self.looked_at);
        for place in 0..self.workers.len() {
            if !self.scheduler.has_tasks(place) {
                continue;
            }
            let worker = self.worker_mut(place);
            let is_elsewhere = worker.is_some_and(|worker| worker.is_elsewhere(own));
            if !is_elsewhere || glances.len() == self.max_glances {
                glances.clear();
                self.look_no_more();
                break;
            }
            glances.extend(self.glance(place, own));
        }
        for number in before {
            if !self.looked_at.contains(&number) {
                self.end_look(number);
            }
        }
        glances
    }

    /// Returns whether one worker has tasks, and no others wait.
    pub(super) fn has_one_to_hear(&self) -> bool {
        self.scheduler.queued() == 0 && self.scheduler.running() == 1
    }

    /// Prepares a look at one worker, from the processor `own`: it does not wake this program until
    /// the looks are ended.
    fn glance(&mut self, place: usize, own: u64) -> Option<(u64, Glance)> {
        let worker = self.workers.get_mut(place)?.as_mut()?;
        let glance = worker.glance(own)?;
        let number = worker.number;
        if !self.looked_at.contains(&number) {
            self.looked_at.push(number);
        }
        Some((number, glance))
    }

    /// Ends all looks: the workers wake this program again. What they have published meanwhile is
    /// heard.
    pub(super) fn look_no_more(&mut self) {
        while let Some(number) = self.looked_at.pop() {
            self.end_look(number);
        }
    }

    /// Ends the look at one worker.
    fn end_look(&mut self, number: u64) {
        if let Some(place) = self.place_of(number)
            && self.worker(place).is_some_and(|worker| !worker.look_no_more())
        {
            self.attend(place);
        }
    }

    /// Settles a worker that has ended or is given up, and forgets its process.
    ///
    /// 1. Take it out of its place: nothing is sent to it from here on.
    /// 2. Read what it had published. Its process is gone, so that is final, unless it was given
    ///    up; a worker that was given up is not heard any more.
    /// 3. Read its words, and report both, so that its answers count before its end does.
    /// 4. Salvage what it had written and not published, and report its end.
    ///
    /// Its descriptors are closed when this returns.
    pub(super) fn end(&mut self, place: usize, why: Failure) {
        let Driver { scheduler, workers, scratch, .. } = self;
        let Some(mut worker) = workers.get_mut(place).and_then(Option::take) else { return };
        let now = Instant::now();
        worker.listen_to_all(scratch, |message, fds| hear(scheduler, place, message, fds, now));
        let words = worker.words(now);
        let link = if scheduler.is_garbled(place) { Link::Ended } else { Link::Open };
        scheduler.on(Event::Listened { place, words, link }, now);
        // After the words were read, and the last: nothing writes to the ring any more.
        let mut message = Vec::new();
        let unpublished = worker.salvage(&mut message);
        scheduler.on(Event::Ended { place, words, unpublished, why }, now);
    }

    /// Ends the pool of a supervisor that cannot go on: kills all workers, and leaves no task
    /// without an outcome.
    pub(super) fn abandon(&mut self) {
        let now = Instant::now();
        self.scheduler.on(Event::Abandoned, now);
        if let Some(remote) = &mut self.remote {
            remote.abandon(&mut self.scheduler);
        }
        for (place, worker) in self.workers.iter_mut().enumerate() {
            let Some(worker) = worker.take() else { continue };
            // Without reading what it said: that may be what the supervisor has failed at.
            worker.kill();
            let why = Failure::Lost("the pool's own thread has failed".to_owned());
            let words = worker.words(now);
            self.scheduler.on(Event::Ended { place, words, unpublished: None, why }, now);
        }
    }

    /// Reads what a worker has logged into `said`. Returns the socket if it has ended, to be
    /// removed from the epoll set before it is closed.
    pub(super) fn take_records(
        &mut self,
        place: usize,
        said: &mut Vec<(Arc<Source>, Said)>,
    ) -> Option<OwnedFd> {
        let worker = self.worker_mut(place)?;
        let (records, is_over) = records::take(worker.records.as_ref()?);
        said.extend(records.into_iter().map(|said| (Arc::clone(&worker.source), said)));
        if is_over { worker.records.take() } else { None }
    }

    /// Does the driver's part of a supervisor's turn, after the supervisor has reported what
    /// happened. Returns what is left to be done without the lock.
    ///
    /// 1. Carry out what follows, and attend workers as long as sending makes room for more, up to
    ///    [`ROUNDS`] times.
    /// 2. Do what is due by now, and carry out what follows.
    /// 3. Ask when something is due next: last, as all of the above may change it.
    pub(super) fn turn(&mut self) -> Left {
        self.settle();
        // After messages were heard: a task that is done in time is not judged by an older look.
        self.scheduler.on(Event::Tick, Instant::now());
        self.run();
        let now = Instant::now();
        let mut until = self.scheduler.next_look(now);
        // Others have their turn first; then these are attended again, without sleep.
        if !self.unheard.is_empty() {
            until = Some(now);
        }
        Left {
            touched: self.scheduler.take_touched(),
            to_start: mem::take(&mut self.to_start),
            to_give_up: mem::take(&mut self.to_give_up),
            taken_back: mem::take(&mut self.taken_back),
            until,
            is_refused: mem::take(&mut self.is_refused),
            is_over: self.scheduler.is_over(),
        }
    }

    /// Carries out what follows from what was heard, and attends workers as long as sending makes
    /// room for more, up to [`ROUNDS`] times.
    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS {
            self.run();
            // Sending may take the wake-up that a message of the worker would have been, so it is
            // read as well.
            let places = mem::take(&mut self.unheard);
            if places.is_empty() {
                break;
            }
            for place in places {
                self.attend(place);
            }
        }
    }

    /// Returns whether the system has refused something, so that the supervisor is to ask again
    /// after a pause.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Records when the supervisor comes back if nobody wakes it. Called with the lock held since
    /// the turn.
    pub(super) fn supervisor_sleeps_until(&mut self, until: Option<Instant>) {
        self.sleeps_until = until;
    }
}

/// Work that a turn leaves to the supervisor.
pub(super) struct Left {
    /// The sinks that got outcomes and are to be woken, with nothing locked.
    pub(super) touched: Vec<Arc<dyn Sink>>,
    /// Places to start workers in, without the lock.
    pub(super) to_start: Vec<usize>,
    /// Places of workers to be given up, with the lock held.
    pub(super) to_give_up: Vec<usize>,
    /// What was taken back of these workers is to be let go of, with nothing locked.
    pub(super) taken_back: Vec<Arc<Source>>,
    /// Time at which something is due next; `None` for never.
    pub(super) until: Option<Instant>,
    /// True if the system refused what is needed to go on at once.
    pub(super) is_refused: bool,
    /// True if no worker is left and none will come.
    pub(super) is_over: bool,
}

/// Reports a message of a worker. Returns `false` after garbage: nothing that follows can be
/// understood.
fn hear(
    scheduler: &mut Scheduler,
    place: usize,
    message: &mut Vec<u8>,
    fds: Vec<Arc<OwnedFd>>,
    now: Instant,
) -> bool {
    scheduler.on(Event::Heard { place, message, fds }, now);
    if message.capacity() == 0 {
        // It was long, and is kept as it came: the next one may be as long.
        *message = bulk::spare();
    } else {
        bulk::settle(message);
    }
    !scheduler.is_garbled(place)
}
