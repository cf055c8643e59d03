//! Acquiring and releasing a lock against the number of processes at it.

use std::time::Duration;

use multiproc::{Child, Lock, Process, RwLock, Semaphore};
use rustix::time::{ClockId, clock_gettime};

use crate::robust::Robust;
use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median};

/// The time on a clock that all processes share.
pub(crate) fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("after the machine's start")
}

/// So many processes acquire and release as often as they can for so long; the time for each.
///
/// They go on for the same span of time and not for the same number of times: all are at it until
/// the end, whoever is lucky.
fn measure(processes: usize, span: Duration, once: impl Fn() + Clone + Send + 'static) -> f64 {
    // When the last of them has been started.
    let begin = now() + Duration::from_millis(10 + 2 * processes as u64);
    let children: Vec<Child<u64>> = (0..processes)
        .map(|_| {
            let once = once.clone();
            let work = move || {
                std::thread::sleep(begin.saturating_sub(now()));
                let mut count = 0;
                while now() < begin + span {
                    (0..16).for_each(|_| once());
                    count += 16;
                }
                count
            };
            Process::from_closure(work).start().expect("start")
        })
        .collect();
    let all: u64 = children.iter().map(|child| child.join().expect("join")).sum();
    span.as_secs_f64() / all as f64
}

pub(crate) fn curve(options: &Options) -> Curve {
    let mut curve = Curve::new(
        "locks",
        "Acquire and release, all processes at it all the time",
        Axis { label: "processes at the lock", unit: Unit::Count },
        Axis { label: "time of one acquire and release", unit: Unit::Seconds },
    );
    let span = options.pick(Duration::from_millis(20), Duration::from_millis(200));
    let counts: &[usize] = options.pick(&[1, 2], &[1, 2, 4, 8, 16, 32]);
    let robust = Robust::new();
    for &processes in counts {
        let mut point = |series: &str, measure: &dyn Fn() -> f64| {
            let figure = median((0..options.pick(1, 3)).map(|_| measure()));
            curve.point(series, processes as f64, figure);
        };
        let lock = Lock::new().expect("a lock");
        let rwlock = RwLock::new().expect("a lock");
        let semaphore = Semaphore::new(1).expect("a semaphore");
        point("pthread robust mutex", &|| measure(processes, span, || robust.lock_and_unlock()));
        point("multiproc Lock", &|| {
            let lock = lock.clone();
            measure(processes, span, move || drop(lock.acquire()))
        });
        point("multiproc RwLock, write", &|| {
            let lock = rwlock.clone();
            measure(processes, span, move || drop(lock.write()))
        });
        point("multiproc RwLock, read", &|| {
            let lock = rwlock.clone();
            measure(processes, span, move || drop(lock.read()))
        });
        point("multiproc Semaphore of 1", &|| {
            let semaphore = semaphore.clone();
            measure(processes, span, move || drop(semaphore.acquire()))
        });
    }
    curve
}
