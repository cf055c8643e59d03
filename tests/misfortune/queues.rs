//! Queues without descriptors or memory, in the hands of who means harm, and what the dead have
//! put.
#![expect(unsafe_code, reason = "maps the memory of a queue as another program would")]

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc::{
    Descriptor, Failure, JoinableQueue, Process, Queue, RecvError, RecvTimeoutError, SendError,
    SendTimeoutError, TryRecvError, wait,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::{Hoard, in_copy, limit};
use crate::support::{for_each_method, open_fds};

const LONG: Duration = Duration::from_secs(60);

/// The descriptors that may be inside one value.
const MOST_FDS: usize = 240;

fn null() -> Descriptor<File> {
    Descriptor(File::open("/dev/null").expect("open"))
}

pub(crate) fn queues_without_descriptors() {
    let queue = Queue::<Descriptor<PipeWriter>>::new().expect("queue");
    let (mut read, write) = std::io::pipe().expect("pipe");
    queue.put(Descriptor(write)).expect("put");
    let plain = Queue::new().expect("queue");
    plain.put(7).expect("put");
    let before = open_fds();
    for spared in 0..3 {
        let hoard = Hoard::all_but(spared);
        let made = Queue::<u8>::new().map(drop);
        let joinable = JoinableQueue::<u8>::new().map(drop);
        drop(hoard);
        for error in [made.expect_err("no descriptors"), joinable.expect_err("no descriptors")] {
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{spared} left: {error}");
        }
    }
    // What is there needs none, unless a value brings some; and that stays until there is room.
    let hoard = Hoard::all_but(0);
    plain.put(8).expect("put");
    let got = (plain.get(), plain.get());
    let refused: Vec<_> = (0..3).map(|_| queue.get()).collect();
    let unready = queue.len();
    drop(hoard);
    assert_eq!((got.0.expect("get"), got.1.expect("get")), (7, 8));
    for error in refused {
        let Err(RecvError::Os(error)) = error else { panic!("{error:?}") };
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
    }
    assert_eq!(unready, 1);
    assert_eq!(open_fds(), before, "duplicates were left");
    let mut came = queue.get().expect("get");
    came.write_all(b"x").expect("write");
    drop(came);
    let mut text = String::new();
    read.read_to_string(&mut text).expect("nobody else has the other end");
    assert_eq!(text, "x");
}

/// A child that has no room for the queue it is given says so.
pub(crate) fn a_queue_finds_no_room() {
    fn takes(queues: Queue<Queue<u32>>) -> (bool, u32) {
        let hoard = Hoard::all_but(1);
        let first = queues.get();
        drop(hoard);
        let second = queues.get_timeout(LONG).expect("it is still there");
        let is_told = matches!(first, Err(RecvError::Os(error)) if error.raw_os_error() == Some(libc::EMFILE));
        (is_told, second.get_timeout(LONG).expect("get"))
    }
    for_each_method(|method| {
        let (queues, inner) = (Queue::new().expect("queue"), Queue::new().expect("queue"));
        inner.put(5).expect("put");
        queues.put(inner.clone()).expect("put");
        let child =
            Process::new(takes, (queues.clone(),)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), (true, 5));
    });
}

