//! Pools: no task waits for ever, and no worker holds up the others.
#![expect(unsafe_code, reason = "tasks do what hostile code does")]

use std::fs::File;
use std::sync::Mutex;
use std::time::Duration;

use multiproc::{Descriptor, Event, Failure, Pool, Process, Retry, StartMethod};

use crate::support::{METHODS, Test, children_of, open_fds, state_of, until};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    a_closed_pool_ends_whatever_its_last_task_took,
    workers_leave_by_themselves,
    workers_leave_while_a_copy_holds_their_links,
    tasks_that_deny_having_begun,
    what_tasks_leave_behind_becomes_no_zombie_for_long,
    a_status_that_a_later_task_wants_is_there,
    results_that_bring_descriptors_nobody_takes,
    with_a_deadline_nothing_waits_behind_an_endless_task,
    leaving_with_code_0_is_a_success_where_nothing_is_returned,
    a_long_task_of_a_map_leaves_the_others_their_workers,
];

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Waits for a file, if it is the first task, and makes it, if it is the last.
fn first_waits_for_last(number: usize, path: String) -> bool {
    match number {
        0 => {
            until("the last task has run", || std::path::Path::new(&path).exists());
            true
        }
        99 => File::create(path).is_ok(),
        _ => true,
    }
}

/// All values are kept, so those that wait for their turn need not hold up the inputs.
fn a_long_task_of_a_map_leaves_the_others_their_workers() {
    let path = std::env::temp_dir().join(format!("last-task-{}", std::process::id()));
    let name = path.display().to_string();
    let pool = Pool::new(2).expect("pool");
    let inputs = (0..100).map(|number| (number, name.clone()));
    let values = pool.tasks().chunk_size(1).starmap(first_waits_for_last, inputs).expect("values");
    assert_eq!(values, [true; 100]);
    std::fs::remove_file(path).expect("removed");
}

fn is_set(event: Event, text: String) -> (bool, usize) {
    (event.is_set(), text.len())
}

/// An argument that does not fit into the worker's ring at once, or brings descriptors, goes out in
/// a later round of the pool's thread, and so its answer is heard there.
fn a_closed_pool_ends_whatever_its_last_task_took() {
    let event = Event::new().expect("event");
    for method in METHODS {
        for round in 0..40 {
            let pool = Pool::builder()
                .processes(1 + round % 2)
                .start_method(method)
                .build()
                .expect("pool");
            let task = pool.submit(
                is_set,
                (event.clone(), "x".repeat(if round % 4 < 2 { 600_000 } else { 10 })),
            );
            pool.close();
            if round % 3 > 0 {
                assert!(
                    task.join_timeout(LONG).expect("it returns").is_some(),
                    "{method}, round {round}: no outcome"
                );
            }
            assert!(
                pool.join_timeout(LONG).expect("it was closed"),
                "{method}, round {round}: the pool does not end"
            );
        }
        let pool = Pool::builder().processes(2).start_method(method);
        let sent = pool.scope(|pool| {
            pool.submit(is_set, (event.clone(), "x".repeat(600_000))).join().map(|done| done.1)
        });
        assert_eq!(sent.expect("pool").expect("task"), 600_000);
    }
}

/// Has the worker write a letter to a file when it leaves in an orderly way.
fn leaves_a_note(file: Descriptor<File>) {
    let file = Mutex::new(file.0);
    multiproc::at_exit(move || {
        use std::io::Write;
        let _ = file.lock().expect("nobody panics").write_all(b"x");
    });
}

/// A file with a letter for each worker that left in an orderly way.
struct Notes(File);

impl Notes {
    fn new() -> Notes {
        Notes(crate::support::tempfile())
    }

    fn pool(&self, method: StartMethod) -> Pool {
        // Whoever waited for the grace to pass would not be done in time.
        let file = Descriptor(self.0.try_clone().expect("duplicate"));
        let pool = Pool::builder().processes(2).start_method(method).grace(4 * LONG);
        pool.initializer(leaves_a_note, (file,)).max_tasks_per_child(3).build().expect("pool")
    }

