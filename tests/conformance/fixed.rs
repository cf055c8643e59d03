//! C1 to C15: fixed behaviour that CPython's test-suite leaves untested.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio as ProgramStdio;
use std::time::Duration;

use multiproc::{
    Failure, Level, Process, Signal, StartMethod, Stdio, active_children, current_process,
    get_logger, log_to_stderr, set_start_method, start_method, start_method_if_set, wait,
};

use crate::support::{for_each_method, is_running, state_of, until};
use crate::tools::{
    self, Gate, pass, program_argument, program_method, report_and_stay, stay, terminal_of, text,
};

/// That starting one twice, before or after its end, does not compile is shown in the documentation
/// of `Process`; here, that the one start counts.
pub(crate) fn fixed_c01_start_once() {
    for_each_method(|method| {
        let first = Process::new(std::process::id, ()).start_method(method).start().expect("start");
        let second =
            Process::new(std::process::id, ()).start_method(method).start().expect("start");
        let (a, b) = (first.join().expect("join"), second.join().expect("join"));
        assert_eq!((a, b), (first.pid(), second.pid()));
        assert_eq!(
            (first.join().expect("join"), second.join().expect("join")),
            (a, b),
            "run again"
        );
    });
}

pub(crate) fn fixed_c02_join_from_elsewhere() {
    for_each_method(|method| {
        let gate = Gate::new();
        let child = Process::new(pass, (gate.name(),))
            .name("sibling")
            .start_method(method)
            .start()
            .expect("start");
        let at = gate.admit();
        let handle = child.handle();
        // Only a fork can have the handle of a sibling at all.
        let fork = Process::from_closure(move || {
            let joined = handle.join().expect_err("not ours");
            let lost = matches!(joined.failure(), Failure::Lost(_));
            let terminated = handle.terminate().expect_err("not ours");
            assert!(terminated.is_other_process());
            assert!(handle.sentinel().expect_err("not ours").is_other_process());
            (
                joined.to_string(),
                lost,
                terminated.to_string(),
                handle.is_alive(),
                handle.exitcode(),
                handle.to_string(),
            )
        });
        let (joined, lost, terminated, alive, code, printed) =
            fork.start().expect("start").join().expect("join");
        let own = std::process::id();
        assert!(lost, "{joined}");
        let text = format!("can only join a child process: sibling was started by process {own}");
        assert!(joined.contains(&text), "{joined}");
        assert_eq!(
            terminated,
            format!("can only signal a child process: sibling was started by process {own}")
        );
        assert_eq!((alive, code), (false, None));
        assert_eq!(printed, "<Process(sibling, unknown)>");
        assert!(child.is_alive());
        at.release();
        child.join().expect("join");
    });
}

pub(crate) fn fixed_c04_daemons_have_no_children() {
    fn tries(method: String) -> Option<String> {
        let process = Process::new(|| (), ()).start_method(method.parse().expect("a start method"));
        let error = process.daemon(false).start().err()?;
        assert!(error.is_daemon_with_children());
        Some(error.to_string())
    }
    for_each_method(|method| {
        for inner in crate::support::METHODS {
            let process =
                Process::new(tries, (inner.to_string(),)).daemon(true).start_method(method);
            let refused = process.start().expect("start").join().expect("join");
            assert_eq!(
                refused.as_deref(),
                Some("daemonic processes are not allowed to have children")
            );
        }
        let process = Process::new(tries, (method.to_string(),)).start_method(method);
        assert_eq!(process.start().expect("start").join().expect("join"), None);
    });
}

pub(crate) fn fixed_c05_names_are_numbered() {
    if let Some(method) = program_method() {
        fn names(method: String) -> Vec<String> {
            let method: StartMethod = method.parse().expect("a start method");
            let own = || current_process().name();
            let child = || {
                Process::new(own, ())
                    .start_method(method)
                    .start()
                    .expect("start")
                    .join()
                    .expect("join")
            };
            vec![own(), child(), child()]
        }
        let make = || Process::new(names, (method.to_string(),)).start_method(method);
        let names_of =
            |process: Process<Vec<String>>| process.start().expect("start").join().expect("join");
        // A number is used up at the construction, by one that is never started and by one that has
        // a name, too.
        assert_eq!(names_of(make()), ["Process-1", "Process-1:1", "Process-1:2"]);
        assert_eq!(make().get_name(), "Process-2");
        assert_eq!(names_of(make().name("own")), ["own", "Process-3:1", "Process-3:2"]);
        assert_eq!(make().name("").get_name(), "Process-4");
        let process = make();
        assert_eq!(make().get_name(), "Process-6");
        assert_eq!(names_of(process), ["Process-5", "Process-5:1", "Process-5:2"]);
        return;
    }
    for_each_method(|method| {
        let output = tools::run_program("fixed_c05_names_are_numbered", method.name());
        assert!(output.status.success(), "{method}: {}", text(&output.stderr));
    });
}

