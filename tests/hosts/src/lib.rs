//! What each kind of program does with multiproc.
//!
//! In a documentation test, without a `main`, so that its code is in a function of one:
//!
//! ```
//! fn triple(n: u32) -> u32 { 3 * n }
//!
//! for &method in hosts::in_threads() {
//!     let child = multiproc::Process::new(triple, (5,)).start_method(method).start().unwrap();
//!     assert_eq!(child.join().unwrap(), 15);
//! }
//! ```
//!
//! And the checks of all programs, in one with a `main` of its own:
//!
//! ```
//! fn main() {
//!     hosts::check(hosts::in_threads());
//! }
//! ```

use std::collections::BTreeMap;

use multiproc::{Failure, Process, Run, StartMethod};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fruit {
    Apple,
    Pear { ripe: bool },
}

#[derive(Serialize, Deserialize)]
pub struct Greeter {
    pub name: String,
}

impl Run for Greeter {
    type Output = String;

    fn run(self) -> String {
        format!("hello {}", self.name)
    }
}

/// Says that `main` runs; ends the program if this is a child, in which it must not, before it can
/// start more of them.
pub fn begin() {
    println!("main");
    if std::env::var_os("MULTIPROC_BOOT").is_some() {
        println!("main ran in a child");
        std::process::exit(99);
    }
}

/// All methods: for a program whose main thread is the only one.
pub fn all() -> &'static [StartMethod] {
    StartMethod::ALL
}

/// Those that work beside other threads.
pub fn in_threads() -> &'static [StartMethod] {
    &[StartMethod::Forkserver, StartMethod::Spawn]
}

/// A failure if anything that a program may do with the methods does not work here.
pub fn check(methods: &[StartMethod]) {
    for &method in methods {
        check_method(method);
    }
}

fn check_method(method: StartMethod) {
    let closure = Process::new(|a: u32, text: String| (text, a + 1), (1, "one".to_owned()));
    let child = closure.start_method(method).start().expect("start a closure");
    assert_eq!(child.start_method(), method, "it was started by another method");
    assert_eq!(child.join().expect("join a closure"), ("one".to_owned(), 2));

    // One function, as seen from the crate that has it and from here.
    assert_eq!(small::add_in_a_process(method, 2, 3).expect("a small function from its crate"), 5);
    let child = Process::new(small::add, (20, 30))
        .start_method(method)
        .start()
        .expect("start a small function");
    assert_eq!(child.join().expect("join a small function"), 50);

    let basket = vec![Fruit::Pear { ripe: true }, Fruit::Apple, Fruit::Pear { ripe: true }];
    let counted = BTreeMap::from([(Fruit::Apple, 1), (Fruit::Pear { ripe: true }, 2)]);
    assert_eq!(
        generic::count_in_a_process(method, basket.clone())
            .expect("a generic function from its crate"),
        counted
    );
    let child = Process::new(generic::count::<Fruit>, (basket,)).start_method(method);
    assert_eq!(
        child.start().expect("start a generic function").join().expect("join a generic function"),
        counted
    );

    let greeter = Greeter { name: method.to_string() }
        .process()
        .start_method(method)
        .start()
        .expect("start a type");
    assert_eq!(greeter.join().expect("join a type"), format!("hello {method}"));

    // A child of a child.
    let nested = Process::new(
        |method, n| small::add_in_a_process(method, n, n).expect("grandchild"),
        (method, 4),
    );
    assert_eq!(
        nested.start_method(method).start().expect("start a child").join().expect("join a child"),
        8
    );

    // The standard library takes the arguments in an initialiser.
    let child =
        Process::new(|| std::env::args().len(), ()).start_method(method).start().expect("start");
    assert!(
        child.join().expect("join") > 0,
        "{method}: the standard library's initialiser did not run"
    );

    let child = Process::new(|n: u32| assert!(n < 3, "{n} is too much"), (3,)).start_method(method);
    let error = child.start().expect("start").join().expect_err("it panicked");
    assert!(
        matches!(error.failure(), Failure::Panicked(panic) if panic.message() == "3 is too much"),
        "{error}"
    );

    let child = Process::new(|code: i32| std::process::exit(code), (3,)).start_method(method);
    let error = child.start().expect("start").join().map(|never: ()| never).expect_err("it left");
    assert!(matches!(error.failure(), Failure::Exited(3)), "{error}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn in_a_unit_test() {
        super::check(super::in_threads());
    }
}
