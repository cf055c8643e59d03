//! A pool's thread: it sleeps until a worker says something or ends, or something is due, and has
//! the driver see to it.

use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::driver::{Driver, Left};
use super::settings::Settings;
use super::waiting::wait_until;
use super::worker_process::WorkerProcess;
use crate::error::{Failure, Result, os};
use crate::log::get_logger;
use crate::pool::protocol::records::{self, Said};
use crate::pool::scheduler::event::Event;
use crate::pool::scheduler::job::{CallId, Job, Options};
use crate::pool::scheduler::scheduler::Phase;
use crate::pool::scheduler::worker::STUCK;
use crate::sys::per_process::{Generation, pid};
use crate::sys::wait::epoll::{Epoll, WakeUp};
use crate::sys::wait::poll::Deadline;
use crate::unwind;

/// What a descriptor in the set tells of, in the low bits of its number.
const LINK: u64 = 0;
const END: u64 = 1;
const RECORDS: u64 = 2;
const KINDS: u32 = 2;

/// The number of the descriptor that wakes the supervisor itself.
const WAKE_UP: u64 = u64::MAX;

/// Pause before the system is asked again for what it refused.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// What a pool's handles and its supervisor share.
pub(crate) struct Shared {
    driver: Mutex<Driver>,
    /// Told when all is over.
    over: Condvar,
    is_over: Mutex<bool>,
    /// The supervisor's thread.
    supervisor: OnceLock<ThreadId>,
    set: Epoll,
    wake_up: WakeUp,
    pub(crate) owner: (Generation, u32),
    pub(crate) processes: usize,
    /// The options of tasks that set none of their own: one for all of them.
    pub(crate) defaults: Arc<Options>,
}

impl Shared {
    /// A pool without workers; its supervisor is not there yet.
    pub(crate) fn new(settings: Settings) -> Result<Shared> {
        let cannot = || os("cannot make a pool's waiting place");
        let set = Epoll::new().map_err(cannot())?;
        let wake_up = WakeUp::new().map_err(cannot())?;
        set.add(wake_up.as_fd(), WAKE_UP).map_err(cannot())?;
        let processes = settings.processes;
        let defaults = Options { deadline: settings.deadline, ..Options::default() };
        Ok(Shared {
            driver: Mutex::new(Driver::new(settings)),
            over: Condvar::new(),
            is_over: Mutex::new(false),
            supervisor: OnceLock::new(),
            set,
            wake_up,
            owner: (Generation::current(), pid()),
            processes,
            defaults: Arc::new(defaults),
        })
    }

    /// Puts the first worker into a place.
    pub(crate) fn install(&self, place: usize, worker: WorkerProcess) -> Result<()> {
        self.watch(&worker)?;
        self.lock().install(place, worker);
        Ok(())
    }

    /// Locks the driver. A panic while it was locked is a fault of this library that must not make
    /// others hang.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes jobs, and wakes the supervisor if it has to look after them.
    ///
    /// # Errors
    /// Why the pool takes none.
    pub(crate) fn submit(&self, jobs: impl IntoIterator<Item = Job>) -> Result<(), Failure> {
        let needs_supervisor = self.lock().submit(jobs)?;
        if needs_supervisor {
            self.wake_up.wake();
        }
        Ok(())
    }

    /// Calls off what is not done of a call; `kills` what runs of it.
    pub(crate) fn cancel(&self, call: CallId, kills: bool) {
        self.tell(Event::Cancelled { call, kills });
    }

    /// Reports what a user of the pool wants.
    pub(crate) fn tell(&self, event: Event<'_>) {
        self.lock().on(event);
        self.wake_up.wake();
    }

