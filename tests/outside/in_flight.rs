//! Descriptors that were sent and are not received yet, of which an ordinary user may have as many
//! as open files.
#![expect(unsafe_code, reason = "limits and times are asked for as a C program would")]

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use multiproc::{
    Address, Child, Connection, Descriptor, JoinableQueue, Listener, Pool, Process, Queue,
    Receiver, SendError, Sender, SimpleQueue, StartMethod, Target, connect, connection, pipe,
};

use crate::support::{METHODS, Test, tempfile};
use crate::users::as_user_alone;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_pool_waits_for_its_tasks_descriptors,
    a_process_whose_result_has_no_room_says_why,
    a_start_without_room_says_why,
    a_value_that_waits_does_not_hold_up_who_will_not_wait,
    connections_wait_for_their_receiver,
    pipes_wait_for_their_receiver,
    queues_wait_for_who_gets,
    who_has_sent_nothing_hears_of_the_limit,
];

/// What a value carries.
type Files = Vec<Descriptor<File>>;

/// Starts a child that runs `f` with `args` when it is told to, and has received all that was sent
/// to it: what is in flight then is the test's.
fn start_ready<Args, Output>(
    f: impl Target<(Args, Gate), Output = Output> + Copy + Send,
    args: Args,
    method: StartMethod,
) -> (Child<Output>, Sender<()>)
where
    Args: serde::Serialize + serde::de::DeserializeOwned,
    Output: serde::Serialize + serde::de::DeserializeOwned,
{
    let (ready, mut is_ready) = pipe::<()>().expect("a pipe");
    let (begin, begun) = pipe::<()>().expect("a pipe");
    let child =
        Process::new(f, (args, Gate { ready, begun })).start_method(method).start().expect("start");
    let () = is_ready.recv().expect("a word");
    (child, begin)
}

/// What a child waits at.
#[derive(serde::Serialize, serde::Deserialize)]
struct Gate {
    ready: Sender<()>,
    begun: Receiver<()>,
}

impl Gate {
    fn pass(mut self) {
        self.ready.send(()).expect("send");
        let () = self.begun.recv().expect("a word");
    }
}

/// The limit in these tests.
const LIMIT: u64 = 96;

/// Sets the limit on open files and so on descriptors in flight.
fn lower_the_limit() {
    let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
    // SAFETY: the structure is ours.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0, "set a limit");
}

/// Some descriptors of one file that holds a number.
fn files(number: u32, count: usize) -> Files {
    let mut file = tempfile();
    file.write_all(&number.to_le_bytes()).expect("write");
    (0..count).map(|_| Descriptor(file.try_clone().expect("duplicate"))).collect()
}

fn number_in(files: &mut Files) -> u32 {
    let mut bytes = [0; 4];
    files[0].rewind().expect("rewind");
    files[0].read_exact(&mut bytes).expect("read");
    u32::from_le_bytes(bytes)
}

/// The processor time that this process has used.
fn used() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Has `body` wait for a second, in which it uses next to no processor time.
fn asleep<R>(body: impl FnOnce(Duration) -> R) -> R {
    let before = used();
    let result = body(Duration::from_secs(1));
    let took = used() - before;
    assert!(took < Duration::from_millis(300), "it was busy for {took:?} of a second");
    result
}

/// Asserts that an error names the limit.
#[track_caller]
fn names_the_limit(text: &str) {
    assert!(text.contains("in flight") && text.contains("RLIMIT_NOFILE, 96"), "{text}");
}

/// As above, and that it is the system's.
#[track_caller]
fn is_the_limit(error: &io::Error) {
    names_the_limit(&error.to_string());
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    let source = error
        .get_ref()
        .and_then(StdError::source)
        .and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.and_then(io::Error::raw_os_error), Some(libc::ETOOMANYREFS));
}

/// Fills a queue with descriptors until the limit is reached; how many values it took.
fn fill(queue: &Queue<Files>) -> u32 {
    let mut count = 0;
    while queue.try_put(files(count, 10)).is_ok() {
        count += 1;
        assert!(count < 1000, "no limit");
    }
    count
}

/// Gets so many values, each of which must be the next.
fn get(queue: Queue<Files>, count: u32) -> u32 {
    for expected in 0..count {
        assert_eq!(number_in(&mut queue.get().expect("get")), expected);
    }
    count
}

