//! Futures of channels, processes and sets, under each kind of executor, and dropped at each poll.

mod support;

#[path = "awaited/closed.rs"]
mod closed;
#[path = "misfortune/common.rs"]
mod common;
#[path = "awaited/dropped.rs"]
mod dropped;
#[path = "awaited/executors.rs"]
mod executors;
#[path = "awaited/held.rs"]
mod held;
#[path = "awaited/tokio_fd.rs"]
mod tokio_fd;
#[path = "awaited/unblocked.rs"]
mod unblocked;

use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use multiproc::{
    Address, Async, Client, Connection, Failure, JoinableQueue, LimitReached, Listener, Pool,
    Process, Queue, Receiver, Sender, StartMethod, Stdio, WaitSet, connection,
    connection_with_capacity, current_process, pipe, pipe_with_capacity,
};

use executors::under_each;

fn main() {
    support::run(
        &[TESTS, closed::TESTS, dropped::TESTS, held::TESTS, tokio_fd::TESTS, unblocked::TESTS]
            .concat(),
    );
}

const TESTS: &[support::Test] = tests![
    values_cross_pipes,
    values_of_any_length_cross_pipes,
    both_ways_at_once,
    messages_over_sockets,
    queues_are_shared_by_tasks,
    queues_of_jobs,
    processes_are_awaited,
    a_deadline_is_seen_to_by_who_awaits,
    many_processes_at_once,
    connections_are_accepted,
    sets_are_streams,
    standard_streams,
    streams_of_bytes,
    tasks_of_a_pool,
    streams_of_tasks,
    a_stream_of_tasks_pulls_no_more_than_it_needs,
    the_executor_goes_on,
    no_reactor_in_a_forked_copy,
    what_is_done_is_seen_without_a_reactor,
];

/// Sends back what it receives, until the end.
fn echo(mut receiver: Receiver<String>, mut sender: Sender<String>) {
    for text in receiver.iter() {
        sender.send(text.expect("text")).expect("send");
    }
}

fn values_cross_pipes() {
    under_each(|| async {
        let (sender, theirs) = pipe().expect("pipe");
        let (back, receiver) = pipe().expect("pipe");
        let child = Process::new(echo, (theirs, back)).start().expect("start");
        let (mut sender, mut receiver) = (Async::new(sender), Async::new(receiver));
        for round in 0..200 {
            sender.send(format!("round {round}")).await.expect("send");
            assert_eq!(receiver.recv().await.expect("recv"), format!("round {round}"));
        }
        drop(sender);
        assert!(receiver.recv().await.unwrap_err().is_disconnected());
        child.await.expect("join");
    });
}

fn values_of_any_length_cross_pipes() {
    under_each(|| async {
        let (sender, theirs) = pipe_with_capacity(4096).expect("pipe");
        let (back, receiver) = pipe_with_capacity(1 << 16).expect("pipe");
        let child = Process::new(echo, (theirs, back)).start().expect("start");
        let (mut sender, mut receiver) = (Async::new(sender), Async::new(receiver));
        for length in [0, 1, 511, 512, 4000, 5000, 100_000, 3 << 20] {
            let text = "x".repeat(length);
            sender.send(text.clone()).await.expect("send");
            assert!(receiver.recv().await.expect("recv") == text, "length {length}");
        }
        drop((sender, receiver));
        child.await.expect("join");
    });
}

fn both_ways_at_once() {
    fn reflect(mut end: Connection<Vec<u64>>) {
        while let Ok(values) = end.recv() {
            end.send(values).expect("send");
        }
    }
    under_each(|| async {
        let (near, far) = connection_with_capacity(8192).expect("connection");
        let child = Process::new(reflect, (far,)).start().expect("start");
        let (mut sink, stream) = StreamExt::split(Async::new(near));
        let sent = async move {
            for round in 0..500_u64 {
                sink.send(vec![round; (round % 700) as usize]).await.expect("send");
            }
            sink
        };
        let received = async move {
            let mut stream = stream.take(500);
            let mut round = 0_u64;
            while let Some(values) = stream.next().await {
                assert_eq!(values.expect("value"), vec![round; (round % 700) as usize]);
                round += 1;
            }
            assert_eq!(round, 500);
            stream
        };
        drop(future::zip(sent, received).await);
        child.await.expect("join");
    });
}

