//! What it costs to send messages between processes, beside what the machine charges and what
//! others take.
//!
//!     cargo bench --bench channel                      everything, about two minutes cargo bench
//!     --bench channel -- --quick           a look whether it works cargo bench --bench channel --
//!     trip 64           some sections
//!
//! CPython takes part if there is a `python3`, ipc-channel if it was built (the report says how).

mod lanes;
mod peers;
mod support;

use std::hint::black_box;
use std::process::Command;

use lanes::{BareRing, Descriptors, Idle, Partner, Work, pin, unpin};
use multiproc::{
    Child, Connection, Process, Queue, Receiver, Sender, SharedSlice, connection, pipe,
};
use peers::Helper;
use serde::Serialize;
use serde::de::DeserializeOwned;
use support::{Contender, Goal, Options, Table, in_turns, seconds, time};

/// Where this process runs.
const HERE: usize = 0;

fn main() {
    let options = Options::from_arguments();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/channel.py");
    let python = Helper::start(Command::new("python3").arg(script), "trip 8 1 0");
    if python.is_none() {
        println!("CPython takes no part: there is no python3 that runs benches/peers/channel.py");
    }
    let ipc = peers::ipc_channel();
    if ipc.is_none() {
        println!(
            "ipc-channel takes no part: build it with `cargo build --release --manifest-path benches/peers/Cargo.toml \
             --target-dir benches/peers/target`"
        );
    }
    let iceoryx = peers::iceoryx();
    if iceoryx.is_none() {
        println!("iceoryx2 takes no part: see benches/peers/iceoryx/Cargo.toml");
    }
    let (python, ipc) = (python.as_deref(), ipc.as_deref());
    let others = Others { python, ipc, iceoryx: iceoryx.as_deref() };
    pin(HERE);
    for (section, cpu) in [("trip, two cores", 1), ("trip, one core", HERE)] {
        if options.wants(section) {
            println!("{}", round_trip(&options, section, cpu, others));
        }
    }
    for size in [8, 64, 1024, 64 << 10, 1 << 20] {
        let section = format!("throughput {size}");
        if options.wants(&section) {
            println!("{}", throughput(&options, size, others));
        }
    }
    for size in [64 << 10, 1 << 20] {
        let section = format!("values {size}");
        if options.wants(&section) {
            println!("{}", values(&options, size, python));
        }
    }
    if options.wants("many to many") {
        println!("{}", many_to_many(&options, python));
    }
    if options.wants("big array") {
        println!("{}", big_array(&options));
    }
}

/// Another library in a process of its own.
type Other = std::cell::RefCell<Helper>;

/// Those who take part.
#[derive(Clone, Copy)]
struct Others<'a> {
    python: Option<&'a Other>,
    ipc: Option<&'a Other>,
    iceoryx: Option<&'a Other>,
}

fn ask(python: &Other, what: &str, size: usize, count: u32, cpu: usize) -> Vec<f64> {
    python.borrow_mut().ask(&format!("{what} {size} {count} {cpu}"))
}

fn echo_values(mut connection: Connection<u64>, cpu: usize) {
    pin(cpu);
    while let Ok(value) = connection.recv() {
        connection.send(value).expect("send");
    }
}

fn echo_bytes(mut connection: Connection<()>, cpu: usize) {
    pin(cpu);
    let mut buffer = vec![0; 64];
    while let Ok(length) = connection.recv_bytes_into(&mut buffer) {
        connection.send_bytes(&buffer[..length]).expect("send");
    }
}

/// The seconds for each of `count` times what `f` does.
fn each(count: u32, f: impl FnOnce()) -> Vec<f64> {
    vec![seconds(f) / f64::from(count)]
}

