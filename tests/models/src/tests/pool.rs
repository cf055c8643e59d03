//! The pool's scheduler and a worker's loop, with the ring and the words between them: a worker
//! that is given tasks ahead of need, has them taken back, and may die at every step.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::for_each_death;
use super::ring::Pipe;
use crate::channel::model;
use crate::channel::pipe::ring::{Consumer, Kind, Producer};
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::error::Failure;
use crate::pool::child::task_runner::{TaskRunner, Tasks, WorkerLink};
use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::claim::ClaimHandle;
use crate::pool::protocol::messages::{self, Reply};
use crate::pool::protocol::worker_memory::WorkerMemory;
use crate::pool::scheduler::event::{Action, Event, Link};
use crate::pool::scheduler::job::{Call, Content, Delivery, Job, Options, Sink, Tag};
use crate::pool::scheduler::policy::{Distance, Policy};
use crate::pool::scheduler::scheduler::Scheduler;
use crate::pool::scheduler::state::Words;
use crate::sys::program::code::Refusal;
use crate::world::{End, World, world};

/// The first bytes of requests: run `[1]` tasks from number `[2]` on; open the word that was closed
/// for the `[1]`th time.
const RUN: u8 = 1;
const OPEN: u8 = 2;

/// All tasks of a run.
const TASKS: usize = 4;

/// How often each task was run, and whether any was.
#[derive(Default)]
struct Ran {
    of: [AtomicUsize; TASKS],
    is_any: AtomicBool,
}

type Runs = Arc<Ran>;

/// The worker's end of the link.
struct WorkerEnd {
    pipe: Arc<Pipe>,
    answers: Producer,
    orders: Arc<Pipe>,
    next: Consumer,
}

impl WorkerLink for WorkerEnd {
    fn is_empty(&self) -> bool {
        self.next.is_empty(self.orders.ring())
    }

    fn has_room(&mut self, _: usize) -> Result<bool, SendTransportError> {
        // The ring is small, and so are the blocks of these tests.
        let room = Producer::room_for(Kind::Last, 64);
        Ok(self.answers.has_room(self.pipe.ring(), room).expect("sound"))
    }

    fn write_ahead(&mut self, from: usize, bytes: &[u8]) {
        self.answers.write_ahead(self.pipe.ring(), from, bytes);
    }

    fn mark(&mut self) -> u32 {
        self.answers.mark()
    }

    fn publish(&mut self, length: usize) {
        self.answers.publish(self.pipe.ring(), length);
    }

    fn wake_pool(&mut self) -> Result<(), SendTransportError> {
        // The pool of these tests does not sleep.
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], _: &[Arc<OwnedFd>]) -> Result<(), SendTransportError> {
        self.pipe.push(&mut self.answers, Kind::Last, bytes);
        Ok(())
    }

    fn recv(&mut self, message: &mut Vec<u8>) -> Result<Vec<Arc<OwnedFd>>, RecvTransportError> {
        let (_, bytes) = self.orders.pull(&mut self.next);
        message.extend_from_slice(&bytes);
        if bytes.is_empty() { Err(RecvTransportError::Disconnected) } else { Ok(Vec::new()) }
    }
}

/// Tasks that count their runs and return their numbers.
struct Numbers {
    next: u8,
    /// How many may be begun together.
    together: u32,
    runs: Runs,
}

impl Tasks for Numbers {
    fn go_one_by_one(&self) -> bool {
        false
    }

    fn together(&self) -> u32 {
        self.together
    }

    fn prepare(&mut self, _: &WorkerMemory) {}

    fn next(&mut self, onto: &mut Vec<u8>, _: &mut Vec<Arc<OwnedFd>>) -> Result<(), Refusal> {
        self.runs.of[usize::from(self.next)].fetch_add(1, Ordering::SeqCst);
        if !self.runs.is_any.load(Ordering::SeqCst) {
            world().raise(&self.runs.is_any);
        }
        onto.push(self.next);
        self.next += 1;
        Ok(())
    }