fn messages_over_sockets() {
    fn sum(address: Address) -> u64 {
        let mut end: Connection<u8, Vec<u8>> = multiproc::connect(&address).expect("connect");
        let bytes = end.recv().expect("recv");
        end.send(7).expect("send");
        bytes.into_iter().map(u64::from).sum()
    }
    under_each(|| async {
        for address in
            [Address::fresh().expect("address"), "tcp://127.0.0.1:0".parse().expect("address")]
        {
            let mut listener = Async::new(Listener::bind(address).expect("bind"));
            let address = listener.get_ref().address().clone();
            let child = Process::new(sum, (address,)).start().expect("start");
            let end: Connection<Vec<u8>, u8> = listener.accept().await.expect("accept");
            let mut end = Async::new(end);
            // More than the system holds.
            end.send(vec![1; 4 << 20]).await.expect("send");
            assert_eq!(end.recv().await, Ok(7));
            assert_eq!(child.await.expect("join"), 4 << 20);
            // The other end is gone, which a long message learns, and comes back.
            let error = loop {
                match end.send(vec![2; 4 << 20]).await {
                    Ok(()) => {}
                    Err(error) => break error,
                }
            };
            assert!(error.is_disconnected());
            assert_eq!(error.into_value().len(), 4 << 20);
        }
    });
}

fn queues_are_shared_by_tasks() {
    fn double(numbers: Queue<u32>, doubled: Queue<u32>) {
        for number in &numbers {
            doubled.put(2 * number.expect("number")).expect("put");
        }
        doubled.shutdown();
    }
    under_each(|| async {
        let (numbers, doubled) =
            (Queue::bounded(4).expect("queue"), Queue::bounded(4).expect("queue"));
        let child =
            Process::new(double, (numbers.clone(), doubled.clone())).start().expect("start");
        let numbers = Async::new(numbers);
        let doubled = Async::new(doubled);
        let put: FuturesUnordered<_> = (0..300).map(|number| numbers.put(number)).collect();
        let put = async {
            put.for_each(|done| {
                done.expect("put");
                std::future::ready(())
            })
            .await;
            numbers.get_ref().shutdown();
        };
        // Three who get from one queue.
        let get = || async {
            let mut sum = 0;
            let mut count = 0;
            loop {
                match doubled.get().await {
                    Ok(number) => (sum, count) = (sum + number, count + 1),
                    Err(error) => {
                        assert!(error.is_disconnected());
                        return (sum, count);
                    }
                }
            }
        };
        let getting = future::zip(get(), future::zip(get(), get()));
        let ((), (one, (two, three))) = future::zip(put, getting).await;
        assert_eq!(one.0 + two.0 + three.0, 2 * (0..300).sum::<u32>());
        assert_eq!(one.1 + two.1 + three.1, 300);
        child.await.expect("join");
        // As a stream and a sink, and the halves.
        let (sender, receiver) = Queue::bounded(2).expect("queue").split().expect("split");
        let mut sink = Async::new(sender);
        let stream = Async::new(receiver);
        let feed = async move {
            for number in 0..50 {
                sink.send(number).await.expect("send");
            }
        };
        let collect = stream.map(|number: Result<u32, _>| number.expect("number"));
        let ((), all) = future::zip(feed, collect.collect::<Vec<_>>()).await;
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    });
}

fn queues_of_jobs() {
    fn work(jobs: JoinableQueue<u32>) {
        while let Ok(job) = jobs.get() {
            if job == 0 {
                jobs.task_done().expect("done");
                return;
            }
            jobs.task_done().expect("done");
        }
    }
    under_each(|| async {
        let jobs = JoinableQueue::bounded(1).expect("queue");
        let child = Process::new(work, (jobs.clone(),)).start().expect("start");
        let jobs = Async::new(jobs);
        for job in (0..20).rev() {
            jobs.put(job).await.expect("put");
        }
        child.await.expect("join");
        jobs.get_ref().join();
    });
}