fn round_trip(options: &Options, section: &str, cpu: usize, others: Others<'_>) -> Table {
    let Others { python, ipc, iceoryx } = others;
    const SIZE: usize = 8;
    let (turns, count) = options.pick((2, 200), (20, 2000));
    let mut spinning =
        Partner::start(cpu, SIZE, BareRing::new(Idle::Spins), BareRing::new(Idle::Spins));
    let mut sleeping =
        Partner::start(cpu, SIZE, BareRing::new(Idle::Sleeps), BareRing::new(Idle::Sleeps));
    let mut pipes = Partner::start(cpu, SIZE, Descriptors::pipe(), Descriptors::pipe());
    let mut sockets = Partner::start(cpu, SIZE, Descriptors::socket(), Descriptors::socket());
    let (mut values, far) = connection::<u64, u64>().expect("connection");
    let value_child = Process::new(echo_values, (far, cpu)).start().expect("start");
    let (mut bytes, far) = connection::<(), ()>().expect("connection");
    let byte_child = Process::new(echo_bytes, (far, cpu)).start().expect("start");
    let (to_thread, from_main) = crossbeam_channel::bounded::<u64>(1024);
    let (to_main, from_thread) = crossbeam_channel::bounded::<u64>(1024);
    let thread = std::thread::spawn(move || {
        pin(cpu);
        from_main.iter().for_each(|value| to_main.send(value).expect("send"));
    });
    let mut contenders = Vec::new();
    if cpu != HERE {
        contenders.push(Contender::new("bare ring, spinning", || {
            each(count, || spinning.work(Work::Echo(count)))
        }));
    }
    contenders.push(Contender::new("bare ring, futex", || {
        each(count, || sleeping.work(Work::Echo(count)))
    }));
    contenders.push(Contender::new("pipe(2)", || each(count, || pipes.work(Work::Echo(count)))));
    contenders
        .push(Contender::new("Unix socket", || each(count, || sockets.work(Work::Echo(count)))));
    contenders.push(Contender::new("multiproc connection, values", || {
        each(count, || {
            for n in 0..u64::from(count) {
                values.send(n).expect("send");
                assert_eq!(values.recv().expect("recv"), n);
            }
        })
    }));
    contenders.push(Contender::new("multiproc connection, bytes", || {
        let mut buffer = [0; SIZE];
        each(count, || {
            for _ in 0..count {
                bytes.send_bytes(&buffer).expect("send");
                assert_eq!(bytes.recv_bytes_into(&mut buffer).expect("recv"), SIZE);
            }
        })
    }));
    contenders.push(Contender::new("crossbeam between threads", || {
        each(count, || {
            for n in 0..u64::from(count) {
                to_thread.send(n).expect("send");
                assert_eq!(from_thread.recv().expect("recv"), n);
            }
        })
    }));
    if let Some(ipc) = ipc {
        contenders.push(Contender::new("ipc-channel, bytes", move || {
            ask(ipc, "trip", SIZE, count / 4, cpu)
        }));
    }
    // It polls: on one core, each turn would wait for the scheduler.
    if let Some(iceoryx) = iceoryx.filter(|_| cpu != HERE) {
        contenders.push(Contender::new("iceoryx2, polled", move || {
            ask(iceoryx, "trip", SIZE, count / 4, cpu)
        }));
    }
    if let Some(python) = python {
        contenders.push(Contender::new("CPython Pipe", move || {
            ask(python, "trip", SIZE, count / 4, cpu)
        }));
    }
    let samples = in_turns(&mut contenders, turns);
    let place = |name: &str| contenders.iter().position(|contender| contender.name == name);
    let (limit, of, goal) = match place("bare ring, spinning") {
        Some(place) => (place, "bare ring, spinning", Goal::AtMost(2.0)),
        None => (place("pipe(2)").unwrap_or(0), "pipe(2)", Goal::AtMost(1.1)),
    };
    let mut table = Table::new(format!("Round trip of {SIZE} bytes ({section})"));
    for (contender, taken) in contenders.iter().zip(&samples) {
        let goal = contender.name.starts_with("multiproc").then_some(goal);
        table.row(
            &contender.name,
            fine(taken.median()),
            Some((taken.ratio_to(&samples[limit]), of)),
            goal,
        );
    }
    drop(contenders);
    drop((values, bytes, to_thread));
    thread.join().expect("join");
    end([value_child, byte_child]);
    table
}

