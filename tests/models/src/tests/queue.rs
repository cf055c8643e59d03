//! Queues: many who put and get, who sleep, who shut it down, of whom any may die at any step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::for_each_death;
use crate::backend::{JoinHandle, explore};
use crate::channel::model;
use crate::channel::queue::core::{QueueCore, ShutDown};
use crate::channel::transport::{RecvTransportError, SendTransportError};
use crate::sys::ipc::socket;
use crate::sys::wait::poll::Deadline;
use crate::world::{End, World};

const UNBOUNDED: u64 = u64::MAX;

fn core() -> Arc<QueueCore> {
    Arc::new(QueueCore::create().expect("create"))
}

fn put(core: &QueueCore, number: u8, most: u64) -> Result<(), SendTransportError> {
    core.put([number; 8][..].into(), &[], most, Deadline::Never)
}

fn get_until(core: &QueueCore, deadline: Deadline) -> Result<u8, RecvTransportError> {
    let mut bytes = Vec::new();
    core.get(&mut bytes, deadline, || Ok(()))?;
    assert!(bytes.len() == 8 && bytes.iter().all(|byte| *byte == bytes[0]), "half a record");
    Ok(bytes[0])
}

fn get(core: &QueueCore) -> Result<u8, RecvTransportError> {
    get_until(core, Deadline::Never)
}

/// What is left in it.
fn rest(core: &QueueCore) -> Vec<u8> {
    std::iter::from_fn(|| get_until(core, Deadline::Now).ok()).collect()
}

/// What processes got.
#[derive(Default)]
struct Got(std::sync::Mutex<Vec<u8>>);

impl Got {
    fn push(&self, number: u8) {
        self.0.lock().expect("no panic").push(number);
    }

    fn sorted(&self, rest: Vec<u8>) -> Vec<u8> {
        let mut all = self.0.lock().expect("no panic").clone();
        all.extend(rest);
        all.sort_unstable();
        all
    }
}

/// One that puts numbers.
fn putter(
    world: &Arc<World>,
    tid: u32,
    dies_at: usize,
    queue: &Arc<QueueCore>,
    numbers: &'static [u8],
) -> JoinHandle<End> {
    let queue = Arc::clone(queue);
    world.victim(tid, dies_at, move || {
        numbers.iter().for_each(|number| put(&queue, *number, UNBOUNDED).expect("put"))
    })
}

/// One that gets until the queue is shut down.
fn getter_until_the_end(
    world: &Arc<World>,
    tid: u32,
    dies_at: usize,
    (queue, got): (&Arc<QueueCore>, &Arc<Got>),
) -> JoinHandle<End> {
    let (queue, got) = (Arc::clone(queue), Arc::clone(got));
    world.victim(tid, dies_at, move || {
        while let Ok(number) = get(&queue) {
            got.push(number);
        }
    })
}

/// One that gets so many.
fn getter(
    world: &Arc<World>,
    tid: u32,
    dies_at: usize,
    (queue, got): (&Arc<QueueCore>, &Arc<Got>),
    count: usize,
) -> JoinHandle<End> {
    let (queue, got) = (Arc::clone(queue), Arc::clone(got));
    world.victim(tid, dies_at, move || {
        (0..count).for_each(|_| got.push(get(&queue).expect("a record")))
    })
}

#[test]
fn what_two_put_comes_once() {
    model(|| {
        explore(2, || {
            let (world, queue) = (World::new(), core());
            let others = [putter(&world, 2, 0, &queue, &[1]), putter(&world, 3, 0, &queue, &[2])];
            let mut got = [get(&queue).expect("a record"), get(&queue).expect("a record")];
            got.sort_unstable();
            assert_eq!(got, [1, 2]);
            assert!(others.into_iter().all(|other| other.join().expect("join") == End::Done));
            assert_eq!(queue.count(), 0);
        });
    });
}