fn queues_wait_for_who_gets() {
    as_user_alone(|| {
        lower_the_limit();
        for method in METHODS {
            let queue = Queue::new().expect("a queue");
            let (child, mut begin) = start_ready(
                |queue: Queue<Files>, gate: Gate| {
                    gate.pass();
                    get(queue, 200)
                },
                queue.clone(),
                method,
            );
            let count = fill(&queue);
            let full = asleep(|time| queue.put_timeout(files(count, 10), time)).expect_err("put");
            assert!(full.is_timeout(), "{full}");
            let mut value = full.into_value();
            assert_eq!((value.len(), number_in(&mut value)), (10, count), "the value comes back");
            begin.send(()).expect("send");
            for number in count..200 {
                queue.put(files(number, 10)).expect("put");
            }
            assert_eq!(child.join().expect("join"), 200, "{method}");
        }
        // The other kinds of queues go the same way.
        let (simple, joinable) =
            (SimpleQueue::new().expect("a queue"), JoinableQueue::new().expect("a queue"));
        let child = Process::new(
            |simple: SimpleQueue<Files>, joinable: JoinableQueue<Files>| {
                for expected in 0..50 {
                    assert_eq!(number_in(&mut simple.get().expect("get")), expected);
                    assert_eq!(number_in(&mut joinable.get().expect("get")), expected);
                }
            },
            (simple.clone(), joinable.clone()),
        );
        let child = child.start().expect("start");
        for number in 0..50 {
            simple.put(files(number, 10)).expect("put");
            joinable.put(files(number, 10)).expect("put");
        }
        child.join().expect("join");
    });
}

