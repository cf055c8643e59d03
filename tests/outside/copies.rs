//! What a child inherits from the process that it is a copy of.
#![expect(unsafe_code, reason = "registers handlers and asks for randomness as a C library would")]

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use multiproc::{Pool, Process, StartMethod, at_forkserver_child, set_forkserver_preload};

use crate::common::{deny, in_copy, is_root, react};
use crate::support::{METHODS, Test, is_running, send_signal, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    generators_of_threads_start_anew_in_each_child,
    static_generators_can_be_seeded_in_each_child,
    handlers_at_fork_can_be_run_in_each_child,
    a_panic_in_what_each_child_runs_is_the_child_s,
    a_preload_function_has_a_big_stack_and_a_thread_of_its_own,
    the_group_of_a_child_that_somebody_else_waited_for_is_left_alone,
];

/// A generator as crates have it: seeded when its thread first asks, then going its own way.
fn next(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

fn seed() -> u64 {
    let mut seed = [0; 8];
    // SAFETY: the call writes eight bytes.
    assert_eq!(unsafe { libc::getrandom(seed.as_mut_ptr().cast(), 8, 0) }, 8);
    u64::from_ne_bytes(seed)
}

thread_local! {
    static OWN: Cell<u64> = Cell::new(seed());
}

static SHARED: AtomicU64 = AtomicU64::new(0);

fn draw() -> u64 {
    OWN.set(next(OWN.get()));
    OWN.get()
}

/// What a child draws first: from a thread's generator, by the keys of a map, by the order of its
/// entries.
fn drawn() -> (u64, u64, Vec<u32>) {
    let map: HashMap<u32, ()> = (0..64).map(|i| (i, ())).collect();
    (draw(), RandomState::new().hash_one(7), map.into_keys().collect())
}

fn touch() {
    drawn();
    SHARED.store(seed(), Ordering::Relaxed);
}

fn assert_all_differ<T: PartialEq + std::fmt::Debug>(all: &[T], what: &str) {
    for (place, one) in all.iter().enumerate() {
        assert!(!all[..place].contains(one), "{what}: two children drew {one:?}");
    }
}

fn generators_of_threads_start_anew_in_each_child() {
    set_forkserver_preload(touch).expect("set a preload function");
    // This process's own are in use, too.
    drawn();
    for method in METHODS {
        let start = |()| Process::new(drawn, ()).start_method(method).start().expect("start");
        let children: Vec<_> = [(); 12].map(start).into();
        let all: Vec<_> = children.into_iter().map(|child| child.join().expect("join")).collect();
        if method == StartMethod::Fork {
            // As the documentation says: a copy of this process goes on from where that was.
            continue;
        }
        assert_all_differ(
            &all.iter().map(|drawn| drawn.0).collect::<Vec<_>>(),
            "a thread's generator",
        );
        assert_all_differ(&all.iter().map(|drawn| drawn.1).collect::<Vec<_>>(), "the keys of maps");
        assert_all_differ(
            &all.iter().map(|drawn| &drawn.2).collect::<Vec<_>>(),
            "the order of maps",
        );
    }
    let pool = Pool::new(4).expect("a pool");
    let slow = |_: u32| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        (std::process::id(), RandomState::new().hash_one(7))
    };
    let all = pool.map(slow, 0..16).expect("map");
    assert_all_differ(
        &all.iter().map(|drawn| drawn.1).collect::<Vec<_>>(),
        "the keys of maps in workers",
    );
}

fn static_generators_can_be_seeded_in_each_child() {
    fn preload() {
        touch();
        at_forkserver_child(|| SHARED.store(seed(), Ordering::Relaxed));
    }
    set_forkserver_preload(preload).expect("set a preload function");
    let start =
        |()| Process::new(|| next(SHARED.load(Ordering::Relaxed)), ()).start().expect("start");
    let children: Vec<_> = [(); 12].map(start).into();
    let all: Vec<u64> = children.into_iter().map(|child| child.join().expect("join")).collect();
    assert_all_differ(&all, "a static generator");
}

/// How often the handler of the test has run, and in which process last.
static FORKS: AtomicU32 = AtomicU32::new(0);
static FORKED: AtomicU32 = AtomicU32::new(0);

extern "C" fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    FORKED.store(std::process::id(), Ordering::Relaxed);
}

