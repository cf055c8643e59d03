//! Group B: types with `run`, exit codes, standard error.

use std::io::{BufRead, BufReader, Read, Write};

use multiproc::{Failure, Process, Run, Stdio, at_exit, current_process};
use serde::{Deserialize, Serialize};

use crate::support::for_each_method;
use crate::tools::{self, Gate, pass};

/// A process that answers lines in capital letters, over a channel that it is built with.
#[derive(Serialize, Deserialize)]
struct Uppercaser {
    channel: String,
    answered: u32,
}

impl Uppercaser {
    fn new(gate: &Gate) -> Uppercaser {
        Uppercaser { channel: gate.name(), answered: 0 }
    }
}

impl Run for Uppercaser {
    type Output = (String, u32);

    fn run(mut self) -> (String, u32) {
        let mut stream = tools::call(&self.channel);
        let requests = BufReader::new(stream.try_clone().expect("duplicate"));
        for request in
            requests.lines().map(|line| line.expect("read")).take_while(|request| request != "stop")
        {
            self.answered += 1;
            writeln!(stream, "{}", request.to_uppercase()).expect("write");
        }
        (current_process().name(), self.answered)
    }
}

pub(crate) fn b31_type_with_run() {
    for_each_method(|method| {
        let gate = Gate::new();
        let process = Uppercaser::new(&gate).process().start_method(method);
        let name = process.get_name().to_owned();
        assert!(name.starts_with("Uppercaser-"), "{name}");
        assert_eq!(process.to_string(), format!("<Uppercaser({name}, initial)>"));
        let child = process.start().expect("start");
        let mut stream = gate.admit().stream;
        let mut answers = BufReader::new(stream.try_clone().expect("duplicate")).lines();
        for request in ["hello", "world"] {
            writeln!(stream, "{request}").expect("write");
            assert_eq!(answers.next().expect("an answer").expect("read"), request.to_uppercase());
        }
        writeln!(stream, "stop").expect("write");
        assert_eq!(child.join().expect("join"), (name, 2));
    });
}

/// Runs `f` in a process with piped streams; gives what it wrote, and its exit code.
fn heard(process: Process<()>) -> (String, String, Option<i32>) {
    let mut child = process.stdout(Stdio::piped()).stderr(Stdio::piped()).start().expect("start");
    let (mut output, mut errors) = (String::new(), String::new());
    child.take_stdout().expect("piped").read_to_string(&mut output).expect("read");
    child.take_stderr().expect("piped").read_to_string(&mut errors).expect("read");
    let _ = child.join();
    (output, errors, child.exitcode())
}

const LINE_OF_PANIC: u32 = line!() + 3;

fn fails() {
    let _ = "x".parse::<i32>().unwrap_or_else(|error| panic!("no number: {error}"));
}

pub(crate) fn b32_panic_text_is_on_stderr() {
    for_each_method(|method| {
        let process =
            Process::new(fails, ()).name("breaks").start_method(method).env("RUST_BACKTRACE", "0");
        let (output, errors, code) = heard(process);
        assert_eq!((output.as_str(), code), ("", Some(1)));
        let mut lines = errors.lines().filter(|line| !line.is_empty());
        assert_eq!(lines.next(), Some("Process breaks:"), "{errors}");
        let place = lines.next().expect("a second line");
        assert!(
            place.contains("panicked at ")
                && place.contains(&format!("{}:{LINE_OF_PANIC}:", file!())),
            "{errors}"
        );
        assert_eq!(lines.next(), Some("no number: invalid digit found in string"), "{errors}");
        assert!(!errors.contains("Process breaks:\nProcess breaks:"), "{errors}");
        // The parent has it, too.
        let child = Process::new(fails, ())
            .stderr(Stdio::null())
            .start_method(method)
            .start()
            .expect("start");
        let error = child.join().expect_err("a panic");
        let location = error.panic().expect("a panic").location().expect("a location");
        assert_eq!((location.file(), location.line()), (file!(), LINE_OF_PANIC));
        assert_eq!(
            error.panic().expect("a panic").message(),
            "no number: invalid digit found in string"
        );
    });
}

pub(crate) fn b33_exit_with_a_text() {
    fn leaves() {
        eprintln!("[1, 2, 3]");
        std::process::exit(1);
    }
    for_each_method(|method| {
        let (output, errors, code) = heard(Process::new(leaves, ()).start_method(method));
        assert_eq!((output.as_str(), errors.as_str(), code), ("", "[1, 2, 3]\n", Some(1)));
    });
}

pub(crate) fn b34_exit_codes() {
    for_each_method(|method| {
        for code in [i32::from(true), i32::from(false), 8] {
            let child = Process::new(|code: i32| -> () { std::process::exit(code) }, (code,))
                .start_method(method);
            let child = child.start().expect("start");
            let joined = child.join();
            assert_eq!(child.exitcode(), Some(code));
            match joined {
                // To leave with 0 is as good as to return nothing.
                Ok(()) => assert_eq!(code, 0),
                Err(error) => assert!(
                    matches!(error.failure(), Failure::Exited(by) if *by == code),
                    "{error}"
                ),
            }
        }
        // Where a value is due, to leave with 0 is not to return one.
        let child = Process::new(|| -> u8 { std::process::exit(0) }, ())
            .start_method(method)
            .start()
            .expect("start");
        assert!(matches!(child.join().expect_err("no value").failure(), Failure::Exited(0)));
        assert_eq!(child.exitcode(), Some(0));
        let child = Process::new(|| (), ()).start_method(method).start().expect("start");
        child.join().expect("join");
        assert_eq!(child.exitcode(), Some(0));
    });
}

pub(crate) fn b35_exit_handlers_run_in_children() {
    fn registers(end: String) {
        at_exit(|| println!("first registered"));
        at_exit(|| println!("last registered"));
        match end.as_str() {
            "return" => {}
            "exit" => std::process::exit(3),
            "panic" => panic!("on purpose"),
            _ => {
                println!("to be killed");
                pass(end);
            }
        }
    }
    // Children have handlers of their own, not ours.
    at_exit(|| println!("the parent's"));
    for_each_method(|method| {
        for (end, expected) in [("return", 0), ("exit", 3), ("panic", 1)] {
            let process = Process::new(registers, (end.to_owned(),)).start_method(method);
            let (output, _, code) = heard(process);
            assert_eq!(
                (output.as_str(), code),
                ("last registered\nfirst registered\n", Some(expected)),
                "{end}"
            );
        }
        let gate = Gate::new();
        let process =
            Process::new(registers, (gate.name(),)).stdout(Stdio::piped()).start_method(method);
        let mut child = process.start().expect("start");
        let _at = gate.admit();
        child.terminate().expect("terminate");
        let mut output = String::new();
        child.take_stdout().expect("piped").read_to_string(&mut output).expect("read");
        assert_eq!(output, "to be killed\n");
        assert_eq!(child.join().expect_err("terminated").exitcode(), Some(-libc::SIGTERM));
    });
}