pub(crate) fn values_with_as_many_descriptors_as_go() {
    let queue = Queue::new().expect("queue");
    limit(libc::RLIMIT_NOFILE, 4096);
    let many: Vec<_> = (0..=MOST_FDS).map(|_| null()).collect();
    match queue.put(many) {
        Err(SendError::Encode { value, reason, .. }) => {
            assert_eq!(value.len(), MOST_FDS + 1);
            assert!(reason.contains("descriptors"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.len(), 0);
    for _ in 0..3 {
        queue.put((0..MOST_FDS).map(|_| null()).collect()).expect("put");
    }
    for _ in 0..3 {
        assert_eq!(queue.get().expect("get").len(), MOST_FDS);
    }
}

/// Bytes that cross in one piece.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

pub(crate) fn values_too_long_for_a_queue() {
    let queue = Queue::<Bytes>::new().expect("queue");
    let before = peak();
    // Zeroes that nobody looked at take no memory.
    match queue.put(Bytes(vec![0; (1 << 30) + 1])) {
        Err(SendError::Encode { value, reason, .. }) => {
            assert_eq!(value.0.len(), (1 << 30) + 1);
            assert!(reason.contains("more than"), "{reason}");
        }
        other => panic!("{:?}", other.is_ok()),
    }
    assert!(peak() < before + (64 << 20), "{} bytes were taken for it", peak() - before);
    assert_eq!(queue.len(), 0);
    queue.put(Bytes(vec![1; 10])).expect("put");
    assert_eq!(queue.len(), 1);
}

/// What a process sends in place of a queue: three descriptors and the bound.
#[derive(Serialize)]
struct Forged {
    memory: Descriptor,
    put_end: Descriptor,
    get_end: Descriptor,
    most: u64,
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Forged, D::Error> {
        let queue = Queue::<u32>::deserialize(deserializer)?;
        panic!("something else was taken for a queue: {queue:?}");
    }
}

/// A memory file of so many bytes, sealed or not.
fn memory(length: u64, seals: rustix::fs::SealFlags) -> OwnedFd {
    use rustix::fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create};
    let file =
        memfd_create("forged", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memfd");
    ftruncate(&file, length).expect("truncate");
    fcntl_add_seals(&file, seals).expect("seal");
    file
}

pub(crate) fn queues_that_are_not_what_they_say() {
    use rustix::fs::SealFlags;
    let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    // The lengths that queues have: 8 KiB, and rungs of 256 KiB and its doubles.
    let one_rung = 8192 + (256 << 10);
    for_each_method(|method| {
        let memories: [(&str, OwnedFd); 6] = [
            ("a pipe", std::io::pipe().expect("pipe").0.into()),
            ("a file", File::open("/proc/self/exe").expect("open").into()),
            ("too short", memory(4096, sealed)),
            ("empty", memory(0, sealed)),
            ("of no such length", memory(one_rung + 4096, sealed)),
            ("not sealed", memory(one_rung, SealFlags::empty())),
        ];
        for (what, memory) in memories {
            let (one, other) = std::os::unix::net::UnixStream::pair().expect("pair");
            let ends = (Descriptor(one.into()), Descriptor(other.into()));
            let forged =
                Forged { memory: Descriptor(memory), put_end: ends.0, get_end: ends.1, most: 3 };
            let child = Process::new(|_: Forged| (), (forged,))
                .start_method(method)
                .start()
                .expect("start");
            let error = child.join().expect_err("it came");
            let is_refused = |why: &str| {
                ["memory file", "length", "big", "small", "queue"]
                    .iter()
                    .any(|text| why.contains(text))
            };
            assert!(
                matches!(error.failure(), Failure::BadArguments(why) if is_refused(why)),
                "{what}: {error}"
            );
        }
    });
    // Sound memory with ends that are nothing of the kind: a queue, but one over which no
    // descriptors go.
    let messages = Queue::<Forged>::new().expect("queue");
    let ends = || Descriptor(OwnedFd::from(std::io::pipe().expect("pipe").0));
    let memory = Descriptor(memory(one_rung, sealed));
    messages.put(Forged { memory, put_end: ends(), get_end: ends(), most: u64::MAX }).expect("put");
    let messages: Queue<Queue<Vec<Descriptor<PipeReader>>>> = retyped(messages);
    let odd = messages.get().expect("get");
    odd.put(Vec::new()).expect("put");
    assert!(odd.poll_ready());
    assert_eq!(odd.get().expect("get").len(), 0);
    assert!(!odd.poll_ready());
    let error = odd.put(vec![Descriptor(std::io::pipe().expect("pipe").0)]).expect_err("no socket");
    assert!(
        matches!(&error, SendError::Os { error, .. } if error.raw_os_error() == Some(libc::ENOTSOCK)),
        "{error}"
    );
    assert_eq!(error.into_value().len(), 1);
    assert!(matches!(odd.try_get(), Err(TryRecvError::Empty)));
}

/// The same queue, for values of another type.
fn retyped<T: 'static, U: 'static>(queue: Queue<T>) -> Queue<U> {
    struct Out<T>(Queue<T>);
    impl<T> Serialize for Out<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }
    struct In<U>(Queue<U>);
    impl<'de, U> Deserialize<'de> for In<U> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<In<U>, D::Error> {
            Queue::deserialize(deserializer).map(In)
        }
    }
    enum Either<T, U> {
        Given(Out<T>),
        Taken(In<U>),
    }
    impl<T, U> Serialize for Either<T, U> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Either::Given(queue) => queue.serialize(serializer),
                Either::Taken(_) => unreachable!("given only"),
            }
        }
    }
    impl<'de, T, U> Deserialize<'de> for Either<T, U> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Either<T, U>, D::Error> {
            In::deserialize(deserializer).map(Either::Taken)
        }
    }
    let carrier = Queue::<Either<T, U>>::new().expect("queue");
    carrier.put(Either::Given(Out(queue))).expect("put");
    match carrier.get().expect("get") {
        Either::Taken(In(queue)) => queue,
        Either::Given(_) => unreachable!("taken only"),
    }
}

