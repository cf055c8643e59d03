//! A pool's thread: it sleeps until a worker says something or ends, or something is due, and has
//! the scheduler see to it.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::job::{Options, Sink};
use super::scheduler::Scheduler;
use super::settings::Settings;
use super::worker::{STUCK, Worker};
use super::worker_set::WorkerSet;
use crate::error::{Failure, Result, os};
use crate::log::get_logger;
use crate::pool::protocol::records::{self, Said};
use crate::sys::per_process::{Generation, pid};
use crate::sys::wait::epoll::{Epoll, WakeUp};
use crate::sys::wait::poll::Deadline;
use crate::unwind;

/// Holds what a descriptor is of, in the low bits of its number.
const LINK: u64 = 0;
const END: u64 = 1;
const RECORDS: u64 = 2;
const KINDS: u32 = 2;

/// The number of the supervisor's own.
const WAKE_UP: u64 = u64::MAX;

/// Sets how often, in one turn, what was sent makes room for more before others have theirs.
const ROUNDS: u32 = 64;

/// Sets how often to try again what the system refused.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Describes what a pool's handles and its supervisor share.
pub(crate) struct Shared {
    scheduler: Mutex<Scheduler>,
    /// Told when all is over.
    over: Condvar,
    is_over: Mutex<bool>,
    /// The supervisor's thread.
    supervisor: OnceLock<ThreadId>,
    set: Epoll,
    wake_up: WakeUp,
    pub(crate) owner: (Generation, u32),
    pub(crate) processes: usize,
    /// Says how tasks are run that say nothing else: one for all of them.
    pub(crate) defaults: Arc<Options>,
}

impl Shared {
    /// A pool with these workers; its supervisor is not there yet.
    pub(crate) fn new(settings: Settings, workers: Vec<Worker>) -> Result<Shared> {
        let cannot = || os("cannot make a pool's waiting place");
        let set = Epoll::new().map_err(cannot())?;
        let wake_up = WakeUp::new().map_err(cannot())?;
        set.add(std::os::fd::AsFd::as_fd(&wake_up), WAKE_UP).map_err(cannot())?;
        let processes = settings.processes;
        let defaults = Options { deadline: settings.deadline, ..Options::default() };
        let shared = Shared {
            scheduler: Mutex::new(Scheduler::new(settings, Vec::new())),
            over: Condvar::new(),
            is_over: Mutex::new(false),
            supervisor: OnceLock::new(),
            set,
            wake_up,
            owner: (Generation::current(), pid()),
            processes,
            defaults: Arc::new(defaults),
        };
        for worker in &workers {
            shared.watch(worker)?;
        }
        shared.lock().workers = WorkerSet::new(workers);
        Ok(shared)
    }

