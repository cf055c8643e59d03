//! No await blocks the thread of its executor, whatever the other side does or leaves undone.
//!
//! In each test, the other side goes on only when a clock on the same thread has ticked. A poll
//! that blocked until the other side does something would so block for ever, and the harness says
//! in which test.

use std::cell::Cell;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use futures_util::StreamExt;
use multiproc::{
    Address, Async, Barrier, Client, Condition, Connection, Event, Listener, Lock, Pool, Process,
    Queue, Receiver, RwLock, Semaphore, Sender, Signal, Stdio, WaitSet, connection_with_capacity,
    pipe, pipe_with_capacity,
};

use super::support::Test;
use super::tests;

pub(crate) const TESTS: &[Test] = tests![
    a_stream_of_tasks_whose_both_ends_are_slow,
    peers_that_never_authenticate,
    long_messages_both_ways_at_once,
    a_process_that_is_stopped_again_and_again,
    standard_streams_that_are_read_late,
    ends_that_come_late,
    what_is_polled_again_is_not_ready,
    objects_that_others_hold,
];

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(1);
/// More than the library or the kernel holds on the way.
const LONG: usize = 4 << 20;

/// Awaits `work` on the thread of a clock that calls `step` at each tick.
fn beside_a_clock<T>(work: impl Future<Output = T>, mut step: impl FnMut()) -> T {
    let clock = async {
        loop {
            async_io::Timer::after(TICK).await;
            step();
        }
    };
    async_io::block_on(future::or(work, clock))
}

fn no_permits() -> Semaphore {
    Semaphore::new(0).expect("semaphore")
}

fn a_stream_of_tasks_whose_both_ends_are_slow() {
    fn produce(mut sender: Sender<u32>, may: Semaphore) {
        for number in 0..20 {
            may.acquire().expect("acquire").forget();
            sender.send(number).expect("send");
        }
    }
    fn square(number: u32, may: Semaphore) -> u32 {
        may.acquire().expect("acquire").forget();
        number * number
    }
    let pool = Pool::new(2).expect("pool");
    let (may_produce, may_work) = (no_permits(), no_permits());
    let (sender, receiver) = pipe().expect("pipe");
    let child = Process::new(produce, (sender, may_produce.clone())).start().expect("start");
    let for_tasks = may_work.clone();
    let inputs =
        Async::new(receiver).map(move |number| (number.expect("number"), for_tasks.clone()));
    let outcomes = pool.tasks().stream(|(number, may)| square(number, may), inputs);
    let outcomes = outcomes.map(|outcome| outcome.expect("task")).collect::<Vec<_>>();
    let ticks = Cell::new(0);
    let squares = beside_a_clock(outcomes, || {
        ticks.set(ticks.get() + 1);
        if ticks.get() % 2 == 0 { may_produce.release() } else { may_work.release() }
    });
    assert_eq!(squares, (0..20).map(|number| number * number).collect::<Vec<_>>());
    child.join().expect("join");
}

fn peers_that_never_authenticate() {
    fn call(address: Address) {
        let mut end = Client::new().key("open").connect::<u32, ()>(&address).expect("connect");
        end.send(7).expect("send");
    }
    let address: Address = "tcp://127.0.0.1:0".parse().expect("address");
    let listener = Listener::builder().key("open").bind(address).expect("bind");
    let address = listener.address().clone();
    let place = address.to_string().replace("tcp://", "");
    let silent = TcpStream::connect(&place).expect("connect");
    let mut begins = TcpStream::connect(&place).expect("connect");
    begins.write_all(&[0, 0]).expect("write");
    let mut listener = Async::new(listener);
    let (mut ticks, mut child) = (0, None);
    let number = beside_a_clock(
        async {
            let end: Connection<(), u32> = listener.accept().await.expect("accept");
            Async::new(end).recv().await.expect("recv")
        },
        || {
            ticks += 1;
            if ticks == 5 {
                child = Some(Process::new(call, (address.clone(),)).start().expect("start"));
            }
        },
    );
    assert_eq!(number, 7);
    child.expect("it called").join().expect("join");
    drop((silent, begins));
}

