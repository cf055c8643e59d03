//! A process from start to end, as its owner sees it.

mod support;

#[path = "misfortune/common.rs"]
mod common;
#[path = "process/debugger.rs"]
mod debugger;
#[path = "process/drops.rs"]
mod drops;
#[path = "process/errors.rs"]
mod errors;
#[path = "process/output.rs"]
mod output;

use multiproc::Process;
use support::{Test, assert_route, for_each_method, mark};

const TESTS: &[Test] = tests![each_method_takes_its_route, results_come_back];

fn main() {
    support::run(&[TESTS, drops::TESTS, errors::TESTS, output::TESTS].concat());
}

fn each_method_takes_its_route() {
    for_each_method(|method| {
        assert_route(method, || {
            let child = Process::new(mark, ()).start_method(method).start().expect("start");
            assert_eq!(child.start_method(), method);
            child.join().expect("join")
        });
    });
}

fn results_come_back() {
    for_each_method(|method| {
        let child =
            Process::new(|a: u8, b: String| (b, a), (1, "two".to_owned())).start_method(method);
        assert_eq!(child.start().expect("start").join().expect("join"), ("two".to_owned(), 1));
    });
}