fn end<const N: usize>(children: [Child<()>; N]) {
    children.iter().for_each(|child| child.join().expect("join"));
}

/// `time`, with parts of a microsecond.
fn fine(seconds: f64) -> String {
    if seconds < 10e-6 { format!("{:.3} us", seconds * 1e6) } else { time(seconds) }
}

/// Receives as many messages as it is told to, then says so.
fn sink_bytes(mut orders: Connection<u32>, mut messages: Receiver<()>, size: usize, cpu: usize) {
    pin(cpu);
    let mut buffer = vec![0; size];
    while let Ok(count) = orders.recv() {
        for _ in 0..count {
            assert_eq!(messages.recv_bytes_into(&mut buffer).expect("recv"), size);
        }
        orders.send(count).expect("send");
    }
}

fn sink_values(mut orders: Connection<u32>, mut messages: Receiver<u64>, cpu: usize) {
    pin(cpu);
    while let Ok(count) = orders.recv() {
        for _ in 0..count {
            black_box(messages.recv().expect("recv"));
        }
        orders.send(count).expect("send");
    }
}

fn sink_queue(mut orders: Connection<u32>, messages: Queue<String>, cpu: usize) {
    pin(cpu);
    while let Ok(count) = orders.recv() {
        for _ in 0..count {
            black_box(messages.get().expect("get"));
        }
        orders.send(count).expect("send");
    }
}

/// Has a child take `count` messages while they are sent.
fn stream(orders: &mut Connection<u32>, count: u32, mut send: impl FnMut()) -> Vec<f64> {
    orders.send(count).expect("send");
    each(count, || {
        for _ in 0..count {
            send();
        }
        assert_eq!(orders.recv().expect("recv"), count);
    })
}

