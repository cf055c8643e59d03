//! The pool's thread, and what it shares with the pool's handles.
//!
//! The supervisor sleeps in `epoll_wait` until a worker says something or ends, a user thread wakes
//! it, or something is due; then it takes a turn ([`Shared::turn`]) with the driver locked, and
//! does what the turn left with nothing locked: waking waiters, calling callbacks, logging,
//! starting workers.
//!
//! # Sleep and wake-up
//!
//! A user thread that submits a task must not pay for a wake-up unless the supervisor would come
//! too late:
//!
//! 1. At the end of its turn, with the driver still locked, the supervisor records when it will
//!    come back by itself (`supervisor_sleeps_until`), and only then unlocks and sleeps.
//! 2. A user thread locks the driver, submits, and compares when something is due next with that
//!    time (`needs_supervisor`). Only if the supervisor would be late does it write to the eventfd.
//! 3. The eventfd is in the epoll set, so a wake-up between unlocking and sleeping is not lost: the
//!    sleep ends at once.
//!
//! After something has happened, the supervisor sleeps no longer than [`NOT_BEGUN`], so that tasks
//! that follow each other find it awake in time without a call; when nothing has come for that
//! long, it sleeps for good.
//!
//! Links of workers wake a user thread instead that waits for an outcome: see `leader`.
//!
//! [`NOT_BEGUN`]: crate::pool::scheduler::worker::NOT_BEGUN

use std::os::fd::AsFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::driver::{Driver, Left};
use super::event_sets::{self, EventSets, Told};
use super::settings::Settings;
use super::waiting::wait_until;
use super::worker_process::WorkerProcess;
use crate::channel::spin::Spin;
use crate::error::{Failure, Result, os};
use crate::log::get_logger;
use crate::pool::elsewhere::hands::Hands;
use crate::pool::protocol::bulk;
use crate::pool::scheduler::event::Event;
use crate::pool::scheduler::job::{CallId, Job, Options};
use crate::pool::scheduler::scheduler::Phase;
use crate::pool::scheduler::worker::NOT_BEGUN;
use crate::relay::onward::Onward;
use crate::relay::records::{self, Said, Source};
use crate::sys::per_process::{Generation, pid};
use crate::sys::wait::poll::Deadline;
#[cfg(feature = "tracing")]
use crate::trace::origin::Listener;
use crate::unwind;

/// Pause before the supervisor goes on after the system refused it memory or descriptors: nothing
/// tells when there is more of them.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// State shared by a pool's handles and its supervisor. Lives as long as the last of them, or of
/// Rounds in which the last records of a worker are read, at the most: a process that it has left
/// behind may go on sending.
const LAST_ROUNDS: u32 = 64;

/// the tasks.
pub(crate) struct Shared {
    /// The scheduler and the workers. See [`lock`](Shared::lock).
    driver: Mutex<Driver>,
    /// Signalled when `is_over` becomes true.
    over: Condvar,
    /// True once the supervisor is done: no workers are left, and none will come.
    is_over: Mutex<bool>,
    /// The supervisor's thread, to refuse it what would wait for itself.
    supervisor: OnceLock<ThreadId>,
    /// The descriptors that the supervisor and a leader sleep on. Once the supervisor runs, only it
    /// adds to them.
    pub(super) sets: EventSets,
    /// The seat of the user thread that leads, which has it locked: see `leader`. In it is how long
    /// looking for an answer was worth it.
    pub(super) seat: Mutex<Spin>,
    /// The process that made the pool: its generation, and its pid for errors.
    pub(crate) owner: (Generation, u32),
    /// Number of places for workers.
    pub(crate) processes: usize,
    /// Number of workers that are there, where that changes: see [`hands`](Shared::hands).
    pub(super) present: Option<AtomicUsize>,
    /// Options of tasks that set none of their own; shared by all of them, as a task is too short
    /// to clone them.
    pub(crate) defaults: Arc<Options>,
    /// Where workers tell of spans and events, if this pool runs the tasks of one elsewhere.
    onward: Option<Onward>,
    /// The subscriber of the thread that made the pool: it hears what workers tell.
    #[cfg(feature = "tracing")]
    listener: Listener,
}