    fn is_last(&mut self) -> bool {
        false
    }
}

/// The worker's life, as `worker_loop` leads it.
fn serve(link: WorkerEnd, memory: WorkerMemory, runs: &Runs) {
    let mut runner = TaskRunner::new(link, memory);
    let (mut message, mut fds) = (Vec::new(), Vec::new());
    while runner.receive(&mut message, &mut fds) {
        match message[0] {
            OPEN => runner.open(u16::from(message[1])),
            _ => {
                let (next, together) = (message[2], u32::from(message[3]));
                let mut tasks = Numbers { next, together, runs: Arc::clone(runs) };
                runner.run(u32::from(message[1]), &mut fds, &mut tasks);
            }
        }
        if runner.rest().is_err() {
            return;
        }
    }
}

/// A call, which keeps the outcomes of its tasks.
struct Outcomes {
    call: Call,
    is_cancelled: AtomicBool,
    of: Mutex<BTreeMap<u64, String>>,
}

impl Outcomes {
    fn new() -> Arc<Outcomes> {
        Outcomes::of_chunks(None)
    }

    fn of_chunks(chunk_size: Option<usize>) -> Arc<Outcomes> {
        let options = Options { chunk_size, ..Options::default() };
        let call = Call::new(None, "f", Arc::new(options), true);
        Arc::new(Outcomes { call, is_cancelled: AtomicBool::new(false), of: Mutex::default() })
    }

    fn of(&self, number: usize) -> Option<String> {
        self.of.lock().expect("outcomes").get(&(number as u64)).cloned()
    }
}

impl Sink for Outcomes {
    fn call(&self) -> &Call {
        &self.call
    }

    fn deliver(&self, delivery: Delivery) {
        let mut place = 0;
        for number in delivery.first..delivery.first + u64::from(delivery.count) {
            let outcome = match &delivery.content {
                Content::Failed(failure) => failure.to_string(),
                Content::Message { bytes, .. } => bytes[1].to_string(),
                Content::Answers(answers) => {
                    let answer = messages::next_answer(answers, &mut place).expect("an answer");
                    assert_eq!(answer.0, Reply::Returned);
                    answer.1[0].to_string()
                }
            };
            let before = self.of.lock().expect("outcomes").insert(number, outcome.clone());
            assert_eq!(before, None, "task {number} has two outcomes, {outcome} is one");
        }
    }

    fn wake(&self) {}

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }
}

/// The pool's side: it does what the library's driver does.
struct Host {
    scheduler: Scheduler,
    memory: WorkerMemory,
    claim: ClaimHandle,
    orders: Arc<Pipe>,
    order: Producer,
    pipe: Arc<Pipe>,
    answers: Consumer,
    now: Instant,
}

impl Host {
    fn on(&mut self, event: Event<'_>) {
        self.scheduler.on(event, self.now);
        while let Some(action) = self.scheduler.next_action(self.now) {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Give { place } => {
                let job = self.scheduler.last_given(place).expect("what it gives");
                let first = u8::try_from(job.first).expect("few");
                let chunk = u8::try_from(job.chunk()).unwrap_or(u8::MAX);
                self.send(&[RUN, u8::try_from(job.count).expect("few"), first, chunk]);
            }
            Action::Recall { place, why } => {
                let (_, epoch) = self.memory.close(&mut self.claim);
                self.hear();
                self.send(&[OPEN, u8::try_from(epoch).expect("few")]);
                let words = self.words();
                self.scheduler.on(Event::Recalled { place, words, why }, self.now);
            }
            Action::Listen { place } => {
                self.hear();
                let (words, link) = (self.words(), Link::Open);
                self.scheduler.on(Event::Listened { place, words, link }, self.now);
            }
            // How the worker ends is up to the test.
            Action::Dismiss { .. } | Action::Terminate { .. } | Action::Kill { .. } => {}
            other => unreachable!("{other:?}"),
        }
    }

