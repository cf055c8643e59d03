//! Children that panic, or not, where a panic aborts.

use multiproc::{Failure, Process, Signal};

fn careful(n: u32) -> u32 {
    assert!(n < 3, "{n} is too much");
    n
}

fn main() {
    hosts::begin();
    for &method in hosts::all() {
        let start = |n| Process::new(careful, (n,)).start_method(method).start().expect("start");
        let (good, bad, other) = (start(1), start(3), start(2));
        let error = bad.join().expect_err("it panics");
        assert!(matches!(error.failure(), Failure::Signalled { signal: Signal::ABRT, .. }), "{error}");
        assert_eq!(bad.exitcode(), Some(-6));
        assert_eq!((good.join().expect("join"), other.join().expect("join")), (1, 2));
    }
    println!("well");
}