fn handlers_at_fork_can_be_run_in_each_child() {
    fn preload() {
        // SAFETY: the handler touches atomics only.
        assert_eq!(unsafe { libc::pthread_atfork(None, None, Some(after_fork)) }, 0);
        at_forkserver_child(|| after_fork());
    }
    fn seen() -> (u32, bool) {
        (FORKS.load(Ordering::Relaxed), FORKED.load(Ordering::Relaxed) == std::process::id())
    }
    /// A child's own fork server preloads the same, and says so to its own children.
    fn nested() -> (u32, bool) {
        Process::new(seen, ()).start().expect("start").join().expect("join")
    }
    set_forkserver_preload(preload).expect("set a preload function");
    for _ in 0..3 {
        assert_eq!(Process::new(seen, ()).start().expect("start").join().expect("join"), (1, true));
        assert_eq!(
            Process::new(nested, ()).start().expect("start").join().expect("join"),
            (1, true)
        );
    }
    // Not elsewhere: this process has made no copy of itself.
    at_forkserver_child(|| panic!("not in a fork server"));
    for method in METHODS {
        let runs = || FORKS.load(Ordering::Relaxed);
        let child = Process::new(runs, ()).start_method(method).start().expect("start");
        let expected = u32::from(method == StartMethod::Forkserver);
        assert_eq!(child.join().expect("join"), expected, "{method}");
    }
}

fn a_panic_in_what_each_child_runs_is_the_child_s() {
    set_forkserver_preload(|| at_forkserver_child(|| panic!("no connection")))
        .expect("set a preload function");
    for _ in 0..2 {
        let error = Process::new(|| (), ()).start().expect("start").join().expect_err("a panic");
        assert_eq!(error.panic().expect("a panic").message(), "no connection");
    }
}

fn a_preload_function_has_a_big_stack_and_a_thread_of_its_own() {
    static DEPTH: AtomicU32 = AtomicU32::new(0);
    fn deep(left: u32) -> u32 {
        let block = std::hint::black_box([1_u8; 1024]);
        if left == 0 { 0 } else { deep(left - 1) + u32::from(block[left as usize % 1024]) }
    }
    // Some three MiB, five in a debug build: more than a thread has by default, less than a main
    // thread has.
    set_forkserver_preload(|| DEPTH.store(deep(2_200), Ordering::Relaxed))
        .expect("set a preload function");
    let child = Process::new(|| DEPTH.load(Ordering::Relaxed), ()).start().expect("start");
    // Its thread has ended, or the fork server could make no copies of itself.
    assert_eq!(child.start_method(), StartMethod::Forkserver);
    assert_eq!(child.join().expect("join"), 2_200);
}

/// A process that leads a group, with a number of our choice; it sleeps until it is killed.
fn stranger(number: u32) -> std::io::Result<u32> {
    let numbers = [number.cast_signed()];
    // SAFETY: all zeroes is a valid structure; the copy makes system calls only.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.exit_signal = u64::try_from(libc::SIGCHLD).expect("a signal");
        args.set_tid = numbers.as_ptr().addr() as u64;
        args.set_tid_size = 1;
        let pid = libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>());
        if pid == 0 {
            libc::setsid();
            loop {
                libc::pause();
            }
        }
        u32::try_from(pid).map_err(|_| std::io::Error::last_os_error())
    }
}

fn the_group_of_a_child_that_somebody_else_waited_for_is_left_alone() {
    if !is_root("the_group_of_a_child_that_somebody_else_waited_for_is_left_alone") {
        return;
    }
    /// Of `pidfd_send_signal`, before Linux 6.9.
    const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 1 << 2;
    for method in METHODS {
        in_copy(|| {
            deny(libc::SYS_pidfd_send_signal, &[(3, PIDFD_SIGNAL_PROCESS_GROUP)], libc::EINVAL);
            react(libc::SIGCHLD, libc::SIG_IGN);
            // One with a deadline has a session of its own, whose processes end with it.
            let child = Process::new(|| 5, ()).deadline(std::time::Duration::from_secs(60));
            let child = child.start_method(method).start().expect("start");
            let mut made = None;
            until("it has ended, and its number is another's", || match stranger(child.pid()) {
                Ok(pid) => made.insert(pid) == &child.pid(),
                Err(error) => {
                    assert_eq!(
                        error.raw_os_error(),
                        Some(libc::EEXIST),
                        "clone3 with a chosen number"
                    );
                    false
                }
            });
            let stranger = made.expect("a stranger");
            // SAFETY: only asks.
            until(
                "it leads a group",
                || unsafe { libc::getpgid(stranger.cast_signed()) } == stranger.cast_signed(),
            );
            assert_eq!(child.join().expect("join"), 5);
            drop(child);
            assert!(is_running(stranger), "{method}: it was taken for the child's group");
            send_signal(stranger, libc::SIGKILL);
            until("it has ended", || !is_running(stranger));
        });
    }
}
