//! The context of a trace goes along with children and tasks, and with what they start.

mod support;

use std::cell::RefCell;
use std::process::{Command, Stdio};

use multiproc::{Pool, Process, set_trace_context, trace_context};

use support::METHODS;

suite![
    children_and_their_programs_have_it,
    what_the_environment_says_counts,
    each_task_has_its_own,
    what_a_task_starts_has_its_context,
    what_is_no_context_does_not_cross,
];

thread_local! {
    /// What the provider says in this thread.
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `f` in a trace.
fn within<T>(context: &str, f: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace((!context.is_empty()).then(|| context.to_owned()));
    let done = f();
    CURRENT.set(before);
    done
}

fn provide() {
    set_trace_context(|| CURRENT.with_borrow(Clone::clone));
}

/// The context of this process or task, and of a program that it starts without further ado.
fn look() -> (Option<String>, String) {
    let mut program = Command::new("sh");
    program.args(["-c", "echo $TRACEPARENT"]).stdin(Stdio::null());
    let output = program.output().expect("a shell");
    (trace_context(), String::from_utf8(output.stdout).expect("text").trim().to_owned())
}

fn children_and_their_programs_have_it() {
    provide();
    for method in METHODS {
        let start = || Process::new(look, ()).start_method(method).start().expect("started");
        let (first, second) = (within("one", start), within("two", start));
        let none = start().join().expect("looked");
        assert_eq!(first.join().expect("looked"), (Some("one".to_owned()), "one".to_owned()));
        assert_eq!(second.join().expect("looked"), (Some("two".to_owned()), "two".to_owned()));
        assert_eq!(none, (None, String::new()), "{method}");
    }
    assert_eq!(trace_context(), None);
}

fn what_the_environment_says_counts() {
    provide();
    let process = Process::new(look, ()).env("TRACEPARENT", "mine");
    let seen = within("one", || process.start()).expect("started").join().expect("looked");
    assert_eq!(seen.0.as_deref(), Some("mine"));
    let process = Process::new(look, ()).env_remove("TRACEPARENT");
    let seen = within("one", || process.start()).expect("started").join().expect("looked");
    assert_eq!(seen, (None, String::new()));
}

fn looks_or_panics(panics: bool) -> (Option<String>, String) {
    assert!(!panics, "as asked");
    look()
}

fn each_task_has_its_own() {
    provide();
    // Whatever it was started in, a worker has none of its own.
    let pool = within("start", || Pool::new(1)).expect("pool");
    let submit =
        |context: &str, panics| within(context, || pool.submit(looks_or_panics, (panics,)));
    let tasks =
        [submit("one", false), submit("bad", true), submit("", false), submit("two", false)];
    let seen: Vec<_> = tasks.into_iter().map(|task| task.join().ok()).collect();
    let of = |context: &str| Some((Some(context.to_owned()), String::new()));
    assert_eq!(seen, [of("one"), None, Some((None, String::new())), of("two")]);
    let many = within("many", || pool.map(looks_or_panics, [false; 3])).expect("mapped");
    assert!(many.iter().all(|(context, _)| context.as_deref() == Some("many")));
    // Another thread of the task's is not the task.
    let other = || std::thread::spawn(trace_context).join().expect("joined");
    assert_eq!(within("one", || pool.apply(other, ())).expect("done"), None);
}

fn starts_more() -> (Option<String>, Option<String>) {
    let child = || Process::new(trace_context, ()).start()?.join().map_err(multiproc::Error::from);
    let grandchild =
        Process::new(|| Process::new(trace_context, ()).start().ok()?.join().ok().flatten(), ());
    let grandchild = grandchild.start().expect("started").join().expect("joined");
    assert_eq!(child().expect("joined"), grandchild);
    let pool = Pool::new(1).expect("pool");
    (grandchild, pool.apply(trace_context, ()).expect("done"))
}

fn what_a_task_starts_has_its_context() {
    provide();
    let one = Some("one".to_owned());
    let pool = Pool::new(1).expect("pool");
    let seen = within("one", || pool.apply(starts_more, ())).expect("done");
    assert_eq!(seen, (one.clone(), one));
    assert_eq!(pool.apply(starts_more, ()).expect("done"), (None, None));
}

fn what_is_no_context_does_not_cross() {
    provide();
    let pool = Pool::new(1).expect("pool");
    for bad in ["", "two\nlines", "zero\0byte", "é", &"x".repeat(513)] {
        within(bad, || {
            let child = Process::new(trace_context, ()).start().expect("started");
            assert_eq!(child.join().expect("looked"), None, "{bad:?}");
            assert_eq!(pool.apply(trace_context, ()).expect("looked"), None, "{bad:?}");
        });
    }
}