/// The cells and the lowest ring of the only queue of this process, as somebody else would map
/// them.
fn words_of_the_queue() -> &'static [AtomicU64] {
    const LENGTH: usize = 8192 + (256 << 10);
    let entries = std::fs::read_dir("/proc/self/fd").expect("read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_queue = |path: &std::path::PathBuf| {
        std::fs::read_link(path)
            .is_ok_and(|link| link.to_string_lossy().contains("memfd:multiproc-queue"))
    };
    let path = paths.into_iter().find(is_queue).expect("the memory of a queue");
    let file = File::options().read(true).write(true).open(path).expect("open");
    // SAFETY: a new mapping of a file that nobody can shrink, as cells, never unmapped.
    unsafe {
        use std::os::fd::AsRawFd;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let start = libc::mmap(
            std::ptr::null_mut(),
            LENGTH,
            protection,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(start, libc::MAP_FAILED, "map");
        std::slice::from_raw_parts(start.cast(), LENGTH / 8)
    }
}

/// Calls give results or errors, in time, whatever somebody writes into the memory.
pub(crate) fn a_queue_that_somebody_scribbles_over() {
    fn scribble(_queue: Queue<Vec<u8>>, seed: u64, everywhere: u64) {
        let words = words_of_the_queue();
        let mut state = seed;
        loop {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let place = match everywhere {
                0 => (state >> 20) % 1024,
                _ => (state >> 20) % words.len() as u64,
            };
            let value = match state % 4 {
                0 => 0,
                1 => state >> 60,
                2 => state >> 34,
                _ => state,
            };
            words[usize::try_from(place).expect("a place")].store(value, Ordering::Relaxed);
        }
    }
    let seeds = [(1, 0), (2, 1), (3, 1)];
    for (round, (seed, everywhere)) in seeds.into_iter().enumerate() {
        let queue = Queue::<Vec<u8>>::new().expect("queue");
        let method = crate::support::METHODS[round % 3];
        let arguments = (queue.clone(), 0x9e37_79b9_7f4a_7c15 ^ seed, everywhere);
        let child = Process::new(scribble, arguments).start_method(method).start().expect("start");
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            let began = Instant::now();
            let _ = queue.put_timeout(vec![7; 100], Duration::from_millis(5));
            let _ = queue.get_timeout(Duration::from_millis(5));
            let _ = (queue.len(), queue.poll_ready(), queue.is_shut_down());
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it takes as long as somebody scribbles"
            );
        }
        child.kill().expect("kill");
        let _ = child.join();
        // It works again, or says why not; what was written over may come out as garbage. (A lock
        // whose owner is garbage is waited for, some seconds each time.)
        let began = Instant::now();
        for number in 0..20 {
            let _ = queue.put_timeout(vec![number; 10], Duration::from_millis(5));
            let _ = queue.get_timeout(Duration::from_millis(5));
            if began.elapsed() > Duration::from_secs(2) {
                break;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}

/// A queue whose records are spoilt, but not its locks, is told of once and then goes on.
pub(crate) fn a_spoilt_queue_says_so_and_goes_on() {
    let queue = Queue::<Vec<u8>>::new().expect("queue");
    let words = words_of_the_queue();
    for _ in 0..5 {
        queue.put(vec![1; 100]).expect("put");
        queue.put(vec![2; 100]).expect("put");
        // The length of the second, which is the last in the ring.
        let is_header =
            |word: &AtomicU64| word.load(Ordering::Relaxed) & u64::from(u32::MAX) == 102;
        let header = words[1024..].iter().rposition(is_header).expect("a record");
        words[1024 + header].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(queue.try_get().expect("a sound one"), [1; 100]);
        match queue.try_get() {
            Err(error) => assert!(error.is_corrupt(), "{error}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(queue.try_get(), Err(TryRecvError::Empty)));
        queue.put(vec![3; 50]).expect("put");
        assert_eq!(queue.try_get().expect("a new one"), [3; 50]);
    }
}

pub(crate) fn queues_beyond_the_limits() {
    in_copy(|| {
        limit(libc::RLIMIT_FSIZE, 4096);
        let error = Queue::<u8>::new().expect_err("no file of that length");
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG), "{error}");
    });
    // One for less than usual: it is filled, says so, and gives all back.
    in_copy(|| {
        limit(libc::RLIMIT_FSIZE, 2 << 20);
        let queue = Queue::<(u64, Vec<u8>)>::new().expect("queue");
        let mut count = 0;
        let error = loop {
            match queue.put((count, vec![1; 1000])) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        let SendError::Os { error, value, .. } = error else { panic!("{error}") };
        assert_eq!((error.kind(), value.0), (ErrorKind::OutOfMemory, count), "{error}");
        assert!(count > 1000, "room for {count}");
        let child = Process::new(
            |queue: Queue<(u64, Vec<u8>)>| queue.get().expect("get").0,
            (queue.clone(),),
        );
        assert_eq!(child.start().expect("start").join().expect("join"), 0);
        for number in 1..count {
            assert_eq!(queue.get().expect("get").0, number);
        }
        queue.put((7, Vec::new())).expect("put");
        assert_eq!(queue.get().expect("get").0, 7);
    });
    // No room to map it, or to copy a value out: nothing is lost.
    in_copy(|| {
        let queue = Queue::<(u8, Vec<u64>)>::new().expect("queue");
        let value = (7, vec![u64::MAX; 1 << 19]);
        cap_memory(128 << 10);
        let refused = queue.put((1, vec![1]));
        cap_memory(u64::MAX);
        let Err(SendError::Os { error, value: small, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((error.raw_os_error(), small), (Some(libc::ENOMEM), (1, vec![1])));
        cap_memory(1 << 20);
        let refused = queue.put(value);
        cap_memory(u64::MAX);
        let Err(SendError::Encode { value, reason, .. }) = refused else { panic!("it fits") };
        assert!(reason.contains("memory"), "{reason}");
        queue.put(value).expect("put");
        cap_memory(1 << 20);
        let refused: Vec<_> = (0..3).map(|_| queue.get().map(|value| value.1.len())).collect();
        cap_memory(u64::MAX);
        for error in refused {
            let Err(RecvError::Os(error)) = error else { panic!("{error:?}") };
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
        }
        assert!(queue.get().expect("it is still there") == (7, vec![u64::MAX; 1 << 19]));
    });
    // A long vector of numbers is not encoded first, but its way into the queue needs room, too.
    in_copy(|| {
        let queue = Queue::<Vec<u64>>::new().expect("queue");
        cap_memory(1 << 20);
        let refused = queue.put(vec![u64::MAX; 1 << 10]);
        cap_memory(u64::MAX);
        refused.expect("there is room for a short one");
        let value = vec![u64::MAX; 1 << 19];
        cap_memory(1 << 20);
        let refused = queue.put(value);
        cap_memory(u64::MAX);
        let Err(SendError::Os { error, value, .. }) = refused else { panic!("it fits") };
        assert_eq!((error.kind(), value.len()), (ErrorKind::OutOfMemory, 1 << 19), "{error}");
        assert_eq!(queue.get().expect("the short one").len(), 1 << 10);
    });
}

/// Lets this process have so much more memory than it has.
fn cap_memory(more: u64) {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("read");
    let pages: u64 = pages.split(' ').next().expect("a number").parse().expect("a number");
    limit(libc::RLIMIT_AS, (pages * 4096).saturating_add(more));
}

pub(crate) fn what_a_killed_process_put_is_there() {
    const MANY: u32 = 100_000;
    fn puts(queue: Queue<(u32, String)>, done: Queue<()>) {
        (0..MANY).for_each(|number| queue.put((number, number.to_string())).expect("put"));
        done.put(()).expect("put");
        loop {
            std::thread::park();
        }
    }
    for_each_method(|method| {
        let (queue, done) = (Queue::new().expect("queue"), Queue::new().expect("queue"));
        let child = Process::new(puts, (queue.clone(), done.clone()))
            .start_method(method)
            .start()
            .expect("start");
        done.get_timeout(LONG).expect("done");
        child.kill().expect("kill");
        child.join().expect_err("killed");
        assert_eq!(queue.len(), MANY as usize);
        for number in 0..MANY {
            assert_eq!(queue.get_timeout(LONG).expect("get"), (number, number.to_string()));
        }
        assert!(queue.is_empty());
    });
}

pub(crate) fn queues_with_time_outs_of_zero_and_of_centuries() {
    let centuries =
        [Duration::from_secs(400 * 365 * 86_400), Duration::from_secs(u64::MAX / 2), Duration::MAX];
    for_each_method(|method| {
        let queue = Queue::bounded(1).expect("queue");
        for _ in 0..1000 {
            assert!(matches!(queue.get_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
            queue.put_timeout(1, Duration::ZERO).expect("room");
            assert!(matches!(
                queue.put_timeout(2, Duration::ZERO),
                Err(SendTimeoutError::Timeout(2))
            ));
            assert_eq!(queue.get_timeout(Duration::ZERO).expect("a value"), 1);
        }
        for timeout in centuries {
            // Both have to sleep, in one order or the other.
            let child = Process::new(
                |queue: Queue<u32>, timeout: Duration| {
                    (0..50).for_each(|number| queue.put_timeout(number, timeout).expect("room"));
                },
                (queue.clone(), timeout),
            );
            let child = child.start_method(method).start().expect("start");
            for number in 0..50 {
                assert_eq!(queue.get_timeout(timeout).expect("a value"), number);
            }
            child.join().expect("join");
            assert!(!wait(&[&child], Some(timeout)).expect("wait").is_empty());
        }
    });
}
