//! Calls that concern many tasks at once: once on every worker, all that waits, a time for a whole
//! map; and workers that are killed meanwhile.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use multiproc::{Descriptor, Failure, LimitReached, Pool, worker_id};

use crate::support::{descendants_of, is_running, send_signal, until};

const LONG: Duration = Duration::from_secs(60);

fn id() -> usize {
    worker_id().expect("in a worker")
}

fn pids(pool: &Pool) -> Vec<u32> {
    pool.stats().workers.iter().filter_map(|worker| worker.pid).collect()
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Waits in one worker until a line can be read, and ends in another.
fn wait_or_end(ends: usize) -> usize {
    match id() {
        id if id == ends => std::process::exit(9),
        id => id,
    }
}

fn write_id(mut file: Descriptor<File>) {
    file.write_all(&[b'0' + u8::try_from(id()).expect("few")]).expect("write");
}

/// Each worker does it once, though all have much to do.
pub(crate) fn a_broadcast_reaches_every_worker_once() {
    let pool = Pool::new(3).expect("pool");
    let busy = pool.tasks().map_async(nap, vec![1; 300]);
    for _ in 0..20 {
        assert_eq!(pool.broadcast(id, ()).expect("ids"), [1, 2, 3]);
    }
    assert_eq!(busy.join().expect("naps").len(), 300);
}

/// A worker that ends in it fails alone; what it has not begun is done by the next in its place.
pub(crate) fn a_broadcast_survives_its_workers() {
    let pool = Pool::new(3).expect("pool");
    let outcomes = pool.tasks().broadcast_async(wait_or_end, (2,)).join_all();
    assert_eq!((outcomes[0].as_ref().ok(), outcomes[2].as_ref().ok()), (Some(&1), Some(&3)));
    let failure = outcomes[1].as_ref().expect_err("it ended").failure();
    assert!(matches!(failure, Failure::Exited(9)), "{failure:?}");
    let before = pids(&pool);
    let busy: Vec<_> = (0..3).map(|_| pool.submit(nap, (60_000,))).collect();
    until("all are busy", || pool.stats().running == 3);
    let all = pool.tasks().broadcast_async(id, ());
    assert!(!all.wait(Duration::ZERO));
    before.iter().for_each(|pid| send_signal(*pid, libc::SIGKILL));
    for task in busy {
        task.cancel();
    }
    assert_eq!(all.join().expect("ids"), [1, 2, 3]);
    assert!(pids(&pool).iter().all(|pid| !before.contains(pid)));
}

/// Each worker gets the descriptors among the arguments.
pub(crate) fn a_broadcast_gives_descriptors_to_all() {
    let mut file = tempfile();
    let pool = Pool::new(3).expect("pool");
    let copy = file.try_clone().expect("a copy");
    pool.broadcast(write_id, (Descriptor::from(copy),)).expect("written");
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("read");
    let mut ids: Vec<_> = text.bytes().collect();
    ids.sort_unstable();
    assert_eq!(ids, b"123");
    let (_sender, receiver) = multiproc::pipe::<u8>().expect("pipe");
    fn take(_: multiproc::Receiver<u8>) {}
    let refused = pool.broadcast(take, (receiver,)).expect_err("only one may have it").to_string();
    assert!(refused.contains("given away more than once"), "{refused}");
}

fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!("multiproc-calls-{}", std::process::id()));
    let file = File::options().create_new(true).read(true).write(true).open(&path).expect("file");
    std::fs::remove_file(path).expect("remove");
    file
}

/// What runs goes on; all else has an outcome, and the pool goes on.
pub(crate) fn what_is_pending_is_called_off() {
    let pool = Pool::new(2).expect("pool");
    let tasks: Vec<_> = (0..200).map(|_| pool.submit(nap, (300,))).collect();
    until("both run", || pool.stats().running == 2);
    pool.cancel_pending();
    let outcomes: Vec<_> = tasks.into_iter().map(multiproc::Task::join).collect();
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(done <= 2, "{done} were done");
    let called_off = |outcome: &Result<u64, multiproc::TaskError>| {
        outcome.as_ref().is_ok_and(|_| true)
            || outcome.as_ref().is_err_and(multiproc::TaskError::is_cancelled)
    };
    assert!(outcomes.iter().all(called_off), "{outcomes:?}");
    assert_eq!(pool.apply(nap, (0,)).expect("it goes on"), 0);
    assert_eq!(pool.stats().restarts(), 0);
}

/// A time for a whole map: what is done counts, what runs is ended with all that it started, what
/// waits fails, and an endless input comes to an end.
pub(crate) fn the_time_of_a_whole_map_ends_it() {
    fn program(_: u32) {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        child.wait().expect("wait");
    }
    let pool = Pool::new(2).expect("pool");
    let tasks = || pool.tasks().overall_deadline(Duration::from_millis(400));
    let began = Instant::now();
    let programs = tasks().map_async(program, 0..6);
    until("programs run", || {
        pids(&pool).iter().filter(|pid| !descendants_of(**pid).is_empty()).count() == 2
    });
    let started: Vec<_> = pids(&pool).into_iter().flat_map(descendants_of).collect();
    let outcomes = programs.join_all();
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    let is_late = |failure: &Failure| matches!(failure, Failure::Limit(LimitReached::Deadline(of)) if of.as_millis() == 400);
    assert_eq!(outcomes.len(), 6);
    assert!(outcomes.iter().all(|outcome| is_late(outcome.as_ref().expect_err("late").failure())));
    until("what they started is gone", || !started.iter().any(|pid| is_running(*pid)));
    // Without end: the last outcome is a failure, and only some inputs were pulled.
    let mut last = None;
    let mut done = 0;
    for outcome in tasks().imap(nap, std::iter::repeat(20)) {
        done += u32::from(outcome.is_ok());
        last = Some(outcome);
    }
    assert!(is_late(last.expect("an outcome").expect_err("late").failure()));
    assert!(done > 0);
    // One that is done in time.
    let tasks = pool.tasks().overall_deadline(LONG);
    assert_eq!(tasks.map(nap, [1, 2, 3]).expect("in time"), [1, 2, 3]);
}