fn idle() {
    while !current_process().wait_stop(Duration::from_secs(3600)) {}
}

fn processes_are_awaited() {
    under_each(|| async {
        for method in [StartMethod::Forkserver, StartMethod::Spawn] {
            let sum = Process::new(|a: u32, b: u32| a + b, (3, 4)).start_method(method);
            let child = sum.start().expect("start");
            assert_eq!((&child).await.expect("join"), 7);
            assert_eq!(child.exited().await.expect("exited"), 0);
            assert_eq!(child.await.expect("join"), 7);
            let child = Process::new(|| -> u8 { panic!("on purpose") }, ()).start().expect("start");
            let error = child.await.unwrap_err();
            assert!(matches!(error.failure(), Failure::Panicked { .. }), "{error}");
            let child = Process::new(idle, ()).start().expect("start");
            let handle = child.handle();
            let killed = async {
                // Awaited first, then killed.
                future::yield_now().await;
                handle.kill().expect("kill");
            };
            let (end, ()) = future::zip(child.into_future_of(), killed).await;
            assert!(end.unwrap_err().to_string().contains("SIGKILL"));
            assert_eq!(handle.exited().await.expect("exited"), -9);
        }
        // A standard input that was forgotten ends with the first poll.
        let read = || std::io::read_to_string(std::io::stdin()).expect("read");
        let child = Process::new(read, ()).stdin(Stdio::piped()).start().expect("start");
        assert_eq!(child.await.expect("join"), "");
    });
}

/// `into_future`, by a name that reads.
trait IntoFutureOf: IntoFuture + Sized {
    fn into_future_of(self) -> Self::IntoFuture {
        self.into_future()
    }
}

impl<F: IntoFuture> IntoFutureOf for F {}

fn a_deadline_is_seen_to_by_who_awaits() {
    under_each(|| async {
        let process = Process::new(idle, ()).deadline(Duration::from_millis(50));
        let child = process.start().expect("start");
        let error = child.await.unwrap_err();
        let Failure::Limit(LimitReached::Deadline(_)) = error.failure() else {
            panic!("{error}");
        };
    });
}

fn many_processes_at_once() {
    under_each(|| async {
        let mut all = FuturesUnordered::new();
        for number in 0..40_u32 {
            let child = Process::new(|n: u32| n * n, (number,)).start().expect("start");
            all.push(child.into_future());
        }
        let mut sum = 0;
        while let Some(square) = all.next().await {
            sum += square.expect("join");
        }
        assert_eq!(sum, (0..40).map(|n| n * n).sum());
    });
}

fn connections_are_accepted() {
    fn call(address: Address, key: String, number: u32) {
        let Ok(mut end) = Client::new().key(&key).connect::<u32, u32>(&address) else { return };
        end.send(number).expect("send");
    }
    under_each(|| async {
        let listener =
            Listener::builder().key("open").bind(Address::fresh().expect("address")).expect("bind");
        let address = listener.address().clone();
        let mut listener = Async::new(listener);
        let callers: Vec<_> = (0..10)
            .map(|number| {
                let key = if number % 2 == 0 { "open" } else { "wrong" };
                let args = (address.clone(), key.to_owned(), number);
                Process::new(call, args).start().expect("start")
            })
            .collect();
        let mut numbers = Vec::new();
        for _ in 0..5 {
            let end: Connection<u32> = listener.accept().await.expect("accept");
            numbers.push(Async::new(end).recv().await.expect("recv"));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 2, 4, 6, 8]);
        // Those with the wrong key are answered while somebody accepts.
        let none = async {
            let end: Connection<u32> = listener.accept().await.expect("accept");
            drop(end);
            panic!("who came?");
        };
        let joined = async {
            for caller in callers {
                caller.await.expect("join");
            }
        };
        future::or(none, joined).await;
    });
}

