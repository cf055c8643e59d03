//! Group D: start methods and contexts.

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use multiproc::{
    Context, Process, StartMethod, Stdio, force_start_method, set_forkserver_preload, start_method,
    start_method_if_set,
};

use crate::support::{METHODS, for_each_method, open_fds};
use crate::tools::{
    self, Gate, pass, program_argument, program_method, run_program, terminal_of, text,
};

pub(crate) fn d40_contexts() {
    for_each_method(|method| {
        let context = Context::new(method);
        assert_eq!(context.start_method(), method);
        assert_eq!(context, Context::new(method));
        let child = context.process(start_method_if_set, ()).start().expect("start");
        assert_eq!(child.start_method(), method);
        // What is the child's own default is the method of its context.
        assert_eq!(child.join().expect("join"), Some(method));
    });
    // The program's own is not touched by all that.
    assert_eq!(start_method(), StartMethod::Forkserver);
    assert_eq!(Context::default().start_method(), StartMethod::Forkserver);
}

pub(crate) fn d42_forced_start_method() {
    for_each_method(|method| {
        force_start_method(Some(method));
        assert_eq!(start_method(), method);
        assert_eq!(Context::default(), Context::new(method));
        let child = Process::new(start_method, ()).start().expect("start");
        assert_eq!(child.start_method(), method);
        assert_eq!(child.join().expect("join"), method);
        // Its type is called Process, whatever the context: as in the article.
        let process = Process::new(|| (), ());
        assert_eq!(process.to_string(), format!("<Process({}, initial)>", process.get_name()));
        force_start_method(None);
        assert_eq!(start_method_if_set(), None);
    });
}

pub(crate) fn d43_all_start_methods() {
    let all = StartMethod::ALL;
    assert_eq!(all, [StartMethod::Forkserver, StartMethod::Spawn, StartMethod::Fork]);
    assert_eq!(start_method(), all[0]);
    let names: Vec<String> = all.iter().map(StartMethod::to_string).collect();
    assert_eq!(names, ["forkserver", "spawn", "fork"]);
    for method in all {
        assert_eq!(method.to_string().parse::<StartMethod>().expect("a start method"), *method);
    }
    let error = "thread".parse::<StartMethod>().expect_err("no such method");
    assert_eq!(error.to_string(), "cannot find context for 'thread'");
}

static LOADED: OnceLock<u32> = OnceLock::new();

pub(crate) fn d44_preload_prints_nothing() {
    fn load() {
        LOADED.set(std::process::id()).expect("once");
    }
    if program_argument().is_some() {
        set_forkserver_preload(load).expect("preload");
        let loaded: Vec<_> = (0..3)
            .map(|_| {
                Process::new(|| (*LOADED.get().expect("loaded"), std::process::id()), ())
                    .start()
                    .expect("start")
            })
            .map(|child| child.join().expect("join"))
            .collect();
        for (in_server, in_child) in &loaded {
            assert_eq!(*in_server, loaded[0].0, "loaded more than once");
            assert!(
                in_server != in_child && *in_server != std::process::id(),
                "not loaded in the server"
            );
        }
        return;
    }
    let output = run_program("d44_preload_prints_nothing", "");
    assert_eq!(text(&output.stdout) + &text(&output.stderr), "");
    assert!(output.status.success());
}

pub(crate) fn d45_preload_output_is_not_duplicated() {
    fn load() {
        print!("from the preload ");
    }
    if program_argument().is_some() {
        set_forkserver_preload(load).expect("preload");
        for _ in 0..3 {
            Process::new(|| println!("from a child"), ())
                .start()
                .expect("start")
                .join()
                .expect("join");
        }
        return;
    }
    let output = run_program("d45_preload_output_is_not_duplicated", "");
    assert_eq!(text(&output.stdout), "from the preload from a child\nfrom a child\nfrom a child\n");
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success());
}

