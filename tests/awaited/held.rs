//! What people met with other futures of processes, channels and locks: see
//! `docs/outside-reports.md`.

use std::future::IntoFuture;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use futures_lite::future::{self, block_on, poll_once};
use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt, stream};
use multiproc::{
    Async, Lock, Pool, Process, Queue, Receiver, Semaphore, StartMethod, Stdio, WaitSet,
    connection, pipe, pipe_with_capacity,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::common::{Hoard, react, wait_for};
use crate::executors::under_each;
use crate::support::{Test, state_of, until};
use crate::tests;

pub(crate) const TESTS: &[Test] = tests![
    who_is_in_line_and_not_polled_holds_up_nobody,
    who_is_forgotten_in_line_holds_up_nobody,
    the_end_of_a_reader_is_seen_by_who_writes,
    waiting_for_an_exit_leaves_the_standard_input_alone,
    ends_are_seen_where_their_signal_is_ignored,
    ends_are_seen_where_somebody_else_took_the_status,
    many_wait_for_one_end,
    an_end_outlives_the_runtime_that_awaited_it,
    a_future_moves_from_waker_to_waker,
    what_has_ended_stays_so,
    without_descriptors_nothing_hangs_or_is_lost,
    a_member_taken_out_of_a_set_is_told_of_no_more,
    a_runtime_that_is_dropped_takes_its_children_along,
    tasks_end_when_their_pool_does,
    what_does_not_cross_is_an_error_of_its_task,
];

/// An outcome that is waited for as long as nothing hangs.
async fn soon<T>(outcome: impl IntoFuture<Output = T>) -> T {
    let late = async {
        async_io::Timer::after(Duration::from_secs(60)).await;
        panic!("it never came");
    };
    future::or(outcome.into_future(), late).await
}

fn who_is_in_line_and_not_polled_holds_up_nobody() {
    block_on(async {
        let lock = Lock::new().expect("lock");
        let guard = lock.acquire().expect("free");
        let (mut first, mut second) =
            (Box::pin(lock.acquire_async()), Box::pin(lock.acquire_async()));
        assert!(poll_once(&mut first).await.is_none());
        assert!(poll_once(&mut second).await.is_none());
        drop(guard);
        // The first is there all the time, in line, and nobody polls it.
        drop(soon(second).await.expect("acquired"));
        drop(soon(first).await.expect("acquired"));
        let semaphore = Semaphore::new(0).expect("semaphore");
        let (mut first, mut second) =
            (Box::pin(semaphore.acquire_async()), Box::pin(semaphore.acquire_async()));
        assert!(poll_once(&mut first).await.is_none());
        assert!(poll_once(&mut second).await.is_none());
        semaphore.release();
        std::mem::forget(soon(second).await.expect("acquired"));
        semaphore.release();
        drop(soon(first).await.expect("acquired"));
    });
}

fn who_is_forgotten_in_line_holds_up_nobody() {
    let lock: &Lock = Box::leak(Box::new(Lock::new().expect("lock")));
    let guard = lock.acquire().expect("free");
    block_on(async {
        for polls in 0..3 {
            let mut forgotten = Box::pin(lock.acquire_async());
            for _ in 0..polls {
                assert!(poll_once(&mut forgotten).await.is_none());
            }
            std::mem::forget(forgotten);
            let mut dropped = Box::pin(lock.acquire_async());
            for _ in 0..polls {
                assert!(poll_once(&mut dropped).await.is_none());
            }
        }
        drop(guard);
        for _ in 0..10 {
            drop(soon(lock.acquire_async()).await.expect("acquired"));
        }
    });
    assert!(!lock.locked());
}

fn the_end_of_a_reader_is_seen_by_who_writes() {
    under_each(|| async {
        let sleeps = || std::thread::sleep(Duration::from_secs(600));
        let process = Process::new(sleeps, ()).stdin(Stdio::piped()).kill_on_drop(true);
        let mut child = process.start().expect("start");
        let mut input = Async::new(child.take_stdin().expect("piped"));
        let bytes = vec![0; 1 << 20];
        let mut writing = Box::pin(input.write_all(&bytes));
        assert!(poll_once(&mut writing).await.is_none());
        child.kill().expect("kill");
        let error = soon(writing).await.expect_err("nobody reads");
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    });
}

fn count_input() -> u64 {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("copy")
}

fn waiting_for_an_exit_leaves_the_standard_input_alone() {
    under_each(|| async {
        let process = Process::new(count_input, ()).stdin(Stdio::piped());
        let mut child = process.start().expect("start");
        let mut exited = Box::pin(child.exited());
        assert!(poll_once(&mut exited).await.is_none());
        let mut input = Async::new(child.take_stdin().expect("still there"));
        input.write_all(b"abc").await.expect("write");
        assert!(poll_once(&mut exited).await.is_none());
        drop(input);
        assert_eq!(soon(exited).await.expect("exited"), 0);
        assert_eq!(soon(child).await.expect("join"), 3);
        // To wait for the result closes what nobody took.
        let child = Process::new(count_input, ()).stdin(Stdio::piped()).start().expect("start");
        assert_eq!(soon(&child).await.expect("join"), 0);
    });
}

const METHODS: [StartMethod; 2] = [StartMethod::Forkserver, StartMethod::Spawn];

fn aborts() {
    std::process::abort();
}

fn ends_are_seen_where_their_signal_is_ignored() {
    react(libc::SIGCHLD, libc::SIG_IGN);
    block_on(async {
        for method in METHODS {
            let child = Process::new(|| 7, ()).start_method(method).start().expect("start");
            assert_eq!(soon(child).await.expect("join"), 7);
            let child = Process::new(aborts, ()).start_method(method).start().expect("start");
            let error = soon(child).await.expect_err("it aborts");
            assert!(error.to_string().contains("SIGABRT"), "{error}");
        }
        let pool = Pool::new(1).expect("pool");
        assert_eq!(soon(pool.submit(|| 7, ())).await.expect("task"), 7);
    });
}

fn ends_are_seen_where_somebody_else_took_the_status() {
    block_on(async {
        let start = |code: i32| {
            let leave = |code| -> () { std::process::exit(code) };
            Process::new(leave, (code,)).start_method(StartMethod::Spawn).start().expect("start")
        };
        let (good, bad) = (start(0), start(3));
        for pid in [good.pid(), bad.pid()] {
            wait_for(pid);
        }
        for child in [good, bad] {
            // It has an outcome, whatever can still be known of it.
            let _ = soon(child.exited()).await;
            let _ = soon(child).await;
        }
    });
}

fn many_wait_for_one_end() {
    under_each(|| async {
        let reads = || {
            count_input();
            3
        };
        let mut child = Process::new(reads, ()).stdin(Stdio::piped()).start().expect("start");
        let input = child.take_stdin();
        let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(child.handle().exited())).collect();
        for exited in &mut waiting {
            assert!(poll_once(exited).await.is_none());
        }
        let handle = child.handle();
        let thread = std::thread::spawn(move || handle.join());
        drop(input);
        assert_eq!(soon(&child).await.expect("join"), 3);
        for exited in waiting {
            assert_eq!(soon(exited).await.expect("exited"), 0);
        }
        thread.join().expect("no panic").expect("join");
    });
}