#[test]
fn what_one_puts_comes_to_one_of_two() {
    model(|| {
        explore(2, || {
            let (world, queue, got) = (World::new(), core(), Arc::new(Got::default()));
            let others = [2, 3].map(|tid| getter(&world, tid, 0, (&queue, &got), 1));
            put(&queue, 1, UNBOUNDED).expect("put");
            put(&queue, 2, UNBOUNDED).expect("put");
            assert!(others.into_iter().all(|other| other.join().expect("join") == End::Done));
            assert_eq!(got.sorted(rest(&queue)), [1, 2]);
        });
    });
}

#[test]
fn a_full_queue_is_waited_for() {
    model(|| {
        explore(2, || {
            let (world, queue) = (World::new(), core());
            let other = {
                let queue = Arc::clone(&queue);
                world.process(2, move || {
                    (1..=2).for_each(|number| put(&queue, number, 1).expect("put"))
                })
            };
            assert_eq!((get(&queue).expect("a record"), get(&queue).expect("a record")), (1, 2));
            assert_eq!(other.join().expect("join"), End::Done);
        });
    });
}

/// Whoever sleeps is told of what somebody published that died over telling.
#[test]
fn who_dies_putting_leaves_nobody_asleep() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue, got) = (World::new(), core(), Arc::new(Got::default()));
            let victim = putter(&world, 2, dies_at, &queue, &[1]);
            let other = getter(&world, 3, 0, (&queue, &got), 1);
            let end = victim.join().expect("join");
            // If there is one, the other has to come by it without our help.
            let more = end != End::Done && queue.count() == 0;
            if more {
                put(&queue, 2, UNBOUNDED).expect("put");
            }
            assert_eq!(other.join().expect("join"), End::Done);
            let all = got.sorted(rest(&queue));
            assert!(all == [1] || more && (all == [2] || all == [1, 2]), "{all:?}");
            end != End::Done
        });
    });
}

#[test]
fn who_dies_putting_keeps_nobody_from_it() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue) = (World::new(), core());
            let victim = putter(&world, 2, dies_at, &queue, &[1]);
            let other = putter(&world, 3, 0, &queue, &[2]);
            let first = get(&queue).expect("a record");
            let end = victim.join().expect("join");
            assert_eq!(other.join().expect("join"), End::Done);
            let mut all = rest(&queue);
            all.push(first);
            all.sort_unstable();
            assert!(all == [1, 2] || end != End::Done && all == [2], "{all:?}");
            end != End::Done
        });
    });
}

#[test]
fn who_dies_getting_takes_one_at_most() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue, got) = (World::new(), core(), Arc::new(Got::default()));
            let victim = getter(&world, 2, dies_at, (&queue, &got), 1);
            let other = getter(&world, 3, 0, (&queue, &got), 1);
            put(&queue, 1, UNBOUNDED).expect("put");
            put(&queue, 2, UNBOUNDED).expect("put");
            let end = victim.join().expect("join");
            assert_eq!(other.join().expect("join"), End::Done);
            let all = got.sorted(rest(&queue));
            assert!(all == [1, 2] || end != End::Done && (all == [1] || all == [2]), "{all:?}");
            end != End::Done
        });
    });
}

#[test]
fn who_dies_getting_leaves_nobody_asleep_for_room() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue, got) = (World::new(), core(), Arc::new(Got::default()));
            put(&queue, 1, 1).expect("put");
            let victim = getter(&world, 2, dies_at, (&queue, &got), 1);
            let other = {
                let queue = Arc::clone(&queue);
                world.process(3, move || put(&queue, 2, 1).expect("put"))
            };
            let end = victim.join().expect("join");
            if end != End::Done && got.sorted(Vec::new()).is_empty() {
                // If it had taken it out, the other has to find that without our help.
                while let Ok(1) = get_until(&queue, Deadline::Now) {}
            }
            assert_eq!(other.join().expect("join"), End::Done);
            let all = got.sorted(rest(&queue));
            assert!(all.ends_with(&[2]) || all == [1] || all.is_empty(), "{all:?}");
            end != End::Done
        });
    });
}

