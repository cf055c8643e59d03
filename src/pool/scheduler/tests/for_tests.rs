//! A pool whose host is a test, and whose workers are numbers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::pool::host::decode::Opened;
use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::messages::{self, Reply};
use crate::pool::scheduler::event::{Action, Event, Link};
use crate::pool::scheduler::job::{Call, Content, Delivery, Job, Options, Sink, Tag};
use crate::pool::scheduler::policy::{Distance, Policy};
use crate::pool::scheduler::scheduler::Scheduler;
use crate::pool::scheduler::state::Words;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// Keeps the outcome of each task of a call, as a text.
pub(super) struct Recorder {
    pub(super) call: Call,
    pub(super) outcomes: Mutex<BTreeMap<u64, Vec<String>>>,
    pub(super) is_cancelled: AtomicBool,
}

impl Recorder {
    pub(super) fn new(options: Options) -> Arc<Recorder> {
        let call = Call::new(None, "f", Arc::new(options), true);
        Arc::new(Recorder { call, outcomes: Mutex::default(), is_cancelled: false.into() })
    }

    /// The only outcome of a task, if it has one.
    pub(super) fn outcome(&self, number: u64) -> Option<String> {
        let outcomes = self.outcomes.lock().expect("outcomes");
        let all = outcomes.get(&number)?;
        assert_eq!(all.len(), 1, "task {number} has several outcomes: {all:?}");
        all.first().cloned()
    }

    pub(super) fn outcomes(&self, count: u64) -> Vec<String> {
        (0..count).map(|number| self.outcome(number).unwrap_or_else(|| "none".into())).collect()
    }
}

impl Sink for Recorder {
    fn call(&self) -> &Call {
        &self.call
    }

    fn deliver(&self, delivery: Delivery) {
        let (first, count) = (delivery.first, delivery.count);
        let texts: Vec<String> = match &delivery.content {
            Content::Failed(failure) => vec![failure.to_string(); count as usize],
            _ => {
                let mut opened = Opened::<u8>::new(delivery);
                let next = || opened.next(&self.call);
                let text = |outcome: Result<u8, _>| match outcome {
                    Ok(value) => value.to_string(),
                    Err(error) => format!("{error:?}"),
                };
                std::iter::from_fn(next).map(text).collect()
            }
        };
        let mut outcomes = self.outcomes.lock().expect("outcomes");
        for (number, text) in (first..).zip(texts) {
            outcomes.entry(number).or_default().push(text);
        }
    }

    fn wake(&self) {}

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// A worker that does what a test says.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) given: VecDeque<u64>,
    pub(super) begun: u64,
    pub(super) busy: Duration,
    pub(super) is_ready: bool,
    pub(super) is_closed: bool,
    /// True while it does not react to anything.
    pub(super) is_stopped: bool,
    pub(super) running: Option<u64>,
    pub(super) running_since: Option<Instant>,
    pub(super) published: VecDeque<Vec<u8>>,
}

/// A pool whose host is the test.
pub(super) struct Pool {
    pub(super) scheduler: Scheduler,
    pub(super) now: Instant,
    pub(super) workers: Vec<Option<Worker>>,
    /// The actions that the test is to see to, in order.
    pub(super) seen: Vec<Action>,
}

impl Pool {
    /// A pool with so many workers, which are ready.
    pub(super) fn new(processes: usize) -> Pool {
        let mut pool = Pool::with(policy(processes));
        (0..processes).for_each(|place| pool.ready(place));
        pool
    }

    /// A pool with workers that are not ready yet.
    pub(super) fn with(policy: Policy) -> Pool {
        let processes = policy.processes;
        let mut pool = Pool {
            scheduler: Scheduler::new(policy),
            now: Instant::now(),
            workers: Vec::new(),
            seen: Vec::new(),
        };
        pool.workers.resize_with(processes, || None);
        (0..processes).for_each(|place| pool.started(place));
        pool
    }

    pub(super) fn on(&mut self, event: Event<'_>) {
        self.scheduler.on(event, self.now);
        self.run();
    }

    /// Carries out what needs no decision of the test, and keeps the rest in `seen`.
    pub(super) fn run(&mut self) {
        while let Some(action) = self.scheduler.next_action(self.now) {
            match action {
                Action::Give { place } => {
                    let job = self.scheduler.last_given(place).expect("the job that it gives");
                    let numbers = job.first..job.first + u64::from(job.count);
                    self.workers[place].as_mut().expect("a worker").given.extend(numbers);
                }
                Action::Listen { place } => self.listen(place, Link::Open),
                Action::Recall { place, why } => {
                    self.seen.push(Action::Recall { place, why });
                    self.hear(place);
                    if let Some(worker) = &mut self.workers[place] {
                        worker.given.clear();
                        worker.is_closed = true;
                        let words = self.words(place);
                        self.on(Event::Recalled { place, words, why });
                    }
                }
                other => self.seen.push(other),
            }
        }
    }

