//! What it costs to have tasks done by a pool of two workers.
//!
//!     cargo bench --bench pool                          everything cargo bench --bench pool --
//!     --quick               a look whether it works cargo bench --bench pool -- chunk automatic
//!     some sections
//!
//! The limit is a pool of two forked processes with bare rings and nothing else: no names, no
//! errors, no recovery. rayon is threads; CPython takes part if there is a `python3`, procspawn if
//! it was built (see `benches/peers/Cargo.toml`).
#![expect(unsafe_code, reason = "a pool as bare as can be forks")]

#[path = "lanes/mod.rs"]
mod lanes;
#[path = "peers/mod.rs"]
mod peers;
mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lanes::{BareRing, Idle, Lane};
use multiproc::{Connection, Pool, Process, SharedSlice, connection};
use peers::Helper;
use rayon::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use support::{Contender, Goal, Options, Table, Weight, in_turns, median, seconds, time};

const WORKERS: usize = 2;

/// The other libraries: their names, what they are called by in questions, and who answers.
type Others = [(&'static str, &'static str, Rc<RefCell<Helper>>)];

fn trivial(n: u64) -> u64 {
    n.wrapping_mul(3)
}

/// Computes for so many microseconds.
fn busy(microseconds: u64) -> u64 {
    let until = Instant::now() + Duration::from_micros(microseconds);
    while Instant::now() < until {}
    microseconds
}

/// Bytes as a type of its own, which crosses as bytes and not as a list of numbers.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Whole;
        impl serde::de::Visitor<'_> for Whole {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Whole)
    }
}

fn main() {
    let options = Options::from_arguments();
    // Before there are threads: it forks.
    let raw = RefCell::new(RawPool::start());
    let pool = Pool::new(WORKERS).expect("pool");
    let threads = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build().expect("threads");
    let others = others();
    if others.is_empty() {
        println!("CPython and procspawn take no part: neither is installed\n");
    }
    if options.wants("chunk") {
        let count = options.pick(20_000, 300_000);
        println!("{}", trivial_tasks(&options, "chunk", count, &raw, &pool, &threads, &others));
    }
    if options.wants("automatic") {
        let count = options.pick(1_000_000, 10_000_000);
        println!("{}", trivial_tasks(&options, "automatic", count, &raw, &pool, &threads, &others));
    }
    if options.wants("millisecond") {
        println!("{}", milliseconds(&options, &pool, &threads, &others));
    }
    if options.wants("one") {
        println!("{}", one_by_one(&options, &pool));
    }
    if options.wants("mebibyte") {
        println!("{}", mebibytes(&options, &raw, &pool, &threads, &others));
    }
    if options.wants("queue") {
        println!("{}", queued(&options, &threads, &others));
        println!("{}", queue(&options));
    }
    if options.wants("memory") {
        println!("{}", memory());
    }
}

/// Two forked processes, each with a ring in and a ring out, that multiply by three. The sender is
/// told how many numbers come in one message by its length.
struct RawPool {
    workers: Vec<(BareRing, BareRing)>,
    pids: Vec<i32>,
}

/// A bit of a message's length: its numbers are encoded.
const ENCODED: usize = 1 << 63;

/// Puts a number behind others, with its length before it.
fn encode(n: u64, onto: &mut Vec<u8>) {
    let mut buffer = [0; 10];
    let bytes = postcard::to_slice(&n, &mut buffer).expect("room");
    onto.push(bytes.len() as u8);
    onto.extend_from_slice(bytes);
}

fn decode(mut bytes: &[u8], mut each: impl FnMut(u64)) {
    while let Some((&length, rest)) = bytes.split_first() {
        let (number, rest) = rest.split_at(length.into());
        each(postcard::from_bytes(number).expect("a number"));
        bytes = rest;
    }
}

