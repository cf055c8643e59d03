//! Pools whose workers are elsewhere, without a network: the hands are those of a station in this
//! very process, which runs the tasks in a pool of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use multiproc::elsewhere::{Bell, Charter, Hands, Memory, Report};
use multiproc::station::{Chunk, PassOn, Standing, Station};
use multiproc::{Failure, LimitReached, Pool, Retry, Signal, Workplace};

/// A minute: longer than any test waits for what is not to happen.
const MINUTE: Duration = Duration::from_secs(60);

/// A node in this process.
#[derive(Clone)]
struct Node(Arc<Inner>);

struct Inner {
    bell: Bell,
    hands: usize,
    station: Mutex<Option<Station>>,
    posts: Mutex<Posts>,
}

#[derive(Default)]
struct Posts {
    /// Places that want a worker.
    wanted: VecDeque<usize>,
    /// What each hand is for and has.
    hands: Vec<Post>,
    /// True if the node takes no more, and says nothing.
    is_lost: bool,
}

#[derive(Default)]
struct Post {
    place: Option<usize>,
    waiting: VecDeque<(Vec<u8>, Vec<Memory>)>,
    running: Option<Chunk>,
    begun: u64,
}

impl Node {
    fn new(hands: usize) -> Node {
        let bell = Bell::new();
        let (station, posts) = (Mutex::default(), Mutex::default());
        Node(Arc::new(Inner { bell, hands, station, posts }))
    }

    fn posts(&self) -> MutexGuard<'_, Posts> {
        self.0.posts.lock().expect("posts")
    }

    /// Gives wanting places the hands that are free. Called without the pool's lock.
    fn offer(&self) {
        let mut started = Vec::new();
        {
            let mut posts = self.posts();
            if posts.is_lost {
                return;
            }
            let Posts { wanted, hands, .. } = &mut *posts;
            for (number, hand) in hands.iter_mut().enumerate().filter(|(_, h)| h.place.is_none()) {
                let Some(place) = wanted.pop_front() else { break };
                *hand = Post { place: Some(place), ..Post::default() };
                started.push(Report::Started { place, name: format!("near:{number}"), pid: 1 });
            }
        }
        self.0.bell.report(started);
    }

    /// Has a hand begin its next chunk.
    fn begin(&self, number: usize, posts: &mut Posts) {
        let hand = &mut posts.hands[number];
        if hand.running.is_some() {
            return;
        }
        let Some(place) = hand.place else { return };
        let Some((request, memories)) = hand.waiting.pop_front() else { return };
        let node = self.clone();
        let said = move |messages, is_last: bool, standing: Standing| {
            let begun = {
                let mut posts = node.posts();
                if posts.is_lost {
                    return;
                }
                if is_last {
                    posts.hands[number].running = None;
                    node.begin(number, &mut posts);
                }
                posts.hands[number].begun
            };
            let busy = standing.busy;
            node.0.bell.report(vec![Report::Heard { place, begun, busy, messages }]);
        };
        let station = self.0.station.lock().expect("station");
        let chunk = station.as_ref().expect("open").run(number, &request, &memories, said);
        let chunk = chunk.expect("runs");
        hand.begun += u64::from(chunk.count());
        hand.running = Some(chunk);
    }

    fn hand_of(&self, posts: &Posts, place: usize) -> Option<usize> {
        posts.hands.iter().position(|hand| hand.place == Some(place))
    }

    /// Is gone, without a word; the pool is told as it would be by whoever noticed.
    fn lose(&self) {
        let lost: Vec<usize> = {
            let mut posts = self.posts();
            posts.is_lost = true;
            posts.hands.iter_mut().filter_map(|hand| hand.place.take()).collect()
        };
        let why = "no sign of life".to_owned();
        let ended = |place| Report::Ended { place, begun: None, is_lost: true, why: why.clone() };
        self.0.bell.report(lost.into_iter().map(ended).collect());
    }

    /// Is back, with free hands.
    fn come_back(&self) {
        {
            let mut posts = self.posts();
            for hand in &mut posts.hands {
                if let Some(chunk) = hand.running.take() {
                    chunk.kill();
                }
                *hand = Post::default();
            }
            posts.is_lost = false;
        }
        self.offer();
    }
}

/// Nobody hears what tasks tell of spans and events.
struct Unheard;

impl PassOn for Unheard {
    fn pass_on(&self, _: usize, _: u64, _: Vec<u8>) {}

    fn has_room(&self) -> bool {
        true
    }
}

impl Workplace for Node {
    fn open(&self, charter: Charter, _places: usize) -> Result<Box<dyn Hands>, String> {
        let station = Station::open(&charter, self.0.hands, None, Arc::new(Unheard))?;
        station.prove()?;
        *self.0.station.lock().expect("station") = Some(station);
        self.posts().hands.resize_with(self.0.hands, Post::default);
        Ok(Box::new(self.clone()))
    }
}