pub(crate) fn d48_grandchild_uses_what_its_parent_got() {
    fn hand_on(gate: String, method: String) {
        let process =
            Process::new(pass, (gate,)).start_method(method.parse().expect("a start method"));
        process.start().expect("start").join().expect("join");
    }
    for_each_method(|method| {
        for inner in METHODS {
            let gate = Gate::new();
            let process =
                Process::new(hand_on, (gate.name(), inner.to_string())).start_method(method);
            let child = process.start().expect("start");
            let at = gate.admit();
            assert_ne!(at.pid, child.pid());
            at.release();
            child.join().expect("join");
        }
    });
}

pub(crate) fn d49_main_does_not_run_in_children() {
    if let Some(method) = program_method() {
        // A main without any guard.
        println!("main");
        let child =
            Process::new(|| println!("child"), ()).start_method(method).start().expect("start");
        child.join().expect("join");
        return;
    }
    for_each_method(|method| {
        let (status, lines) =
            terminal_of(tools::program("d49_main_does_not_run_in_children", method.name()));
        assert_eq!(lines, ["main", "child"]);
        assert!(status.success());
    });
}

/// Says, in the environment, that the initialiser below is to start a process, by which method and
/// how deep it is.
const INITIALISER: &str = "CONFORMANCE_INITIALISER";

/// One of this program's initialisers, as `ctor` makes them.
#[used]
#[expect(unsafe_code, reason = "the section is an array of function pointers of this very type")]
// SAFETY: see the reason.
#[unsafe(link_section = ".init_array")]
static START_BEFORE_MAIN: extern "C" fn() = start_before_main;

extern "C" fn start_before_main() {
    let Ok(setting) = std::env::var(INITIALISER) else { return };
    let (method, depth) = setting.split_once(' ').expect("two words");
    let depth: u32 = depth.parse().expect("a depth");
    if depth >= 3 {
        eprintln!("a fork bomb");
        std::process::abort();
    }
    // In this process's own environment, which the fork server gets, too.
    // SAFETY: before main, there is one thread.
    #[expect(unsafe_code, reason = "changes the environment")]
    unsafe {
        std::env::set_var(INITIALISER, format!("{method} {}", depth + 1));
    }
    match Process::new(|| 5, ())
        .start_method(method.parse().expect("a start method"))
        .start()
        .map(|child| child.join())
    {
        Ok(joined) => eprintln!("started before main at depth {depth}: {joined:?}"),
        Err(error) => eprintln!("refused at depth {depth}: {error}"),
    }
}

pub(crate) fn d49_initialiser_that_starts_a_process() {
    if program_argument().is_some() {
        return;
    }
    for_each_method(|method| {
        let mut program = tools::program("d49_initialiser_that_starts_a_process", "");
        program.env(INITIALISER, format!("{method} 0"));
        let (status, lines) = terminal_of(program);
        assert!(status.success(), "{method}: {status}\n{lines:#?}");
        assert!(!lines.iter().any(|line| line == "a fork bomb"), "{method}: {lines:#?}");
        // In main it may work; a child that is not one yet is refused. A fork runs no initialiser.
        assert_eq!(
            lines.last().map(String::as_str),
            Some("started before main at depth 0: Ok(5)"),
            "{lines:#?}"
        );
        for line in &lines[..lines.len() - 1] {
            assert!(line.starts_with("refused at depth "), "{method}: {lines:#?}");
        }
    });
}

pub(crate) fn d50_environment_reaches_the_grandchild() {
    fn variable() -> Option<String> {
        std::env::var("CONFORMANCE_FLAG").ok()
    }
    fn nested(method: String) -> (Option<String>, Option<String>) {
        let process =
            Process::new(variable, ()).start_method(method.parse().expect("a start method"));
        (variable(), process.start().expect("start").join().expect("join"))
    }
    for_each_method(|method| {
        let process = Process::new(nested, (method.to_string(),))
            .env("CONFORMANCE_FLAG", "-O")
            .start_method(method);
        let seen = process.start().expect("start").join().expect("join");
        assert_eq!(seen, (Some("-O".to_owned()), Some("-O".to_owned())));
        assert_eq!(variable(), None);
    });
}

/// Whether a descriptor of that number leads to that file in this process.
fn is_open(number: i32, file: String) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{number}"))
        .is_ok_and(|target| target.to_string_lossy() == file)
}

