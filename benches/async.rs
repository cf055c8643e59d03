//! What it costs to await something, beside the method that blocks.
//!
//! ```console
//! $ cargo bench --features async --bench async                  # everything, about a minute
//! $ cargo bench --features async --bench async -- --quick       # a look whether it works
//! $ cargo bench --features async --bench async -- trip child    # some sections
//! ```
//!
//! The other process blocks in all of them, so one await is measured against one blocking call.
//! `async_io::block_on` polls the reactor on the thread that waits; tokio's executor is woken by the
//! reactor's own thread, which is a wake-up more. An end in tokio's `AsyncFd` is told of by tokio's
//! reactor.

mod lanes;
mod support;

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

use lanes::{pin, unpin};
use multiproc::{
    Async, Connection, Event, Lock, Pool, Process, Queue, Receiver, Sender, connection, pipe,
};
use support::{Contender, Goal, Options, Table, in_turns, seconds, time};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;

/// Where this process runs.
const HERE: usize = 0;
/// How much longer than its blocking twin an await may take.
const GOAL: Goal = Goal::AtMost(1.2);

fn main() {
    let options = Options::from_arguments();
    // With its reactor, as programs have it.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().build().expect("a runtime");
    pin(HERE);
    for (place, cpu) in [("one core", HERE), ("two cores", 1)] {
        for (kind, trip) in [
            ("pipe", pipe_trip as fn(&Bench<'_>, usize)),
            ("connection", connection_trip),
            ("queue", queue_trip),
            ("event", event_trip),
        ] {
            let section = format!("{kind} trip, {place}");
            if options.wants(&section) {
                let title = format!("Round trip ({section})");
                trip(&Bench { options: &options, runtime: &runtime, title }, cpu);
            }
        }
    }
    unpin();
    for (place, cpu) in [("one core", HERE), ("two cores", 1)] {
        let section = format!("task, {place}");
        if options.wants(&section) {
            let title = format!("Submission and end of an empty task ({section})");
            task(&Bench { options: &options, runtime: &runtime, title }, cpu);
        }
    }
    for (section, title, measure) in [
        ("child", "Start and end of an empty function", child as fn(&Bench<'_>)),
        ("lock", "Acquisition and release of a free lock", lock),
    ] {
        if options.wants(section) {
            let title = format!("{title} ({section})");
            measure(&Bench { options: &options, runtime: &runtime, title });
        }
    }
}

/// Who runs a future, on the thread that measures.
#[derive(Clone, Copy)]
enum Executor<'r> {
    AsyncIo,
    Tokio(&'r Runtime),
}

impl Executor<'_> {
    fn run<F: Future>(self, future: F) -> F::Output {
        match self {
            Executor::AsyncIo => async_io::block_on(future),
            Executor::Tokio(runtime) => runtime.block_on(future),
        }
    }
}

/// One section.
struct Bench<'a> {
    options: &'a Options,
    runtime: &'a Runtime,
    title: String,
}

impl Bench<'_> {
    /// Measures what does something so many times, by blocking and by awaiting, and prints it.
    fn compare(
        &self,
        full: u32,
        blocking: impl FnMut(u32),
        awaiting: impl FnMut(Executor<'_>, u32),
    ) {
        self.compare_with(full, blocking, awaiting, None::<(&str, fn(u32))>);
    }

    /// `compare`, and one contender more.
    fn compare_with(
        &self,
        full: u32,
        mut blocking: impl FnMut(u32),
        awaiting: impl FnMut(Executor<'_>, u32),
        more: Option<(&str, impl FnMut(u32))>,
    ) {
        let (turns, count) = self.options.pick((2, full / 10), (20, full));
        let each = |f: &mut dyn FnMut()| vec![seconds(f) / f64::from(count)];
        let awaiting = RefCell::new(awaiting);
        let awaited = |executor| {
            let awaiting = &awaiting;
            move || each(&mut || awaiting.borrow_mut()(executor, count))
        };
        let mut contenders = vec![
            Contender::new("multiproc, blocking", || each(&mut || blocking(count))),
            Contender::new("multiproc, async_io::block_on", awaited(Executor::AsyncIo)),
            Contender::new(
                "multiproc, tokio on one thread",
                awaited(Executor::Tokio(self.runtime)),
            ),
        ];
        if let Some((name, mut work)) = more {
            contenders.push(Contender::new(name, move || each(&mut || work(count))));
        }
        let samples = in_turns(&mut contenders, turns);
        let mut table = Table::new(&self.title);
        for (place, (contender, taken)) in contenders.iter().zip(&samples).enumerate() {
            let ratio = (place > 0).then(|| (taken.ratio_to(&samples[0]), "blocking"));
            let goal = ratio.map(|_| GOAL);
            table.row(&contender.name, time(taken.median()), ratio, goal);
        }
        println!("{table}");
    }
}

fn echo_pipe(mut numbers: Receiver<u32>, mut back: Sender<u32>, cpu: usize) {
    pin(cpu);
    while let Ok(number) = numbers.recv() {
        back.send(number).expect("send");
    }
}

fn pipe_trip(bench: &Bench<'_>, cpu: usize) {
    let ends = || {
        let ((sender, numbers), (back, receiver)) = (pipe().expect("pipe"), pipe().expect("pipe"));
        let child = Process::new(echo_pipe, (numbers, back, cpu)).start().expect("start");
        (sender, receiver, child)
    };
    let (mut sender, mut receiver, child) = ends();
    let (async_sender, async_receiver, other) = ends();
    let (mut async_sender, mut async_receiver) =
        (Async::new(async_sender), Async::new(async_receiver));
    let (mut tokio_sender, mut tokio_receiver, third) = ends();
    let watched = watched_by_tokio(bench.runtime, &tokio_receiver);
    bench.compare_with(
        2000,
        |count| {
            for number in 0..count {
                sender.send(number).expect("send");
                assert_eq!(receiver.recv().expect("recv"), number);
            }
        },
        |executor, count| {
            executor.run(async {
                for number in 0..count {
                    async_sender.send(number).await.expect("send");
                    assert_eq!(async_receiver.recv().await.expect("recv"), number);
                }
            });
        },
        Some(("multiproc, in tokio's AsyncFd", |count| {
            bench.runtime.block_on(async {
                for number in 0..count {
                    tokio_sender.try_send(number).expect("send");
                    assert_eq!(recv_in_tokio(&mut tokio_receiver, &watched).await, number);
                }
            });
        })),
    );
    drop((sender, async_sender, tokio_sender));
    for child in [child, other, third] {
        child.join().expect("join");
    }
}

/// Has tokio's reactor watch an end.
#[expect(deprecated, reason = "the other way is unsafe; what is owned stays open")]
fn watched_by_tokio(runtime: &Runtime, end: &impl AsFd) -> AsyncFd<OwnedFd> {
    let owned = end.as_fd().try_clone_to_owned().expect("a duplicate");
    let _inside = runtime.enter();
    AsyncFd::with_interest(owned, Interest::READABLE).expect("AsyncFd")
}

/// Receives as a program does that has tokio's reactor watch our end.
async fn recv_in_tokio(receiver: &mut Receiver<u32>, watched: &AsyncFd<OwnedFd>) -> u32 {
    loop {
        match receiver.try_recv() {
            Err(error) if error.is_empty() => {}
            outcome => return outcome.expect("recv"),
        }
        watched.readable().await.expect("readable").clear_ready();
    }
}

fn echo_connection(mut connection: Connection<u32>, cpu: usize) {
    pin(cpu);
    while let Ok(number) = connection.recv() {
        connection.send(number).expect("send");
    }
}

fn connection_trip(bench: &Bench<'_>, cpu: usize) {
    let ends = || {
        let (near, far) = connection::<u32, u32>().expect("connection");
        (near, Process::new(echo_connection, (far, cpu)).start().expect("start"))
    };
    let ((mut near, child), (async_near, other)) = (ends(), ends());
    let mut async_near = Async::new(async_near);
    bench.compare(
        2000,
        |count| {
            for number in 0..count {
                near.send(number).expect("send");
                assert_eq!(near.recv().expect("recv"), number);
            }
        },
        |executor, count| {
            executor.run(async {
                for number in 0..count {
                    async_near.send(number).await.expect("send");
                    assert_eq!(async_near.recv().await.expect("recv"), number);
                }
            });
        },
    );
    drop((near, async_near));
    for child in [child, other] {
        child.join().expect("join");
    }
}

/// Until it gets the number that stands for the end.
fn echo_queue(numbers: Queue<u32>, back: Queue<u32>, cpu: usize) {
    pin(cpu);
    loop {
        let number = numbers.get().expect("get");
        if number == u32::MAX {
            return;
        }
        back.put(number).expect("put");
    }
}

fn queue_trip(bench: &Bench<'_>, cpu: usize) {
    let ends = || {
        let (there, back) = (Queue::new().expect("queue"), Queue::new().expect("queue"));
        let queues = (there.clone(), back.clone(), cpu);
        (there, back, Process::new(echo_queue, queues).start().expect("start"))
    };
    let ((there, back, child), (async_there, async_back, other)) = (ends(), ends());
    let (async_there, async_back) = (Async::new(async_there), Async::new(async_back));
    bench.compare(
        2000,
        |count| {
            for number in 0..count {
                there.put(number).expect("put");
                assert_eq!(back.get().expect("get"), number);
            }
        },
        |executor, count| {
            executor.run(async {
                for number in 0..count {
                    async_there.put(number).await.expect("put");
                    assert_eq!(async_back.get().await.expect("get"), number);
                }
            });
        },
    );
    for queue in [&there, async_there.get_ref()] {
        queue.put(u32::MAX).expect("put");
    }
    for child in [child, other] {
        child.join().expect("join");
    }
}

/// Answers one event with another, so many times.
fn echo_event(there: Event, back: Event, over: Event, cpu: usize) {
    pin(cpu);
    loop {
        there.wait();
        there.clear();
        if over.is_set() {
            return;
        }
        back.set();
    }
}

fn event_trip(bench: &Bench<'_>, cpu: usize) {
    let new = || Event::new().expect("event");
    let over = new();
    let ends = || {
        let (there, back) = (new(), new());
        let events = (there.clone(), back.clone(), over.clone(), cpu);
        (there, back, Process::new(echo_event, events).start().expect("start"))
    };
    let ((there, back, child), (async_there, async_back, other)) = (ends(), ends());
    bench.compare(
        2000,
        |count| {
            for _ in 0..count {
                there.set();
                back.wait();
                back.clear();
            }
        },
        |executor, count| {
            executor.run(async {
                for _ in 0..count {
                    async_there.set();
                    async_back.wait_async().await;
                    async_back.clear();
                }
            });
        },
    );
    over.set();
    for event in [there, async_there] {
        event.set();
    }
    for child in [child, other] {
        child.join().expect("join");
    }
}

fn nothing() {}

fn child(bench: &Bench<'_>) {
    bench.compare(
        50,
        |count| {
            for _ in 0..count {
                Process::new(nothing, ()).start().expect("start").join().expect("join");
            }
        },
        |executor, count| {
            executor.run(async {
                for _ in 0..count {
                    Process::new(nothing, ()).start().expect("start").await.expect("await");
                }
            });
        },
    );
}

fn task(bench: &Bench<'_>, cpu: usize) {
    // Its own thread runs where there is room.
    let pool = Pool::builder().processes(1).initializer(pin, (cpu,)).build().expect("pool");
    pool.apply(nothing, ()).expect("apply");
    pin(HERE);
    bench.compare(
        1000,
        |count| {
            for _ in 0..count {
                pool.submit(nothing, ()).join().expect("join");
            }
        },
        |executor, count| {
            executor.run(async {
                for _ in 0..count {
                    pool.submit(nothing, ()).await.expect("await");
                }
            });
        },
    );
    unpin();
}

fn lock(bench: &Bench<'_>) {
    let lock = Lock::new().expect("lock");
    bench.compare(
        200_000,
        |count| {
            for _ in 0..count {
                drop(lock.acquire().expect("acquire"));
            }
        },
        |executor, count| {
            executor.run(async {
                for _ in 0..count {
                    drop(lock.acquire_async().await.expect("acquire"));
                }
            });
        },
    );
}
