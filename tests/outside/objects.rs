//! What a copy of a process may rely on: references that were valid stay valid, in memory of its
//! own.
#![expect(unsafe_code, reason = "the other way to fork is")]

use std::sync::OnceLock;

use multiproc::{Child, Pool, Process, SharedBuffer, StartMethod, set_forkserver_preload};

use crate::support::{Test, for_each_method};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_copy_reads_and_writes_a_leaked_buffer,
    a_copy_is_no_owner_of_a_buffer,
    a_copy_made_beside_threads_has_a_leaked_buffer,
    a_copy_of_a_copy_has_a_leaked_buffer,
    buffers_of_a_copied_process_stay_apart,
    kept_memory_is_not_taken_for_a_buffer_of_a_copy,
    preloaded_buffers_are_in_every_child,
    workers_that_are_forked_have_a_leaked_buffer,
];

/// Elements that are different from page to page, as big as needed to take the way of big buffers,
/// too.
fn pattern(len: usize) -> Vec<u64> {
    (0..len as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
}

/// Lengths of small, big and huge buffers.
const LENGTHS: [usize; 4] = [1, 1000, 20_000, 600_000];

fn leaked(len: usize) -> &'static mut [u64] {
    let buffer: &'static mut SharedBuffer<u64> =
        Box::leak(Box::new(SharedBuffer::from_slice(&pattern(len)).expect("a buffer")));
    buffer
}

fn start<T: serde::Serialize + serde::de::DeserializeOwned>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Child<T> {
    Process::from_closure(f).start().expect("start")
}

fn a_copy_reads_and_writes_a_leaked_buffer() {
    for len in LENGTHS {
        let elements: &'static [u64] = leaked(len);
        let child = start(move || {
            // What is mapped in a copy afterwards must not come to lie where the buffer was.
            let others: Vec<Vec<u64>> = (0..8).map(|_| vec![7; len]).collect();
            elements == pattern(len) && others.iter().flatten().all(|element| *element == 7)
        });
        assert!(child.join().expect("join"), "{len} elements");
        // The copy owns what the closure took along.
        let elements = leaked(len);
        let child = start(move || {
            elements.iter_mut().for_each(|element| *element += 1);
            elements.iter().zip(pattern(len)).all(|(new, old)| *new == old + 1)
        });
        assert!(child.join().expect("join"), "{len} elements, written to");
    }
}

fn a_copy_made_beside_threads_has_a_leaked_buffer() {
    let elements: &'static [u64] = leaked(1000);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv().is_err());
    let process = Process::from_closure(move || elements == pattern(1000));
    // SAFETY: the other thread holds no lock.
    let child = unsafe { process.start_unchecked() }.expect("start");
    assert!(child.join().expect("join"));
    drop(done);
    assert!(thread.join().expect("join"));
}

fn a_copy_of_a_copy_has_a_leaked_buffer() {
    let elements: &'static [u64] = leaked(1000);
    let child = start(move || {
        let own: &'static [u64] = leaked(2000);
        start(move || elements == pattern(1000) && own == pattern(2000)).join().expect("join")
    });
    assert!(child.join().expect("join"));
}

/// Neither the copy nor its original sees what the other one writes, and the original can freeze
/// what it has.
fn buffers_of_a_copied_process_stay_apart() {
    for len in LENGTHS {
        let mut buffer = SharedBuffer::from_slice(&pattern(len)).expect("a buffer");
        let (mut sender, mut receiver) = multiproc::pipe::<()>().expect("a pipe");
        let leaked = leaked(len);
        let address = leaked.as_ptr() as usize;
        let child = start(move || {
            let () = receiver.recv().expect("a word");
            let as_it_was = leaked == pattern(len);
            leaked[len - 1] = 5;
            (as_it_was, leaked.as_ptr() as usize, leaked.to_vec())
        });
        buffer[0] = 3;
        sender.send(()).expect("send");
        let (as_it_was, its_address, its) = child.join().expect("join");
        assert!(as_it_was, "{len} elements changed while they were read");
        assert_eq!((its_address, its[len - 1]), (address, 5));
        assert_eq!(its[..len - 1], pattern(len)[..len - 1]);
        let frozen = buffer.freeze().expect("freeze");
        assert_eq!(frozen[0], 3);
        assert_eq!(frozen[1..], pattern(len)[1..]);
    }
}

/// A reference into a buffer is valid in a copy; the buffer itself is its original's.
fn a_copy_is_no_owner_of_a_buffer() {
    let buffer: &'static SharedBuffer<u64> =
        Box::leak(Box::new(SharedBuffer::from_slice(&pattern(1000)).expect("a buffer")));
    let error = start(|| buffer[0]).join().expect_err("it has the buffer");
    assert!(error.to_string().contains("belongs to the process"), "{error}");
    let child = start(move || std::panic::catch_unwind(|| buffer.len()).is_err());
    assert!(child.join().expect("join"));
    let moved = SharedBuffer::from_slice(&pattern(1000)).expect("a buffer");
    assert!(
        start(move || moved.freeze().is_err()).join().expect("join"),
        "a copy froze its original's memory"
    );
    let moved = SharedBuffer::from_slice(&pattern(20_000)).expect("a buffer");
    // Dropped where it is not owned, it is not kept for others either.
    let child = start(move || {
        drop(moved);
        SharedBuffer::from_slice(&pattern(20_000)).expect("a buffer")[..] == pattern(20_000)
    });
    assert!(child.join().expect("join"));
}

fn kept_memory_is_not_taken_for_a_buffer_of_a_copy() {
    for _ in 0..3 {
        // Kept for the next one.
        drop(SharedBuffer::from_slice(&pattern(20_000)).expect("a buffer"));
        let child = start(|| {
            let mut own = SharedBuffer::from_slice(&pattern(20_000)).expect("a buffer");
            own[0] = 9;
            own.freeze().expect("freeze")
        });
        let own = SharedBuffer::from_slice(&pattern(20_000)).expect("a buffer");
        assert_eq!(child.join().expect("join")[0], 9);
        assert_eq!(own.freeze().expect("freeze")[..], pattern(20_000));
    }
}

static LOADED: OnceLock<&'static [u64]> = OnceLock::new();

fn load() {
    LOADED.set(leaked(20_000)).expect("the first time");
}

fn preloaded_buffers_are_in_every_child() {
    fn look(index: usize) -> u64 {
        if LOADED.get().is_none() {
            // It executed the file itself.
            load();
        }
        LOADED.get().expect("loaded")[index]
    }
    set_forkserver_preload(load).expect("preload");
    load();
    for_each_method(|method: StartMethod| {
        for index in [0, 99] {
            let child = Process::new(look, (index,)).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), pattern(100)[index], "{method}");
        }
    });
}

fn workers_that_are_forked_have_a_leaked_buffer() {
    load();
    let pool =
        Pool::builder().processes(2).start_method(StartMethod::Fork).build().expect("a pool");
    let sum: u64 = pool
        .map(|index: usize| LOADED.get().expect("loaded")[index], 0..100)
        .map(|all| all.into_iter().fold(0, u64::wrapping_add))
        .expect("map");
    assert_eq!(sum, pattern(100).into_iter().fold(0, u64::wrapping_add));
}