impl RawPool {
    fn start() -> RawPool {
        let mut all = RawPool { workers: Vec::new(), pids: Vec::new() };
        for _ in 0..WORKERS {
            let (mut there, mut back) = (BareRing::new(Idle::Sleeps), BareRing::new(Idle::Sleeps));
            // SAFETY: there is no other thread yet, and the copy uses nothing but its rings.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: no preconditions: it ends with its parent.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let mut length = [0; 8];
                // As long as the longest, so that it is not made anew.
                let mut numbers = vec![0; 1 << 20];
                let mut encoded = Vec::new();
                loop {
                    there.recv(&mut length);
                    let length = usize::from_le_bytes(length);
                    numbers.resize(length & !ENCODED, 0_u8);
                    there.recv(&mut numbers);
                    if length & ENCODED != 0 {
                        encoded.clear();
                        decode(&numbers, |n| encode(trivial(n), &mut encoded));
                        back.send(&encoded.len().to_le_bytes());
                        back.send(&encoded);
                        continue;
                    }
                    for number in numbers.chunks_exact_mut(8) {
                        let n = u64::from_le_bytes(number.try_into().expect("eight"));
                        number.copy_from_slice(&trivial(n).to_le_bytes());
                    }
                    back.send(&numbers);
                }
            }
            all.workers.push((there, back));
            all.pids.push(pid);
        }
        all
    }

    /// `map`, with each number encoded on each way, as those who send any type must.
    fn map_encoded(&mut self, count: usize, chunk: usize) -> u64 {
        let window = (lanes::CAPACITY / 4 / (chunk * 11 + 24)).clamp(2, 512);
        let chunks = count / chunk;
        let (mut sent, mut got, mut sum) = (0, 0, 0_u64);
        let (mut encoded, mut length) = (Vec::new(), [0; 8]);
        while got < chunks {
            while sent < chunks && sent - got < window * WORKERS {
                encoded.clear();
                (sent * chunk..(sent + 1) * chunk).for_each(|n| encode(n as u64, &mut encoded));
                let (there, _) = &mut self.workers[sent % WORKERS];
                there.send(&(encoded.len() | ENCODED).to_le_bytes());
                there.send(&encoded);
                sent += 1;
            }
            let (_, back) = &mut self.workers[got % WORKERS];
            back.recv(&mut length);
            encoded.resize(usize::from_le_bytes(length), 0);
            back.recv(&mut encoded);
            decode(&encoded, |n| sum = sum.wrapping_add(n));
            got += 1;
        }
        sum
    }

    /// Has one message done.
    fn apply(&mut self, message: &[u8], answer: &mut [u8]) {
        let (there, back) = &mut self.workers[0];
        there.send(&(message.len()).to_le_bytes());
        there.send(message);
        back.recv(answer);
    }

    /// Has so many numbers done, in messages of so many.
    fn map(&mut self, count: usize, chunk: usize) -> u64 {
        // As much as a ring holds by half, and some.
        let window = (lanes::CAPACITY / 4 / (chunk * 8 + 24)).clamp(2, 512);
        let chunks = count / chunk;
        let (mut sent, mut got, mut sum) = (0, 0, 0_u64);
        let mut numbers = vec![0_u8; chunk * 8];
        while got < chunks {
            while sent < chunks && sent - got < window * WORKERS {
                for (place, number) in numbers.chunks_exact_mut(8).enumerate() {
                    number.copy_from_slice(&((sent * chunk + place) as u64).to_le_bytes());
                }
                let (there, _) = &mut self.workers[sent % WORKERS];
                there.send(&(numbers.len()).to_le_bytes());
                there.send(&numbers);
                sent += 1;
            }
            let (_, back) = &mut self.workers[got % WORKERS];
            back.recv(&mut numbers);
            for number in numbers.chunks_exact(8) {
                sum = sum.wrapping_add(u64::from_le_bytes(number.try_into().expect("eight")));
            }
            got += 1;
        }
        sum
    }
}