fn an_end_outlives_the_runtime_that_awaited_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let (mut sender, receiver) = pipe().expect("pipe");
    let mut receiver = Async::new(receiver);
    for number in 0..20 {
        let looked = runtime().block_on(poll_once(receiver.recv()));
        assert!(looked.is_none());
        sender.send(number).expect("send");
        let got = match number % 3 {
            0 => runtime().block_on(soon(receiver.recv())),
            1 => smol::block_on(soon(receiver.recv())),
            _ => std::thread::scope(|scope| {
                scope.spawn(|| block_on(soon(receiver.recv()))).join().expect("no panic")
            }),
        };
        assert_eq!(got.expect("recv"), number);
    }
}

/// Wakes nobody, and says so.
struct Lost;

impl Wake for Lost {
    fn wake(self: Arc<Self>) {}
}

/// Polls once with a waker that leads nowhere, then waits for the outcome with another.
async fn moved<F: Future>(future: F, then: impl FnOnce()) -> F::Output {
    let mut future = Box::pin(future);
    let waker: Waker = Arc::new(Lost).into();
    let polled = future.as_mut().poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    let mut then = Some(then);
    soon(future::poll_fn(move |context| {
        let polled = future.as_mut().poll(context);
        if let Some(then) = then.take() {
            then();
        }
        polled
    }))
    .await
}