pub(crate) fn fixed_c06_printed_forms() {
    for_each_method(|method| {
        let gate = Gate::new();
        let process = Process::new(report_and_stay, (gate.name(),)).name("p").start_method(method);
        assert_eq!(process.to_string(), "<Process(p, initial)>");
        assert_eq!(format!("{process:?}"), "<Process(p, initial)>");
        let child = process.start().expect("start");
        let _at = gate.admit();
        assert_eq!(child.to_string(), "<Process(p, started)>");
        child.terminate().expect("terminate");
        child.join().expect_err("terminated");
        assert_eq!(child.to_string(), "<Process(p, stopped[SIGTERM])>");
        assert_eq!(format!("{:?}", child.handle()), "<Process(p, stopped[SIGTERM])>");
        let ends = |code: i32| -> () { std::process::exit(code) };
        let process = Process::new(ends, (3,)).name("q").daemon(true).start_method(method);
        assert_eq!(process.to_string(), "<Process(q, initial, daemon)>");
        let child = process.start().expect("start");
        child.join().expect_err("exited");
        assert_eq!(child.to_string(), "<Process(q, stopped[3], daemon)>");
        let child = Process::new(|| (), ()).name("r").start_method(method).start().expect("start");
        child.join().expect("join");
        assert_eq!(child.to_string(), "<Process(r, stopped)>");
    });
}

pub(crate) fn fixed_c07_exit_codes_of_more_than_8_bits() {
    for_each_method(|method| {
        // -1 is what a process reports that SIGHUP ended; one that leaves by exit(-1) has the code
        // 255, as in CPython.
        for (code, expected) in
            [(0, 0), (1, 1), (255, 255), (256, 256), (300, 300), (-1, 255), (-15, 241)]
        {
            let process = Process::new(|code: i32| -> () { std::process::exit(code) }, (code,))
                .start_method(method);
            let child = process.start().expect("start");
            let joined = child.join();
            assert_eq!(child.exitcode(), Some(expected), "exit({code})");
            match joined {
                Ok(()) => assert_eq!(expected, 0),
                Err(error) => {
                    assert!(
                        matches!(error.failure(), Failure::Exited(by) if *by == expected),
                        "{error}"
                    );
                    assert_eq!(
                        child.to_string(),
                        format!("<Process({}, stopped[{expected}])>", child.name())
                    );
                }
            }
        }
        // Nobody but the kernel sees this one, which keeps 8 bits.
        let child = Process::new(leaves_at_once, ()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect_err("exited").exitcode(), Some(44));
    });
}

#[expect(unsafe_code, reason = "leaves without any clean-up")]
fn leaves_at_once() {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(300) }
}

pub(crate) fn fixed_c08_real_time_signals() {
    for_each_method(|method| {
        for number in [35, libc::SIGRTMAX()] {
            let gate = Gate::new();
            let process =
                Process::new(report_and_stay, (gate.name(),)).name("rt").start_method(method);
            let child = process.start().expect("start");
            let _at = gate.admit();
            child.send_signal(Signal::new(number)).expect("signal");
            let error = child.join().expect_err("ended by a signal");
            assert_eq!(error.signal(), Some(Signal::new(number)));
            assert_eq!(child.exitcode(), Some(-number));
            assert_eq!(child.to_string(), format!("<Process(rt, stopped[-{number}])>"));
        }
        let child = Process::new(stay, ()).start_method(method).start().expect("start");
        assert_eq!(
            child.send_signal(Signal::new(99)).expect_err("no such signal").raw_os_error(),
            Some(libc::EINVAL)
        );
        child.kill().expect("kill");
        child.join().expect_err("killed");
    });
}