    fn send(&mut self, message: &[u8]) {
        self.orders.push(&mut self.order, Kind::Last, message);
    }

    fn words(&self) -> Words {
        let begun = self.memory.begun(&self.claim);
        let zero = Duration::ZERO;
        // It decides between workers only, and here is one.
        let is_closed = false;
        Words { begun, is_closed, running_for: zero, busy: zero, read_at: self.now }
    }

    fn hear(&mut self) {
        while let Some((_, mut message)) = self.pipe.look(&mut self.answers) {
            let (message, fds) = (&mut message, Vec::new());
            self.scheduler.on(Event::Heard { place: 0, message, fds }, self.now);
        }
    }

    /// The worker is gone.
    fn settle(&mut self) {
        self.hear();
        let (words, link) = (self.words(), Link::Open);
        self.scheduler.on(Event::Listened { place: 0, words, link }, self.now);
        let ahead = self.memory.ahead();
        let mut block = Vec::new();
        let is_any = ahead.count > 0
            && self.answers.salvage(self.pipe.ring(), ahead.mark, ahead.bytes.into(), &mut block);
        let unpublished = is_any.then(|| (ahead.count.into(), &block[messages::BLOCK_HEAD..]));
        let why = Failure::Exited(1);
        self.scheduler.on(Event::Ended { place: 0, words, unpublished, why }, self.now);
    }
}

fn job(sink: &Arc<Outcomes>, first: u64, count: u32) -> Job {
    let bytes = [1, 0].repeat(count as usize);
    let sink = Arc::clone(sink) as Arc<dyn Sink>;
    Job {
        sink,
        first,
        count,
        failed: 0,
        put_off: 0,
        place: None,
        bytes: Bulk::new(bytes),
        fds: Vec::new(),
    }
}

/// A pool with one worker, which dies at a step or not at all.
fn pool(dies_at: usize) -> (Host, Runs, crate::backend::JoinHandle<End>) {
    let world = World::new();
    let (pipe, answers, consumer) = Pipe::new(0);
    let (orders, order, next) = Pipe::new(0);
    let memory = WorkerMemory::new();
    let runs = Runs::default();
    let worker = {
        let (pipe, orders) = (Arc::clone(&pipe), Arc::clone(&orders));
        let (memory, runs) = (memory.clone(), Arc::clone(&runs));
        world.victim(2, dies_at, move || {
            serve(WorkerEnd { pipe, answers, orders, next }, memory, &runs);
        })
    };
    let policy = Policy {
        processes: 1,
        max_tasks: None,
        max_growth: None,
        max_restarts: 9,
        grace: Duration::ZERO,
        limits_workers: false,
        distance: Distance::HERE,
    };
    let mut host = Host {
        scheduler: Scheduler::new(policy),
        memory,
        claim: ClaimHandle::default(),
        orders,
        order,
        pipe,
        answers: consumer,
        now: Instant::now(),
    };
    let tag = Arc::new(Tag { name: "worker".to_owned(), pid: 2 });
    host.on(Event::Started { place: 0, tag, fd_quota: 0 });
    (host, runs, worker)
}

/// Sees that what the pool says of each task is what became of it. Returns how many are done.
fn check(host: &Host, runs: &Runs, calls: &[&Arc<Outcomes>]) -> usize {
    let (done, waiting) = check_from(0, runs, calls);
    assert_eq!(host.scheduler.queued(), waiting, "what waits is in the queue");
    done
}

