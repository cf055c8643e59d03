//! A worker that is given tasks ahead of need, and its pool, which takes them back or buries it:
//! each task is done once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::for_each_death;
use super::ring::Pipe;
use crate::channel::cells::AtomicU64;
use crate::channel::model;
use crate::channel::pipe::ring::{Consumer, Kind, Producer};
use crate::pool::protocol::claim::{self, ClaimHandle};
use crate::pool::protocol::unpublished::Unpublished;
use crate::world::{End, World};

/// The bytes ahead of the answers of a block.
const HEAD: usize = 8;

/// What the two share beside their messages, and how often each task was begun.
struct Slate {
    claim: AtomicU64,
    ahead: AtomicU64,
    ran: [AtomicUsize; 3],
}

impl Slate {
    fn new() -> Arc<Slate> {
        let slate = Slate {
            claim: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            ran: std::array::from_fn(|_| AtomicUsize::new(0)),
        };
        slate.claim.touch();
        slate.ahead.touch();
        Arc::new(slate)
    }

    fn runs(&self) -> [usize; 3] {
        std::array::from_fn(|task| self.ran[task].load(Ordering::SeqCst))
    }
}

/// A worker, in short.
struct Worker {
    pipe: Arc<Pipe>,
    slate: Arc<Slate>,
    answers: Producer,
    begun: u64,
    block: Vec<u8>,
}

impl Worker {
    /// Does tasks that are begun together, if they are to be; the answer of each is its number.
    fn run(&mut self, tasks: &[u8]) -> bool {
        let count = u32::try_from(tasks.len()).expect("few");
        if !claim::begin(&self.slate.claim, count) {
            return false;
        }
        self.begun += u64::from(count);
        self.block = vec![0; HEAD];
        for (before, task) in (1_u16..).zip(tasks) {
            self.slate.ran[usize::from(*task)].fetch_add(1, Ordering::SeqCst);
            let start = self.block.len();
            self.block.push(*task);
            self.answers.write_ahead(self.pipe.ring(), start, &self.block);
            let bytes = u16::try_from(self.block.len()).expect("few");
            Unpublished { mark: self.answers.mark(), count: before, bytes }
                .store(&self.slate.ahead);
        }
        self.block[0] = u8::try_from(count).expect("few");
        self.answers.write_ahead(self.pipe.ring(), 0, &self.block[..HEAD]);
        self.answers.publish(self.pipe.ring(), self.block.len());
        true
    }
}

/// The answers that are published.
fn hear(pipe: &Pipe, consumer: &mut Consumer, onto: &mut Vec<u8>) {
    while let Some((kind, bytes)) = pipe.look(consumer) {
        assert_eq!((kind, bytes.len()), (Kind::Last, HEAD + usize::from(bytes[0])));
        onto.extend_from_slice(&bytes[HEAD..]);
    }
}

/// What was answered, and which tasks are to be given to another; the one between is what the
/// worker failed at.
fn settle(
    pipe: &Pipe,
    slate: &Slate,
    consumer: &mut Consumer,
    answers: &mut Vec<u8>,
    gate: &ClaimHandle,
) -> (u64, bool) {
    let begun = gate.begun(&slate.claim);
    hear(pipe, consumer, answers);
    let ahead = Unpublished::load(&slate.ahead);
    let mut block = Vec::new();
    if ahead.count > 0 && consumer.salvage(pipe.ring(), ahead.mark, ahead.bytes.into(), &mut block)
    {
        answers.extend_from_slice(&block[HEAD..]);
    }
    let answered = answers.len() as u64;
    (answered, begun > answered)
}

#[test]
fn who_dies_at_a_task_has_done_those_before_and_none_after() {
    model(|| {
        for_each_death(2, |dies_at| {
            let world = World::new();
            let (pipe, answers, mut consumer) = Pipe::new(0);
            let slate = Slate::new();
            let victim = {
                let (pipe, slate) = (Arc::clone(&pipe), Arc::clone(&slate));
                world.victim(2, dies_at, move || {
                    let mut worker = Worker { pipe, slate, answers, begun: 0, block: Vec::new() };
                    assert!(worker.run(&[0, 1]) && worker.run(&[2]));
                })
            };
            let mut answers = Vec::new();
            hear(&pipe, &mut consumer, &mut answers);
            let end = victim.join().expect("join");
            let (answered, has_failed) =
                settle(&pipe, &slate, &mut consumer, &mut answers, &ClaimHandle::default());
            assert_eq!(answers, [0, 1, 2][..answers.len()]);
            let runs = slate.runs();
            for (task, ran) in (0..).zip(runs) {
                match task {
                    done if done < answered => {
                        assert_eq!(ran, 1, "task {done} was answered: {runs:?}")
                    }
                    failed if failed == answered && has_failed => assert!(ran <= 1),
                    other => assert_eq!(ran, 0, "task {other} goes to another: {runs:?}"),
                }
            }
            assert!(end != End::Done || (answered == 3 && !has_failed));
            end != End::Done
        });
    });
}

/// The pool takes back what is not begun while the worker begins it, and gives it the last task
/// anew. The worker may die.
#[test]
fn what_is_taken_back_is_not_begun() {
    model(|| {
        for_each_death(2, |dies_at| {
            let world = World::new();
            let (pipe, answers, mut consumer) = Pipe::new(0);
            let (orders, mut order, mut next) = Pipe::new(0);
            let slate = Slate::new();
            let worker = {
                let (pipe, slate, orders) =
                    (Arc::clone(&pipe), Arc::clone(&slate), Arc::clone(&orders));
                world.victim(2, dies_at, move || {
                    let mut worker = Worker { pipe, slate, answers, begun: 0, block: Vec::new() };
                    let _ = (0..3).all(|task| worker.run(&[task]));
                    // Behind what it was given: the message that opens the word, and a task.
                    let (_, message) = orders.pull(&mut next);
                    claim::open(&worker.slate.claim, u16::from(message[0]), worker.begun);
                    if let Some(task) = message.get(1) {
                        assert!(worker.run(&[*task]), "it is open");
                    }
                })
            };
            let mut gate = ClaimHandle::default();
            let (begun, epoch) = gate.close(&slate.claim);
            let mut message = vec![u8::try_from(epoch).expect("the first")];
            message.extend((begun < 3).then_some(2));
            orders.push(&mut order, Kind::Last, &message);
            let end = worker.join().expect("join");
            let mut answers = Vec::new();
            let (answered, has_failed) = settle(&pipe, &slate, &mut consumer, &mut answers, &gate);
            // What it had then: those that it had begun; and, if it was taken back, the last.
            let given: Vec<u8> =
                (0..3).filter(|task| u64::from(*task) < begun || *task == 2).collect();
            assert_eq!(answers, given[..answers.len()]);
            let runs = slate.runs();
            for (task, ran) in (0..).zip(runs) {
                let place = given.iter().position(|given| *given == task).map(|place| place as u64);
                match place {
                    Some(done) if done < answered => {
                        assert_eq!(ran, 1, "task {task} was answered: {runs:?}")
                    }
                    Some(failed) if failed == answered && has_failed => assert!(ran <= 1),
                    _ => assert_eq!(ran, 0, "task {task} goes to another: {runs:?}"),
                }
            }
            // It never came to open the word: what it tried since then does not count.
            let is_closed = slate.claim.load(Ordering::SeqCst) >> 63 != 0;
            assert!(!is_closed || has_failed == (begun > answered));
            assert!(end != End::Done || (answers == given && !has_failed));
            end != End::Done
        });
    });
}