pub(crate) fn fixed_c09_exit_log_lines() {
    if let Some(method) = program_method() {
        log_to_stderr(Level::Debug);
        let child = Process::new(|| println!("Doing some work"), ())
            .start_method(method)
            .start()
            .expect("start");
        child.join().expect("join");
        return;
    }
    for_each_method(|method| {
        let (status, lines) =
            terminal_of(tools::program("fixed_c09_exit_log_lines", method.name()));
        assert!(status.success());
        assert_eq!(
            lines,
            [
                "[INFO/Process-1] child process calling self.run()",
                "Doing some work",
                "[INFO/Process-1] process shutting down",
                "[DEBUG/Process-1] running all \"atexit\" finalizers with priority >= 0",
                "[DEBUG/Process-1] running the remaining \"atexit\" finalizers",
                "[INFO/Process-1] process exiting with exitcode 0",
                "[INFO/MainProcess] process shutting down",
                "[DEBUG/MainProcess] running all \"atexit\" finalizers with priority >= 0",
                "[DEBUG/MainProcess] running the remaining \"atexit\" finalizers",
            ],
            "{method}"
        );
    });
}

pub(crate) fn fixed_c10_stdin_is_dev_null() {
    fn input() -> (String, String) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).expect("read");
        (text, std::fs::read_link("/proc/self/fd/0").expect("read").to_string_lossy().into_owned())
    }
    fn program(method: String) -> ((String, String), String) {
        let process = Process::new(input, ()).start_method(method.parse().expect("a start method"));
        let theirs = process.start().expect("start").join().expect("join");
        (theirs, input().0)
    }
    for_each_method(|method| {
        // In a process whose own input has something to read.
        let process =
            Process::new(program, (method.to_string(),)).stdin(Stdio::piped()).start_method(method);
        let mut child = process.start().expect("start");
        std::io::Write::write_all(&mut child.take_stdin().expect("piped"), b"for the parent")
            .expect("write");
        let (theirs, own) = child.join().expect("join");
        assert_eq!(theirs, (String::new(), "/dev/null".to_owned()));
        assert_eq!(own, "for the parent");
    });
}

pub(crate) fn fixed_c11_log_format() {
    fn work() {
        get_logger().debug("too little");
        get_logger().info("by the library's logger");
        get_logger().sub_warning("between");
        log::warn!("by the facade");
        log::debug!("too little by the facade");
        current_process().set_name("renamed");
        get_logger().log(Level::Critical, "the end is near");
    }
    if let Some(method) = program_method() {
        log_to_stderr(Level::Info).info("hello");
        log::error!("from main");
        let process = Process::new(work, ()).name("a name").start_method(method);
        process.start().expect("start").join().expect("join");
        get_logger().set_level(Level::Critical);
        return;
    }
    for_each_method(|method| {
        let (status, lines) = terminal_of(tools::program("fixed_c11_log_format", method.name()));
        assert!(status.success());
        assert_eq!(
            lines,
            [
                "[INFO/MainProcess] hello",
                "[ERROR/MainProcess] from main",
                "[INFO/a name] child process calling self.run()",
                "[INFO/a name] by the library's logger",
                "[SUBWARNING/a name] between",
                "[WARNING/a name] by the facade",
                "[CRITICAL/renamed] the end is near",
                "[INFO/renamed] process shutting down",
                "[INFO/renamed] process exiting with exitcode 0",
            ],
            "{method}"
        );
    });
}

pub(crate) fn fixed_c12_set_start_method_twice() {
    assert_eq!(start_method_if_set(), None);
    set_start_method(StartMethod::Spawn).expect("the first time");
    let error = set_start_method(StartMethod::Spawn).expect_err("the second time");
    assert!(error.is_method_set());
    assert_eq!(error.to_string(), "the start method has already been set");
    assert_eq!(start_method(), StartMethod::Spawn);
    for_each_method(|method| {
        multiproc::force_start_method(None);
        // To start a process by the default is to settle it; by a method of its own, not.
        let named = Process::new(|| (), ()).start_method(method).start().expect("start");
        named.join().expect("join");
        assert_eq!(start_method_if_set(), None);
        let child = Process::new(|| set_start_method(StartMethod::Spawn).is_err(), ())
            .start()
            .expect("start");
        assert!(child.join().expect("join"), "a child has a method already");
        assert!(set_start_method(method).expect_err("the default was used").is_method_set());
    });
}