fn a_future_moves_from_waker_to_waker() {
    under_each(|| async {
        let (mut sender, receiver) = pipe().expect("pipe");
        let mut receiver = Async::new(receiver);
        let send = || sender.send(1).expect("send");
        assert_eq!(moved(receiver.recv(), send).await.expect("recv"), 1);
        let (sender, mut receiver) = pipe_with_capacity(4096).expect("pipe");
        let mut sender = Async::new(sender);
        while let Some(sent) = poll_once(sender.send(vec![0u8; 200])).await {
            sent.expect("send");
        }
        let take = || while receiver.try_recv().is_ok() {};
        moved(sender.send(vec![1; 200]), take).await.expect("send");
        let queue = Async::new(Queue::bounded(1).expect("queue"));
        let put = || queue.get_ref().put(1).expect("put");
        assert_eq!(moved(queue.get(), put).await.expect("get"), 1);
        queue.put(2).await.expect("put");
        let get = || assert_eq!(queue.get_ref().get().expect("get"), 2);
        moved(queue.put(3), get).await.expect("put");
        let mut child = Process::new(count_input, ()).stdin(Stdio::piped()).start().expect("start");
        let input = child.take_stdin();
        assert_eq!(moved(child.into_future(), || drop(input)).await.expect("join"), 0);
        let pool = Pool::new(1).expect("pool");
        let (mut sender, receiver) = pipe::<u32>().expect("pipe");
        let task = pool.submit(|mut receiver: Receiver<u32>| receiver.recv().is_ok(), (receiver,));
        assert!(moved(task, || sender.send(1).expect("send")).await.expect("task"));
    });
    let lock = Lock::new().expect("lock");
    let guard = lock.acquire().expect("free");
    drop(block_on(moved(lock.acquire_async(), || drop(guard))).expect("acquired"));
}

fn what_has_ended_stays_so() {
    under_each(|| async {
        let (sender, receiver) = pipe::<u32>().expect("pipe");
        drop(sender);
        let (near, far) = connection::<u32, u32>().expect("connection");
        drop(far);
        let (bytes, far) = connection::<u32, u32>().expect("connection");
        drop(far);
        let pool = Pool::new(1).expect("pool");
        let (mut receiver, mut near) = (Async::new(receiver), Async::new(near));
        let mut bytes = Async::new(bytes).into_byte_stream();
        let mut outcomes = pool.tasks().stream(|n: u32| n, stream::iter([7]));
        assert_eq!(soon(outcomes.next()).await.expect("one").expect("task"), 7);
        for _ in 0..3 {
            assert!(soon(receiver.next()).await.is_none());
            assert!(soon(near.next()).await.is_none());
            assert!(soon(near.send(1)).await.is_err());
            assert!(soon(outcomes.next()).await.is_none());
            assert_eq!(soon(bytes.read(&mut [0; 4])).await.expect("read"), 0);
        }
        let mut none = pool.tasks().stream(|n: u32| n, stream::iter([]));
        assert!(soon(none.next()).await.is_none());
        assert!(soon(none.next()).await.is_none());
    });
}

fn without_descriptors_nothing_hangs_or_is_lost() {
    let (mut sender, receiver) = pipe::<u32>().expect("pipe");
    let (mut known_sender, known) = pipe::<u32>().expect("pipe");
    let (mut receiver, mut known) = (Async::new(receiver), Async::new(known));
    let queue = Async::new(Queue::<u32>::new().expect("queue"));
    block_on(async {
        assert!(poll_once(known.recv()).await.is_none());
        let mut child = Process::new(count_input, ()).stdin(Stdio::piped()).start().expect("start");
        let input = child.take_stdin();
        let files = Hoard::all_but(0);
        assert!(soon(receiver.recv()).await.is_err());
        assert!(soon(queue.get()).await.is_err());
        let _ = poll_once((&child).into_future()).await;
        drop(files);
        sender.send(1).expect("send");
        known_sender.send(2).expect("send");
        queue.get_ref().put(3).expect("put");
        assert_eq!(soon(receiver.recv()).await.expect("recv"), 1);
        assert_eq!(soon(known.recv()).await.expect("recv"), 2);
        assert_eq!(soon(queue.get()).await.expect("get"), 3);
        drop(input);
        assert_eq!(soon(child).await.expect("join"), 0);
    });
}