    fn count(&self) -> u64 {
        self.0.metadata().expect("stat").len()
    }
}

fn square(n: u64) -> u64 {
    n * n
}

fn workers_leave_by_themselves() {
    for method in METHODS {
        let notes = Notes::new();
        let pool = notes.pool(method);
        assert_eq!(pool.map(square, 0..30).expect("squares").len(), 30);
        pool.close();
        assert!(
            pool.join_timeout(LONG).expect("it was closed"),
            "{method}: a worker does not leave"
        );
        assert!(notes.count() >= 10, "{method}: {} workers ran their exit handlers", notes.count());
    }
}

/// A copy of the program that somebody forks has all links open, too.
fn workers_leave_while_a_copy_holds_their_links() {
    for method in METHODS {
        let notes = Notes::new();
        let pool = notes.pool(method);
        assert_eq!(pool.apply(square, (3,)).expect("a square"), 9);
        // SAFETY: the copy does nothing but sleep.
        let copy = unsafe { libc::fork() };
        if copy == 0 {
            loop {
                // SAFETY: no preconditions.
                unsafe { libc::pause() };
            }
        }
        pool.close();
        let has_ended = pool.join_timeout(LONG).expect("it was closed");
        // SAFETY: a child of ours that is not waited for yet.
        unsafe {
            libc::kill(copy, libc::SIGKILL);
            libc::waitpid(copy, std::ptr::null_mut(), 0);
        }
        assert!(has_ended, "{method}: a worker does not leave");
        assert_eq!(notes.count(), 2, "{method}: workers that ran their exit handlers");
    }
}

/// What this worker shares with its pool beside their messages: its first word counts the tasks
/// that were begun.
fn own_words() -> *mut u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("read");
    let line = maps.lines().find(|line| line.contains("multiproc-pool")).expect("a line for it");
    let start =
        usize::from_str_radix(line.split_once('-').expect("a range").0, 16).expect("a number");
    std::ptr::with_exposed_provenance_mut(start)
}

fn denies(delay: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(delay));
    // SAFETY: the first word of a page that is mapped and writable, an atomic for whoever reads it.
    unsafe { own_words().write_volatile(0) };
    // SAFETY: no preconditions.
    unsafe { libc::_exit(0) };
}

fn tasks_that_deny_having_begun() {
    for method in METHODS {
        let pool = Pool::builder().processes(2).start_method(method).build().expect("pool");
        for delay in [0, 150] {
            let liar = pool.submit(denies, (delay,));
            let error = liar.join_timeout(LONG).expect_err("it has no value");
            assert!(matches!(error.failure(), Failure::Lost(_)), "{method}: {error}");
            let next = pool.submit(square, (4,)).join_timeout(LONG);
            assert_eq!(next.expect("the pool goes on"), Some(16), "{method}");
        }
    }
}

/// Leaves processes behind that end at once. Returns the worker.
fn leave_behind(count: u32) -> u32 {
    for _ in 0..count {
        let mut shell = std::process::Command::new("sh");
        let left = shell.args(["-c", "true & exit"]).status().expect("run a shell");
        assert!(left.success());
    }
    std::process::id()
}

fn what_tasks_leave_behind_becomes_no_zombie_for_long() {
    // One is idle from then on, the other always has something to do.
    let (idle, busy) = [StartMethod::Forkserver, StartMethod::Spawn]
        .map(|method| Pool::builder().processes(1).start_method(method).build().expect("pool"))
        .into();
    let [worker, other] =
        [&idle, &busy].map(|pool| pool.apply(leave_behind, (3,)).expect("a worker"));
    until("no process is left", || {
        busy.map(square, 0..2000).expect("values");
        children_of(other).is_empty() && children_of(worker).is_empty()
    });
    for (pool, worker) in [(idle, worker), (busy, other)] {
        assert_eq!(pool.apply(std::process::id, ()).expect("value"), worker);
    }
}

static KEPT: Mutex<Option<std::process::Child>> = Mutex::new(None);