/// Does so for tasks from a number on. Returns how many are done, and how many wait.
fn check_from(first: usize, runs: &Runs, calls: &[&Arc<Outcomes>]) -> (usize, u64) {
    let (mut done, mut failed, mut waiting) = (0, 0, 0);
    for (task, runs) in runs.of.iter().enumerate().skip(first) {
        let ran = runs.load(Ordering::SeqCst);
        let mut outcomes = calls.iter().filter_map(|call| call.of(task));
        match outcomes.next() {
            Some(value) if value == task.to_string() => {
                assert_eq!(ran, 1, "task {task} was answered");
                done += 1;
            }
            Some(failure) if failure == "Exited(1)" => {
                assert!(ran <= 1, "task {task} failed after {ran} runs");
                failed += 1;
            }
            Some(failure) => {
                assert!(failure.starts_with("Cancelled"), "task {task}: {failure}");
                assert_eq!(ran, 0, "task {task} was called off");
            }
            None => {
                assert_eq!(ran, 0, "task {task} goes to another");
                waiting += 1;
            }
        }
        assert_eq!(outcomes.next(), None);
    }
    assert!(failed <= 1, "a death costs one task");
    (done, waiting)
}

#[test]
fn who_dies_at_a_task_has_done_those_before_and_none_after() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (mut host, runs, worker) = pool(dies_at);
            let call = Outcomes::new();
            let jobs = [job(&call, 0, 3), job(&call, 3, 1)];
            host.scheduler.submit(jobs, host.now).expect("taken");
            host.on(Event::Tick);
            host.perform(Action::Listen { place: 0 });
            host.send(&[]);
            let end = worker.join().expect("join");
            host.settle();
            let done = check(&host, &runs, &[&call]);
            assert!(end != End::Done || done == TASKS);
            end != End::Done
        });
    });
}

/// Chunks of one that go to the worker together.
#[test]
fn who_dies_at_a_chunk_has_done_those_before_and_none_after() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (mut host, runs, worker) = pool(dies_at);
            let call = Outcomes::of_chunks(Some(1));
            host.scheduler.submit([job(&call, 0, 4)], host.now).expect("taken");
            host.on(Event::Tick);
            world().wait_for(&runs.is_any);
            host.on(Event::PendingCancelled);
            host.send(&[]);
            let end = worker.join().expect("join");
            host.settle();
            check(&host, &runs, &[&call]);
            end != End::Done
        });
    });
}

/// The pool calls off what is pending while the worker begins it, and gives it one more task.
#[test]
fn what_is_taken_back_is_not_begun() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (mut host, runs, worker) = pool(dies_at);
            let (call, last) = (Outcomes::new(), Outcomes::new());
            host.scheduler.submit([job(&call, 0, 2), job(&call, 2, 1)], host.now).expect("taken");
            host.on(Event::Tick);
            world().wait_for(&runs.is_any);
            host.on(Event::PendingCancelled);
            host.scheduler.submit([job(&last, 3, 1)], host.now).expect("taken");
            host.on(Event::Tick);
            host.send(&[]);
            let end = worker.join().expect("join");
            host.settle();
            check(&host, &runs, &[&call, &last]);
            assert!(end != End::Done || last.of(3).as_deref() == Some("3"));
            end != End::Done
        });
    });
}

/// The pool takes back the tasks of two calls, one of which was cancelled, and gives the worker
/// those of the other anew.
#[test]
fn what_is_given_anew_is_done_once() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (mut host, runs, worker) = pool(dies_at);
            let (kept, cancelled) = (Outcomes::new(), Outcomes::new());
            host.scheduler.submit([job(&cancelled, 0, 1), job(&kept, 1, 3)], host.now).expect("ok");
            host.on(Event::Tick);
            world().wait_for(&runs.is_any);
            cancelled.is_cancelled.store(true, Ordering::SeqCst);
            host.on(Event::Cancelled { call: cancelled.call.id, kills: false });
            host.send(&[]);
            let end = worker.join().expect("join");
            host.settle();
            assert!(runs.of[0].load(Ordering::SeqCst) <= 1);
            let done = check_from(1, &runs, &[&kept]).0;
            assert!(end != End::Done || done == TASKS - 1);
            end != End::Done
        });
    });
}