    /// Returns the phase of the pool's life.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().scheduler.phase.clone()
    }

    /// Returns why a worker could not be ended, if that was so.
    pub(crate) fn unended(&self) -> Option<String> {
        self.lock().unended.first().cloned()
    }

    /// Returns whether this process made the pool, and is not a forked copy of it.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner.0 == Generation::current()
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
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        wait_until(&self.over, is_over, deadline, |is_over| *is_over)
    }

    fn watch(&self, worker: &WorkerProcess) -> Result<()> {
        let (link, end) = worker.fds()?;
        let cannot = |error| os(format!("cannot watch {}", worker.tag.name))(error);
        let number = worker.number << KINDS;
        if let Some(link) = link {
            self.set.add(link, number | LINK).map_err(cannot)?;
        }
        if let Some(records) = worker.records_fd() {
            self.set.add(records, number | RECORDS).map_err(cannot)?;
        }
        self.set.add(end, number | END).map_err(cannot)
    }

    /// The supervisor's life. Should it fail (a fault of this library, or no memory), nobody is
    /// left waiting.
    pub(crate) fn live(&self) {
        let _ = self.supervisor.set(thread::current().id());
        if unwind::catch(|| self.keep()).is_err() {
            let touched = {
                let mut driver = self.lock();
                driver.abandon();
                driver.scheduler.take_touched()
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
            let (turn, until) = self.turn(&events);
            for sink in &turn.left.touched {
                sink.wake();
            }
            for (worker, said) in &turn.said {
                records::give(worker, said);
            }
            for warning in &turn.warnings {
                get_logger().warning(warning);
            }
            let has_started = !turn.left.to_start.is_empty();
            for place in turn.left.to_start {
                self.start(place);
            }
            if turn.left.is_over {
                return;
            }
            events.clear();
            let until = if has_started { Deadline::Now } else { until };
            if self.set.wait(&mut events, until).is_err() || turn.left.is_refused {
                // Want of memory or descriptors, which may pass.
                thread::sleep(RETRY_INTERVAL);
            }
        }
    }

    /// Sees to what has happened, and to what is due. Returns what is to be done without the lock,
    /// and until when to sleep. In this order:
    ///
    /// 1. Hear what the events tell of: answers, log records, ends.
    /// 2. Have the driver do what follows, and what is due.
    /// 3. Give up workers that may not be ended.
    /// 4. Decide, with the lock still held, until when to sleep: whoever submits a task sees that,
    ///    and calls if it is too late for the task.
    fn turn(&self, events: &[u64]) -> (Turn, Deadline) {
        let mut said = Vec::new();
        let mut driver = self.lock();
        let is_all_told = self.hear(&mut driver, events, &mut said);
        let mut left = driver.turn();
        let mut warnings = Vec::new();
        let has_given_up = !left.to_give_up.is_empty();
        for place in left.to_give_up.drain(..) {
            warnings.extend(self.give_up(&mut driver, place, &mut said));
        }
        left.is_refused |= !is_all_told;
        if !is_all_told || has_given_up {
            left.until = Some(Instant::now());
        }
        if left.until.is_none() && !events.is_empty() {
            // Tasks of short times follow each other without calling for it. So it sleeps for good
            // only when none has come for a while.
            left.until = Instant::now().checked_add(STUCK);
        }
        driver.supervisor_sleeps_until(left.until);
        let until = left.until.map_or(Deadline::Never, Deadline::At);
        (Turn { left, said, warnings }, until)
    }

    /// Takes what workers say, and sees who has ended; `false` if that could not be told of all.
    fn hear(&self, driver: &mut Driver, events: &[u64], said: &mut Vec<(String, Said)>) -> bool {
        let mut is_all_told = true;
        for event in events {
            if *event == WAKE_UP {
                self.wake_up.clear();
                continue;
            }
            let Some(place) = driver.place_of(event >> KINDS) else { continue };
            match event & ((1 << KINDS) - 1) {
                LINK => {
                    driver.attend(place);
                    self.turn_from_silent(driver, place);
                }
                RECORDS => self.take_records(driver, place, said),
                _ => is_all_told &= self.see_end(driver, place, said),
            }
        }
        is_all_told
    }

    /// A link over which nothing more comes would have us wake up again and again.
    fn turn_from_silent(&self, driver: &Driver, place: usize) {
        if let Some(worker) = driver.worker(place)
            && worker.is_silent()
            && let Ok((Some(link), _)) = worker.fds()
        {
            self.set.remove(link);
        }
    }

    /// For a worker that seems to have ended; `false` if that cannot be told yet.
    fn see_end(&self, driver: &mut Driver, place: usize, said: &mut Vec<(String, Said)>) -> bool {
        let Some(worker) = driver.worker(place) else { return true };
        let why = match worker.child.try_join() {
            Ok(None) => return false,
            Ok(Some(())) => Failure::Exited(0),
            Err(error) if error.os_error().is_some() => return false,
            Err(error) => error.into_failure(),
        };
        self.forget(driver, place, said);
        driver.end(place, why);
        true
    }

    /// For a worker that may not be ended: this program has become another user since it started
    /// it. It ends with this program at the latest, as it is tied to it.
    fn give_up(
        &self,
        driver: &mut Driver,
        place: usize,
        said: &mut Vec<(String, Said)>,
    ) -> Option<String> {
        let tag = Arc::clone(&driver.worker(place)?.tag);
        let why =
            format!("may not end worker {} (pid {}): it runs as another user", tag.name, tag.pid);
        self.forget(driver, place, said);
        driver.end(place, Failure::Lost(why.clone()));
        driver.unended.push(why.clone());
        Some(why)
    }

    /// Takes a worker's last records, and watches it no more.
    fn forget(&self, driver: &mut Driver, place: usize, said: &mut Vec<(String, Said)>) {
        self.take_records(driver, place, said);
        let Some(worker) = driver.worker(place) else { return };
        let end = worker.fds().ok().map(|(_, end)| end);
        for fd in end.into_iter().chain(worker.records_fd()) {
            self.set.remove(fd);
        }
    }

    fn take_records(&self, driver: &mut Driver, place: usize, said: &mut Vec<(String, Said)>) {
        if let Some(ended) = driver.take_records(place, said) {
            self.set.remove(ended.as_fd());
        }
    }

    /// Starts a worker. The driver is not locked meanwhile.
    fn start(&self, place: usize) {
        let (settings, number) = {
            let mut driver = self.lock();
            (driver.settings.clone(), driver.next_number(place))
        };
        let started = WorkerProcess::start(&settings, place.saturating_add(1), number);
        let started = started.and_then(|worker| match self.watch(&worker) {
            Ok(()) => Ok(worker),
            Err(error) => {
                let _ = worker.child.kill();
                Err(error)
            }
        });
        let mut driver = self.lock();
        match started {
            Ok(worker) => driver.install(place, worker),
            Err(error) => driver.on(Event::StartFailed { place, reason: error.to_string() }),
        }
    }
}

/// What one turn of the supervisor came to.
struct Turn {
    left: Left,
    said: Vec<(String, Said)>,
    /// What the program's log is to be told.
    warnings: Vec<String>,
}