impl Drop for RawPool {
    fn drop(&mut self) {
        for pid in &self.pids {
            // SAFETY: children of ours that nobody has waited for.
            unsafe {
                libc::kill(*pid, libc::SIGKILL);
                libc::waitpid(*pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

/// CPython and procspawn, by their names.
fn others() -> Vec<(&'static str, &'static str, Rc<RefCell<Helper>>)> {
    let mut all = Vec::new();
    if let Some(helper) = Helper::start(&mut peers::python("pool.py"), "pool chunk 100") {
        all.push(("CPython Pool", "pool", Rc::clone(&helper)));
        all.push(("CPython ProcessPoolExecutor", "executor", helper));
    }
    // Each beside threads of its own, which sleep while others are measured.
    for name in ["loky", "pebble"] {
        let question = format!("{name} chunk 10");
        match Helper::start(&mut peers::python("pool.py"), &question) {
            Some(helper) => all.push((name, name, helper)),
            None => println!("{name} takes no part: `cargo xtask report` installs it"),
        }
    }
    if let Some(helper) = peers::procspawn_pool() {
        all.push(("procspawn", "procspawn", helper));
    }
    all
}

fn trivial_tasks(
    options: &Options,
    section: &str,
    count: usize,
    raw: &RefCell<RawPool>,
    pool: &Pool,
    threads: &rayon::ThreadPool,
    others: &Others,
) -> Table {
    let is_single = section == "chunk";
    let expected = (0..count as u64).map(trivial).fold(0_u64, u64::wrapping_add);
    let each = count as f64;
    let mut contenders = vec![
        Contender::new("raw ring pool", || {
            let chunk = if is_single { 1 } else { 2000 };
            vec![seconds(|| assert_eq!(raw.borrow_mut().map(count, chunk), expected)) / each]
        }),
        Contender::new("raw ring pool, with postcard", || {
            let chunk = if is_single { 1 } else { 2000 };
            vec![
                seconds(|| assert_eq!(raw.borrow_mut().map_encoded(count, chunk), expected)) / each,
            ]
        }),
        Contender::new("multiproc map", || {
            let tasks = if is_single { pool.tasks().chunk_size(1) } else { pool.tasks() };
            let inputs = 0..count as u64;
            let mut sum = 0;
            let took = seconds(|| {
                sum = tasks
                    .map(trivial, inputs)
                    .expect("mapped")
                    .into_iter()
                    .fold(0, u64::wrapping_add)
            });
            assert_eq!(sum, expected);
            vec![took / each]
        }),
        Contender::new("rayon (threads)", || {
            let took = seconds(|| {
                let length = if is_single { 1 } else { 1 << 20 };
                let numbers = (0..count).into_par_iter().with_max_len(length);
                let all: Vec<u64> = threads
                    .install(|| numbers.map(|n| std::hint::black_box(trivial(n as u64))).collect());
                assert_eq!(all.len(), count);
            });
            vec![took / each]
        }),
    ];
    if !is_single {
        // As users of procspawn have to: one outcome for all numbers of a vector.
        contenders.push(Contender::new("multiproc map, of vectors", || {
            let all = |numbers: Vec<u64>| numbers.into_iter().map(trivial).collect::<Vec<u64>>();
            let vectors = (0..count as u64)
                .step_by(2000)
                .map(|first| (first..first + 2000).collect::<Vec<u64>>());
            let mut sum = 0;
            let took = seconds(|| {
                sum = pool
                    .map(all, vectors)
                    .expect("mapped")
                    .into_iter()
                    .flatten()
                    .fold(0, u64::wrapping_add)
            });
            assert_eq!(sum, expected);
            vec![took / each]
        }));
    }
    for (name, method, helper) in others {
        let count =
            if is_single { options.pick(500, 10_000) } else { options.pick(20_000, 200_000) };
        contenders.push(Contender::new(*name, move || {
            helper.borrow_mut().ask(&format!("{method} {section} {count}"))
        }));
    }
    let samples = in_turns(&mut contenders, options.pick(2, 9));
    let title = if is_single { "chunks of one (chunk)" } else { "chunks as they come (automatic)" };
    let mut table = Table::new(format!("Trivial tasks, 2 workers, {title}: each"));
    for (contender, sample) in contenders.iter().zip(&samples) {
        let time = time(sample.median());
        if contender.name.starts_with("multiproc") {
            // Beside the bare pool that has a codec, too: ours takes values of any type.
            let ratio = (sample.ratio_to(&samples[1]), "raw ring pool, with postcard");
            let most = if is_single { 2.0 } else { 1.5 };
            table.row(&contender.name, time, Some(ratio), Some(Goal::AtMost(most)));
        } else {
            let ratio = (contender.name != "raw ring pool")
                .then(|| (sample.ratio_to(&samples[0]), "raw ring pool"));
            table.row(&contender.name, time, ratio, None);
        }
    }
    table
}

fn milliseconds(
    options: &Options,
    pool: &Pool,
    threads: &rayon::ThreadPool,
    others: &Others,
) -> Table {
    let count = options.pick(100, 1000);
    let ideal = count as f64 * 1e-3 / WORKERS as f64;
    let mut contenders = vec![
        Contender::new("rayon (threads)", || {
            vec![
                ideal
                    / seconds(|| {
                        threads.install(|| {
                            (0..count)
                                .into_par_iter()
                                .with_max_len(1)
                                .for_each(|_| assert_eq!(busy(1000), 1000))
                        })
                    }),
            ]
        }),
        Contender::new("multiproc map", || {
            vec![ideal / seconds(|| drop(pool.map(busy, vec![1000; count]).expect("mapped")))]
        }),
        Contender::new("multiproc map, chunks of one", || {
            vec![
                ideal
                    / seconds(|| {
                        drop(
                            pool.tasks()
                                .chunk_size(1)
                                .map(busy, vec![1000; count])
                                .expect("mapped"),
                        )
                    }),
            ]
        }),
    ];
    for (name, method, helper) in others {
        contenders.push(Contender::new(*name, move || {
            let each = helper.borrow_mut().ask(&format!("{method} millisecond {count}"));
            each.into_iter().map(|each| 1e-3 / WORKERS as f64 / each).collect()
        }));
    }
    let samples = in_turns(&mut contenders, options.pick(2, 7));
    let mut table =
        Table::new("Tasks of 1 ms (millisecond): what part of the two processors they get");
    for (contender, sample) in contenders.iter().zip(&samples) {
        let ours = contender.name.starts_with("multiproc");
        let ratio =
            (contender.name != "rayon (threads)").then(|| (sample.ratio_to(&samples[0]), "rayon"));
        table.row(
            &contender.name,
            format!("{:.3}", sample.median()),
            ratio,
            ours.then_some(Goal::AtLeast(0.97)),
        );
    }
    table
}

fn echo(mut connection: Connection<u64>) {
    while let Ok(value) = connection.recv() {
        connection.send(trivial(value)).expect("send");
    }
}

fn one_by_one(options: &Options, pool: &Pool) -> Table {
    let count = options.pick(200_u64, 3000);
    // What a task is measured against: a process that does the same, told by a connection.
    let (mut values, far) = connection::<u64, u64>().expect("connection");
    let child = Process::new(echo, (far,)).start().expect("started");
    let (mut paused, far) = connection::<u64, u64>().expect("connection");
    let other = Process::new(echo, (far,)).start().expect("started");
    let mut contenders = [
        Contender::new("multiproc connection, a value there and back", || {
            vec![
                seconds(|| {
                    for n in 0..count {
                        values.send(n).expect("send");
                        assert_eq!(values.recv().expect("recv"), trivial(n));
                    }
                }) / count as f64,
            ]
        }),
        Contender::new("apply, one after the other", || {
            vec![
                seconds(|| (0..count).for_each(|n| assert!(pool.apply(trivial, (n,)).is_ok())))
                    / count as f64,
            ]
        }),
        Contender::new("multiproc connection, after a pause", || {
            (0..count / 10)
                .map(|n| {
                    // So long that both sides sleep.
                    std::thread::sleep(Duration::from_millis(1));
                    seconds(|| {
                        paused.send(n).expect("send");
                        assert_eq!(paused.recv().expect("recv"), trivial(n));
                    })
                })
                .collect()
        }),
        Contender::new("apply, each after a pause", || {
            (0..count / 10)
                .map(|n| {
                    std::thread::sleep(Duration::from_millis(1));
                    seconds(|| assert!(pool.apply(trivial, (n,)).is_ok()))
                })
                .collect()
        }),
        Contender::new("submit all, then join", || {
            let took = seconds(|| {
                let tasks: Vec<_> = (0..count * 20).map(|n| pool.submit(trivial, (n,))).collect();
                tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
            });
            vec![took / (count * 20) as f64]
        }),
    ];
    let samples = in_turns(&mut contenders, options.pick(2, 9));
    let mut table = Table::new("Single tasks (one): each");
    // Awake, beside a connection that is awake; after a pause, beside one that was.
    let limits = [None, Some((0, 2.0)), None, Some((2, 1.1)), None];
    for ((contender, sample), limit) in contenders.iter().zip(&samples).zip(limits) {
        let ratio = limit.map(|(of, _)| (sample.ratio_to(&samples[of]), "a connection's"));
        let goal = limit.map(|(_, most)| Goal::AtMost(most));
        table.row(&contender.name, time(sample.median()), ratio, goal);
    }
    drop(contenders);
    drop((values, paused));
    child.join().expect("joined");
    other.join().expect("joined");
    table
}

/// Messages of 1 MiB: how long each takes. (To a thread of rayon, none is copied.)
fn mebibytes(
    options: &Options,
    raw: &RefCell<RawPool>,
    pool: &Pool,
    threads: &rayon::ThreadPool,
    others: &Others,
) -> Table {
    let count = options.pick(10, 100);
    let bytes = || Bytes(vec![7; 1 << 20]);
    let slices: Vec<_> =
        (0..count).map(|_| SharedSlice::from_slice(&[7_u8; 1 << 20]).expect("slice")).collect();
    let mut contenders = vec![
        Contender::new("raw ring pool, there and back", || {
            support::times(count, || {
                let (message, mut answer) = (bytes().0, vec![0; 1 << 20]);
                raw.borrow_mut().apply(&message, &mut answer);
                assert_eq!(answer[..8], (trivial(u64::from_le_bytes([7; 8]))).to_le_bytes());
            })
        }),
        Contender::new("multiproc, bytes, there and back", || {
            support::times(count, || {
                assert_eq!(
                    pool.apply(|bytes: Bytes| bytes, (bytes(),)).expect("done").0.len(),
                    1 << 20
                )
            })
        }),
        Contender::new("multiproc, bytes, there", || {
            support::times(count, || {
                assert_eq!(
                    pool.apply(|bytes: Bytes| bytes.0.len(), (bytes(),)).expect("done"),
                    1 << 20
                )
            })
        }),
        Contender::new("multiproc, shared slice, made before, there", || {
            let sum = |slice: SharedSlice<u8>| {
                slice.iter().step_by(4096).map(|byte| u64::from(*byte)).sum::<u64>()
            };
            slices
                .iter()
                .map(|slice| {
                    seconds(|| {
                        assert_eq!(pool.apply(sum, (slice.clone(),)).expect("done"), 7 * 256)
                    })
                })
                .collect()
        }),
        Contender::new("rayon (threads), there and back", || {
            support::times(count, || assert_eq!(threads.install(bytes).0.len(), 1 << 20))
        }),
    ];
    for (name, method, helper) in others {
        let name = format!("{name}, there and back");
        contenders.push(Contender::new(name, move || {
            helper.borrow_mut().ask(&format!("{method} mebibyte {count}"))
        }));
    }
    let samples = in_turns(&mut contenders, options.pick(2, 7));
    let mut table = Table::new("1 MiB arguments and results (mebibyte): each");
    for (contender, sample) in contenders.iter().zip(&samples) {
        let is_raw = contender.name.starts_with("raw");
        let ratio = (!is_raw).then(|| (sample.ratio_to(&samples[0]), "raw ring pool"));
        let is_measured_by = contender.name == "multiproc, bytes, there and back";
        let goal = is_measured_by.then_some(Goal::AtMost(1.5));
        table.row(&contender.name, time(sample.median()), ratio, goal);
    }
    table
}

/// Many tasks handed in one by one, before the first is asked for.
fn queued(options: &Options, threads: &rayon::ThreadPool, others: &Others) -> Table {
    let count = options.pick(5_000, 100_000);
    let pool = Pool::new(WORKERS).expect("pool");
    let mut contenders = vec![
        Contender::new("multiproc", || {
            let took = seconds(|| {
                let tasks: Vec<_> = (0..count as u64).map(|n| pool.submit(trivial, (n,))).collect();
                tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
            });
            vec![took / count as f64]
        }),
        Contender::new("rayon (threads)", || {
            let (done, all) = std::sync::mpsc::channel();
            let took = seconds(|| {
                for n in 0..count as u64 {
                    let done = done.clone();
                    threads.spawn(move || done.send(trivial(n)).expect("somebody listens"));
                }
                assert_eq!(all.iter().take(count).count(), count);
            });
            vec![took / count as f64]
        }),
    ];
    for (name, method, helper) in others {
        contenders.push(Contender::new(*name, move || {
            helper.borrow_mut().ask(&format!("{method} queue {count}"))
        }));
    }
    let samples = in_turns(&mut contenders, options.pick(2, 5));
    let mut table =
        Table::new(format!("{count} tasks queued one by one, then awaited (queue): each"));
    for (contender, sample) in contenders.iter().zip(&samples) {
        let ours = contender.name.starts_with("multiproc");
        let ratio = (!ours).then(|| (sample.ratio_to(&samples[0]), "multiproc"));
        table.row(&contender.name, time(sample.median()), ratio, None);
    }
    table
}

/// What it costs to queue many, and whether it costs more the more there are.
fn queue(options: &Options) -> Table {
    let counts = options.pick([1_000_u64, 10_000, 50_000], [10_000, 100_000, 1_000_000]);
    let mut table = Table::new(
        "Many tasks in the queue (queue): each, from its submission to its outcome; memory",
    );
    let mut first = None;
    for count in counts {
        // All in the queue at once, behind what does not end. At first, as memory that was given
        // back is there to be reused.
        let bytes = {
            let pool = Pool::new(WORKERS).expect("pool");
            let _held: Vec<_> = (0..WORKERS).map(|_| pool.submit(busy, (60_000_000,))).collect();
            let before = resident();
            let tasks: Vec<_> = (0..count).map(|n| pool.submit(trivial, (n,))).collect();
            let bytes = (resident() - before) / count as f64;
            drop((pool, tasks));
            bytes
        };
        let pool = Pool::new(WORKERS).expect("pool");
        let taken = (0..options.pick(1, 3)).map(|_| {
            let took = seconds(|| {
                let tasks: Vec<_> = (0..count).map(|n| pool.submit(trivial, (n,))).collect();
                tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
            });
            took / count as f64
        });
        let each = median(taken);
        let goal = first.is_some().then_some(Goal::AtMost(1.2));
        let ratio = first.map(|first| (each / first, "the first row"));
        table.row(format!("{count} tasks"), time(each), ratio, goal);
        let name = format!("  {count} tasks: at most, in bytes beside its arguments");
        table.row(name, format!("{bytes:.0}"), None, None);
        first.get_or_insert(each);
    }
    table
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).expect("a number").parse::<f64>().expect("a number") * 4096.0
}

/// What an idle worker weighs: its share of what it shares, and what is its own.
fn memory() -> Table {
    let pool = Pool::new(8).expect("pool");
    pool.map(trivial, 0..10_000).expect("mapped");
    let workers = pool.stats().workers;
    let weights: Vec<_> =
        workers.into_iter().filter_map(|worker| Weight::of(worker.pid?)).collect();
    let mut table = Table::new("Memory of an idle worker, 8 of them (memory)");
    table.weights("multiproc", &weights, Some(Goal::AtMost(40.0)));
    table
}
