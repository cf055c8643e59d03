//! Shared memory from who means harm, from who was killed, and when there is none.
#![expect(unsafe_code, reason = "locks a folder as another program would")]

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use multiproc::{
    Error, Failure, Item, ListError, Process, ShareableList, SharedArray, SharedBuffer,
    SharedMemory, SharedSlice, StartMethod,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::{Hoard, fork, in_copy, limit, wait_for};
use crate::support::{for_each_method, open_fds, wait_at_most};

/// Numbers without a pattern, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What a process that means harm sends in place of a constant slice: memory that it can still
/// write to, with a place in it.
struct FalseSlice(SharedMemory, usize);

impl Serialize for FalseSlice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // "No name" is written like "at 0".
        serializer.serialize_some(&(&self.0, self.1))
    }
}

impl<'de> Deserialize<'de> for FalseSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slice = SharedSlice::<u8>::deserialize(deserializer)?;
        panic!("{} bytes that somebody can change were taken for constant", slice.len());
    }
}

/// An array that is not inside its memory.
struct FalseArray(SharedMemory, usize, usize);

impl Serialize for FalseArray {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, self.1, self.2).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FalseArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let array = SharedArray::<u64>::deserialize(deserializer)?;
        panic!("{} elements beyond the end were taken for an array", array.len());
    }
}

fn is_refused<T: Serialize + for<'de> Deserialize<'de> + 'static>(
    method: StartMethod,
    value: T,
    why: &str,
) {
    let child = Process::new(|_: T| (), (value,)).start_method(method).start().expect("start");
    let error = child.join().expect_err("it came");
    let Failure::BadArguments(reason) = error.failure() else { panic!("{error}") };
    assert!(!reason.is_empty(), "{why}");
}

pub(crate) fn shared_memory_that_is_not_what_it_says() {
    for_each_method(|method| {
        let memory = || SharedMemory::new(64).expect("new");
        is_refused(method, FalseSlice(memory(), 64), "not constant");
        for (offset, len) in [
            (0, 9),
            (4, 1),
            (72, 0),
            (usize::MAX, 1),
            (8, usize::MAX),
            (usize::MAX & !7, usize::MAX),
        ] {
            is_refused(method, FalseArray(memory(), offset, len), "not inside");
        }
    });
}

/// A name for one test in one run.
fn name(what: &str) -> String {
    format!("misfortune-{}-{what}", std::process::id())
}

pub(crate) fn creators_of_names_killed_at_any_moment() {
    let name = name("killed");
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let end = Instant::now() + Duration::from_secs(3);
    let mut found = 0;
    while Instant::now() < end {
        // It makes and drops the name, over and over, until it is killed.
        let child = fork(|| {
            loop {
                let memory = SharedMemory::create_named(&name, 100).expect("create");
                memory.write_at(0, b"x").expect("write");
            }
        });
        let pause = Duration::from_micros(dice.roll() % 3000);
        let until = Instant::now() + pause;
        while Instant::now() < until {
            match SharedMemory::attach(&name) {
                Ok(memory) => {
                    found += 1;
                    assert_eq!(memory.len(), 100);
                }
                Err(error) => {
                    assert_eq!(
                        error.os_error().map(std::io::Error::kind),
                        Some(ErrorKind::NotFound),
                        "{error}"
                    )
                }
            }
        }
        crate::support::send_signal(child, libc::SIGKILL);
        assert_eq!(wait_for(child), libc::SIGKILL);
        let memory =
            SharedMemory::create_named(&name, 50).expect("what a dead process left is in the way");
        assert_eq!(SharedMemory::attach(&name).expect("attach").len(), 50);
        drop(memory);
        assert!(SharedMemory::attach(&name).is_err());
    }
    assert!(found > 0, "no name was ever there");
}