    /// The scheduler. A panic while it was locked is a fault of ours that must not make others
    /// hang.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether this process made the pool, and is not a forked copy of it.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner.0 == Generation::current()
    }

    /// Calls the supervisor, who has something to see to.
    pub(crate) fn wake(&self) {
        self.wake_up.wake();
    }

    /// Returns whether this is the supervisor's thread, in a callback, which must not wait for the
    /// pool.
    pub(crate) fn is_supervisor(&self) -> bool {
        self.supervisor.get() == Some(&thread::current().id())
    }

    /// Returns what becomes of the pool's tasks in a forked copy of its process: nothing.
    pub(crate) fn lost_to_copy(&self) -> Failure {
        Failure::Lost(format!(
            "its pool belongs to process {}, of which this one is a copy",
            self.owner.1
        ))
    }

    /// Waits until nothing is left of the pool; whether that is so at the deadline, or as seen by
    /// the supervisor.
    pub(crate) fn wait_over(&self, deadline: Deadline) -> bool {
        let deadline = if self.is_supervisor() { Deadline::Now } else { deadline };
        let mut is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_over {
            is_over = match deadline.left() {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    self.over.wait_timeout(is_over, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.over.wait(is_over).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    fn watch(&self, worker: &Worker) -> Result<()> {
        let (link, end) = worker.fds()?;
        let cannot = |error| os(format!("cannot watch {}", worker.ledger.tag.name))(error);
        let number = worker.number << KINDS;
        if let Some(link) = link {
            self.set.add(link, number | LINK).map_err(cannot)?;
        }
        if let Some(records) = worker.records_fd() {
            self.set.add(records, number | RECORDS).map_err(cannot)?;
        }
        self.set.add(end, number | END).map_err(cannot)
    }

    /// The supervisor's life. Should it fail (a fault of ours, or no memory), nobody is left
    /// waiting.
    pub(crate) fn live(&self) {
        let _ = self.supervisor.set(thread::current().id());
        if unwind::catch(|| self.keep()).is_err() {
            let touched = {
                let mut scheduler = self.lock();
                scheduler.abandon();
                mem::take(&mut scheduler.touched)
            };
            for sink in touched {
                let _ = unwind::catch(|| sink.wake());
            }
        }
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.notify_all();
    }

    fn keep(&self) {
        let mut events = Vec::new();
        loop {
            let turn = self.turn(&events);
            for sink in &turn.touched {
                sink.wake();
            }
            for (worker, said) in &turn.said {
                records::give(worker, said);
            }
            for warning in &turn.warnings {
                get_logger().warning(warning);
            }
            let has_started = !turn.to_start.is_empty();
            for (place, number) in turn.to_start {
                self.start(place, number);
            }
            if turn.is_over {
                return;
            }
            events.clear();
            let until = if has_started { Deadline::Now } else { turn.until };
            if self.set.wait(&mut events, until).is_err() || turn.is_refused {
                // Want of memory or descriptors, which may pass.
                thread::sleep(RETRY_INTERVAL);
            }
        }
    }

    /// Sees to what has happened, and to what is due, in this order:
    ///
    /// 1. Hear what the events tell of: answers, log records, ends.
    /// 2. Give up workers that may not be ended.
    /// 3. Do what is due.
    /// 4. Send tasks, and hear what that makes room for.
    /// 5. Have workers leave that are done, and take note of who is to be started and when to look
    ///    again.
    fn turn(&self, events: &[u64]) -> Turn {
        let mut said = Vec::new();
        let mut scheduler = self.lock();
        let retry = !self.hear(&mut scheduler, events, &mut said);
        let now = Instant::now();
        let mut warnings = Vec::new();
        for place in scheduler.unreachable(now) {
            warnings.extend(self.give_up(&mut scheduler, place, &mut said));
        }
        scheduler.dispatch();
        scheduler.look_after(now);
        exchange(&mut scheduler);
        let now = Instant::now();
        scheduler.dismiss_finished(now);
        let to_start = scheduler.take_vacancies(now);
        let mut until = scheduler.next_look(now).map_or(Deadline::Never, Deadline::At);
        let touched = mem::take(&mut scheduler.touched);
        if retry || !scheduler.is_settled() {
            until = Deadline::Now;
        }
        if matches!(until, Deadline::Never) {
            // Tasks of short times follow each other without calling for it. So it sleeps for good
            // only when none has come for a while.
            scheduler.sleeps = events.is_empty();
            if !scheduler.sleeps {
                until = Deadline::after(STUCK);
            }
        }
        Turn {
            is_refused: mem::take(&mut scheduler.is_refused) || retry,
            touched,
            said,
            warnings,
            to_start,
            until,
            is_over: scheduler.is_over(),
        }
    }

    /// Takes what workers say, and sees who has ended; `false` if that could not be told of all.
    fn hear(
        &self,
        scheduler: &mut Scheduler,
        events: &[u64],
        said: &mut Vec<(String, Said)>,
    ) -> bool {
        let mut is_all_told = true;
        for event in events {
            if *event == WAKE_UP {
                self.wake_up.clear();
                continue;
            }
            let Some(place) = scheduler.workers.place_of(event >> KINDS) else { continue };
            match event & ((1 << KINDS) - 1) {
                LINK => {
                    scheduler.attend(place);
                    self.turn_from_silent(scheduler, place);
                }
                RECORDS => self.take_records(scheduler, place, said),
                _ => is_all_told &= self.see_end(scheduler, place, said),
            }
        }
        is_all_told
    }

    /// A link over which nothing more comes would have us wake up again and again.
    fn turn_from_silent(&self, scheduler: &Scheduler, place: usize) {
        if let Some(worker) = scheduler.workers.worker(place)
            && worker.is_silent
            && let Ok((Some(link), _)) = worker.fds()
        {
            self.set.remove(link);
        }
    }

    /// For a worker that seems to have ended; `false` if that cannot be told yet.
    fn see_end(
        &self,
        scheduler: &mut Scheduler,
        place: usize,
        said: &mut Vec<(String, Said)>,
    ) -> bool {
        let Some(worker) = scheduler.workers.worker(place) else { return true };
        let why = match worker.child.try_join() {
            Ok(None) => return false,
            Ok(Some(())) => Failure::Exited(0),
            Err(error) => match error.into_failure() {
                Failure::Os(_) => return false,
                failure => failure,
            },
        };
        self.take_records(scheduler, place, said);
        if let Some(worker) = scheduler.workers.worker(place)
            && let Ok((_, end)) = worker.fds()
        {
            self.set.remove(end);
        }
        scheduler.settle(place, why);
        true
    }

    /// For a worker that may not be ended: this program has become another user since it started
    /// it. It ends with this program at the latest, as it is tied to it.
    fn give_up(
        &self,
        scheduler: &mut Scheduler,
        place: usize,
        said: &mut Vec<(String, Said)>,
    ) -> Option<String> {
        let tag = Arc::clone(&scheduler.workers.worker(place)?.ledger.tag);
        let why =
            format!("may not end worker {} (pid {}): it runs as another user", tag.name, tag.pid);
        self.take_records(scheduler, place, said);
        if let Some(worker) = scheduler.workers.worker(place) {
            for fd in
                [worker.fds().ok().map(|(_, end)| end), worker.records_fd()].into_iter().flatten()
            {
                self.set.remove(fd);
            }
        }
        scheduler.settle(place, Failure::Lost(why.clone()));
        scheduler.unended.push(why.clone());
        Some(why)
    }

    fn take_records(
        &self,
        scheduler: &mut Scheduler,
        place: usize,
        said: &mut Vec<(String, Said)>,
    ) {
        let Some(worker) = scheduler.workers.worker_mut(place) else { return };
        let Some(socket) = &worker.records else { return };
        let (records, is_over) = records::take(socket);
        let name = &worker.ledger.tag.name;
        said.extend(records.into_iter().map(|said| (name.clone(), said)));
        if is_over {
            self.set.remove(std::os::fd::AsFd::as_fd(socket));
            worker.records = None;
        }
    }

    /// Starts a worker. The scheduler is not locked meanwhile.
    fn start(&self, place: usize, number: u64) {
        let settings = self.lock().settings.clone();
        let started =
            Worker::start(&settings, place.saturating_add(1), number).and_then(|worker| match self
                .watch(&worker)
            {
                Ok(()) => Ok(worker),
                Err(error) => {
                    let _ = worker.child.kill();
                    Err(error)
                }
            });
        let mut scheduler = self.lock();
        match started {
            Ok(worker) => scheduler.install(place, worker),
            Err(error) => {
                scheduler.workers.failed(place);
                scheduler.break_if_hopeless(&error.to_string());
            }
        }
    }
}

/// Sends tasks to workers, as long as what they say makes room for more.
fn exchange(scheduler: &mut Scheduler) {
    for _ in 0..ROUNDS {
        scheduler.dispatch();
        // What is sent here makes room for more, and may take wake-ups that were for who listens.
        let mut places = mem::take(&mut scheduler.listen);
        let is_sending =
            |place: &usize| scheduler.workers.worker(*place).is_some_and(Worker::has_outgoing);
        places.extend((0..scheduler.workers.len()).filter(is_sending));
        for place in &places {
            scheduler.attend(*place);
        }
        if places.is_empty() || !scheduler.could_dispatch() {
            break;
        }
    }
}

/// Describes what one turn of the supervisor came to.
struct Turn {
    touched: Vec<Arc<dyn Sink>>,
    said: Vec<(String, Said)>,
    /// Holds what the program's log is to be told.
    warnings: Vec<String>,
    to_start: Vec<(usize, u64)>,
    until: Deadline,
    is_over: bool,
    /// The system refused to say something; it is to be asked again.
    is_refused: bool,
}
