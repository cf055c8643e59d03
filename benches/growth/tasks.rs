//! The time of a task, and the memory of the program, against the number of tasks.

use std::hint::black_box;

use multiproc::{Pool, TaskError};
use rayon::prelude::*;

use crate::memory;
use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median, seconds};

const WORKERS: usize = 2;

fn trivial(n: u64) -> u64 {
    n.wrapping_mul(3)
}

pub(crate) fn curves(options: &Options) -> [Curve; 2] {
    let count = Axis { label: "tasks", unit: Unit::Count };
    let mut taken = Curve::new(
        "tasks-time",
        "Trivial tasks in a pool of two workers",
        count,
        Axis { label: "time of one task", unit: Unit::Seconds },
    );
    let mut used = Curve::new(
        "tasks-memory",
        "The program's memory while its pool works, at most",
        count,
        Axis { label: "memory beside what was there before", unit: Unit::Bytes },
    );
    let threads = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build().expect("threads");
    let pool = Pool::new(WORKERS).expect("pool");
    let ways: [(&str, &dyn Fn(u64)); 4] = [
        ("multiproc map", &|count| {
            assert_eq!(pool.map(trivial, 0..count).expect("mapped").len() as u64, count);
        }),
        ("multiproc imap", &|count| {
            let outcomes = pool.imap(trivial, 0..count).map(|outcome: Result<u64, TaskError>| {
                black_box(outcome.expect("done"));
            });
            assert_eq!(outcomes.count() as u64, count);
        }),
        ("multiproc submit, then join", &|count| {
            let tasks: Vec<_> = (0..count).map(|n| pool.submit(trivial, (n,))).collect();
            tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
        }),
        ("rayon (threads)", &|count| {
            let numbers = (0..count).into_par_iter();
            let all: Vec<u64> =
                threads.install(|| numbers.map(|n| black_box(trivial(n))).collect());
            assert_eq!(all.len() as u64, count);
        }),
    ];
    for (series, way) in ways {
        grow(options, series, way, &mut taken, &mut used);
    }
    [taken, used]
}

fn grow(options: &Options, series: &str, way: &dyn Fn(u64), taken: &mut Curve, used: &mut Curve) {
    way(10);
    let mut last = 0;
    for power in 1..=options.pick(4, 7) {
        let count = 10_u64.pow(power);
        // Ten times as many tasks want about ten times as much.
        if !memory::has_room_for(12 * last) {
            taken.remark(format!("{series} ends before {count} tasks, as 2 GiB would not be left"));
            break;
        }
        let before = memory::resident();
        memory::forget_peak();
        let first = seconds(|| way(count));
        last = memory::peak().saturating_sub(before);
        used.point(series, count as f64, last.max(4096) as f64);
        let more = if count > 1_000_000 { 0 } else { options.pick(1, 4) };
        let others = (0..more).map(|_| seconds(|| way(count)));
        let each = median(std::iter::once(first).chain(others)) / count as f64;
        taken.point(series, count as f64, each);
    }
}