pub(crate) fn one_name_for_many_creators() {
    fn tries(name: String, own: SharedArray<u64>) -> u64 {
        let mut made = 0;
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            match SharedMemory::create_named(&name, 8) {
                Ok(memory) => {
                    made += 1;
                    let others = own.memory().atomics::<AtomicU64>();
                    assert_eq!(
                        others[0].fetch_add(1, Ordering::SeqCst),
                        0,
                        "two processes have the name"
                    );
                    assert_eq!(
                        others[0].fetch_sub(1, Ordering::SeqCst),
                        1,
                        "two processes have the name"
                    );
                    drop(memory);
                }
                Err(error) => {
                    assert_eq!(
                        error.os_error().map(std::io::Error::kind),
                        Some(ErrorKind::AlreadyExists),
                        "{error}"
                    )
                }
            }
        }
        made
    }
    for_each_method(|method| {
        let inside = SharedArray::<u64>::new(1).expect("new");
        let name = name("many");
        let start = |()| {
            Process::new(tries, (name.clone(), inside.clone()))
                .start_method(method)
                .start()
                .expect("start")
        };
        let made: Vec<u64> =
            [(); 4].map(start).into_iter().map(|child| child.join().expect("join")).collect();
        assert!(made.iter().sum::<u64>() > 0, "{method}: nobody ever got it");
    });
}

pub(crate) fn lists_of_garbage() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let magic = ShareableList::new([1]).expect("new").memory().atomics::<AtomicU64>()[0]
        .load(Ordering::Relaxed);
    let memory = SharedMemory::create_unique(4096).expect("create");
    let name = memory.name().expect("a name").to_owned();
    let words = memory.atomics::<AtomicU64>();
    let mut lists = 0;
    for round in 0..2000 {
        for word in words {
            // All kinds of sizes; counts are even, or each would be waited for.
            word.store((dice.roll() >> (dice.roll() % 64)) & !1, Ordering::Relaxed);
        }
        words[0].store(if round % 10 == 0 { dice.roll() } else { magic }, Ordering::Relaxed);
        words[1].store(dice.roll() % 40, Ordering::Relaxed);
        for word in &words[2..42] {
            word.store((dice.roll() % 100) & !1, Ordering::Relaxed);
        }
        let Ok(list) = ShareableList::attach(&name) else { continue };
        lists += 1;
        assert!(list.len() < 40);
        for index in 0..list.len().cast_signed() {
            assert!(list.get(index).is_err(), "garbage with a sum that fits");
            match list.set(index, index as i64) {
                Ok(()) => assert_eq!(list.get(index), Ok(Item::Int(index as i64))),
                Err(error) => {
                    assert!(matches!(error.cause(), ListError::TooLong { room: 0, .. }), "{error}")
                }
            }
        }
    }
    assert!(lists > 100, "only {lists} were lists at all");
}

pub(crate) fn a_list_that_somebody_scribbles_over() {
    let list =
        ShareableList::new([Item::from("0123456789"), 1.into(), 2.5.into(), vec![7; 100].into()])
            .expect("new");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice(0x1234_5678_9abc_def1);
            let words = list.memory().atomics::<AtomicU64>();
            while !stop.load(Ordering::Relaxed) {
                let place = usize::try_from(dice.roll() % words.len() as u64).expect("a place");
                words[place].store(dice.roll() >> (dice.roll() % 64), Ordering::Relaxed);
            }
        });
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            for index in 0..4 {
                let began = Instant::now();
                let _ = list.get(index);
                let _ = list.set(index, 7);
                assert!(
                    began.elapsed() < Duration::from_secs(20),
                    "it takes as long as somebody scribbles"
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    for index in 0..4 {
        list.set(index, 7).expect("set");
    }
    assert_eq!(list.to_vec(), Ok(vec![Item::Int(7); 4]));
}

pub(crate) fn writers_of_a_list_killed_at_any_moment() {
    let list = ShareableList::new([Item::Bytes(vec![0; 4000]), "neighbour".into()]).expect("new");
    let mut dice = Dice(0xdead_beef_cafe_f00d);
    let mut unfinished = 0;
    for _ in 0..60 {
        let child = fork(|| {
            for byte in (0..=255).cycle() {
                list.set(0, vec![byte; 4000]).expect("set");
            }
        });
        let end = Instant::now() + Duration::from_micros(dice.roll() % 3000);
        while Instant::now() < end {
            if let Ok(Item::Bytes(bytes)) = list.get(0) {
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "half of a value");
            }
        }
        crate::support::send_signal(child, libc::SIGKILL);
        assert_eq!(wait_for(child), libc::SIGKILL);
        match list.get(0) {
            Ok(Item::Bytes(bytes)) => {
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "half of a value")
            }
            Err(ListError::Unfinished) => unfinished += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(list.get(1), Ok("neighbour".into()));
        list.set(0, vec![1; 4000]).expect("a dead writer is in the way");
        assert_eq!(list.get(0), Ok(Item::Bytes(vec![1; 4000])));
    }
    eprintln!("{unfinished} of 60 were killed while they wrote");
}