fn sets_are_streams() {
    fn count(mut sender: Sender<u32>, from: u32) {
        for number in from..from + 100 {
            sender.send(number).expect("send");
        }
    }
    under_each(|| async {
        let mut set = WaitSet::new().expect("set");
        let mut children = Vec::new();
        for token in 0..5 {
            let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
            children.push(Process::new(count, (sender, 1000 * token)).start().expect("start"));
            set.add(token.into(), receiver).expect("add");
        }
        let mut set = Async::new(set);
        let mut sum = 0;
        while let Some(token) = set.next().await {
            let token = token.expect("wait");
            let Some(receiver) = set.get_mut().get_mut(token) else { continue };
            match receiver.try_recv() {
                Ok(number) => sum += number,
                Err(error) if error.is_empty() => {}
                Err(error) => {
                    assert!(error.is_disconnected(), "{error}");
                    set.get_mut().remove(token);
                }
            }
        }
        assert_eq!(sum, (0..5).map(|of| (1000 * of..1000 * of + 100).sum::<u32>()).sum());
        for child in children {
            child.await.expect("join");
        }
    });
}

fn standard_streams() {
    fn shout() {
        for line in std::io::stdin().lines() {
            println!("{}!", line.expect("line"));
        }
    }
    under_each(|| async {
        let process = Process::new(shout, ()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = process.start().expect("start");
        let mut stdin = Async::new(child.take_stdin().expect("piped"));
        let mut stdout = Async::new(child.take_stdout().expect("piped"));
        let line = format!("{}\n", "x".repeat(999));
        let write = async move {
            for _ in 0..500 {
                stdin.write_all(line.as_bytes()).await.expect("write");
            }
        };
        let mut text = String::new();
        let (_, read) = future::zip(write, stdout.read_to_string(&mut text)).await;
        assert_eq!(read.expect("read"), 500 * 1001);
        child.await.expect("join");
    });
}

fn streams_of_bytes() {
    fn reflect(mut end: Connection<()>) {
        while let Ok(bytes) = end.recv_bytes() {
            end.send_bytes(&bytes).expect("send");
        }
    }
    under_each(|| async {
        let (near, far) = connection::<(), ()>().expect("connection");
        let child = Process::new(reflect, (far,)).start().expect("start");
        let stream = Async::new(near).into_byte_stream();
        let (mut reader, mut writer) = futures_lite::io::split(stream);
        let sent: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let mut back = vec![0; sent.len()];
        let write = async {
            writer.write_all(&sent).await.expect("write");
            writer.flush().await.expect("flush");
        };
        let ((), read) = future::zip(write, reader.read_exact(&mut back)).await;
        read.expect("read");
        assert!(back == sent);
        drop((reader, writer));
        child.await.expect("join");
    });
}

fn tasks_of_a_pool() {
    let pool = Pool::new(2).expect("pool");
    under_each(|| {
        let tasks: FuturesUnordered<_> =
            (0..50_u32).map(|number| pool.submit(|n: u32| n + 1, (number,))).collect();
        async move {
            let sum = tasks.fold(0, |sum, n| std::future::ready(sum + n.expect("task"))).await;
            assert_eq!(sum, (1..=50).sum());
        }
    });
}

fn streams_of_tasks() {
    let pool = std::sync::Arc::new(Pool::new(2).expect("pool"));
    under_each(|| {
        // Inputs that come from a process, at its pace.
        let (sender, receiver) = pipe_with_capacity(4096).expect("pipe");
        let count = |mut sender: Sender<u32>| {
            (0..2000).for_each(|number| sender.send(number).expect("send"));
        };
        let pool = std::sync::Arc::clone(&pool);
        async move {
            let child = Process::new(count, (sender,)).start().expect("start");
            let inputs = Async::new(receiver).map(|number| number.expect("number"));
            let mut squares = pool.tasks().stream(|n: u32| u64::from(n).pow(2), inputs);
            let mut next = 0;
            while let Some(square) = squares.next().await {
                assert_eq!(square.expect("task"), next * next);
                next += 1;
            }
            assert_eq!(next, 2000);
            assert!(squares.next().await.is_none());
            child.await.expect("join");
            // Failures are items; inputs that are pending for a while end nothing.
            let slow = futures_util::stream::iter(0..30_u32).then(async |number| {
                future::yield_now().await;
                number
            });
            let check = |n: u32| assert!(n % 10 != 9, "on purpose");
            let outcomes: Vec<_> =
                pool.tasks().chunk_size(3).stream_unordered(check, slow).collect().await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 3);
            assert_eq!(outcomes.len(), 30);
        }
    });
}