/// The second inherits what the first died over, and dies over that, each at every step.
#[test]
#[cfg_attr(miri, ignore = "loom's business: hundreds of runs in one order")]
fn two_who_die_putting_leave_nobody_asleep() {
    /// So many steps of the second for each of the first's.
    const STEPS: usize = 40;
    model(|| {
        for_each_death(0, |number| {
            const LAST: u8 = 9;
            let (first_dies_at, second_dies_at) = (1 + number / STEPS, 1 + number % STEPS);
            let (world, queue) = (World::new(), core());
            let other = {
                let queue = Arc::clone(&queue);
                world.process(3, move || while get(&queue).expect("a record") != LAST {})
            };
            let end = putter(&world, 2, first_dies_at, &queue, &[1]).join().expect("join");
            // The other has got what there was, and sleeps.
            world.settle(2);
            assert_eq!(queue.count(), 0);
            putter(&world, 4, second_dies_at, &queue, &[2]).join().expect("join");
            world.settle(3);
            assert_eq!(queue.count(), 0);
            put(&queue, LAST, UNBOUNDED).expect("put");
            assert_eq!(other.join().expect("join"), End::Done);
            end != End::Done
        });
    });
}

#[test]
fn a_shutdown_tells_all() {
    model(|| {
        explore(2, || {
            let (world, queue) = (World::new(), core());
            put(&queue, 1, UNBOUNDED).expect("put");
            let others = [2, 3].map(|tid| {
                let queue = Arc::clone(&queue);
                world.process(tid, move || match get(&queue) {
                    Ok(1) => assert!(matches!(get(&queue), Err(RecvTransportError::Disconnected))),
                    got => assert!(matches!(got, Err(RecvTransportError::Disconnected)), "{got:?}"),
                })
            });
            queue.shut_down(ShutDown::Put);
            assert!(others.into_iter().all(|other| other.join().expect("join") == End::Done));
            assert!(matches!(put(&queue, 2, UNBOUNDED), Err(SendTransportError::Disconnected)));
            assert_eq!(queue.count(), 0, "what was in it was not got");
        });
    });
}

/// What was put is got, or was not put, whatever comes first.
#[test]
fn a_shutdown_loses_nothing() {
    shut_down_while_one_puts(core, UNBOUNDED);
}

/// One puts, one gets and one shuts the queue down: either the value is got and its putter knows,
/// or neither.
fn shut_down_while_one_puts(make: fn() -> Arc<QueueCore>, most: u64) {
    model(|| {
        explore(2, move || {
            let (world, queue) = (World::new(), make());
            let was_put = Arc::new(AtomicBool::new(false));
            let other = {
                let (queue, was_put) = (Arc::clone(&queue), Arc::clone(&was_put));
                world.process(2, move || match put(&queue, 1, most) {
                    Ok(()) => was_put.store(true, Ordering::SeqCst),
                    error => {
                        assert!(matches!(error, Err(SendTransportError::Disconnected)), "{error:?}")
                    }
                })
            };
            let shutter = {
                let queue = Arc::clone(&queue);
                world.process(3, move || queue.shut_down(ShutDown::Put))
            };
            let got = match get(&queue) {
                Ok(1) => true,
                got => {
                    assert!(matches!(got, Err(RecvTransportError::Disconnected)), "{got:?}");
                    false
                }
            };
            assert_eq!(other.join().expect("join"), End::Done);
            assert_eq!(shutter.join().expect("join"), End::Done);
            assert_eq!(got, was_put.load(Ordering::SeqCst));
        });
    });
}

/// If it was shut down, those who sleep have to hear of it without our help.
fn finish_shutting_down(queue: &QueueCore) {
    if !queue.is_shut_down() {
        queue.shut_down(ShutDown::Put);
    }
}