fn long_messages_both_ways_at_once() {
    fn answer(mut end: Connection<Vec<u8>>, may: Semaphore) -> usize {
        let mut length = 0;
        for _ in 0..3 {
            may.acquire().expect("acquire").forget();
            end.send(vec![7; LONG]).expect("send");
            may.acquire().expect("acquire").forget();
            length += end.recv().expect("recv").len();
        }
        length
    }
    fn call(address: Address, may: Semaphore) -> usize {
        answer(multiproc::connect(&address).expect("connect"), may)
    }
    let may = no_permits();
    let talk = |end: Connection<Vec<u8>>| {
        let (mut sink, mut stream) = StreamExt::split(Async::new(end));
        let send = async move {
            for _ in 0..3 {
                futures_util::SinkExt::send(&mut sink, vec![1; LONG]).await.expect("send");
            }
            sink
        };
        let receive = async move {
            for _ in 0..3 {
                assert_eq!(stream.next().await.expect("a value").expect("recv").len(), LONG);
            }
            stream
        };
        drop(beside_a_clock(future::zip(send, receive), || may.release()));
    };
    let (near, far) = connection_with_capacity(64 << 10).expect("connection");
    let child = Process::new(answer, (far, may.clone())).start().expect("start");
    talk(near);
    assert_eq!(child.join().expect("join"), 3 * LONG);
    let mut listener = Listener::bind(Address::fresh().expect("address")).expect("bind");
    let args = (listener.address().clone(), may.clone());
    let child = Process::new(call, args).start().expect("start");
    talk(listener.accept().expect("accept"));
    assert_eq!(child.join().expect("join"), 3 * LONG);
}

/// It is stopped wherever it happens to be: with the lock of a queue in its hand, too.
fn a_process_that_is_stopped_again_and_again() {
    const ROUNDS: usize = 400;
    type Ends = (Receiver<Vec<u8>>, Sender<Vec<u8>>, Queue<Vec<u8>>, Queue<Vec<u8>>);
    fn reflect(ends: Ends, mut end: Connection<Vec<u8>>) {
        let (mut receiver, mut sender, from, to) = ends;
        for _ in 0..ROUNDS {
            sender.send(receiver.recv().expect("recv")).expect("send");
            to.put(from.get().expect("get")).expect("put");
            let value = end.recv().expect("recv");
            end.send(value).expect("send");
        }
    }
    let ((sender, theirs), (back, receiver)) =
        (pipe_with_capacity(4096).expect("pipe"), pipe_with_capacity(4096).expect("pipe"));
    let (there, from) = (Queue::bounded(1).expect("queue"), Queue::bounded(1).expect("queue"));
    let (near, far) = connection_with_capacity(4096).expect("connection");
    let ends = (theirs, back, there.clone(), from.clone());
    let child = Process::new(reflect, (ends, far)).start().expect("start");
    let (mut sender, mut receiver) = (Async::new(sender), Async::new(receiver));
    let (there, from, mut near) = (Async::new(there), Async::new(from), Async::new(near));
    let mut is_stopped = false;
    let talk = async {
        for round in 0..ROUNDS {
            // Of all lengths: within a ring, and longer than it.
            let value = vec![round as u8; round * 31 % 9000];
            sender.send(value.clone()).await.expect("send");
            assert!(receiver.recv().await.expect("recv") == value);
            there.put(value.clone()).await.expect("put");
            assert!(from.get().await.expect("get") == value);
            near.send(value.clone()).await.expect("send");
            assert!(near.recv().await.expect("recv") == value);
        }
    };
    beside_a_clock(talk, || {
        is_stopped = !is_stopped;
        let signal = if is_stopped { Signal::new(libc::SIGSTOP) } else { Signal::CONT };
        // It may have ended: then there is nobody to be stopped.
        let _ = child.send_signal(signal);
    });
    let _ = child.send_signal(Signal::CONT);
    child.join().expect("join");
}

