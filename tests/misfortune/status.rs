//! Others who take the statuses of children, and signals at every moment.
#![expect(unsafe_code, reason = "waits and signals as a C program would")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use multiproc::{Child, Failure, JoinError, Process, Signal, StartMethod};

use crate::common::{keeps_statuses, react};
use crate::support::{METHODS, for_each_method, open_fds, state_of, until};

/// Ends in each way, and sees what the parent learns of it.
fn end_in_every_way(method: StartMethod) {
    // Only newer kernels keep what killed a process that somebody else waited for.
    let lost = |failure: &Failure| matches!(failure, Failure::Lost(_)) && !keeps_statuses();

    let child = Process::new(|| 7, ()).start_method(method).start().expect("start");
    assert_eq!(child.join().expect("join"), 7);
    assert_eq!((child.exitcode(), child.is_alive()), (Some(0), false));

    let child = Process::new(|| -> u8 { panic!("ends so") }, ())
        .start_method(method)
        .start()
        .expect("start");
    let error = failure_of(&child);
    assert_eq!(error.panic().expect("a panic").message(), "ends so");
    assert_eq!(error.exitcode(), Some(1));

    let child = Process::new(|| -> u8 { std::process::exit(1000) }, ())
        .start_method(method)
        .start()
        .expect("start");
    let error = failure_of(&child);
    assert!(matches!(error.failure(), Failure::Exited(1000)), "{error}");
    assert_eq!(error.exitcode(), Some(1000));

    // SAFETY: ends this process at once, which has nothing to lose.
    let child = Process::new(|| -> u8 { unsafe { libc::_exit(9) } }, ())
        .start_method(method)
        .start()
        .expect("start");
    let error = failure_of(&child);
    assert!(matches!(error.failure(), Failure::Exited(9)) || lost(error.failure()), "{error}");

    let child = Process::new(|| -> u8 { std::process::abort() }, ())
        .start_method(method)
        .start()
        .expect("start");
    let error = failure_of(&child);
    assert!(error.signal() == Some(Signal::ABRT) || lost(error.failure()), "{error}");

    let parked = || {
        std::thread::park();
        0
    };
    let child = Process::new(parked, ()).start_method(method).start().expect("start");
    assert!(child.is_alive());
    child.terminate().expect("terminate");
    let error = failure_of(&child);
    assert!(error.signal() == Some(Signal::TERM) || lost(error.failure()), "{error}");

    // One that ended, and whose status was taken, before anybody asked.
    let child = Process::new(|| 8, ()).start_method(method).start().expect("start");
    until("it is gone", || matches!(state_of(child.pid()), None | Some('Z')));
    assert_eq!(child.join().expect("join"), 8);
    assert_eq!((child.exitcode(), child.is_alive()), (Some(0), false));
    child.terminate().expect("no effect");
}

/// How a child failed to return.
fn failure_of(child: &Child<u8>) -> JoinError {
    child.join().expect_err("it did not return")
}

pub(crate) fn sigchld_ignored_from_the_start() {
    react(libc::SIGCHLD, libc::SIG_IGN);
    for_each_method(end_in_every_way);
}

pub(crate) fn sigchld_ignored_later() {
    for method in METHODS {
        end_in_every_way(method);
    }
    let waiting: Vec<_> = METHODS
        .map(|method| Process::new(|| 3, ()).start_method(method).start().expect("start"))
        .into();
    react(libc::SIGCHLD, libc::SIG_IGN);
    for child in waiting {
        assert_eq!(child.join().expect("join"), 3);
        assert_eq!(child.exitcode(), Some(0));
    }
    for_each_method(end_in_every_way);
}

static STOLEN: AtomicUsize = AtomicUsize::new(0);

/// Takes every status that there is.
extern "C" fn steal(_: libc::c_int) {
    // SAFETY: async-signal-safe calls; no status is asked for, and errno is put back.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {
            STOLEN.fetch_add(1, Ordering::Relaxed);
        }
        *errno = before;
    }
}

pub(crate) fn a_handler_takes_every_status() {
    let handler: extern "C" fn(libc::c_int) = steal;
    react(libc::SIGCHLD, handler as usize);
    for_each_method(|method| {
        for _ in 0..10 {
            end_in_every_way(method);
        }
    });
    assert!(STOLEN.load(Ordering::Relaxed) > 100, "nothing was stolen");
}

pub(crate) fn a_thread_takes_every_status() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let thief = std::thread::spawn(|| {
        let mut stolen = 0_u32;
        while !DONE.load(Ordering::Relaxed) {
            // SAFETY: no status is asked for.
            match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
                1.. => stolen += 1,
                _ => std::thread::yield_now(),
            }
        }
        stolen
    });
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        end_in_every_way(method);
        let before = open_fds();
        for _ in 0..20 {
            end_in_every_way(method);
        }
        assert_eq!(open_fds(), before, "{method}: descriptors were left open");
    }
    DONE.store(true, Ordering::Relaxed);
    assert!(thief.join().expect("the thief") > 0, "nothing was stolen");
}

static ALARMS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    ALARMS.fetch_add(1, Ordering::Relaxed);
}

/// Has an alarm interrupt this process so often, or never if 0.
fn alarm_every(microseconds: libc::suseconds_t) {
    let interval = libc::timeval { tv_sec: 0, tv_usec: microseconds };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: the structure is ours.
    let done =
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(done, 0, "set a timer");
}

fn nested_under_alarms() -> usize {
    let handler: extern "C" fn(libc::c_int) = count;
    react(libc::SIGALRM, handler as usize);
    alarm_every(1000);
    let result = Process::new(|| vec![3_u8; 100_000], ())
        .start()
        .expect("start")
        .join()
        .expect("join")
        .len();
    alarm_every(0);
    result
}

pub(crate) fn signals_at_every_moment() {
    let handler: extern "C" fn(libc::c_int) = count;
    react(libc::SIGALRM, handler as usize);
    for_each_method(|method| {
        alarm_every(1000);
        for round in 0_usize..100 {
            let size = if round % 10 == 0 { 1 << 20 } else { 10 };
            let children = [0_u8, 1, 2].map(|number| {
                let target = |number, size| vec![number; size];
                Process::new(target, (number, size)).start_method(method).start().expect("start")
            });
            for (number, child) in (0_u8..).zip(&children) {
                assert_eq!(child.join().expect("join"), vec![number; size]);
            }
        }
        for _ in 0..10 {
            let child =
                Process::new(nested_under_alarms, ()).start_method(method).start().expect("start");
            assert_eq!(child.join().expect("join"), 100_000);
        }
        alarm_every(0);
    });
    assert!(ALARMS.load(Ordering::Relaxed) > 100, "no alarm came");
}