pub(crate) fn fixed_c13_end_of_the_program() {
    if let Some(argument) = program_argument() {
        let (method, gate) = argument.split_once(' ').expect("two words");
        let method = method.parse().expect("a start method");
        log_to_stderr(Level::Debug);
        // Nobody keeps them.
        for name in ["daemon 1", "daemon 2"] {
            Process::new(stay, ())
                .name(name)
                .daemon(true)
                .start_method(method)
                .start()
                .expect("start");
        }
        let process = Process::new(pass, (gate.to_owned(),)).name("worker").start_method(method);
        process.start().expect("start");
        return;
    }
    for_each_method(|method| {
        let gate = Gate::new();
        let mut program =
            tools::program("fixed_c13_end_of_the_program", &format!("{method} {}", gate.name()));
        let mut program = program.stderr(ProgramStdio::piped()).spawn().expect("run a program");
        let worker = gate.admit();
        let mut lines = BufReader::new(program.stderr.take().expect("piped"))
            .lines()
            .map(|line| line.expect("read"));
        let mut of_main = Vec::new();
        while of_main
            .last()
            .is_none_or(|line| line != "[INFO/MainProcess] calling join() for process worker")
        {
            of_main.extend(lines.next().filter(|line| line.contains("/MainProcess]")));
        }
        // The daemons are gone by now, but it waits for the other one.
        assert!(program.try_wait().expect("wait").is_none());
        let worker_pid = worker.pid;
        worker.release();
        let rest: Vec<String> = lines.collect();
        assert!(program.wait().expect("wait").success());
        assert!(!is_running(worker_pid));
        of_main.extend(rest.iter().filter(|line| line.contains("/MainProcess]")).cloned());
        assert_eq!(
            of_main,
            [
                "[INFO/MainProcess] process shutting down",
                "[DEBUG/MainProcess] running all \"atexit\" finalizers with priority >= 0",
                "[INFO/MainProcess] calling terminate() for daemon daemon 1",
                "[INFO/MainProcess] calling terminate() for daemon daemon 2",
                "[INFO/MainProcess] calling join() for process daemon 1",
                "[INFO/MainProcess] calling join() for process daemon 2",
                "[INFO/MainProcess] calling join() for process worker",
                "[DEBUG/MainProcess] running the remaining \"atexit\" finalizers",
            ],
            "{method}"
        );
        // Those that were killed say nothing at their end.
        let of_worker: Vec<&str> =
            rest.iter().filter(|line| line.contains("exiting")).map(String::as_str).collect();
        assert_eq!(of_worker, ["[INFO/worker] process exiting with exitcode 0"]);
    });
}

pub(crate) fn fixed_c13_every_way_out_of_main() {
    if let Some(argument) = program_argument() {
        let words: Vec<&str> = argument.split(' ').collect();
        let (method, gate) = (words[0].parse().expect("a start method"), words[1].to_owned());
        let daemon = Process::new(report_and_stay, (gate,))
            .daemon(true)
            .start_method(method)
            .start()
            .expect("start");
        Process::new(|| println!("worker"), ()).start_method(method).start().expect("start");
        assert!(daemon.is_alive());
        match words[2] {
            "return" => return,
            "exit" => std::process::exit(7),
            "thread" => {
                let _ = std::thread::spawn(|| std::process::exit(8)).join();
            }
            _ => panic!("on purpose"),
        }
    }
    for_each_method(|method| {
        for (way, code) in [("return", 0), ("exit", 7), ("thread", 8), ("panic", 101)] {
            let gate = Gate::new();
            let argument = format!("{method} {} {way}", gate.name());
            let output = tools::run_program("fixed_c13_every_way_out_of_main", &argument);
            assert_eq!(
                output.status.code(),
                Some(code),
                "{method}, {way}: {}",
                text(&output.stderr)
            );
            assert_eq!(text(&output.stdout), "worker\n", "{method}, {way}");
            // The daemon may have been ended before it got so far as to report.
            gate.listener().set_nonblocking(true).expect("set");
            if let Ok((mut stream, _)) = gate.listener().accept() {
                stream.set_nonblocking(false).expect("set");
                let mut pid = Vec::new();
                stream.read_to_end(&mut pid).expect("its end");
            }
        }
    });
}