fn standard_streams_that_are_read_late() {
    fn late(may: Semaphore) {
        may.acquire().expect("acquire").forget();
        let text = std::io::read_to_string(std::io::stdin()).expect("read");
        may.acquire().expect("acquire").forget();
        print!("{text}");
    }
    let may = no_permits();
    let process = Process::new(late, (may.clone(),)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = process.start().expect("start");
    let mut stdin = Async::new(child.take_stdin().expect("piped"));
    let mut stdout = Async::new(child.take_stdout().expect("piped"));
    let write = async move { stdin.write_all(&[b'x'; LONG]).await.expect("write") };
    let mut text = String::new();
    let (mut ticks, read) = (0, stdout.read_to_string(&mut text));
    let ((), read) = beside_a_clock(future::zip(write, read), || {
        ticks += 1;
        if ticks % 5 == 0 {
            may.release();
        }
    });
    assert_eq!(read.expect("read"), LONG);
    child.join().expect("join");
}

fn ends_that_come_late() {
    fn wait(may: Semaphore) -> u32 {
        may.acquire().expect("acquire").forget();
        7
    }
    let pool = Pool::new(1).expect("pool");
    let may = no_permits();
    let start = || Process::new(wait, (may.clone(),)).start().expect("start");
    for _ in 0..5 {
        let (child, exits, ready, member) = (start(), start(), start(), start());
        let (handle, other) = (exits.handle(), pool.submit(wait, (may.clone(),)));
        let mut set = WaitSet::new().expect("set");
        set.add(7, &member).expect("add");
        let mut set = Async::new(set);
        beside_a_clock(
            async {
                assert_eq!(pool.submit(wait, (may.clone(),)).await.expect("task"), 7);
                assert_eq!(child.await.expect("join"), 7);
                assert_eq!(handle.exited().await.expect("exited"), 0);
                Async::new(&ready).ready().await.expect("ready");
                Async::new(&other).ready().await.expect("ready");
                assert_eq!(set.wait().await.expect("wait"), [7]);
            },
            || may.release(),
        );
        drop(set);
        for child in [exits, ready, member] {
            assert_eq!(child.join().expect("join"), 7);
        }
        // What was released too often is not there for the next round.
        while may.acquire_timeout(Duration::ZERO).is_ok_and(|permit| {
            permit.forget();
            true
        }) {}
    }
}

/// Executors may poll for nothing: that is no word of the descriptor.
fn what_is_polled_again_is_not_ready() {
    fn wait(may: Semaphore) {
        may.acquire().expect("acquire").forget();
    }
    let may = no_permits();
    let child = Process::new(wait, (may.clone(),)).start().expect("start");
    let waited = Async::new(&child);
    let mut ready = Box::pin(waited.ready());
    for _ in 0..5 {
        assert!(async_io::block_on(future::poll_once(&mut ready)).is_none());
    }
    may.release();
    async_io::block_on(ready).expect("ready");
    assert!(child.try_join().expect("join").is_some());
}

fn objects_that_others_hold() {
    type Held = (Lock, RwLock, RwLock, Semaphore);
    fn hold(objects: Held, event: Event, held: Event, go: Event, waits: (Condition, Barrier)) {
        let (lock, written, read, permits) = objects;
        let guards = (lock.acquire().expect("acquire"), permits.acquire().expect("acquire"));
        let more = (written.write().expect("write"), read.read().expect("read"));
        held.set();
        go.wait();
        event.set();
        drop((guards, more));
        let (condition, barrier) = waits;
        barrier.wait().expect("wait");
        // Its waiter has released the lock by then.
        drop(condition.acquire().expect("acquire"));
        condition.notify_all();
    }
    let new = || Event::new().expect("event");
    let (event, held, go) = (new(), new(), new());
    let (lock, permits) = (Lock::new().expect("lock"), Semaphore::new(1).expect("semaphore"));
    let (written, read) = (RwLock::new().expect("lock"), RwLock::new().expect("lock"));
    let objects = (lock.clone(), written.clone(), read.clone(), permits.clone());
    let (condition, barrier) =
        (Condition::new().expect("condition"), Barrier::new(2).expect("barrier"));
    let waits = (condition.clone(), barrier.clone());
    let child = Process::new(hold, (objects, event.clone(), held.clone(), go.clone(), waits));
    let child = child.start().expect("start");
    let mut ticks = 0;
    beside_a_clock(
        async {
            held.wait_async().await;
            drop(lock.acquire_async().await.expect("acquire"));
            drop(permits.acquire_async().await.expect("acquire"));
            drop(written.read_async().await.expect("read"));
            drop(read.write_async().await.expect("write"));
            event.wait_async().await;
            let guard = condition.lock().acquire_async().await.expect("acquire");
            barrier.wait_async().await.expect("wait");
            drop(condition.wait_async(guard).await.expect("wait"));
        },
        || {
            ticks += 1;
            if ticks == 10 && held.is_set() {
                go.set();
            }
            ticks %= 10;
        },
    );
    child.join().expect("join");
}
