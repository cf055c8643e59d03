//! A program that is built to measure what runs of it: each of these functions runs a known number
//! of times.

use multiproc::{Pool, Process, StartMethod, set_forkserver_preload};

/// Defines functions whose names the measurements have as they are.
macro_rules! counted {
    ($($name:ident),*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $name() {
                std::hint::black_box(());
            }
        )*
    };
}

counted!(
    counted_main,
    counted_returns,
    counted_exits,
    counted_panics,
    counted_forks,
    counted_tasks,
    counted_preload
);

fn main() {
    hosts::begin();
    counted_main();
    set_forkserver_preload(|| counted_preload()).expect("set a preload function");
    // 2 x 3 of each, the children of forkservers beside each other.
    for &method in StartMethod::ALL {
        let returns = [(); 2].map(|()| start(method, || counted_returns()));
        for child in returns {
            child.join().expect("join");
        }
        let exits = || {
            counted_exits();
            std::process::exit(3)
        };
        let panics = || {
            counted_panics();
            std::panic::resume_unwind(Box::new(()))
        };
        for _ in 0..2 {
            assert_eq!(start(method, exits).join().expect_err("exits").exitcode(), Some(3));
            assert!(start(method, panics).join().expect_err("panics").panic().is_some());
        }
    }
    let captured = 1;
    let fork = Process::from_closure(move || (0..captured).for_each(|_| counted_forks()));
    fork.start().expect("start").join().expect("join");
    // Another fork server.
    let nested = || start(StartMethod::Forkserver, || counted_forks()).join().expect("join");
    start(StartMethod::Forkserver, nested).join().expect("join");
    let pool = Pool::new(2).expect("a pool");
    pool.map(|_: u32| counted_tasks(), 0..100).expect("map");
    pool.close();
    pool.join().expect("join a pool");
    println!("well");
}

fn start(
    method: StartMethod,
    function: impl multiproc::Target<(), Output = ()> + multiproc::Captureless + Send,
) -> multiproc::Child<()> {
    Process::new(function, ()).start_method(method).start().expect("start")
}