#[test]
fn who_dies_shutting_down_leaves_nobody_asleep_for_a_record() {
    model(|| {
        for_each_death(2, |dies_at| {
            let (world, queue) = (World::new(), core());
            let other = {
                let queue = Arc::clone(&queue);
                world.process(3, move || {
                    assert!(matches!(get(&queue), Err(RecvTransportError::Disconnected)))
                })
            };
            world.settle(1);
            let victim = {
                let queue = Arc::clone(&queue);
                world.victim(2, dies_at, move || queue.shut_down(ShutDown::Put))
            };
            let end = victim.join().expect("join");
            finish_shutting_down(&queue);
            assert_eq!(other.join().expect("join"), End::Done);
            end != End::Done
        });
    });
}

#[test]
fn who_dies_shutting_down_leaves_nobody_asleep_for_room() {
    model(|| {
        for_each_death(2, |dies_at| {
            let (world, queue) = (World::new(), core());
            put(&queue, 1, 1).expect("put");
            let other = {
                let queue = Arc::clone(&queue);
                world.process(3, move || {
                    assert!(matches!(put(&queue, 2, 1), Err(SendTransportError::Disconnected)))
                })
            };
            world.settle(1);
            let victim = {
                let queue = Arc::clone(&queue);
                world.victim(2, dies_at, move || queue.shut_down(ShutDown::Put))
            };
            let end = victim.join().expect("join");
            finish_shutting_down(&queue);
            assert_eq!(other.join().expect("join"), End::Done);
            end != End::Done
        });
    });
}

/// Whoever polls and finds nothing is told when there is more, though others poll, put and get at
/// the same time.
#[test]
fn who_polls_is_told() {
    model(|| {
        explore(3, || {
            let (world, queue) = (World::new(), core());
            assert!(!queue.arm());
            let was_ready = Arc::new(AtomicBool::new(false));
            let poller = {
                let (queue, was_ready) = (Arc::clone(&queue), Arc::clone(&was_ready));
                world.process(2, move || was_ready.store(queue.arm(), Ordering::SeqCst))
            };
            let other = {
                let queue = Arc::clone(&queue);
                world.process(3, move || {
                    put(&queue, 1, UNBOUNDED).expect("put");
                    get(&queue).expect("a record");
                })
            };
            poller.join().expect("join");
            other.join().expect("join");
            put(&queue, 2, UNBOUNDED).expect("put");
            assert!(
                was_ready.load(Ordering::SeqCst) || socket::is_readable(queue.pollable()),
                "nobody tells"
            );
        });
    });
}

/// If whoever put died over telling it, the next one who puts does.
#[test]
fn who_polls_is_told_in_place_of_the_dead() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue) = (World::new(), core());
            let victim = putter(&world, 2, dies_at, &queue, &[1]);
            let was_ready = queue.arm();
            let end = victim.join().expect("join");
            put(&queue, 2, UNBOUNDED).expect("put");
            assert!(was_ready || socket::is_readable(queue.pollable()), "nobody tells");
            end != End::Done
        });
    });
}

/// A queue that hands over.
fn rendezvous() -> Arc<QueueCore> {
    Arc::new(QueueCore::create_bounded(0).expect("create"))
}

/// One that hands numbers over.
fn hander(
    world: &Arc<World>,
    tid: u32,
    dies_at: usize,
    queue: &Arc<QueueCore>,
    number: u8,
) -> JoinHandle<End> {
    let queue = Arc::clone(queue);
    world.victim(tid, dies_at, move || put(&queue, number, 0).expect("handed over"))
}

#[test]
fn a_rendezvous_hands_over_once() {
    model(|| {
        explore(2, || {
            let (world, queue) = (World::new(), rendezvous());
            let other = hander(&world, 2, 0, &queue, 1);
            assert_eq!(get(&queue).expect("a record"), 1);
            assert_eq!(other.join().expect("join"), End::Done);
            assert_eq!(queue.count(), 0);
        });
    });
}

/// What is taken back is not got, and what is got is not taken back.
#[test]
fn a_rendezvous_that_is_shut_down_hands_over_or_gives_back() {
    shut_down_while_one_puts(rendezvous, 0);
}

