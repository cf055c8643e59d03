//! Where this library does otherwise than CPython, on purpose.

use std::io::Read;
use std::time::Duration;

use multiproc::{Level, Process, StartMethod, current_process, get_logger, log_to_stderr, wait};

use crate::support::{METHODS, for_each_method, is_running, until};
use crate::tools::{
    self, Gate, pass, program_argument, program_method, report_and_stay, stay, terminal_of,
};

pub(crate) fn deviation_log_to_stderr_twice() {
    if let Some(method) = program_method() {
        log_to_stderr(Level::Info);
        log_to_stderr(Level::NotSet);
        log_to_stderr(Level::Warning).warning("once");
        let process =
            Process::new(|| log_to_stderr(Level::NotSet).warning("once"), ()).start_method(method);
        process.start().expect("start").join().expect("join");
        assert_eq!(get_logger().level(), Level::Warning);
        return;
    }
    for_each_method(|method| {
        let (status, lines) =
            terminal_of(tools::program("deviation_log_to_stderr_twice", method.name()));
        assert!(status.success());
        assert_eq!(lines, ["[WARNING/MainProcess] once", "[WARNING/Process-1] once"], "{method}");
    });
}

pub(crate) fn deviation_stubborn_daemon_is_killed() {
    fn stubborn(gate: String) {
        tools::ignore(libc::SIGTERM);
        report_and_stay(gate);
    }
    if let Some(gate) = program_argument() {
        for method in METHODS {
            Process::new(stubborn, (gate.clone(),))
                .daemon(true)
                .start_method(method)
                .start()
                .expect("start");
        }
        let mut line = String::new();
        // Until all have reported.
        std::io::stdin().read_line(&mut line).expect("read");
        return;
    }
    let gate = Gate::new();
    let mut program = tools::program("deviation_stubborn_daemon_is_killed", &gate.name());
    let mut program = program.stdin(std::process::Stdio::piped()).spawn().expect("run a program");
    let daemons = [gate.admit(), gate.admit(), gate.admit()];
    drop(program.stdin.take());
    assert!(program.wait().expect("wait").success());
    for mut daemon in daemons {
        let mut rest = Vec::new();
        daemon.stream.read_to_end(&mut rest).expect("its end");
        until("it is gone", || !is_running(daemon.pid));
    }
}

pub(crate) fn deviation_children_end_with_their_parent() {
    fn middle(gate: String, method: String, tied: bool) {
        let method: StartMethod = method.parse().expect("a start method");
        let process = Process::new(pass, (gate,)).die_with_parent(tied).start_method(method);
        let _child = process.start().expect("start");
        stay();
    }
    for_each_method(|method| {
        for tied in [true, false] {
            let gate = Gate::new();
            let process =
                Process::new(middle, (gate.name(), method.to_string(), tied)).start_method(method);
            let child = process.start().expect("start");
            let mut grandchild = gate.admit();
            child.kill().expect("kill");
            child.join().expect_err("killed");
            if tied {
                let mut rest = Vec::new();
                grandchild.stream.read_to_end(&mut rest).expect("its end");
            } else {
                assert_eq!(
                    wait(&[&grandchild.stream], Some(Duration::from_millis(50))).expect("wait"),
                    []
                );
                assert!(is_running(grandchild.pid));
                let pid = grandchild.pid;
                grandchild.release();
                until("it has ended", || !is_running(pid));
            }
        }
    });
}

/// A child that is to outlive its parent does so, however soon that ends after `start`.
pub(crate) fn deviation_untied_child_of_a_hasty_parent() {
    fn starts_and_leaves(gate: String, method: String) {
        let process = Process::new(pass, (gate,)).die_with_parent(false);
        process.start_method(method.parse().expect("a start method")).start().expect("start");
    }
    for_each_method(|method| {
        for _ in 0..20 {
            let gate = Gate::new();
            let process = Process::new(starts_and_leaves, (gate.name(), method.to_string()))
                .start_method(method);
            process.start().expect("start").join().expect("join");
            gate.admit().release();
        }
    });
}

/// A child that outlives its parent is asked to end by that, also if a fork of the parent, which
/// has copies of all that led to it, outlives it, too.
pub(crate) fn deviation_end_of_the_parent_is_a_request() {
    fn serve(gate: String) {
        let _stream = tools::call(&gate);
        while !current_process().wait_stop(Duration::from_secs(60)) {}
    }
    fn starts_both(gate: String, method: String) {
        let method: StartMethod = method.parse().expect("a start method");
        let process =
            Process::new(serve, (gate.clone(),)).die_with_parent(false).start_method(method);
        let _server = process.start().expect("start");
        let process =
            Process::new(pass, (gate,)).die_with_parent(false).start_method(StartMethod::Fork);
        let _fork = process.start().expect("start");
        stay();
    }
    for_each_method(|method| {
        let (server_gate, method_name) = (Gate::new(), method.to_string());
        let process =
            Process::new(starts_both, (server_gate.name(), method_name)).start_method(method);
        let child = process.start().expect("start");
        let mut both = [server_gate.admit(), server_gate.admit()];
        child.kill().expect("kill");
        child.join().expect_err("killed");
        // The fork waits to be let go, so the one that ends is the server.
        let ended =
            wait(&[&both[0].stream, &both[1].stream], Some(Duration::from_secs(30))).expect("wait");
        assert_eq!(ended.len(), 1, "{method}: it was not asked to end");
        let mut rest = Vec::new();
        both[ended[0]].stream.read_to_end(&mut rest).expect("its end");
        let [first, second] = both;
        if ended[0] == 0 { second } else { first }.release();
    });
}

pub(crate) fn deviation_returned_error_is_a_value() {
    fn fails(n: i32) -> Result<i32, String> {
        if n > 0 { Ok(n) } else { Err("too small".to_owned()) }
    }
    for_each_method(|method| {
        let child = Process::new(fails, (0,)).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), Err("too small".to_owned()));
        assert_eq!(child.exitcode(), Some(0));
    });
}

pub(crate) fn deviation_dropped_child_runs_on() {
    for_each_method(|method| {
        let gate = Gate::new();
        let handle = Process::new(pass, (gate.name(),))
            .start_method(method)
            .start()
            .expect("start")
            .handle();
        let at = gate.admit();
        assert!(handle.is_alive());
        at.release();
        handle.join().expect("join");
        assert_eq!(handle.exitcode(), Some(0));
    });
}

pub(crate) fn deviation_fork_beside_threads() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receiver.recv());
    let error = Process::new(|| 1, ())
        .start_method(StartMethod::Fork)
        .start()
        .expect_err("there is a thread");
    assert!(error.is_threads());
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        assert_eq!(
            Process::new(|| 1, ())
                .start_method(method)
                .start()
                .expect("start")
                .join()
                .expect("join"),
            1
        );
    }
    drop(sender);
    thread.join().expect("join").expect_err("nothing was sent");
    // The thread is joined a moment before the kernel has done with it.
    until("a fork is possible again", || {
        match Process::new(|| 1, ()).start_method(StartMethod::Fork).start() {
            Ok(child) => child.join().expect("join") == 1,
            Err(error) => {
                assert!(error.is_threads(), "{error}");
                false
            }
        }
    });
}