/// Asserts that a descriptor of ours is open in a child if and only if it is a fork.
fn only_forks_have(fd: &OwnedFd) {
    let target = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("read");
    let arguments = (fd.as_raw_fd(), target.to_string_lossy().into_owned());
    assert!(is_open(arguments.0, arguments.1.clone()));
    for_each_method(|method| {
        let child =
            Process::new(is_open, arguments.clone()).start_method(method).start().expect("start");
        assert_eq!(child.join().expect("join"), method == StartMethod::Fork, "{method}");
    });
}

pub(crate) fn d51_descriptors_of_the_parent() {
    let (reader, _writer) = std::io::pipe().expect("pipe");
    only_forks_have(&OwnedFd::from(reader));
}

/// A descriptor that exec leaves open, as C code makes them.
pub(crate) fn d51_inheritable_descriptors_of_the_parent() {
    let (reader, _writer) = std::io::pipe().expect("pipe");
    // SAFETY: dup has no preconditions, and gives a descriptor that nobody else owns.
    #[expect(unsafe_code, reason = "the standard library makes only descriptors that exec closes")]
    let reader = unsafe { OwnedFd::from_raw_fd(libc::dup(reader.as_raw_fd())) };
    only_forks_have(&reader);
}

/// How many descriptors this process, its child, its child's child and so on have open.
fn descriptors(depth: u32, method: String) -> Vec<usize> {
    let mut counts = vec![open_fds().len()];
    if depth > 0 {
        let process = Process::new(descriptors, (depth - 1, method.clone()));
        let process = process.start_method(method.parse().expect("a start method"));
        counts.extend(process.start().expect("start").join().expect("join"));
    }
    counts
}

pub(crate) fn d52_nesting_does_not_accumulate_descriptors() {
    for_each_method(|method| {
        let process = Process::new(descriptors, (6, method.to_string())).start_method(method);
        let counts = process.start().expect("start").join().expect("join");
        assert_eq!(counts.len(), 7);
        if method == StartMethod::Fork {
            // A fork has what its parent had, and what it needs itself; nothing grows faster than
            // that.
            let steps: Vec<usize> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(steps.iter().all(|step| *step == steps[0]), "{counts:?}");
        } else {
            assert!(counts.iter().all(|count| *count == counts[0]), "{method}: {counts:?}");
        }
    });
}

pub(crate) fn d53_parent_without_stdin() {
    fn program(method: String) -> (String, Option<String>) {
        tools::close(0);
        let read = || {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map(|_| text)
                .map_err(|error| error.to_string())
        };
        let method = method.parse().expect("a start method");
        let child = Process::new(read, ()).start_method(method).start().expect("start");
        let text = child.join().expect("join").expect("read");
        let mut piped = Process::new(|| 1, ())
            .stdin(Stdio::piped())
            .start_method(method)
            .start()
            .expect("start");
        drop(piped.take_stdin());
        piped.join().expect("join");
        (text, std::fs::read_link("/proc/self/fd/0").ok().map(|path| path.display().to_string()))
    }
    for_each_method(|method| {
        for outer in METHODS {
            let child = Process::new(program, (method.to_string(),))
                .start_method(outer)
                .start()
                .expect("start");
            let (text, stdin) = child.join().expect("join");
            assert_eq!(text, "");
            // None of the library's own descriptors came to lie there.
            assert_eq!(stdin, None, "{outer}");
        }
    });
}

pub(crate) fn d53_buffered_output_is_not_duplicated() {
    if let Some(method) = program_method() {
        print!("parent ");
        let process = Process::new(
            || {
                use std::io::Write;
                print!("child ");
                std::io::stdout().flush().expect("flush");
                std::io::stdout().flush().expect("flush");
                print!("again ");
            },
            (),
        );
        process.start_method(method).start().expect("start").join().expect("join");
        println!("end");
        return;
    }
    for_each_method(|method| {
        let output = run_program("d53_buffered_output_is_not_duplicated", method.name());
        let said = text(&output.stdout);
        // What the parent has in its buffer is its own business; it comes once.
        let mut words: Vec<&str> = said.split_whitespace().collect();
        words.sort_unstable();
        assert_eq!(words, ["again", "child", "end", "parent"], "{method}: {said:?}");
        assert!(output.status.success());
    });
}
