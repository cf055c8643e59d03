//! A program with a `clone` of its own, as the runtimes of sanitizers have one: theirs takes each
//! call for a fork, and gives up in one that shares memory.

use multiproc::{Pool, Process};

#[unsafe(no_mangle)]
extern "C" fn clone() -> ! {
    eprintln!("the program's own `clone` was called");
    std::process::abort();
}

fn main() {
    hosts::begin();
    for &method in hosts::all() {
        let child = Process::new(|| 3, ()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), 3, "{method}");
    }
    let pool = Pool::new(1).expect("a pool");
    assert_eq!(pool.apply(|| 4, ()).expect("apply"), 4);
    println!("well");
}
