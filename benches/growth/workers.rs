//! The time of a task against the number of workers.

use multiproc::Pool;
use rayon::prelude::*;

use crate::support::curve::{Axis, Curve, Unit};
use crate::support::{Options, median, seconds};

fn trivial(n: u64) -> u64 {
    n.wrapping_mul(3)
}

pub(crate) fn curve(options: &Options) -> Curve {
    let mut curve = Curve::new(
        "workers",
        "Trivial tasks in a pool",
        Axis { label: "workers", unit: Unit::Count },
        Axis { label: "time of one task", unit: Unit::Seconds },
    );
    let workers: &[usize] = options.pick(&[1, 2], &[1, 2, 4, 8, 16, 32, 64]);
    let (single, many) = options.pick((2_000, 50_000), (100_000, 2_000_000));
    for &workers in workers {
        let pool = Pool::new(workers).expect("pool");
        pool.map(trivial, 0..1000).expect("mapped");
        let threads =
            rayon::ThreadPoolBuilder::new().num_threads(workers).build().expect("threads");
        let mut point = |series: &str, count: u64, run: &dyn Fn(u64)| {
            let each = (0..options.pick(1, 3)).map(|_| seconds(|| run(count)) / count as f64);
            curve.point(series, workers as f64, median(each));
        };
        point("multiproc map, chunks of one", single, &|count| {
            drop(pool.tasks().chunk_size(1).map(trivial, 0..count).expect("mapped"));
        });
        point("multiproc map, automatic chunks", many, &|count| {
            drop(pool.map(trivial, 0..count).expect("mapped"));
        });
        point("rayon (threads), chunks of one", single, &|count| {
            let numbers = (0..count as usize).into_par_iter().with_max_len(1);
            let all: Vec<u64> = threads
                .install(|| numbers.map(|n| std::hint::black_box(trivial(n as u64))).collect());
            assert_eq!(all.len() as u64, count);
        });
    }
    curve
}