/// One process waits with its value; another one's `try_put` and `put_timeout` answer all the same.
fn a_value_that_waits_does_not_hold_up_who_will_not_wait() {
    as_user_alone(|| {
        lower_the_limit();
        let queue = Queue::new().expect("a queue");
        let (mut tell, filled) = pipe().expect("a pipe");
        let (child, mut begin) = start_ready(
            |(queue, mut filled): (Queue<Files>, Receiver<u32>), gate: Gate| {
                gate.pass();
                let number = filled.recv().expect("a number");
                queue.put(files(number, 10)).expect("put");
            },
            (queue.clone(), filled),
            StartMethod::Forkserver,
        );
        let count = fill(&queue);
        begin.send(()).expect("send");
        tell.send(count).expect("send");
        let answers = asleep(|time| {
            let started = std::time::Instant::now();
            let mut answers = 0;
            while started.elapsed() < time {
                // A success is one before the child had begun to wait.
                let _ = queue.try_put(Vec::new());
                let _ = queue.put_timeout(Vec::new(), Duration::from_millis(20));
                answers += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(queue.try_put(Vec::new()).expect_err("it went ahead of who waits").is_full());
            answers
        });
        // Five seconds were waited for each before.
        assert!(answers > 1, "{answers} answers in a second");
        let mut next = 0;
        while next <= count {
            // (The empty ones went in before the child had begun to wait.)
            let mut files = queue.get().expect("get");
            if !files.is_empty() {
                assert_eq!(number_in(&mut files), next);
                next += 1;
            }
        }
        child.join().expect("join");
    });
}

fn pipes_wait_for_their_receiver() {
    as_user_alone(|| {
        lower_the_limit();
        let (mut sender, receiver) = pipe::<Files>().expect("a pipe");
        let (child, mut begin) = start_ready(
            |mut receiver: Receiver<Files>, gate: Gate| {
                gate.pass();
                for expected in 0..100 {
                    assert_eq!(number_in(&mut receiver.recv().expect("receive")), expected);
                }
            },
            receiver,
            StartMethod::Forkserver,
        );
        let mut count = 0;
        while sender.try_send(files(count, 10)).is_ok() {
            count += 1;
        }
        let full = asleep(|time| sender.send_timeout(files(count, 10), time)).expect_err("sent");
        assert!(full.is_timeout(), "{full}");
        begin.send(()).expect("send");
        for number in count..100 {
            sender.send(files(number, 10)).expect("send");
        }
        child.join().expect("join");
    });
}

fn connections_wait_for_their_receiver() {
    as_user_alone(|| {
        lower_the_limit();
        let mut listener = Listener::bind(Address::fresh().expect("a name")).expect("bind");
        let by_socket: Connection<Files, ()> = connect(listener.address()).expect("connect");
        let other = listener.accept::<(), Files>().expect("accept");
        let (by_ring, other_by_ring) = connection::<Files, ()>().expect("a connection");
        for (mut near, far) in [(by_socket, other), (by_ring, other_by_ring)] {
            let (child, mut begin) = start_ready(
                |mut far: Connection<(), Files>, gate: Gate| {
                    gate.pass();
                    for expected in 0..100 {
                        assert_eq!(number_in(&mut far.recv().expect("receive")), expected);
                    }
                },
                far,
                StartMethod::Forkserver,
            );
            let mut count = 0;
            while near.try_send(files(count, 10)).is_ok() {
                count += 1;
            }
            let full = asleep(|time| near.send_timeout(files(count, 10), time)).expect_err("sent");
            assert!(full.is_timeout(), "{full}");
            begin.send(()).expect("send");
            for number in count..100 {
                near.send(files(number, 10)).expect("send");
            }
            child.join().expect("join");
        }
    });
}

/// The limit is reached elsewhere: to wait for the own receiver, who has all, would be to wait for
/// ever.
fn who_has_sent_nothing_hears_of_the_limit() {
    as_user_alone(|| {
        lower_the_limit();
        let queue = Queue::new().expect("a queue");
        let (mut sender, mut receiver) = pipe::<Files>().expect("a pipe");
        let mut listener = Listener::bind(Address::fresh().expect("a name")).expect("bind");
        let mut near: Connection<Files> = connect(listener.address()).expect("connect");
        let mut far = listener.accept::<(), Files>().expect("accept");
        let hoard = Queue::new().expect("a queue");
        let count = fill(&hoard);
        let SendError::Os { value, error, .. } = queue.put(files(5, 2)).expect_err("put") else {
            panic!()
        };
        is_the_limit(&error);
        assert_eq!(value.len(), 2);
        let error = queue.try_put(files(5, 2)).expect_err("put");
        names_the_limit(&error.to_string());
        assert_eq!(multiproc::Error::from(error).raw_os_error(), Some(libc::ETOOMANYREFS));
        let SendError::Os { error, .. } = sender.send(files(5, 2)).expect_err("sent") else {
            panic!()
        };
        is_the_limit(&error);
        let SendError::Os { error, .. } = near.send(files(5, 2)).expect_err("sent") else {
            panic!()
        };
        is_the_limit(&error);
        // What brings none goes on, and so does everything when there is room again.
        queue.put(Vec::new()).expect("put");
        sender.send(Vec::new()).expect("send");
        near.send(Vec::new()).expect("send");
        assert_eq!(get(hoard, count), count);
        queue.put(files(5, 2)).expect("put");
        sender.send(files(5, 2)).expect("send");
        near.send(files(5, 2)).expect("send");
        for expected in [0, 2] {
            assert_eq!(queue.get().expect("get").len(), expected);
            assert_eq!(receiver.recv().expect("receive").len(), expected);
            assert_eq!(far.recv().expect("receive").len(), expected);
        }
    });
}

fn a_start_without_room_says_why() {
    as_user_alone(|| {
        lower_the_limit();
        let count_of = |files: Files| files.len();
        for method in METHODS {
            let start = || Process::new(count_of, (files(0, 3),)).start_method(method).start();
            assert_eq!(start().expect("start").join().expect("join"), 3);
            let hoard = Queue::new().expect("a queue");
            let count = fill(&hoard);
            for _ in 0..3 {
                match start() {
                    // Nothing is sent to a copy.
                    Ok(child) => assert_eq!(child.join().expect("join"), 3, "{method}"),
                    Err(error) => {
                        names_the_limit(&error.to_string());
                        assert_eq!(error.raw_os_error(), Some(libc::ETOOMANYREFS), "{method}");
                    }
                }
            }
            assert_eq!(get(hoard, count), count);
            assert_eq!(start().expect("start").join().expect("join"), 3, "{method}");
        }
    });
}

/// The limit is reached while a child runs: its result is lost, and the error says to what.
fn a_process_whose_result_has_no_room_says_why() {
    as_user_alone(|| {
        lower_the_limit();
        for method in METHODS {
            let (child, mut begin) = start_ready(
                |count: usize, gate: Gate| {
                    gate.pass();
                    files(0, count)
                },
                3,
                method,
            );
            let hoard = Queue::new().expect("a queue");
            let count = fill(&hoard);
            begin.send(()).expect("send");
            let error = child.join().expect_err("there was room").to_string();
            names_the_limit(&error);
            assert_eq!(get(hoard, count), count);
        }
    });
}

fn a_pool_waits_for_its_tasks_descriptors() {
    as_user_alone(|| {
        lower_the_limit();
        let pool = Pool::builder().processes(2).build().expect("a pool");
        let numbers = |mut files: Files| number_in(&mut files);
        assert_eq!(pool.apply(numbers, (files(7, 2),)).expect("apply"), 7);
        let hoard = Queue::new().expect("a queue");
        let count = fill(&hoard);
        let tasks: Vec<_> =
            (0..4).map(|number| pool.submit(numbers, (files(number, 2),))).collect();
        // One without descriptors overtakes nothing that matters, and none is lost.
        let restarts =
            |pool: &Pool| pool.stats().workers.iter().map(|worker| worker.restarts).sum::<u64>();
        let before = restarts(&pool);
        asleep(std::thread::sleep);
        assert_eq!(get(hoard, count), count);
        for (task, expected) in tasks.into_iter().zip(0..) {
            assert_eq!(task.join().expect("join"), expected);
        }
        assert_eq!(restarts(&pool), before, "workers were ended");
        // A result that has no room says why. What is received meanwhile (a fork server's next
        // clone) leaves room for one.
        let mut hoards = Vec::new();
        let error = (0..20).find_map(|_| {
            let hoard = Queue::new().expect("a queue");
            let count = fill(&hoard);
            hoards.push((hoard, count));
            let result = pool.apply(
                |number: u32| Descriptor(OwnedFd::from(files(number, 1).remove(0).into_inner())),
                (1,),
            );
            result.err()
        });
        names_the_limit(&error.expect("there was room").to_string());
        for (hoard, count) in hoards {
            assert_eq!(get(hoard, count), count);
        }
    });
}