fn keep_a_child() {
    let child = std::process::Command::new("true").spawn().expect("run a program");
    *KEPT.lock().expect("lock") = Some(child);
}

fn wait_for_the_child() -> bool {
    let mut kept = KEPT.lock().expect("lock");
    kept.as_mut().expect("it was kept").wait().expect("its status").success()
}

fn a_status_that_a_later_task_wants_is_there() {
    let pool = Pool::builder().processes(1).build().expect("pool");
    pool.apply(keep_a_child, ()).expect("value");
    let worker = pool.apply(std::process::id, ()).expect("value");
    until("it has ended", || children_of(worker).iter().all(|child| state_of(*child) == Some('Z')));
    assert_eq!(pool.map(square, 0..2000).expect("values").len(), 2000);
    assert!(pool.apply(wait_for_the_child, ()).expect("value"));
}

fn open_many(count: usize) -> Vec<Descriptor<File>> {
    (0..count).map(|_| Descriptor(File::open("/dev/null").expect("open"))).collect()
}

fn results_that_bring_descriptors_nobody_takes() {
    let limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: the kernel reads one rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let pool = Pool::builder().processes(2).build().expect("pool");
    let before = open_fds().len();
    let tasks: Vec<_> = (0..20).map(|_| pool.submit(open_many, (200,))).collect();
    until("all have their outcomes", || tasks.iter().all(|task| task.is_ready()));
    assert!(open_fds().len() <= before + 512, "{} descriptors are open", open_fds().len());
    File::open("/dev/null").expect("the program still opens files");
    assert_eq!(pool.apply(square, (5,)).expect("the pool goes on"), 25);
    let (came, refused): (Vec<_>, Vec<_>) =
        tasks.into_iter().map(|task| task.join()).partition(Result::is_ok);
    assert!(
        !came.is_empty() && !refused.is_empty(),
        "{} came, {} were refused",
        came.len(),
        refused.len()
    );
    for error in refused.into_iter().filter_map(Result::err) {
        let text = error.to_string();
        assert!(text.contains("not taken yet"), "{text}");
    }
    drop(came);
    // What was taken does not count any more.
    assert_eq!(pool.apply(open_many, (200,)).expect("they fit again").len(), 200);
}

fn leaves() {
    std::process::exit(0)
}

fn leaves_without_a_number() -> u32 {
    std::process::exit(0)
}

fn leaving_with_code_0_is_a_success_where_nothing_is_returned() {
    for method in METHODS {
        Process::new(leaves, ())
            .start_method(method)
            .start()
            .expect("start")
            .join()
            .expect("a success");
        let pool = Pool::builder().processes(1).start_method(method).build().expect("pool");
        pool.apply(leaves, ()).expect("a success");
        pool.tasks().retry(Retry::times(3)).apply(leaves, ()).expect("a success");
        let all = pool
            .map(
                |n: u32| {
                    if n == 1 {
                        leaves()
                    }
                },
                0..3,
            )
            .expect("successes");
        assert_eq!(all.len(), 3);
        let error = pool.apply(leaves_without_a_number, ()).expect_err("there is no number");
        assert!(matches!(error.failure(), Failure::Exited(0)), "{error}");
    }
}

fn endless_at_40(n: u32) -> u32 {
    if n == 40 {
        loop {
            std::thread::park();
        }
    }
    n
}

/// What `Tasks::chunk_size` says: without a deadline, those that were begun together would wait.
fn with_a_deadline_nothing_waits_behind_an_endless_task() {
    for chunk in [None, Some(1000)] {
        let pool = Pool::builder().processes(2).build().expect("pool");
        let tasks = pool.tasks().deadline(Duration::from_secs(15));
        let tasks = if let Some(size) = chunk { tasks.chunk_size(size) } else { tasks };
        let outcomes: Vec<_> = tasks.imap_unordered(endless_at_40, 0..1000).collect();
        assert_eq!(outcomes.len(), 1000);
        let late = outcomes.iter().position(Result::is_err);
        assert_eq!(late, Some(999), "{chunk:?}: some waited for the endless one");
    }
}