fn throughput(options: &Options, size: usize, others: Others<'_>) -> Table {
    let Others { python, ipc, iceoryx } = others;
    let cpu = 1;
    let total = options.pick(1 << 20, 64 << 20);
    let most = options.pick(5_000, 200_000);
    let count = u32::try_from((total / size).clamp(4, most)).unwrap_or(u32::MAX);
    let turns = options.pick(1, 12);
    let mut ring =
        Partner::start(cpu, size, BareRing::new(Idle::Sleeps), BareRing::new(Idle::Sleeps));
    let mut spinning =
        Partner::start(cpu, size, BareRing::new(Idle::Spins), BareRing::new(Idle::Spins));
    let mut pipes = Partner::start(cpu, size, Descriptors::pipe(), Descriptors::pipe());
    let mut sockets = Partner::start(cpu, size, Descriptors::socket(), Descriptors::socket());
    let (mut orders, theirs) = connection::<u32, u32>().expect("connection");
    let (mut sender, receiver): (Sender<()>, _) = pipe().expect("pipe");
    let byte_child =
        Process::new(sink_bytes, (theirs, receiver, size, cpu)).start().expect("start");
    let (mut value_orders, theirs) = connection::<u32, u32>().expect("connection");
    let (mut value_sender, receiver) = pipe::<u64>().expect("pipe");
    let value_child = Process::new(sink_values, (theirs, receiver, cpu)).start().expect("start");
    let (mut queue_orders, theirs) = connection::<u32, u32>().expect("connection");
    let queue = Queue::new().expect("queue");
    let queue_child =
        Process::new(sink_queue, (theirs, queue.clone(), cpu)).start().expect("start");
    let text = "x".repeat(size);
    let (to_thread, from_main) = crossbeam_channel::bounded::<Box<[u8]>>(1024);
    let (done, is_done) = crossbeam_channel::bounded::<()>(1);
    let thread = std::thread::spawn(move || {
        pin(cpu);
        let mut got = 0;
        for message in &from_main {
            black_box(&message);
            got += 1;
            if got == count {
                got = 0;
                done.send(()).expect("send");
            }
        }
    });
    let message = vec![7_u8; size];
    let mut contenders = vec![
        Contender::new("memcpy, twice", || {
            let (mut one, mut two) = (vec![0_u8; size], vec![0_u8; size]);
            each(count, || {
                for _ in 0..count {
                    one.copy_from_slice(black_box(&message));
                    two.copy_from_slice(black_box(&one));
                    black_box(&mut two);
                }
            })
        }),
        Contender::new("bare ring, futex", || each(count, || ring.work(Work::Sink(count)))),
        Contender::new("bare ring, spinning", || each(count, || spinning.work(Work::Sink(count)))),
        Contender::new("pipe(2)", || each(count, || pipes.work(Work::Sink(count)))),
        Contender::new("Unix socket", || each(count, || sockets.work(Work::Sink(count)))),
        Contender::new("multiproc pipe, bytes", || {
            stream(&mut orders, count, || sender.send_bytes(&message).expect("send"))
        }),
    ];
    contenders.push(Contender::new("multiproc Queue, texts", || {
        stream(&mut queue_orders, count, || queue.put(text.clone()).expect("put"))
    }));
    if size == 8 {
        contenders.push(Contender::new("multiproc pipe, values", || {
            stream(&mut value_orders, count, || value_sender.send(u64::MAX).expect("send"))
        }));
    }
    contenders.push(Contender::new("crossbeam between threads", || {
        each(count, || {
            for _ in 0..count {
                to_thread.send(message.clone().into_boxed_slice()).expect("send");
            }
            is_done.recv().expect("recv");
        })
    }));
    if let Some(ipc) = ipc {
        contenders.push(Contender::new("ipc-channel, bytes", move || {
            ask(ipc, "stream", size, (count / 20).max(4), cpu)
        }));
    }
    if let Some(iceoryx) = iceoryx {
        contenders.push(Contender::new("iceoryx2, polled", move || {
            ask(iceoryx, "stream", size, (count / 20).max(4), cpu)
        }));
    }
    if let Some(python) = python {
        for (name, what) in [("CPython Pipe", "pipe"), ("CPython Queue", "queue")] {
            contenders.push(Contender::new(name, move || {
                ask(python, what, size, (count / 20).max(4), cpu)
            }));
        }
    }
    let samples = in_turns(&mut contenders, turns);
    let goal = match size {
        64 => Some(Goal::AtMost(2.0)),
        1024 => Some(Goal::AtMost(1.5)),
        0x10_0000 => Some(Goal::AtMost(1.1)),
        _ => None,
    };
    let mut table =
        Table::new(format!("One way, {size} bytes a message, two cores (throughput {size})"));
    for (contender, taken) in contenders.iter().zip(&samples) {
        let (limit, of) = match contender.name.as_str() {
            "CPython Pipe" => (5, "multiproc pipe"),
            "CPython Queue" => (6, "multiproc Queue"),
            _ => (1, "bare ring, futex"),
        };
        let goal = goal.filter(|_| contender.name.starts_with("multiproc pipe"));
        let goal = if size == 64 && contender.name == "CPython Queue" {
            Some(Goal::AtLeast(40.0))
        } else {
            goal
        };
        table.row(
            &contender.name,
            fine(taken.median()),
            Some((taken.ratio_to(&samples[limit]), of)),
            goal,
        );
    }
    drop(contenders);
    drop((orders, sender, value_orders, value_sender, queue_orders, to_thread));
    thread.join().expect("join");
    end([byte_child, value_child, queue_child]);
    table
}

/// Receives as many values as it is told to, then says so.
fn sink_pipe<T: DeserializeOwned>(
    mut orders: Connection<u32>,
    mut messages: Receiver<T>,
    cpu: usize,
) {
    pin(cpu);
    while let Ok(count) = orders.recv() {
        (0..count).for_each(|_| drop(black_box(messages.recv().expect("recv"))));
        orders.send(count).expect("send");
    }
}

