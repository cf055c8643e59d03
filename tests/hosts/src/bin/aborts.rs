//! Children that panic, or not, where a panic aborts.

use multiproc::{Failure, Pool, Process};

fn careful(n: u32) -> u32 {
    assert!(n < 3, "{n} is too much");
    n
}

/// The panic, with its text and its place, and not the signal that came of it.
fn check(failure: &Failure) {
    let Failure::Panicked(panic) = failure else { panic!("{failure}") };
    assert!(panic.message().ends_with(" is too much"), "{failure}");
    assert!(panic.location().is_some_and(|place| place.file().ends_with("aborts.rs")), "{failure}");
}

fn main() {
    hosts::begin();
    for &method in hosts::all() {
        let start = |n| Process::new(careful, (n,)).start_method(method).start().expect("start");
        let (good, bad, other) = (start(1), start(3), start(2));
        let error = bad.join().expect_err("it panics");
        check(error.failure());
        assert_eq!(bad.exitcode(), Some(-6));
        assert_eq!((good.join().expect("join"), other.join().expect("join")), (1, 2));
        let pool = Pool::builder().processes(2).start_method(method).build().expect("pool");
        let outcomes: Vec<_> = pool.imap(careful, 0..6).collect();
        for (n, outcome) in (0..).zip(outcomes) {
            match outcome {
                Ok(value) => assert!(value == n && n < 3),
                Err(error) => check(error.failure()),
            }
        }
    }
    println!("well");
}