/// Reports are made by a thread of their own, as those of a network would be.
fn later(f: impl FnOnce() + Send + 'static) {
    std::thread::spawn(f);
}

impl Hands for Node {
    fn bell(&self) -> Bell {
        self.0.bell.clone()
    }

    fn want(&mut self, place: usize) {
        self.posts().wanted.push_back(place);
    }

    fn give(&mut self, place: usize, request: Vec<u8>, memories: Vec<Memory>) {
        let mut posts = self.posts();
        let Some(number) = self.hand_of(&posts, place) else { return };
        posts.hands[number].waiting.push_back((request, memories));
        self.begin(number, &mut posts);
    }

    fn recall(&mut self, place: usize) {
        let mut posts = self.posts();
        let Some(number) = self.hand_of(&posts, place) else { return };
        posts.hands[number].waiting.clear();
        let (node, begun) = (self.clone(), posts.hands[number].begun);
        later(move || {
            node.0.bell.report(vec![Report::Recalled { place, begun }]);
        });
    }

    fn release(&mut self, place: usize) {
        let mut posts = self.posts();
        let Some(number) = self.hand_of(&posts, place) else { return };
        let hand = std::mem::take(&mut posts.hands[number]);
        hand.running.inspect(Chunk::kill);
    }

    fn kill(&mut self, place: usize) {
        let mut posts = self.posts();
        let Some(number) = self.hand_of(&posts, place) else { return };
        let hand = std::mem::take(&mut posts.hands[number]);
        hand.running.inspect(Chunk::kill);
        let (node, begun) = (self.clone(), Some(hand.begun));
        later(move || {
            let why = "was killed".to_owned();
            node.0.bell.report(vec![Report::Ended { place, begun, is_lost: false, why }]);
            node.offer();
        });
    }

    fn flush(&mut self) {
        let node = self.clone();
        later(move || node.offer());
    }
}

fn pool(hands: usize) -> (Node, Pool) {
    let node = Node::new(hands);
    let pool = Pool::builder().processes(8).on(&node).build().expect("pool");
    (node, pool)
}

/// Waits until `is_so` holds.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < MINUTE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A file that tasks and tests tell each other by.
struct Mark(std::path::PathBuf);

impl Mark {
    fn new(name: &str) -> Mark {
        let mark = Mark(std::env::temp_dir().join(format!("{name}-{}", std::process::id())));
        let _ = std::fs::remove_file(&mark.0);
        mark
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }

    fn runs(&self) -> usize {
        std::fs::read(&self.0).map_or(0, |bytes| bytes.len())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Says in a file that it ran, then sleeps.
fn sleep_long(mark: String) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(mark).expect("mark");
    file.write_all(b"x").expect("written");
    drop(file);
    std::thread::sleep(MINUTE);
}

#[test]
fn values_come_back_in_order() {
    let (_node, pool) = pool(2);
    assert_eq!(pool.apply(u32::pow, (2, 3)).expect("value"), 8);
    let squares = pool.map(|n: u64| n * n, 0..20_000).expect("values");
    assert!(squares.iter().copied().eq((0..20_000).map(|n| n * n)));
    let long = pool.apply(|n: usize| vec![7_u8; n], (3 << 20,)).expect("value");
    assert_eq!(long.len(), 3 << 20);
    assert_eq!(pool.stats().tasks(), 20_002);
    pool.close();
    pool.join().expect("joined");
}

#[test]
fn failures_are_what_they_would_be_here() {
    fn fail(how: u32) {
        match how {
            0 => panic!("no luck"),
            1 => std::process::exit(3),
            2 => std::process::abort(),
            _ => std::thread::sleep(MINUTE),
        }
    }
    let (_node, pool) = pool(2);
    let error = pool.apply(fail, (0,)).unwrap_err();
    assert_eq!(error.panic().map(|panic| panic.message()), Some("no luck"));
    let error = pool.apply(fail, (1,)).unwrap_err();
    assert!(matches!(error.failure(), Failure::Exited(3)), "{error}");
    let error = pool.apply(fail, (2,)).unwrap_err();
    assert_eq!(error.signal(), Some(Signal::ABRT));
    let deadline = Duration::from_millis(50);
    let error = pool.tasks().deadline(deadline).apply(fail, (3,)).unwrap_err();
    assert_eq!(error.limit(), Some(&LimitReached::Deadline(deadline)));
    assert!(error.to_string().contains("near:"), "names the worker: {error}");
    // In the middle of a chunk, others keep their values.
    fn odd(n: u32) -> u32 {
        if n == 5 {
            std::process::abort()
        }
        n
    }
    let outcomes: Vec<_> = pool.tasks().chunk_size(10).imap(odd, 0..10).collect();
    for (n, outcome) in (0..).zip(&outcomes) {
        assert_eq!(outcome.as_ref().ok(), (n != 5).then_some(&n), "{outcome:?}");
    }
    let error = pool.tasks().retry(Retry::times(2)).apply(fail, (1,)).unwrap_err();
    assert_eq!(error.attempts(), 3);
}

#[test]
fn what_is_cancelled_does_not_run_on() {
    let (_node, pool) = pool(1);
    let mark = Mark::new("cancelled");
    let running = pool.submit(sleep_long, (mark.text(),));
    let waiting = pool.submit(sleep_long, (mark.text(),));
    wait_for("it begins", || mark.runs() == 1);
    assert!(waiting.cancel());
    assert!(running.cancel());
    assert!(running.join().unwrap_err().is_cancelled());
    assert!(waiting.join().unwrap_err().is_cancelled());
    assert_eq!(pool.apply(u32::pow, (2, 2)).expect("value"), 4);
    assert_eq!(mark.runs(), 1);
}

#[test]
fn a_pool_ends_while_tasks_run() {
    let (_node, pool) = pool(2);
    let mark = Mark::new("ended");
    let running = pool.submit(sleep_long, (mark.text(),));
    wait_for("it begins", || mark.runs() == 1);
    pool.terminate();
    pool.join().expect("joined");
    assert!(running.join().unwrap_err().is_cancelled());
}

#[test]
fn what_a_lost_node_had_is_run_again() {
    let (node, pool) = pool(1);
    let mark = Mark::new("again");
    let running = pool.submit(sleep_long, (mark.text(),));
    let behind = pool.submit(u32::pow, (3, 2));
    for run in 1..=3 {
        wait_for("it begins", || mark.runs() == run);
        node.lose();
        node.come_back();
    }
    wait_for("it begins", || mark.runs() == 4);
    node.lose();
    let error = running.join().unwrap_err();
    assert!(matches!(error.failure(), Failure::NodeLost(_)), "{error}");
    assert!(error.to_string().contains("no sign of life"), "{error}");
    assert_eq!(error.attempts(), 4);
    node.come_back();
    assert_eq!(behind.join().expect("value"), 9);
}

#[test]
fn what_is_to_run_once_runs_once() {
    let (node, pool) = pool(1);
    let mark = Mark::new("once");
    let running = pool.tasks().once().submit(sleep_long, (mark.text(),));
    wait_for("it begins", || mark.runs() == 1);
    node.lose();
    let error = running.join().unwrap_err();
    assert!(matches!(error.failure(), Failure::NodeLost(_)), "{error}");
    node.come_back();
    assert_eq!(pool.apply(u32::pow, (2, 2)).expect("value"), 4);
    assert_eq!(mark.runs(), 1);
}

#[test]
fn tasks_wait_for_workers() {
    let (node, pool) = pool(1);
    assert_eq!(pool.apply(u32::pow, (2, 2)).expect("value"), 4);
    node.lose();
    let task = pool.submit(u32::pow, (2, 3));
    assert!(!task.wait(Duration::from_millis(20)));
    node.come_back();
    assert_eq!(task.join().expect("value"), 8);
}

#[test]
fn a_shared_slice_goes_along() {
    let (_node, pool) = pool(2);
    let numbers = multiproc::SharedSlice::from_slice(&[1_u64, 2, 3, 4]).expect("slice");
    let sum = |n: u64, of: multiproc::SharedSlice<u64>| n + of.iter().sum::<u64>();
    assert_eq!(pool.apply(sum, (5, numbers.clone())).expect("value"), 15);
    assert_eq!(pool.apply(sum, (5, numbers.slice(1..2))).expect("value"), 7);
    let tasks: Vec<_> = (0..20).map(|n| pool.submit(sum, (n, numbers.clone()))).collect();
    for (n, task) in (0..20).zip(tasks) {
        assert_eq!(task.join().expect("value"), n + 10);
    }
}

#[test]
fn descriptors_stay_on_their_machine() {
    let (_node, pool) = pool(1);
    let (sender, _receiver) = multiproc::pipe::<u32>().expect("pipe");
    let error = pool.apply(|_: multiproc::Sender<u32>| (), (sender,)).unwrap_err().to_string();
    assert!(error.contains("this machine: a"), "{error}");
    let lock = multiproc::Lock::new().expect("lock");
    let error = pool.apply(|_lock: multiproc::Lock| (), (lock,)).unwrap_err();
    assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
    assert!(error.to_string().contains("this machine: shared memory that can change"), "{error}");
    let error = pool.apply(|| multiproc::Lock::new().expect("lock"), ()).map(drop).unwrap_err();
    assert!(matches!(error.failure(), Failure::BadResult(_)), "{error}");
    assert!(error.to_string().contains("cannot leave their machine"), "{error}");
}

#[test]
fn a_broadcast_reaches_each_worker_that_is_there() {
    let (_node, pool) = pool(3);
    wait_for("they come", || pool.stats().workers.iter().filter(|w| w.pid.is_some()).count() == 3);
    let mut ids = pool.broadcast(multiproc::worker_id, ()).expect("values");
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2), Some(3)]);
}