fn sink_of<T: DeserializeOwned + Serialize>(
    mut orders: Connection<u32>,
    messages: Queue<T>,
    cpu: usize,
) {
    pin(cpu);
    while let Ok(count) = orders.recv() {
        (0..count).for_each(|_| drop(black_box(messages.get().expect("get"))));
        orders.send(count).expect("send");
    }
}

/// Copies of a value through a pipe and through a queue.
fn value_contenders<'a, T>(
    of: &str,
    value: T,
    count: u32,
    children: &mut Vec<Child<()>>,
) -> [Contender<'a>; 2]
where
    T: Serialize + DeserializeOwned + Clone + 'a,
{
    let cpu = 1;
    let (mut orders, theirs) = connection::<u32, u32>().expect("connection");
    let (mut sender, receiver) = pipe::<T>().expect("pipe");
    children.push(Process::new(sink_pipe::<T>, (theirs, receiver, cpu)).start().expect("start"));
    let again = value.clone();
    let over_pipe = Contender::new(format!("multiproc pipe, {of}"), move || {
        stream(&mut orders, count, || {
            sender.send(value.clone()).map_err(drop).expect("send");
        })
    });
    let (mut orders, theirs) = connection::<u32, u32>().expect("connection");
    // As many bytes at once as the ring of a pipe holds, or two values: the cache of a processor is
    // to be large enough for either.
    let queue = Queue::bounded(2).expect("queue");
    children.push(Process::new(sink_of::<T>, (theirs, queue.clone(), cpu)).start().expect("start"));
    let over_queue = Contender::new(format!("multiproc Queue, {of}"), move || {
        stream(&mut orders, count, || {
            queue.put(again.clone()).map_err(drop).expect("put");
        })
    });
    [over_pipe, over_queue]
}

/// Big values of one allocation, beside bytes of the same size.
fn values(options: &Options, size: usize, python: Option<&Other>) -> Table {
    let cpu = 1;
    let total = options.pick(4 << 20, 64 << 20);
    let count = u32::try_from(total / size).unwrap_or(u32::MAX);
    let turns = options.pick(1, 12);
    let (mut orders, theirs) = connection::<u32, u32>().expect("connection");
    let (mut sender, receiver): (Sender<()>, _) = pipe().expect("pipe");
    let mut children =
        vec![Process::new(sink_bytes, (theirs, receiver, size, cpu)).start().expect("start")];
    let message = vec![7_u8; size];
    let mut contenders = vec![Contender::new("multiproc pipe, bytes", || {
        stream(&mut orders, count, || sender.send_bytes(&message).expect("send"))
    })];
    contenders.extend(value_contenders("String", "x".repeat(size), count, &mut children));
    contenders.extend(value_contenders("Vec<u8>", message.clone(), count, &mut children));
    contenders.extend(value_contenders("Vec<f64>", vec![0.5; size / 8], count, &mut children));
    contenders.extend(value_contenders("Vec<u64>", vec![7_u64; size / 8], count, &mut children));
    let nested = (7_u8, vec![0.5; size / 8], "text".to_owned());
    contenders.extend(value_contenders("Vec<f64> in a tuple", nested, count, &mut children));
    if let Some(python) = python {
        for (name, what) in [("CPython Pipe", "pipe"), ("CPython Queue", "queue")] {
            contenders.push(Contender::new(name, move || {
                ask(python, what, size, (count / 20).max(4), cpu)
            }));
        }
    }
    let samples = in_turns(&mut contenders, turns);
    let mut table = Table::new(format!("One way, values of {size} bytes (values {size})"));
    for (place, (contender, taken)) in contenders.iter().zip(&samples).enumerate() {
        let is_goal = size == 1 << 20 && (1..=8).contains(&place);
        table.row(
            &contender.name,
            fine(taken.median()),
            Some((taken.ratio_to(&samples[0]), "multiproc pipe, bytes")),
            is_goal.then_some(Goal::AtMost(2.0)),
        );
        // A vector beside a text, over the same transport.
        if size == 64 << 10 && (3..=8).contains(&place) {
            let text = &samples[1 + (place + 1) % 2];
            table.row(
                format!("  {}, to a String", contender.name),
                String::new(),
                Some((taken.ratio_to(text), "String")),
                Some(Goal::AtMost(1.5)),
            );
        }
    }
    drop(contenders);
    drop((orders, sender));
    children.iter().for_each(|child| child.join().expect("join"));
    table
}

/// How many put, and how many get.
const MANY: u32 = 2;

/// Puts what it is told to, then says so.
fn put_many(mut orders: Connection<u32>, queue: Queue<String>) {
    let text = "x".repeat(64);
    while let Ok(count) = orders.recv() {
        (0..count).for_each(|_| queue.put(text.clone()).expect("put"));
        orders.send(count).expect("send");
    }
}

fn get_many(mut orders: Connection<u32>, queue: Queue<String>) {
    while let Ok(count) = orders.recv() {
        (0..count).for_each(|_| drop(black_box(queue.get().expect("get"))));
        orders.send(count).expect("send");
    }
}

/// Several put and several get, on however many cores.
struct Crowd {
    orders: Vec<Connection<u32>>,
    children: Vec<Child<()>>,
}

impl Crowd {
    fn start(queue: &Queue<String>) -> Crowd {
        let (mut orders, mut children) = (Vec::new(), Vec::new());
        for _ in 0..MANY {
            let (near, far) = connection().expect("connection");
            children.push(Process::new(put_many, (far, queue.clone())).start().expect("start"));
            orders.push(near);
            let (near, far) = connection().expect("connection");
            children.push(Process::new(get_many, (far, queue.clone())).start().expect("start"));
            orders.push(near);
        }
        Crowd { orders, children }
    }

    fn exchange(&mut self, count: u32) -> Vec<f64> {
        each(count * MANY, || {
            self.orders.iter_mut().for_each(|orders| orders.send(count).expect("send"));
            self.orders
                .iter_mut()
                .for_each(|orders| assert_eq!(orders.recv().expect("recv"), count));
        })
    }

    fn end(self) {
        drop(self.orders);
        self.children.iter().for_each(|child| child.join().expect("join"));
    }
}

fn many_to_many(options: &Options, python: Option<&Other>) -> Table {
    let (turns, count) = options.pick((1, 2_000), (12, 50_000));
    // The processors are as the system gives them.
    unpin();
    let (free, bounded) = (Queue::new().expect("queue"), Queue::bounded(1000).expect("queue"));
    let (mut free_crowd, mut bounded_crowd) = (Crowd::start(&free), Crowd::start(&bounded));
    let text = "x".repeat(64);
    let mut contenders = vec![
        Contender::new("crossbeam between threads, bounded", || {
            let (put, get) = crossbeam_channel::bounded::<String>(1000);
            each(count * MANY, || {
                std::thread::scope(|scope| {
                    for _ in 0..MANY {
                        let (put, get, text) = (put.clone(), get.clone(), text.clone());
                        scope.spawn(move || {
                            (0..count).for_each(|_| put.send(text.clone()).expect("send"))
                        });
                        scope.spawn(move || {
                            (0..count).for_each(|_| drop(black_box(get.recv().expect("recv"))))
                        });
                    }
                });
            })
        }),
        Contender::new("multiproc Queue", || free_crowd.exchange(count)),
        Contender::new("multiproc Queue, bounded", || bounded_crowd.exchange(count)),
    ];
    if let Some(python) = python {
        contenders.push(Contender::new("CPython Queue", move || {
            ask(python, "many", 64, (count / 20).max(4), 0)
        }));
    }
    let samples = in_turns(&mut contenders, turns);
    let mut table = Table::new("64 bytes a message, 2 processes put and 2 get (many to many)");
    for (contender, taken) in contenders.iter().zip(&samples) {
        let ratio = (taken.ratio_to(&samples[1]), "multiproc Queue");
        table.row(&contender.name, fine(taken.median()), Some(ratio), None);
    }
    drop(contenders);
    free_crowd.end();
    bounded_crowd.end();
    pin(HERE);
    table
}

fn sum(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |sum, number| sum.wrapping_add(*number))
}

