//! A program whose multiproc is in a library that it is linked with.

use shared::multiproc::{Process, StartMethod};

fn double(n: u32) -> u32 {
    2 * n
}

fn main() {
    println!("main");
    if std::env::var_os("MULTIPROC_BOOT").is_some() {
        println!("main ran a second time, in a child");
        std::process::exit(99);
    }
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let error = shared::triple_in_a_process(method, 5).expect_err("a function of the library");
        assert!(error.is_foreign_code(), "{method}: {error}");
        // The function is in the program, but what a child would run before main is in the library.
        let error = Process::new(double, (5,))
            .start_method(method)
            .start()
            .expect_err("a function of the program");
        assert!(error.is_foreign_code(), "{method}: {error}");
    }
    assert_eq!(shared::triple_in_a_process(StartMethod::Fork, 5).expect("fork"), 15);
    let child = Process::new(double, (5,)).start_method(StartMethod::Fork).start().expect("fork");
    assert_eq!(child.join().expect("join"), 10);
    println!("well");
}
