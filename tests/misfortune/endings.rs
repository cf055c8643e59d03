//! Bad ways to end.

use std::cell::RefCell;
use std::io::Read;
use std::panic::{panic_any, set_hook};
use std::time::Duration;

use multiproc::{Child, Failure, Process, Signal, StartMethod, Stdio, at_exit};
use serde::{Deserialize, Serialize};

use crate::common::{become_subreaper, is_childless, part, program, react, success};
use crate::support::{METHODS, for_each_method, until};

/// Panics when dropped.
#[derive(Serialize, Deserialize)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom");
    }
}

fn signal_of<T: serde::de::DeserializeOwned>(child: &Child<T>) -> Option<Signal> {
    child.join().err().expect("it did not return").signal()
}

pub(crate) fn panic_in_a_destructor_while_unwinding() {
    for_each_method(|method| {
        let target = || {
            let _bomb = Bomb;
            panic!("first");
        };
        let child: Child<()> =
            Process::new(target, ()).start_method(method).start().expect("start");
        let error = child.join().expect_err("it aborts");
        assert_eq!(error.panic().expect("a panic").message(), "boom");
        assert_eq!(child.exitcode(), Some(-6));
    });
}

pub(crate) fn panic_in_a_destructor_of_the_result() {
    for_each_method(|method| {
        let child = Process::new(|| Bomb, ()).start_method(method).start().expect("start");
        let error = child.join().err().expect("it did not return");
        assert_eq!(error.panic().expect("a panic").message(), "boom");
        assert_eq!(child.exitcode(), Some(1));
    });
}

pub(crate) fn panic_payload_whose_destructor_panics() {
    for_each_method(|method| {
        let target = || {
            panic_any(Bomb);
        };
        let child: Child<()> =
            Process::new(target, ()).start_method(method).start().expect("start");
        let error = child.join().expect_err("panicked");
        assert!(error.panic().expect("a panic").location().is_some(), "{error}");
        assert_eq!(child.exitcode(), Some(1));
        let child: Child<()> = Process::new(target, ())
            .start_method(method)
            .stack_size(1 << 20)
            .start()
            .expect("start");
        assert!(child.join().expect_err("panicked").panic().is_some());
    });
}

pub(crate) fn panic_in_a_destructor_of_a_thread_local() {
    thread_local! {
        static LOCAL: RefCell<Option<Bomb>> = const { RefCell::new(None) };
    }
    for_each_method(|method| {
        let target = || {
            LOCAL.with(|local| *local.borrow_mut() = Some(Bomb));
            5
        };
        let child = Process::new(target, ()).start_method(method).start().expect("start");
        // It had returned; what became of the process after is seen in its exit code.
        assert_eq!(child.join().expect("it returned"), 5);
        assert_eq!(child.exitcode(), Some(-6));
    });
}

pub(crate) fn panic_at_exit() {
    for_each_method(|method| {
        let target = || {
            at_exit(|| println!("first registered"));
            at_exit(|| panic!("in between"));
            at_exit(|| panic_any(Bomb));
            at_exit(|| println!("last registered"));
            6
        };
        let process = Process::new(target, ())
            .start_method(method)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = process.start().expect("start");
        let mut text = String::new();
        child.take_stdout().expect("a pipe").read_to_string(&mut text).expect("read");
        assert_eq!(text, "last registered\nfirst registered\n");
        assert_eq!(child.join().expect("join"), 6);
        assert_eq!(child.exitcode(), Some(0));
    });
}

pub(crate) fn panic_in_the_panic_hook() {
    for_each_method(|method| {
        let target = || {
            set_hook(Box::new(|_| panic!("second")));
            panic!("first");
        };
        let child: Child<()> =
            Process::new(target, ()).start_method(method).start().expect("start");
        assert_eq!(signal_of(&child), Some(Signal::ABRT));
    });
}

pub(crate) fn panic_hook_of_the_child_s_own() {
    for_each_method(|method| {
        let target = || {
            set_hook(Box::new(|_| {}));
            panic!("quietly");
        };
        let child: Child<()> =
            Process::new(target, ()).start_method(method).start().expect("start");
        let error = child.join().expect_err("panicked");
        let panic = error.panic().expect("a panic");
        assert_eq!((panic.message(), panic.location()), ("quietly", None));
    });
}

pub(crate) fn stack_overflow() {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn deeper(n: u64) -> u64 {
        std::hint::black_box(deeper(std::hint::black_box(n + 1))) + 1
    }
    for_each_method(|method| {
        for size in [None, Some(256 << 10)] {
            let process = Process::new(deeper, (0,)).start_method(method);
            let process = match size {
                Some(size) => process.stack_size(size),
                None => process,
            };
            let child = process.start().expect("start");
            // Rust's own handler reports it and aborts; without the handler, it is what the kernel
            // says.
            assert!(matches!(signal_of(&child), Some(Signal::SEGV | Signal::ABRT)), "{child}");
        }
    });
}

pub(crate) fn code_0_without_a_result() {
    for_each_method(|method| {
        let target = || -> String { std::process::exit(0) };
        let child = Process::new(target, ()).start_method(method).start().expect("start");
        let error = child.join().expect_err("there is no text");
        assert!(matches!(error.failure(), Failure::Exited(0)), "{error}");
    });
}

/// The program: leaves with a daemon of each method that does not heed SIGTERM.
fn leave_with_daemons() {
    let daemons = METHODS.map(|method: StartMethod| {
        let target = || {
            react(libc::SIGTERM, libc::SIG_IGN);
            println!("deaf");
            loop {
                std::thread::sleep(Duration::from_secs(600));
            }
        };
        let process =
            Process::new(target, ()).daemon(true).stdout(Stdio::piped()).start_method(method);
        let mut daemon: Child<()> = process.start().expect("start");
        let mut heard = [0; 5];
        daemon.take_stdout().expect("a pipe").read_exact(&mut heard).expect("read");
        daemon
    });
    drop(daemons);
    println!("main is over");
}

pub(crate) fn daemon_that_ignores_sigterm() {
    if part().is_some() {
        return leave_with_daemons();
    }
    become_subreaper();
    assert_eq!(success(&mut program("daemon_that_ignores_sigterm", "leave")), "main is over\n");
    until("nothing is left", is_childless);
}