/// Whoever gets is not kept waiting by one who died over putting, nor is the next one who puts.
#[test]
fn who_dies_handing_over_keeps_nobody_from_it() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue) = (World::new(), rendezvous());
            let got = Arc::new(Got::default());
            let other = {
                let (queue, got) = (Arc::clone(&queue), Arc::clone(&got));
                world.process(3, move || {
                    while got.0.lock().expect("no panic").last() != Some(&2) {
                        let number = get(&queue).expect("a record");
                        got.push(number);
                    }
                })
            };
            let end = hander(&world, 2, dies_at, &queue, 1).join().expect("join");
            put(&queue, 2, 0).expect("handed over");
            assert_eq!(other.join().expect("join"), End::Done);
            let all = got.sorted(Vec::new());
            assert!(all == [1, 2] || end != End::Done && all == [2], "{all:?}");
            assert!(rest(&queue).is_empty());
            end != End::Done
        });
    });
}

/// Whoever puts is told, or finds another who gets, when the one who was about to get dies.
#[test]
fn who_dies_over_a_hand_over_takes_one_at_most() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue, got) = (World::new(), rendezvous(), Arc::new(Got::default()));
            let [victim, other] = [(2, dies_at), (3, 0)]
                .map(|(tid, dies_at)| getter_until_the_end(&world, tid, dies_at, (&queue, &got)));
            put(&queue, 1, 0).expect("handed over");
            queue.shut_down(ShutDown::Put);
            let end = victim.join().expect("join");
            assert_eq!(other.join().expect("join"), End::Done);
            let all = got.sorted(Vec::new());
            assert!(all == [1] || end != End::Done && all.is_empty(), "{all:?}");
            assert_eq!(queue.count(), 0);
            end != End::Done
        });
    });
}

/// When the time of one who puts is over while another gets, and dies over it, one of the two has the
/// value, or the dead one took it along; never both.
#[test]
fn what_is_taken_back_is_not_got() {
    model(|| {
        for_each_death(1, |dies_at| {
            let (world, queue, got) = (World::new(), rendezvous(), Arc::new(Got::default()));
            let was_put = Arc::new(AtomicBool::new(false));
            let deadline = Deadline::At(1);
            let victim = getter_until_the_end(&world, 2, dies_at, (&queue, &got));
            let putter = {
                let (queue, was_put) = (Arc::clone(&queue), Arc::clone(&was_put));
                world.process(3, move || match queue.put([1; 8][..].into(), &[], 0, deadline) {
                    Ok(()) => was_put.store(true, Ordering::SeqCst),
                    error => assert!(matches!(error, Err(SendTransportError::Full)), "{error:?}"),
                })
            };
            deadline.come();
            assert_eq!(putter.join().expect("join"), End::Done);
            queue.shut_down(ShutDown::Put);
            let end = victim.join().expect("join");
            let was_put = was_put.load(Ordering::SeqCst);
            match &got.sorted(rest(&queue))[..] {
                [] => assert!(!was_put || end != End::Done, "it is lost"),
                all => assert!(was_put && all == [1], "{all:?}"),
            }
            end != End::Done
        });
    });
}

/// Whoever polls for room is told, though others poll, put and get at the same time.
#[test]
fn who_polls_for_room_is_told() {
    model(|| {
        explore(3, || {
            let world = World::new();
            let queue = Arc::new(QueueCore::create_bounded(1).expect("create"));
            put(&queue, 1, 1).expect("put");
            assert!(!queue.arm_room(1));
            let was_ready = Arc::new(AtomicBool::new(false));
            let poller = {
                let (queue, was_ready) = (Arc::clone(&queue), Arc::clone(&was_ready));
                world.process(2, move || was_ready.store(queue.arm_room(1), Ordering::SeqCst))
            };
            assert_eq!(get(&queue).expect("a record"), 1);
            assert_eq!(poller.join().expect("join"), End::Done);
            assert!(
                was_ready.load(Ordering::SeqCst) || socket::is_readable(queue.room_pollable()),
                "nobody tells"
            );
        });
    });
}