/// Sums what it is told to, as often as it is told.
fn sum_slices(mut orders: Connection<u64, SharedSlice<u64>>) {
    while let Ok(numbers) = orders.recv() {
        orders.send(sum(&numbers)).expect("send");
    }
}

fn sum_bytes(mut orders: Connection<u64, ()>) {
    let mut buffer = Vec::new();
    loop {
        match orders.recv_bytes() {
            Ok(bytes) => buffer = bytes,
            Err(_) => return drop(buffer),
        }
        let total = buffer.chunks_exact(8).fold(0_u64, |sum, chunk| {
            sum.wrapping_add(u64::from_ne_bytes(chunk.try_into().expect("8 bytes")))
        });
        orders.send(total).expect("send");
    }
}

/// A big array to another process and its sum back.
fn big_array(options: &Options) -> Table {
    let (turns, length) = options.pick((1, 1 << 20), (6, 32 << 20));
    unpin();
    let numbers: Vec<u64> = (0..length as u64).collect();
    let expected = sum(&numbers);
    let shared = SharedSlice::from_slice(&numbers).expect("shared memory");
    let (slices, far) = connection().expect("connection");
    let slices = std::cell::RefCell::new(slices);
    let sum_there = |numbers: SharedSlice<u64>| {
        let mut slices = slices.borrow_mut();
        slices.send(numbers).expect("send");
        slices.recv().expect("recv")
    };
    let slice_child = Process::new(sum_slices, (far,)).start().expect("start");
    let (mut bytes, far): (Connection<(), u64>, _) = connection().expect("connection");
    let byte_child = Process::new(sum_bytes, (far,)).start().expect("start");
    let mut reader = lanes::Reader::start(&numbers);
    let once = |f: &mut dyn FnMut() -> u64| vec![seconds(|| assert_eq!(f(), expected))];
    let mut contenders = vec![
        Contender::new("sum of a mapped array, in this process", || {
            once(&mut || sum(black_box(&shared)))
        }),
        Contender::new("process_vm_readv into fresh huge pages", || once(&mut || reader.sum())),
        Contender::new("multiproc SharedSlice, resident", || {
            once(&mut || sum_there(shared.clone()))
        }),
        Contender::new("multiproc SharedSlice, made of a Vec", || {
            once(&mut || sum_there(SharedSlice::from_slice(&numbers).expect("shared memory")))
        }),
        Contender::new("multiproc connection, bytes", || {
            once(&mut || {
                bytes.send_bytes(bytemuck::cast_slice(&numbers)).expect("send");
                bytes.recv().expect("recv")
            })
        }),
    ];
    let samples = in_turns(&mut contenders, turns);
    let mut table =
        Table::new(format!("{} MiB to another process, their sum back (big array)", length >> 17));
    for (place, (contender, taken)) in contenders.iter().zip(&samples).enumerate() {
        let (limit, of, goal) = match place {
            2 => (0, "a mapped read", Some(Goal::AtMost(1.1))),
            3 | 4 => (1, "process_vm_readv", Some(Goal::AtMost(1.2))),
            _ => (0, "a mapped read", None),
        };
        table.row(
            &contender.name,
            fine(taken.median()),
            Some((taken.ratio_to(&samples[limit]), of)),
            goal,
        );
    }
    drop(contenders);
    // A fork, which has copies of our ends of the connections.
    drop(reader);
    drop((slices, bytes));
    slice_child.join().expect("join");
    byte_child.join().expect("join");
    pin(HERE);
    table
}