pub(crate) fn fixed_c13_end_of_a_child_with_children() {
    fn parent(gate: String, method: String) {
        let method: StartMethod = method.parse().expect("a start method");
        // Started in this order, and held in none.
        Process::new(stay, ()).daemon(true).start_method(method).start().expect("start");
        Process::new(pass, (gate,)).start_method(method).start().expect("start");
    }
    for_each_method(|method| {
        let gate = Gate::new();
        get_logger().set_level(Level::Info);
        log_to_stderr(Level::Info);
        let process = Process::new(parent, (gate.name(), method.to_string()))
            .name("parent")
            .start_method(method);
        let mut child = process.stderr(Stdio::piped()).start().expect("start");
        get_logger().set_level(Level::Critical);
        let at = gate.admit();
        let mut lines = BufReader::new(child.take_stderr().expect("piped"))
            .lines()
            .map(|line| line.expect("read"));
        let mut of_parent: Vec<String> = Vec::new();
        while of_parent.iter().filter(|line| line.contains("calling join()")).count() < 2 {
            of_parent.extend(lines.next().filter(|line| line.contains("/parent]")));
        }
        assert!(child.is_alive(), "it does not wait for its child");
        at.release();
        of_parent.extend(lines.filter(|line| line.contains("/parent]")));
        child.join().expect("join");
        let of_parent: Vec<String> = of_parent.iter().map(|line| without_number(line)).collect();
        assert_eq!(
            of_parent,
            [
                "[INFO/parent] child process calling self.run()",
                "[INFO/parent] process shutting down",
                "[INFO/parent] calling terminate() for daemon Process-N:1",
                "[INFO/parent] calling join() for process Process-N:1",
                "[INFO/parent] calling join() for process Process-N:2",
                "[INFO/parent] process exiting with exitcode 0",
            ]
        );
    });
}

/// `Process-N:1` for `Process-12:1`: how many were made before is not the matter.
fn without_number(line: &str) -> String {
    match line.split_once("Process-") {
        Some((before, after)) => {
            format!(
                "{before}Process-N{}",
                after.trim_start_matches(|digit: char| digit.is_ascii_digit())
            )
        }
        None => line.to_owned(),
    }
}

pub(crate) fn fixed_c14_sentinel_stays_ready() {
    for_each_method(|method| {
        let child = Process::new(|| 3, ()).start_method(method).start().expect("start");
        let sentinel = child.sentinel().expect("sentinel");
        assert_eq!(wait(&[&sentinel], None).expect("wait"), [0]);
        for _ in 0..3 {
            assert_eq!(wait(&[&sentinel], Some(Duration::ZERO)).expect("wait"), [0]);
            assert_eq!(child.join().expect("join"), 3);
        }
        // Also of one that is asked for only now, of a process that left a grandchild behind, and
        // of a killed one.
        let late = Process::new(|| 4, ()).start_method(method).start().expect("start");
        late.join().expect("join");
        assert_eq!(wait(&[&late], Some(Duration::ZERO)).expect("wait"), [0]);
        let (gate, own_gate) = (Gate::new(), Gate::new());
        let leaves = |gate: String, own_gate: String, method: String| {
            let process = Process::new(pass, (gate,)).die_with_parent(false);
            process.start_method(method.parse().expect("a start method")).start().expect("start");
            pass(own_gate);
        };
        let arguments = (gate.name(), own_gate.name(), method.to_string());
        let child = Process::new(leaves, arguments).start_method(method).start().expect("start");
        let grandchild = gate.admit();
        own_gate.admit().release();
        assert_eq!(wait(&[&child], None).expect("wait"), [0]);
        child.join().expect("join");
        assert!(is_running(grandchild.pid));
        grandchild.release();
        let child = Process::new(stay, ()).start_method(method).start().expect("start");
        child.kill().expect("kill");
        assert_eq!(wait(&[&child], None).expect("wait"), [0]);
        child.join().expect_err("killed");
        assert_eq!(wait(&[&child], Some(Duration::ZERO)).expect("wait"), [0]);
    });
}

pub(crate) fn fixed_c15_active_children_reaps() {
    for_each_method(|method| {
        let kept = Process::new(|| 5, ()).start_method(method).start().expect("start");
        let dropped = Process::new(|| 6, ()).start_method(method).start().expect("start").pid();
        until("both are zombies or gone", || !is_running(kept.pid()) && !is_running(dropped));
        assert_eq!(active_children().len(), 0);
        assert_eq!((state_of(kept.pid()), state_of(dropped)), (None, None));
        assert_eq!(kept.join().expect("join"), 5);
        assert_eq!(kept.exitcode(), Some(0));
    });
}