    pub(super) fn seen(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.seen)
    }

    pub(super) fn started(&mut self, place: usize) {
        self.workers[place] = Some(Worker::default());
        let tag = Arc::new(Tag { name: format!("worker-{place}"), pid: 1 });
        self.on(Event::Started { place, tag, fd_quota: 10 });
    }

    pub(super) fn ready(&mut self, place: usize) {
        self.publish_ready_once(place);
        self.listen(place, Link::Open);
    }

    pub(super) fn publish_ready_once(&mut self, place: usize) {
        let worker = self.workers[place].as_mut().expect("a worker");
        if !std::mem::replace(&mut worker.is_ready, true) {
            self.publish(place, vec![Reply::Ready as u8]);
        }
    }

    pub(super) fn publish(&mut self, place: usize, message: Vec<u8>) {
        self.workers[place].as_mut().expect("a worker").published.push_back(message);
    }

    pub(super) fn words(&self, place: usize) -> Words {
        let worker = self.workers[place].as_ref().expect("a worker");
        let running_for = worker.running_since.map_or(Duration::ZERO, |since| self.now - since);
        let (begun, is_closed, busy) = (worker.begun, worker.is_closed, worker.busy);
        Words { begun, is_closed, running_for, busy, read_at: self.now }
    }

    pub(super) fn hear(&mut self, place: usize) {
        while let Some(message) = self.workers[place].as_mut().and_then(|w| w.published.pop_front())
        {
            let mut message = message;
            let (message, fds) = (&mut message, Vec::new());
            self.scheduler.on(Event::Heard { place, message, fds }, self.now);
        }
    }

    pub(super) fn listen(&mut self, place: usize, link: Link) {
        if let Some(worker) = &mut self.workers[place] {
            worker.is_closed &= worker.is_stopped;
            self.hear(place);
            let words = self.words(place);
            self.on(Event::Listened { place, words, link });
        }
    }

    /// The worker begins its next task; which one that is.
    pub(super) fn begin(&mut self, place: usize) -> u64 {
        let now = self.now;
        let worker = self.workers[place].as_mut().expect("a worker");
        let number = worker.given.pop_front().expect("a task that it was given");
        worker.begun += 1;
        worker.running = Some(number);
        worker.running_since = Some(now);
        number
    }

    /// The worker publishes what came of the task that it runs.
    pub(super) fn finish(&mut self, place: usize, verdict: Reply) {
        let worker = self.workers[place].as_mut().expect("a worker");
        let number = worker.running.take().expect("a task that runs");
        self.publish(place, vec![verdict as u8, number as u8]);
    }

    /// The worker does its next task, and is heard.
    pub(super) fn work(&mut self, place: usize) -> u64 {
        let number = self.begin(place);
        self.finish(place, Reply::Returned);
        self.listen(place, Link::Open);
        number
    }

    pub(super) fn die(&mut self, place: usize, why: Failure) {
        self.hear(place);
        let words = self.words(place);
        self.workers[place] = None;
        self.on(Event::Ended { place, words, unpublished: None, why });
    }

    pub(super) fn tick(&mut self, passed: Duration) {
        self.now += passed;
        self.on(Event::Tick);
    }

    /// Submits tasks of a call, each a job of its own, numbered from `first`.
    pub(super) fn submit(&mut self, sink: &Arc<Recorder>, numbers: std::ops::Range<u64>) {
        let jobs: Vec<_> = numbers.map(|number| job(sink, number, 1, None)).collect();
        self.submit_jobs(jobs).expect("a pool that takes tasks");
    }

    pub(super) fn submit_jobs(&mut self, jobs: Vec<Job>) -> Result<bool, Failure> {
        let submitted = self.scheduler.submit(jobs, self.now);
        self.run();
        if submitted.is_ok() {
            self.scheduler.note_held_up();
        }
        submitted
    }
}

pub(super) fn policy(processes: usize) -> Policy {
    Policy {
        processes,
        max_tasks: None,
        max_growth: None,
        max_restarts: 2,
        grace: GRACE,
        limits_workers: false,
        distance: Distance::HERE,
    }
}

pub(super) fn job(sink: &Arc<Recorder>, first: u64, count: u32, place: Option<usize>) -> Job {
    let mut bytes = Vec::new();
    for number in (first..).take(count as usize) {
        let framed = messages::framed::<_, ()>(&mut bytes, false, |onto| {
            onto.push(number as u8);
            Ok(())
        });
        framed.expect("a frame");
    }
    let sink = Arc::clone(sink) as Arc<dyn Sink>;
    Job {
        sink,
        first,
        count,
        failed: 0,
        put_off: 0,
        place,
        bytes: Bulk::new(bytes),
        fds: Vec::new(),
    }
}

pub(super) fn plain() -> Arc<Recorder> {
    Recorder::new(Options::default())
}
