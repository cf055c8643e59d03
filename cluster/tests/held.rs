//! What people met with other systems that give tasks to machines, and what held here from the
//! start: see `docs/outside-reports.md`. They need `nats-server`.

#![expect(unsafe_code, reason = "a task does what careless code does")]

mod support;

use std::time::{Duration, Instant};

use multiproc::{Failure, Pool};
use multiproc_cluster::{Cluster, Key};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use support::wait_for;

/// A cluster whose nodes are there.
fn cluster(nodes: usize, hands: usize) -> Cluster {
    let cluster = support::cluster(nodes, hands);
    wait_for("nodes come", || cluster.nodes().len() == nodes);
    cluster
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn square(number: u64) -> u64 {
    number * number
}

/// Kills the process above its own, and so its node's station.
fn kill_what_is_above() {
    let parent = std::os::unix::process::parent_id();
    let _ = std::process::Command::new("kill").args(["-9", &parent.to_string()]).status();
    std::thread::sleep(Duration::from_secs(3));
}

#[test]
fn a_task_that_takes_its_node_along_is_given_up() {
    let cluster = cluster(2, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(kill_what_is_above, ());
    wait_for("it is given up", || task.is_ready());
    let error = task.join().expect_err("it kills whoever runs it");
    assert!(matches!(error.failure(), Failure::NodeLost(_)), "{error}");
    assert_eq!(pool.map(square, 0..20).expect("values").len(), 20);
}

#[test]
fn tasks_are_for_all_workers_also_of_nodes_that_come_late() {
    let cluster = cluster(2, 2);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let both = || cluster.nodes().iter().all(|node| node.tasks > 0);
    wait_for("all nodes work", || pool.map(nap, [20; 8]).is_ok() && both());
    cluster.tell_minder("start node").expect("told");
    wait_for("the new one works, too", || {
        pool.map(nap, [20; 8]).is_ok() && cluster.nodes().len() == 3 && both()
    });
    let since = Instant::now();
    let tasks: Vec<_> = (0..6).map(|_| pool.submit(nap, (1000,))).collect();
    assert!(tasks.into_iter().all(|task| task.join().is_ok()));
    assert!(since.elapsed() < Duration::from_millis(1900), "{:?}", since.elapsed());
}

/// The processes of a task, and above it.
fn processes_of_this() -> [u32; 2] {
    [std::process::id(), std::os::unix::process::parent_id()]
}

#[test]
fn a_pool_for_each_request_leaves_nothing_behind() {
    let cluster = cluster(1, 1);
    let mut seen = Vec::new();
    for number in 0..10 {
        let pool = Pool::builder().on(&cluster).build().expect("pool");
        seen.extend(pool.apply(processes_of_this, ()).expect("value"));
        assert_eq!(pool.apply(square, (number,)).expect("value"), number * number);
    }
    let is_there = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    wait_for("they end", || !seen.iter().any(is_there));
}

/// What can be sent, and not be received.
#[derive(Clone, Copy)]
struct Broken;

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Broken {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Broken, D::Error> {
        panic!("no such format")
    }
}

fn take_broken(_: Broken) {}

fn give_broken() -> Broken {
    Broken
}

#[test]
fn what_cannot_be_decoded_fails_its_task_alone() {
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    for _ in 0..2 {
        let error = pool.apply(take_broken, (Broken,)).expect_err("not decoded there");
        assert!(error.to_string().contains("no such format"), "{error}");
        let error = pool.apply(give_broken, ()).map(drop).expect_err("not decoded here");
        assert!(error.to_string().contains("no such format"), "{error}");
        assert_eq!(pool.apply(square, (3,)).expect("value"), 9);
    }
    assert_eq!(cluster.nodes()[0].losses, 0);
}

/// Makes a pool on the nodes that it is run by itself.
fn squares_of_squares(url: String, key: String) -> u64 {
    let key = Key::new(key).expect("key");
    let cluster = Cluster::at(&url).key(key).connect().expect("connected");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    pool.map(square, 0..10).expect("values").iter().sum()
}

#[test]
fn a_task_may_have_a_pool_on_the_nodes_that_run_it() {
    let cluster = cluster(1, 1);
    let (url, key) = cluster.local_address().expect("local");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    // The only worker waits for its own pool, which has another.
    let task = pool.submit(squares_of_squares, (url, key.text_for_tests().to_owned()));
    wait_for("it ends", || task.is_ready());
    assert_eq!(task.join().expect("value"), 285);
}

fn note(path: String) {
    std::fs::write(path, b"ran").expect("written");
}

#[test]
fn tasks_that_are_cancelled_behind_others_never_run() {
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let path = std::env::temp_dir().join(format!("cancelled-{}", std::process::id()));
    let first = pool.submit(nap, (800,));
    let tasks: Vec<_> = (0..20).map(|_| pool.submit(note, (path.display().to_string(),))).collect();
    wait_for("the first begins", || cluster.nodes()[0].tasks == 1);
    assert!(tasks.iter().all(multiproc::Task::cancel));
    assert_eq!(first.join().expect("value"), 800);
    assert!(tasks.into_iter().all(|task| task.join().is_err()));
    assert_eq!(pool.apply(square, (2,)).expect("value"), 4);
    assert!(!path.exists(), "one of them ran");
}

/// Closes all that its process has open.
fn close_all() -> u32 {
    let mut open = std::fs::read_dir("/proc/self/fd").expect("read").flatten().collect::<Vec<_>>();
    open.retain(|entry| entry.file_name().to_string_lossy().parse::<i32>().is_ok());
    let numbers = open.iter().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    for number in numbers.collect::<Vec<i32>>() {
        use std::os::fd::{FromRawFd, OwnedFd};
        // SAFETY: none; this is what careless code does.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    5
}

#[test]
fn a_task_that_closes_all_descriptors_harms_nobody_else() {
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    for _ in 0..2 {
        let task = pool.submit(close_all, ());
        wait_for("it ends", || task.is_ready());
        // Its result may get through, or its worker is lost.
        let _ = task.join();
        assert_eq!(pool.apply(square, (2,)).expect("value"), 4);
    }
    assert_eq!(cluster.nodes()[0].losses, 0);
}
