//! Programs that become another user once they have started processes.
#![expect(unsafe_code, reason = "users are set as a C program would")]

use std::time::Duration;

use multiproc::{Event, Failure, LimitReached, Pool, Process, StartMethod};

use crate::support::{METHODS, Test};
use crate::users::{become_user, fork, is_root, status_of};

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![
    deadlines_hold_when_the_program_is_another_user,
    a_pool_ends_when_the_program_is_another_user,
    processes_of_another_user_are_told_apart,
];

/// How long something may take that takes a few seconds at the most.
const LONG: Duration = Duration::from_secs(60);

fn loops(begun: Event) {
    begun.set();
    loop {
        std::hint::spin_loop();
    }
}

fn user() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::getuid() }
}

/// Runs `body` in a copy of this process for each method, which may become another user.
fn in_copies(test: &str, body: fn(StartMethod)) {
    if !is_root(test) {
        return;
    }
    for method in METHODS {
        let copy = fork(|| body(method));
        assert_eq!(status_of(copy), 0, "{method}");
    }
}

fn deadlines_hold_when_the_program_is_another_user() {
    in_copies("deadlines_hold_when_the_program_is_another_user", |method| {
        let pool =
            Pool::builder().processes(1).start_method(method).grace(Duration::from_millis(100));
        let pool = pool.build().expect("pool");
        assert_eq!(pool.apply(user, ()).expect("a task"), 0);
        become_user();
        let tasks = || pool.tasks().deadline(Duration::from_millis(300));
        // Short ones before, whose timer is set already.
        for _ in 0..3 {
            tasks().apply(user, ()).expect("a task that is done in time");
        }
        let late = tasks().submit(loops, (Event::new().expect("event"),));
        let error = late.join_timeout(LONG).expect_err("it is too late");
        assert!(matches!(error.limit(), Some(LimitReached::Deadline(_))), "{method}: {error}");
        // The next worker is ours again.
        let by = pool.apply(user, ()).expect("the pool goes on");
        assert_eq!(by, user(), "{method}");
        pool.terminate();
        pool.join_timeout(LONG).expect("nothing was given up");
    });
}

fn a_pool_ends_when_the_program_is_another_user() {
    /// Ends a pool with a task that does not end.
    fn with_a_stuck_task(method: StartMethod, end: fn(Pool)) {
        let pool =
            Pool::builder().processes(2).start_method(method).grace(Duration::from_millis(100));
        let pool = pool.build().expect("pool");
        let begun = Event::new().expect("event");
        let task = pool.submit(loops, (begun.clone(),));
        assert!(begun.wait_timeout(LONG), "{method}: it begins");
        become_user();
        end(pool);
        let error = task.join_timeout(LONG).expect_err("it was not done");
        let is_told =
            matches!(error.failure(), Failure::Lost(why) if why.contains("runs as another user"));
        assert!(is_told, "{method}: {error}");
    }
    let test = "a_pool_ends_when_the_program_is_another_user";
    in_copies(test, |method| with_a_stuck_task(method, drop));
    in_copies(test, |method| {
        with_a_stuck_task(method, |pool| {
            pool.terminate();
            let error = pool.join_timeout(LONG).expect_err("one cannot be ended").to_string();
            assert!(
                error.contains("may not end worker") && error.contains("another user"),
                "{error}"
            );
        });
    });
}

fn processes_of_another_user_are_told_apart() {
    in_copies("processes_of_another_user_are_told_apart", |method| {
        let start = || {
            Process::new(loops, (Event::new().expect("event"),)).start_method(method).daemon(true)
        };
        let child = start().start().expect("start");
        let late = start().deadline(Duration::from_millis(100)).grace(Duration::from_millis(100));
        let late = late.start().expect("start");
        become_user();
        let refused = [
            child.terminate(),
            child.kill(),
            child.terminate_tree(),
            child.kill_tree(),
            child.stop(Duration::from_millis(10)),
        ];
        for error in refused {
            let error = error.expect_err("it is another user's");
            assert!(
                error.to_string().contains(&format!("(pid {})", child.pid())),
                "{method}: {error}"
            );
        }
        // Its own timers end it.
        let error = late.join_timeout(LONG).expect_err("its time is over");
        assert!(matches!(error.limit(), Some(LimitReached::Deadline(_))), "{method}: {error}");
        // This copy does not wait for the other one: it ends with it.
        drop(child);
        let new = Process::new(user, ()).start_method(method).start().expect("start");
        assert_eq!(new.join().expect("it runs"), user(), "{method}");
    });
}