fn a_stream_of_tasks_pulls_no_more_than_it_needs() {
    let pool = Pool::new(2).expect("pool");
    let pulled = std::sync::atomic::AtomicU64::new(0);
    let inputs = futures_util::stream::iter(0_u64..).inspect(|_| {
        pulled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let nap = |n: u64| {
        std::thread::sleep(Duration::from_millis(20));
        n
    };
    let mut outcomes = pool.tasks().stream(nap, inputs);
    for number in 0..10 {
        let outcome = future::block_on(outcomes.next()).expect("endless");
        assert_eq!(outcome.expect("task"), number);
        let ahead = pulled.load(std::sync::atomic::Ordering::Relaxed) - number;
        assert!(ahead < 64, "{ahead} inputs were pulled ahead");
    }
}

/// While everything waits, a task that ticks goes on: nothing blocks the one thread.
fn the_executor_goes_on() {
    let (_sender, receiver) = pipe::<u32>().expect("pipe");
    let full = Queue::bounded(1).expect("queue");
    full.put(1).expect("put");
    let (near, _far) = connection::<u32, u32>().expect("connection");
    let child = Process::new(idle, ()).kill_on_drop(true).start().expect("start");
    let listener = Listener::bind(Address::fresh().expect("address")).expect("bind");
    let (mut receiver, full, mut near) = (Async::new(receiver), Async::new(full), Async::new(near));
    let empty = Async::new(Queue::<u32>::new().expect("queue"));
    let mut listener = Async::new(listener);
    let nothing = async {
        let a = future::or(async { drop(receiver.recv().await) }, async {
            drop(full.put(2).await);
        });
        let b = future::or(async { drop(near.recv().await) }, async { drop(child.await) });
        let c = future::or(async { drop(listener.accept::<u32, u32>().await) }, async {
            drop(empty.get().await);
        });
        future::or(a, future::or(b, c)).await;
        panic!("something ended");
    };
    let ticks = async {
        for _ in 0..20 {
            async_io::Timer::after(Duration::from_millis(5)).await;
        }
    };
    async_io::block_on(future::or(nothing, ticks));
}

fn no_reactor_in_a_forked_copy() {
    let (mut sender, receiver) = pipe::<u32>().expect("pipe");
    let mut receiver = Async::new(receiver);
    async_io::block_on(future::poll_once(receiver.recv()));
    let (_other, silent) = pipe::<u32>().expect("pipe");
    let mut receivers = vec![receiver];
    common::in_copy(|| {
        // Dropped, what the copy has leaves the original's reactor as it is.
        receivers.clear();
        let told = polled_once(Async::new(silent));
        assert!(told.is_some_and(|text| text.contains("reactor")), "the copy was not told");
    });
    let mut receiver = receivers.pop().expect("the copy took its own");
    sender.send(7).expect("send");
    assert_eq!(async_io::block_on(receiver.recv()), Ok(7));
}

/// Polls once; the error, if there is one.
fn polled_once(mut receiver: Async<Receiver<u32>>) -> Option<String> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(receiver.recv()).poll(&mut context) {
        std::task::Poll::Ready(Err(error)) => Some(error.to_string()),
        _ => None,
    }
}

/// What is there already needs no reactor, and no thread.
fn what_is_done_is_seen_without_a_reactor() {
    let (mut sender, receiver) = pipe().expect("pipe");
    sender.send(1).expect("send");
    let mut receiver = Async::new(receiver);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = std::pin::pin!(receiver.recv()).poll(&mut context);
    assert!(matches!(polled, std::task::Poll::Ready(Ok(1))));
    let threads = std::fs::read_dir("/proc/self/task").expect("tasks").count();
    assert_eq!(threads, 1);
}