/// Every way to get shared memory; how each failed.
fn all_ways(size: usize) -> Vec<Error> {
    let failures = [
        SharedMemory::new(size).err(),
        SharedMemory::create_unique(size).err(),
        SharedBuffer::<u8>::new(size).err(),
        SharedSlice::from_slice(&vec![0_u8; size.min(1 << 20)]).err(),
        SharedArray::<u8>::new(size).err(),
        ShareableList::new([Item::Bytes(vec![0; size.min(1 << 20)])]).err(),
    ];
    failures.into_iter().map(|failure| failure.expect("it worked")).collect()
}

pub(crate) fn shared_memory_without_descriptors() {
    let before = open_fds();
    let memory = SharedMemory::create_unique(100).expect("create");
    let name = memory.name().expect("a name").to_owned();
    let buffer = SharedBuffer::from_slice(&[7; 100]).expect("new");
    for spared in 0..3 {
        let hoard = Hoard::all_but(spared);
        let failures = if spared == 0 { all_ways(100) } else { Vec::new() };
        let attached = SharedMemory::attach(&name);
        let reader = memory.read_only();
        let made = SharedMemory::create_named("never-there", 10);
        drop(hoard);
        for error in failures {
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        }
        for error in [attached.err(), reader.err(), made.err()].into_iter().flatten() {
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{spared} left: {error}");
        }
    }
    // What there is needs no more.
    let hoard = Hoard::all_but(0);
    let frozen = buffer.freeze().expect("freeze");
    drop(hoard);
    assert_eq!(*frozen, [7; 100]);
    assert_eq!(SharedMemory::attach(&name).expect("attach").len(), 100);
    drop((frozen, memory));
    assert_eq!(open_fds(), before);
}

pub(crate) fn shared_memory_beyond_the_limits() {
    in_copy(|| {
        // To try would be the death of it, by a signal.
        limit(libc::RLIMIT_FSIZE, 4096);
        for error in all_ways(8192) {
            assert_eq!(error.raw_os_error(), Some(libc::EFBIG), "{error}");
        }
        SharedMemory::new(4096).expect("as much as is allowed");
    });
    in_copy(|| {
        limit(libc::RLIMIT_AS, 1 << 30);
        for error in [SharedMemory::new(1 << 31).err(), SharedBuffer::<u8>::new(1 << 31).err()] {
            assert_eq!(error.expect("it worked").raw_os_error(), Some(libc::ENOMEM));
        }
        SharedMemory::new(4096).expect("a little");
    });
}

/// The lock on the names is held by somebody who does not go on.
pub(crate) fn a_stopped_process_has_the_lock_on_names() {
    let memory = SharedMemory::create_unique(100).expect("create");
    let name = memory.name().expect("a name").to_owned();
    // SAFETY: asks for a number.
    let user = unsafe { libc::geteuid() };
    let folder =
        std::fs::File::open(format!("/dev/shm/multiproc.{user}")).expect("the folder of names");
    // SAFETY: a system call on a descriptor that is open.
    assert_eq!(unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX) }, 0);
    // To attach takes no lock.
    SharedMemory::attach(&name).expect("attach");
    let error = SharedMemory::create_unique(100).expect_err("locked");
    assert_eq!(error.os_error().map(std::io::Error::kind), Some(ErrorKind::TimedOut), "{error}");
    drop(folder);
    let made = wait_at_most(Duration::from_secs(10), || SharedMemory::create_unique(100).ok());
    assert!(made.is_some(), "still locked");
}
