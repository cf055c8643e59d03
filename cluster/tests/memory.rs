//! Shared memory among the arguments of tasks that run elsewhere. They need `nats-server`.

mod support;

use std::process::Command;
use std::sync::Mutex;

use multiproc::{Failure, Pool, SharedSlice};
use multiproc_cluster::Cluster;
use support::{Node, shell, wait_for};

/// A logger that keeps what stations say of what they fetch.
struct Kept(Mutex<Vec<String>>);

static KEPT: Kept = Kept(Mutex::new(Vec::new()));

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        if text.contains("bytes of shared memory") {
            self.0.lock().expect("kept").push(text);
        }
    }

    fn flush(&self) {}
}

/// The number of times that so many bytes were fetched.
fn fetched(bytes: usize) -> usize {
    let kept = KEPT.0.lock().expect("kept");
    kept.iter().filter(|text| text.contains(&format!("fetched {bytes} bytes"))).count()
}

/// Has records kept, from now on.
fn keep_records() {
    let _ = log::set_logger(&KEPT);
    log::set_max_level(log::LevelFilter::Debug);
}

fn sum(slice: SharedSlice<u64>) -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(5));
    slice.iter().sum()
}

/// A slice of so many numbers, with their sum.
fn slice(count: u64) -> (SharedSlice<u64>, u64) {
    let numbers: Vec<u64> = (0..count).collect();
    (SharedSlice::from_slice(&numbers).expect("slice"), numbers.iter().sum())
}

#[test]
fn a_slice_is_fetched_once_by_each_node_whatever_number_of_tasks_has_it() {
    keep_records();
    let cluster = Cluster::local(2, 2).expect("a cluster: is there a nats-server?");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let there = || pool.stats().workers.iter().filter(|worker| worker.pid.is_some()).count();
    wait_for("four workers", || there() == 4);
    let count = 300_001;
    let (slice, all) = slice(count);
    let tasks: Vec<_> = (0..100).map(|_| pool.submit(sum, (slice.clone(),))).collect();
    assert!(tasks.into_iter().all(|task| task.join().expect("value") == all));
    // A part of it, and what holds one, are of the same memory.
    assert_eq!(pool.apply(sum, (slice.slice(1..3),)).expect("value"), 3);
    let both = |slices: Vec<Option<SharedSlice<u64>>>| {
        slices.into_iter().flatten().map(|slice| slice[1]).sum::<u64>()
    };
    let pair = vec![Some(slice.clone()), None, Some(slice.slice(1..4))];
    assert_eq!(pool.apply(both, (pair,)).expect("value"), 3);
    let bytes = usize::try_from(count).expect("short") * 8;
    wait_for("the records come", || fetched(bytes) >= 2);
    assert_eq!(fetched(bytes), 2);
    // Each has what the other has not, and nothing is mixed up.
    let slices: Vec<_> =
        (1..20).map(|n| SharedSlice::from_slice(&[n; 3000]).expect("slice")).collect();
    let sums = pool.tasks().chunk_size(1).map(sum, slices).expect("values");
    assert!(sums.into_iter().eq((1..20).map(|n| n * 3000)));
}

#[test]
fn an_initializer_may_have_a_slice() {
    fn sum_of_state() -> u64 {
        multiproc::with_worker_state(|slice: &mut SharedSlice<u64>| slice.iter().sum())
            .expect("a state")
    }
    let cluster = Cluster::local(1, 1).expect("a cluster: is there a nats-server?");
    let (slice, all) = slice(100_000);
    let keep = |slice: SharedSlice<u64>| slice;
    let pool = Pool::builder().on(&cluster).initializer(keep, (slice,)).build().expect("pool");
    assert_eq!(pool.apply(sum_of_state, ()).expect("value"), all);
}

#[test]
fn a_slice_that_the_broker_has_lost_is_stored_again() {
    let cluster = Cluster::local(1, 1).expect("a cluster: is there a nats-server?");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let (slice, all) = slice(50_000);
    assert_eq!(pool.apply(sum, (slice.clone(),)).expect("value"), all);
    cluster.tell_minder("stop server").expect("told");
    cluster.tell_minder("start server").expect("told");
    // One that has never heard of it, beside the one that has it.
    cluster.tell_minder("start node").expect("told");
    wait_for("the new node works", || {
        let tasks: Vec<_> = (0..4).map(|_| pool.submit(sum, (slice.clone(),))).collect();
        assert!(tasks.into_iter().all(|task| task.join().expect("value") == all));
        cluster.nodes().iter().any(|node| node.name == "local-2" && node.tasks > 0)
    });
}

/// Lets a process write no file of more than a megabyte.
fn limit(pid: u32) {
    let mut command = Command::new("prlimit");
    command.args(["--fsize=1048576:1048576", "--pid", &pid.to_string()]);
    assert!(command.status().expect("prlimit").success());
}

#[test]
fn a_node_without_room_for_a_slice_says_so_and_does_the_rest() {
    let cluster = Cluster::local(0, 1).expect("a cluster: is there a nats-server?");
    let (url, key) = cluster.local_address().expect("local");
    let node = Node::start(shell("trap '' XFSZ; exec \"$@\""), &url, &key, "small");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let station = pool.apply(std::os::unix::process::parent_id, ()).expect("value");
    // Memory files count as well. The program is there already.
    limit(node.0.id());
    limit(station);
    let (long, _) = slice(200_000);
    let error = pool.apply(sum, (long,)).unwrap_err();
    assert!(matches!(error.failure(), Failure::NodeLost(_)), "{error}");
    assert!(error.to_string().contains("node small: cannot put"), "{error}");
    let (short, all) = slice(1000);
    assert_eq!(pool.apply(sum, (short,)).expect("value"), all);
}

#[test]
fn what_can_change_is_named_and_refused() {
    let cluster = Cluster::local(1, 1).expect("a cluster: is there a nats-server?");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let lock = multiproc::Lock::new().expect("lock");
    let (slice, _) = slice(10);
    let take = |_: multiproc::Lock, _: SharedSlice<u64>| ();
    let error = pool.apply(take, (lock, slice)).unwrap_err();
    assert!(matches!(error.failure(), Failure::BadArguments(_)), "{error}");
    assert!(error.to_string().contains("shared memory that can change"), "{error}");
}