impl Shared {
    /// A pool whose places are empty and whose supervisor does not run yet.
    ///
    /// # Errors
    /// The system has no descriptors for an epoll set and an eventfd.
    pub(crate) fn new(settings: Settings) -> Result<Shared> {
        Shared::with(settings, None)
    }

    /// A pool with its workers elsewhere, if `hands` has them.
    ///
    /// # Errors
    /// As for [`new`](Shared::new).
    pub(crate) fn with(settings: Settings, hands: Option<Box<dyn Hands>>) -> Result<Shared> {
        let sets = EventSets::new().map_err(os("cannot make a pool's waiting place"))?;
        let processes = settings.processes;
        let defaults = Options { deadline: settings.deadline, ..Options::default() };
        Ok(Shared {
            present: hands.is_some().then(AtomicUsize::default),
            onward: settings.onward.clone(),
            driver: Mutex::new(match hands {
                Some(hands) => Driver::of_remote(settings, hands),
                None => Driver::new(settings),
            }),
            over: Condvar::new(),
            is_over: Mutex::new(false),
            supervisor: OnceLock::new(),
            sets,
            seat: Mutex::new(Spin::new()),
            owner: (Generation::current(), pid()),
            processes,
            defaults: Arc::new(defaults),
            #[cfg(feature = "tracing")]
            listener: Listener::current(),
        })
    }

    /// Puts the first worker of a place there, before the supervisor runs.
    ///
    /// # Errors
    /// The worker's descriptors cannot be added to the epoll set.
    pub(crate) fn install(&self, place: usize, worker: WorkerProcess) -> Result<()> {
        self.sets.watch(&worker)?;
        self.lock().install(place, worker);
        Ok(())
    }

    /// Locks the driver. Whoever holds the lock neither waits nor calls code of users, except the
    /// function of [`Retry::only`](crate::Retry::only).
    ///
    /// A poisoned lock is used as it is: a panic in the library must not make other threads hang.
    /// The supervisor fails the pool if it is the one that panicked.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits jobs, and wakes the supervisor if it would come too late for them.
    ///
    /// # Errors
    /// Why the pool takes no tasks.
    pub(crate) fn submit(&self, jobs: impl IntoIterator<Item = Job>) -> Result<(), Failure> {
        // A statement of its own, so that the lock is released before the system call.
        let needs_supervisor = self.lock().submit(jobs)?;
        if needs_supervisor {
            self.sets.wake_up.wake();
        }
        Ok(())
    }

    /// Cancels what is not done of a call; with `kills`, also what runs.
    pub(crate) fn cancel(&self, call: CallId, kills: bool) {
        self.tell(Event::Cancelled { call, kills });
    }

    /// Reports an event that a user has caused, and wakes the supervisor: it passes on the outcomes
    /// that the event led to.
    pub(crate) fn tell(&self, event: Event<'_>) {
        self.lock().on(event);
        self.sets.wake_up.wake();
    }