fn a_member_taken_out_of_a_set_is_told_of_no_more() {
    under_each(|| async {
        let mut set = Async::new(WaitSet::new().expect("set"));
        let [shared, other] = [(); 2].map(|()| Queue::<u8>::new().expect("queue"));
        // The same thing twice, with two descriptors of one open file.
        for (token, queue) in [(1, &shared), (2, &shared), (3, &other)] {
            set.get_mut().add(token, queue.clone()).expect("add");
        }
        assert!(poll_once(set.wait()).await.is_none());
        drop(set.get_mut().remove(1));
        shared.put(1).expect("put");
        assert_eq!(soon(set.wait()).await.expect("wait"), [2]);
        drop(set.get_mut().remove(2));
        assert!(poll_once(set.wait()).await.is_none());
        other.put(1).expect("put");
        assert_eq!(soon(set.wait()).await.expect("wait"), [3]);
        // All of many that are ready have their turn.
        for token in 10..200 {
            let queue = Queue::new().expect("queue");
            queue.put(0).expect("put");
            set.get_mut().add(token, queue).expect("add");
        }
        let mut told = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            told.insert(soon(set.next()).await.expect("one").expect("wait"));
        }
        assert_eq!(told.len(), 191);
    });
}

fn a_runtime_that_is_dropped_takes_its_children_along() {
    let sleeps = || std::thread::sleep(Duration::from_secs(600));
    for method in METHODS {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("runtime");
        let pids: Vec<u32> = (0..4)
            .map(|_| {
                let process = Process::new(sleeps, ()).start_method(method).kill_on_drop(true);
                let child = process.start().expect("start");
                let pid = child.pid();
                drop(runtime.spawn(child.into_future()));
                pid
            })
            .collect();
        drop(runtime);
        until("no zombie is left", || pids.iter().all(|pid| state_of(*pid).is_none()));
    }
}

fn tasks_end_when_their_pool_does() {
    fn nap(milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    under_each(|| async {
        let pool = Pool::new(1).expect("pool");
        // Cancelled at once, which must not be missed by who waits for the end.
        for _ in 0..20 {
            pool.submit(nap, (0,)).cancel();
        }
        for _ in 0..3 {
            let mut task = pool.submit(nap, (600_000,)).cancel_on_drop();
            assert!(poll_once(&mut task).await.is_none());
        }
        soon(pool.submit(nap, (0,))).await.expect("the worker is free");
        let tasks: Vec<_> = (0..5).map(|_| pool.submit(nap, (600_000,))).collect();
        let map = pool.tasks().map_async(nap, [600_000; 3]);
        pool.cancel_pending();
        pool.terminate();
        for task in tasks {
            soon(task).await.expect_err("it did not run");
        }
        let _ = soon(map).await;
        assert!(pool.join_timeout(Duration::from_secs(60)).expect("join"));
    });
}

/// A number of which some cannot be encoded, decoded, or survived.
#[derive(Debug)]
struct Difficult(u32);

impl Serialize for Difficult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            2 => Err(ser::Error::custom("it does not want to leave")),
            _ => serializer.serialize_u32(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Difficult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Difficult, D::Error> {
        match u32::deserialize(deserializer)? {
            3 => Err(de::Error::custom("it does not want to arrive")),
            4 if multiproc::current_process().name() != "MainProcess" => std::process::abort(),
            number => Ok(Difficult(number)),
        }
    }
}

fn what_does_not_cross_is_an_error_of_its_task() {
    under_each(|| async {
        let pool = Pool::new(2).expect("pool");
        let inputs = stream::iter([1, 2, 3, 4, 5].map(Difficult));
        let outcomes = pool.tasks().chunk_size(1).stream(|number: Difficult| number.0, inputs);
        let outcomes: Vec<_> = soon(outcomes.collect()).await;
        let came: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(came, [Some(&1), None, None, None, Some(&5)]);
        for number in [2, 3] {
            soon(pool.submit(Difficult, (number,))).await.expect_err("it does not cross");
        }
        assert_eq!(soon(pool.submit(|| 7, ())).await.expect("the pool goes on"), 7);
    });
}