    /// Returns the phase of the pool's life.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().scheduler.phase.clone()
    }

    /// Returns why a worker could not be ended, if one could not.
    pub(crate) fn unended(&self) -> Option<String> {
        self.lock().unended.first().cloned()
    }

    /// Returns whether this process made the pool. A fork has a copy of the pool without its
    /// thread, and with a lock that may be held for ever: it must use neither.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner.0 == Generation::current()
    }

    /// Returns whether the calling thread is the supervisor, in a callback of a user.
    pub(crate) fn is_supervisor(&self) -> bool {
        self.supervisor.get() == Some(&thread::current().id())
    }

    /// The failure of tasks in a forked copy of the process: their outcomes go to the original.
    pub(crate) fn lost_to_copy(&self) -> Failure {
        Failure::Lost(format!(
            "its pool belongs to process {}, of which this one is a copy",
            self.owner.1
        ))
    }

    /// Waits until the pool has no workers and its supervisor is done. Returns `false` if it is not
    /// over by `deadline`; the supervisor itself does not wait.
    pub(crate) fn wait_over(&self, deadline: Deadline) -> bool {
        // The supervisor would wait for itself; it learns how things stand.
        let deadline = if self.is_supervisor() { Deadline::Now } else { deadline };
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        wait_until(&self.over, is_over, deadline, |is_over| *is_over)
    }

    /// Runs the supervisor until the pool is over. Should it panic (a fault of this library, or no
    /// memory), all workers are killed and all tasks fail, so that nobody waits for ever.
    pub(crate) fn live(&self) {
        #[cfg(feature = "tracing")]
        self.listener.with(|| self.live_here());
        #[cfg(not(feature = "tracing"))]
        self.live_here();
    }

    /// The life of the supervisor, in its thread.
    fn live_here(&self) {
        let _ = self.supervisor.set(thread::current().id());
        if unwind::catch(|| self.keep()).is_err() {
            let touched = {
                let mut driver = self.lock();
                driver.abandon();
                driver.scheduler.take_touched()
            };
            // A second panic, perhaps of the same cause, must not keep the others waiting.
            for sink in touched {
                let _ = unwind::catch(|| sink.wake());
            }
        }
        bulk::give_back();
        // Elsewhere they are told with nothing locked.
        let remote = self.lock().take_remote();
        drop(remote);
        // Last, also after a panic: a thread that waits for the pool sees all outcomes delivered.
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.notify_all();
    }

    /// The supervisor's loop: turn, what the turn left, sleep.
    fn keep(&self) {
        let mut events = Vec::new();
        loop {
            let (mut turn, until) = self.turn(&events);
            // The owner of tasks that are run for it hears what they told before what came of them.
            let said = std::mem::take(&mut turn.said);
            let (first, last) =
                if self.onward.is_some() { (said, Vec::new()) } else { (Vec::new(), said) };
            pass_on(first);
            // With nothing locked, as a callback may submit or cancel tasks. Each sink that got an
            // outcome is woken once for the whole turn.
            // What panics here is theirs, and has been shown: the pool goes on without it.
            for sink in &turn.left.touched {
                let _ = unwind::catch(|| sink.wake());
            }
            for source in &turn.left.taken_back {
                source.let_go();
            }
            pass_on(last);
            for warning in &turn.warnings {
                let _ = unwind::catch(|| get_logger().warning(warning));
            }
            // Starting takes long, and things have happened meanwhile: look at once instead of
            // sleeping.
            let has_started = !turn.left.to_start.is_empty();
            for place in turn.left.to_start {
                self.start(place);
            }
            // After waking: the last outcomes were part of this turn.
            if turn.left.is_over {
                return;
            }
            events.clear();
            let until = if has_started { Deadline::Now } else { until };
            if self.sets.wait(&mut events, until).is_err() || turn.left.is_refused {
                // Want of memory or descriptors, which may pass.
                thread::sleep(RETRY_INTERVAL);
            }
        }
    }

    /// Takes one turn with the driver locked. Returns what is left to be done without the lock, and
    /// until when to sleep.
    ///
    /// 1. **Hear** what the events tell of: answers, log records, ends. First, so that decisions
    ///    see the answers of a worker before its end.
    /// 2. **Decide and act** (`Driver::turn`): carry out what follows from that, then what is due.
    /// 3. **Give up** workers that this program may not signal, and settle their tasks.
    /// 4. **Record** until when to sleep, still with the lock held: a user thread that submits
    ///    afterwards compares with it.
    fn turn(&self, events: &[u64]) -> (Turn, Deadline) {
        let mut said = Vec::new();
        let mut driver = self.lock();
        let is_all_told = self.hear(&mut driver, events, &mut said);
        let mut left = driver.turn();
        if !left.touched.is_empty() {
            self.take_all_records(&mut driver, &mut said);
        }
        driver.take_echo(&mut said, &mut left.taken_back);
        let mut warnings = Vec::new();
        let has_given_up = !left.to_give_up.is_empty();
        for place in left.to_give_up.drain(..) {
            warnings.extend(self.give_up(&mut driver, place, &mut said));
        }
        // An end that cannot be read yet is asked for again, after a pause.
        left.is_refused |= !is_all_told;
        if !is_all_told || has_given_up {
            left.until = Some(Instant::now());
        }
        if left.until.is_none() && !events.is_empty() {
            // Short tasks that follow each other do not wake the supervisor, so it comes back by
            // itself until none has come for a while.
            left.until = Instant::now().checked_add(NOT_BEGUN);
        }
        driver.supervisor_sleeps_until(left.until);
        let until = left.until.map_or(Deadline::Never, Deadline::At);
        (Turn { left, said, warnings }, until)
    }

    /// Reads what the descriptors of `events` tell of. Returns `false` if a worker's end could not
    /// be read.
    fn hear(
        &self,
        driver: &mut Driver,
        events: &[u64],
        said: &mut Vec<(Arc<Source>, Said)>,
    ) -> bool {
        let mut is_all_told = true;
        for event in events {
            match event_sets::told(*event) {
                // Before the turn looks at anything: a wake-up that comes later is for the next
                // turn.
                Told::WakeUp => self.sets.wake_up.clear(),
                Told::Link(number) => self.hear_link(driver, number),
                // An event of this batch may be of a worker that an earlier one of it has ended.
                Told::Records(number) => {
                    if !self.has_room() {
                        // Left with the workers, which wait for a while; looked at again after the
                        // pause.
                        is_all_told = false;
                    } else if let Some(place) = driver.place_of(number) {
                        self.take_records(driver, place, said);
                    }
                }
                Told::End(number) => {
                    if let Some(place) = driver.place_of(number) {
                        is_all_told &= self.see_end(driver, place, said);
                    }
                }
            }
        }
        is_all_told
    }

    /// Hears a worker at its link. Once nothing more comes over that, it is removed from the sets:
    /// its hang-up would wake them again and again until the worker has ended.
    pub(super) fn hear_link(&self, driver: &mut Driver, number: u64) {
        // An earlier event of the same batch may have ended the worker.
        let Some(place) = driver.place_of(number) else { return };
        driver.attend(place);
        if let Some(worker) = driver.worker(place)
            && worker.is_silent()
            && let Ok((Some(link), _)) = worker.fds()
        {
            self.sets.forget(link);
        }
    }

    /// Reaps a worker whose pidfd says that it has ended, and settles its tasks. Returns `false` if
    /// the system does not say how it ended yet.
    fn see_end(
        &self,
        driver: &mut Driver,
        place: usize,
        said: &mut Vec<(Arc<Source>, Said)>,
    ) -> bool {
        // Ended by an earlier event of this turn.
        let Some(worker) = driver.worker(place) else { return true };
        let why = match worker.child.try_join() {
            // The pidfd is readable a moment before the process can be reaped.
            Ok(None) => return false,
            Ok(Some(())) => Failure::Exited(0),
            // The system could not be asked (no memory, say): the pidfd stays readable, so it is
            // asked again.
            Err(error) if error.os_error().is_some() => return false,
            Err(error) => error.into_failure(),
        };
        // Its descriptors are removed before they are closed, in `end`.
        self.forget(driver, place, said, &why);
        driver.end(place, why);
        true
    }

    /// Gives up a worker that this program may not signal, as it has become another user since it
    /// started the worker. Returns a warning for the log.
    ///
    /// The worker is tied to this program's lifeline and ends with it at the latest.
    fn give_up(
        &self,
        driver: &mut Driver,
        place: usize,
        said: &mut Vec<(Arc<Source>, Said)>,
    ) -> Option<String> {
        let tag = Arc::clone(&driver.worker(place)?.tag);
        let why =
            format!("may not end worker {} (pid {}): it runs as another user", tag.name, tag.pid);
        let lost = Failure::Lost(why.clone());
        self.forget(driver, place, said, &lost);
        driver.end(place, lost);
        driver.unended.push(why.clone());
        Some(why)
    }

    /// Reads what a worker said last, enters its end behind that, and removes its descriptors from
    /// the epoll set.
    fn forget(
        &self,
        driver: &mut Driver,
        place: usize,
        said: &mut Vec<(Arc<Source>, Said)>,
        #[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "it has no span"))]
        why: &Failure,
    ) {
        for _ in 0..LAST_ROUNDS {
            let before = said.len();
            self.take_records(driver, place, said);
            if said.len() == before {
                break;
            }
        }
        let Some(worker) = driver.worker(place) else { return };
        let end = worker.fds().ok().map(|(_, end)| end);
        for fd in end.into_iter().chain(worker.records_fd()) {
            self.sets.forget(fd);
        }
        #[cfg(feature = "tracing")]
        said.push((Arc::clone(&worker.source), Said::Ended(why.to_string())));
    }

    /// Returns whether more of what workers say can be taken.
    fn has_room(&self) -> bool {
        self.onward.as_ref().is_none_or(|onward| onward.to.has_room())
    }

    /// Reads what the workers of a station have said by now: outcomes have come that stand behind
    /// it.
    fn take_all_records(&self, driver: &mut Driver, said: &mut Vec<(Arc<Source>, Said)>) {
        if self.onward.is_none() || !self.has_room() {
            return;
        }
        for place in 0..self.processes {
            for _ in 0..LAST_ROUNDS {
                let before = said.len();
                self.take_records(driver, place, said);
                if said.len() == before {
                    break;
                }
            }
        }
    }

    /// Reads what a worker has logged, to be passed on without the lock.
    fn take_records(&self, driver: &mut Driver, place: usize, said: &mut Vec<(Arc<Source>, Said)>) {
        if let Some(ended) = driver.take_records(place, said) {
            self.sets.forget(ended.as_fd());
        }
    }

    /// Starts a worker for a place. The driver is not locked while the process starts, which takes
    /// milliseconds; the place counts as taken meanwhile (`take_vacancies`).
    fn start(&self, place: usize) {
        let (settings, number) = {
            let mut driver = self.lock();
            (driver.settings.clone(), driver.next_number(place))
        };
        let started = WorkerProcess::start(&settings, place.saturating_add(1), number);
        // Watched before it is installed: nobody sends it a task whose answer would go unheard.
        let started = started.and_then(|worker| match self.sets.watch(&worker) {
            Ok(()) => Ok(worker),
            Err(error) => {
                let _ = worker.child.kill();
                Err(error)
            }
        });
        // The pool may have been terminated meanwhile; then the scheduler ends the worker at once.
        let mut driver = self.lock();
        match started {
            Ok(worker) => driver.install(place, worker),
            Err(error) => driver.on(Event::StartFailed { place, reason: error.to_string() }),
        }
    }
}

/// Passes on what workers have said. What panics is the program's logger or subscriber.
fn pass_on(all: Vec<(Arc<Source>, Said)>) {
    for (source, said) in all {
        let _ = unwind::catch(|| records::give(&source, said));
    }
}

/// Work that one turn left to be done without the lock.
struct Turn {
    left: Left,
    /// What workers have said beside their answers.
    said: Vec<(Arc<Source>, Said)>,
    /// Warnings for the library's own log.
    warnings: Vec<String>,
}
