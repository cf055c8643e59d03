//! What children say beside their results comes out in the program: log records, and what they
//! write, line by line.

mod support;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio as StdStdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use multiproc::{Child, Process, Receiver, Sender, StartMethod, Stdio, pipe};

use support::{METHODS, open_fds, until};

/// How long something may take that comes.
const LIMIT: Duration = Duration::from_secs(60);

suite![
    lines_come_out_with_their_name,
    own_lines_never_mix,
    lines_of_all_have_come_out_at_the_end,
    a_killed_child_has_told_what_it_wrote,
    an_endless_line_is_told_in_parts,
    one_left_behind_holds_up_nobody,
    a_function_may_join_and_panic,
    a_held_stdout_lock_is_no_hindrance,
    standard_input_has_no_lines,
    records_reach_the_logger,
    a_killed_child_in_a_flood_of_records,
    records_that_are_lost_are_counted,
    garbage_is_no_record,
    one_thread_and_few_descriptors,
    forks_go_on_beside_the_thread,
    want_of_descriptors_leaves_nothing_behind,
    children_come_out_at_the_end_of_the_program,
];

/// How many threads this process has.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("proc").count()
}

/// A place for lines, and the stream that leads there.
fn gather() -> (Arc<Mutex<Vec<String>>>, Stdio) {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let onto = Arc::clone(&lines);
    let to = Stdio::lines_to(move |line| onto.lock().unwrap().push(line.to_string()));
    (lines, to)
}

/// Takes what was gathered.
fn taken(lines: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut lines.lock().unwrap())
}

fn says(count: usize) -> usize {
    for number in 0..count {
        println!("line {number}");
    }
    eprint!("no end");
    count
}

fn lines_come_out_with_their_name() {
    for method in METHODS {
        let (out, to_out) = gather();
        let (err, to_err) = gather();
        let process = Process::new(says, (3,)).name("talker").start_method(method);
        let mut child = process.stdout(to_out).stderr(to_err).start().expect("started");
        assert!(child.take_stdout().is_none() && child.take_stderr().is_none());
        assert_eq!(child.join().expect("returned"), 3);
        assert_eq!(taken(&out), ["talker: line 0", "talker: line 1", "talker: line 2"]);
        assert_eq!(taken(&err), ["talker: no end"]);
    }
}

/// Set in a program that a test runs, which is a copy of the test's.
const ROLE: &str = "RELAYED_ROLE";

/// What a program writes to its two streams that does the other part of a test.
fn output_of(test: &str) -> (String, String) {
    let output = Command::new("/proc/self/exe")
        .env("SUITE_TEST", test)
        .env(ROLE, "program")
        .stdin(StdStdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (text(&output.stdout), text(&output.stderr))
}

fn writes_in_bits(name: String) {
    let out = std::io::stdout().lock();
    for _ in 0..100 {
        for bit in name.bytes().cycle().take(200) {
            // Past the buffer of the line.
            rustix::io::write(&out, &[bit]).expect("written");
        }
        rustix::io::write(&out, b"\n").expect("written");
    }
    eprintln!("done");
}

fn own_lines_never_mix() {
    let names = ["a", "b", "c", "d"];
    if std::env::var_os(ROLE).is_some() {
        let children = names.map(|name| {
            let process = Process::new(writes_in_bits, (name.to_owned(),)).name(name);
            process.stdout(Stdio::lines()).stderr(Stdio::lines()).start().expect("started")
        });
        children.iter().for_each(|child| child.join().expect("returned"));
        return;
    }
    let (out, err) = output_of("own_lines_never_mix");
    for name in names {
        let line = format!("{name}: {}", name.repeat(200));
        assert_eq!(out.lines().filter(|seen| *seen == line).count(), 100);
    }
    assert_eq!(out.lines().count(), 400);
    let mut err: Vec<_> = err.lines().collect();
    err.sort_unstable();
    assert_eq!(err, names.map(|name| format!("{name}: done")));
}

fn lines_of_all_have_come_out_at_the_end() {
    // Far more than a pipe holds.
    const COUNT: usize = 20_000;
    let children: Vec<_> = (0..3)
        .map(|_| {
            let (lines, to) = gather();
            let process = Process::new(says, (COUNT,)).name("it").stdout(to);
            (lines, process.stderr(Stdio::null()).start().expect("started"))
        })
        .collect();
    for (lines, child) in children {
        child.join().expect("returned");
        let lines = taken(&lines);
        assert_eq!(lines.len(), COUNT);
        assert!((0..).zip(lines).all(|(number, line)| line == format!("it: line {number}")));
    }
}

fn dies_in_a_line() {
    print!("whole\nhalf");
    std::io::stdout().flush().expect("flushed");
    support::send_signal(std::process::id(), 9);
}

fn a_killed_child_has_told_what_it_wrote() {
    for method in METHODS {
        let (lines, to) = gather();
        let process = Process::new(dies_in_a_line, ()).name("it").start_method(method);
        let error = process.stdout(to).start().expect("started").join().expect_err("killed");
        assert_eq!(error.exitcode(), Some(-9));
        assert_eq!(taken(&lines), ["it: whole", "it: half"]);
    }
}

fn never_ends_its_line() {
    let _ = std::io::stdout().write_all(&vec![b'x'; 10 << 20]);
}

fn an_endless_line_is_told_in_parts() {
    let (sender, parts) = mpsc::channel();
    let to = Stdio::lines_to(move |line| {
        sender.send((line.bytes.len(), line.is_cut)).expect("sent");
    });
    Process::new(never_ends_its_line, ()).stdout(to).start().expect("started").join().expect("ok");
    let parts: Vec<_> = parts.try_iter().collect();
    assert!(parts.iter().all(|(length, _)| *length <= 64 << 10), "{parts:?}");
    assert_eq!(parts.iter().map(|(length, _)| length).sum::<usize>(), 10 << 20);
    assert!(parts.iter().rev().skip(1).all(|(_, is_cut)| *is_cut));
    assert_eq!(parts.last().map(|(_, is_cut)| *is_cut), Some(false));
}

fn leaves_one_behind() -> (u32, multiproc::Descriptor<OwnedFd>) {
    print!("mine\nhalf");
    std::io::stdout().flush().expect("flushed");
    let (read, write) = std::io::pipe().expect("pipe");
    let shell = Command::new("sh").args(["-c", "read go; echo $go"]).stdin(read).spawn();
    (shell.expect("a shell").id(), OwnedFd::from(write).into())
}

fn one_left_behind_holds_up_nobody() {
    let (lines, to) = gather();
    let process = Process::new(leaves_one_behind, ()).name("it");
    let child = process.stdout(to).start().expect("started");
    let (left, input) = child.join().expect("returned");
    assert_eq!(taken(&lines), ["it: mine", "it: half"]);
    assert!(support::is_running(left));
    // What it writes later comes out, too.
    let mut input = File::from(input.into_inner());
    input.write_all(b"late\n").expect("written");
    until("it was heard", || taken(&lines) == ["it: late"]);
    until("the thread is over", || threads() == 1);
}

fn a_function_may_join_and_panic() {
    let child: Arc<OnceLock<Child<()>>> = Arc::default();
    let (own, (sender, heard)) = (Arc::clone(&child), mpsc::channel());
    let to = Stdio::lines_to(move |line| {
        let text = line.text().into_owned();
        if text == "two" {
            // Its own process: what comes behind this line comes out later.
            let child = loop {
                match own.get() {
                    Some(child) => break child,
                    None => std::thread::yield_now(),
                }
            };
            child.join().expect("returned");
            let other = Process::new(says, (1,)).stdout(Stdio::null()).stderr(Stdio::null());
            other.start().expect("started").join().expect("returned");
        }
        sender.send(text.clone()).expect("sent");
        assert_ne!(text, "three", "a panic on purpose");
    });
    let talker = Process::new(|| println!("one\ntwo\nthree\nfour"), ()).stdout(to);
    assert!(child.set(talker.start().expect("started")).is_ok());
    child.get().expect("set").join().expect("returned");
    let lines: Vec<_> = (0..4).map(|_| heard.recv_timeout(LIMIT).expect("a line")).collect();
    assert_eq!(lines, ["one", "two", "three", "four"]);
}

fn a_held_stdout_lock_is_no_hindrance() {
    if std::env::var_os(ROLE).is_some() {
        let mut out = std::io::stdout().lock();
        let process = Process::new(says, (2,)).name("it").stdout(Stdio::lines());
        process.stderr(Stdio::lines()).start().expect("started").join().expect("returned");
        writeln!(out, "mine").expect("written");
        return;
    }
    let (out, err) = output_of("a_held_stdout_lock_is_no_hindrance");
    assert_eq!((out.as_str(), err.as_str()), ("it: line 0\nit: line 1\nmine\n", "it: no end\n"));
}

fn standard_input_has_no_lines() {
    let process = Process::new(|| (), ()).stdin(Stdio::lines());
    let error = process.start().map(drop).expect_err("it writes nothing there");
    assert!(error.to_string().contains("standard input"), "{error}");
}

/// A logger that keeps what it hears.
struct Ears(Mutex<Vec<String>>);

static EARS: Ears = Ears(Mutex::new(Vec::new()));

impl log::Log for Ears {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let text = format!("{} {} {}", record.level(), record.target(), record.args());
        self.0.lock().expect("lock").push(text);
    }
    fn flush(&self) {}
}

/// Makes the logger that of this process.
fn listen(level: log::LevelFilter) {
    log::set_logger(&EARS).expect("no other");
    log::set_max_level(level);
}

fn logs(count: usize) {
    log::debug!("not wanted");
    for number in 0..count {
        log::warn!(target: "child", "number {number}");
    }
    std::thread::spawn(|| log::error!("from a thread")).join().expect("joined");
    log::error!("{}", "long ".repeat(20_000));
}

fn records_reach_the_logger() {
    listen(log::LevelFilter::Warn);
    let loud = |method, forward| {
        let process = Process::new(logs, (300,)).name("it").start_method(method);
        process.forward_logs(forward).start().expect("started").join().expect("returned");
        taken(&EARS.0)
    };
    // A fork has this process's logger, in its own memory.
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let lines = loud(method, true);
        assert_eq!(lines.len(), 302, "{lines:?}");
        for (number, line) in lines[..300].iter().enumerate() {
            assert_eq!(*line, format!("WARN child [it] number {number}"));
        }
        assert_eq!(lines[300], "ERROR relayed [it] from a thread");
        assert!(lines[301].starts_with("ERROR relayed [it] long ") && lines[301].len() < 40_000);
    }
    for method in [StartMethod::Forkserver, StartMethod::Spawn, StartMethod::Fork] {
        let forward = method == StartMethod::Fork;
        assert!(loud(method, forward).is_empty(), "{method}");
    }
    // The library's own records, with the name once.
    log::set_max_level(log::LevelFilter::Info);
    let process = Process::new(|| (), ()).name("it").start_method(StartMethod::Spawn);
    process.forward_logs(true).start().expect("started").join().expect("returned");
    let lines = taken(&EARS.0);
    let first = "INFO multiproc [it] child process calling self.run()";
    assert!(lines.iter().any(|line| line == first), "{lines:?}");
}

fn floods(count: usize) {
    for number in 0..count {
        log::info!("{number} {}", "x".repeat(1000));
    }
    log::logger().flush();
    support::send_signal(std::process::id(), 9);
}

fn a_killed_child_in_a_flood_of_records() {
    listen(log::LevelFilter::Info);
    let children: Vec<_> = (0..4)
        .map(|_| Process::new(floods, (5000,)).forward_logs(true).start().expect("started"))
        .collect();
    for child in &children[..2] {
        child.kill().expect("killed");
    }
    for child in &children {
        child.join().expect_err("killed");
    }
    let lines = taken(&EARS.0);
    for child in &children[2..] {
        let prefix = format!("INFO relayed [{}] ", child.name());
        let own = lines.iter().filter_map(|line| line.strip_prefix(&prefix));
        let numbers: Vec<usize> =
            own.map(|line| line.split(' ').next().unwrap().parse().expect("whole")).collect();
        assert!(numbers.is_sorted());
        assert_eq!(numbers.len(), 5000, "the logger was quick, so none was lost");
    }
    until("the thread is over", || threads() == 1);
}

/// Sends what is no record on all sockets, of which one is that for records.
fn logs_when_told(mut go: Receiver<usize>, mut done: Sender<()>) {
    while let Ok(count) = go.recv() {
        for _ in 0..count {
            log::info!("{}", "x".repeat(1000));
        }
        done.send(()).expect("told");
    }
}

fn records_that_are_lost_are_counted() {
    listen(log::LevelFilter::Info);
    let ((mut go, to_go), (done, mut is_done)) = (pipe().expect("pipe"), pipe().expect("pipe"));
    let child = Process::new(logs_when_told, (to_go, done)).forward_logs(true);
    let child = child.start().expect("started");
    let mut say = |count: usize| {
        go.send(count).expect("sent");
        is_done.recv_timeout(LIMIT).expect("it has logged");
    };
    let mut said = 5000;
    // The logger waits for the lock.
    let ears = EARS.0.lock().expect("lock");
    say(said);
    drop(ears);
    let (own, notice) = (
        format!("INFO relayed [{}] ", child.name()),
        format!("WARN multiproc [{}] ", child.name()),
    );
    let (mut came, mut lost) = (0, 0);
    until("each was heard, or is counted as lost", || {
        say(1);
        said += 1;
        for line in taken(&EARS.0) {
            if let Some(text) = line.strip_prefix(&notice) {
                let (count, what) = text.split_once(' ').expect("words");
                assert!(what.starts_with("log records or events were lost"), "{line}");
                lost += count.parse::<usize>().expect("a number");
            } else if line.starts_with(&own) {
                came += 1;
            }
        }
        lost > 0 && came + lost == said
    });
    drop(go);
    child.join().expect("returned");
}

fn sends_garbage() {
    for number in open_fds() {
        // SAFETY: it is open, and stays so in this process, which has one thread.
        #[expect(unsafe_code, reason = "tests may")]
        let socket = unsafe { BorrowedFd::borrow_raw(number) };
        for garbage in [&b"\0"[..], &[255; 300], &[1; 30_000], &[7; 100_000], b""] {
            let _ = rustix::net::send(socket, garbage, rustix::net::SendFlags::NOSIGNAL);
        }
    }
    log::info!("after");
}

fn garbage_is_no_record() {
    listen(log::LevelFilter::Info);
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let process = Process::new(sends_garbage, ()).name("it").start_method(method);
        let child = process.forward_logs(true).start().expect("started");
        // Its result was garbage, too.
        let _ = child.join();
        until("the thread is over", || threads() == 1);
        let lines = taken(&EARS.0);
        assert!(lines.iter().all(|line| !line.contains('\0')), "{lines:?}");
        assert!(lines.iter().any(|line| line.ends_with("child process calling self.run()")));
    }
}

fn one_thread_and_few_descriptors() {
    const COUNT: usize = 10;
    listen(log::LevelFilter::Info);
    let wait = || std::io::stdin().read_line(&mut String::new()).expect("read");
    // Costs of the children; how many threads there are beside.
    let costs = |relays: bool| {
        let before = open_fds().len();
        let mut children: Vec<_> = (0..COUNT)
            .map(|_| {
                let mut process = Process::new(wait, ()).stdin(Stdio::piped());
                if relays {
                    let (out, err) = (gather().1, gather().1);
                    process = process.stdout(out).stderr(err).forward_logs(true);
                }
                process.start().expect("started")
            })
            .collect();
        let (fds, threads) = (open_fds().len() - before, threads());
        children.iter_mut().for_each(|child| drop(child.take_stdin()));
        children.iter().for_each(|child| assert_eq!(child.join().expect("returned"), 0));
        drop(children);
        until("nothing is left", || open_fds().len() == before && self::threads() == 1);
        (fds, threads)
    };
    // The fork server is for all that come.
    Process::new(|| (), ()).start().expect("started").join().expect("returned");
    let (plain, relayed) = (costs(false), costs(true));
    assert_eq!(plain.1, 1);
    assert_eq!(relayed, (plain.0 + 3 * COUNT + 2, 2));
}

fn forks_go_on_beside_the_thread() {
    let (lines, to) = gather();
    let echo = || {
        for line in std::io::stdin().lines() {
            println!("{}", line.expect("read"));
        }
    };
    let process = Process::new(echo, ()).name("echo").stdin(Stdio::piped()).stdout(to);
    let mut child = process.start().expect("started");
    let mut input = child.take_stdin().expect("piped");
    for turn in 0..5 {
        assert_eq!(threads(), 2);
        let (own, to) = gather();
        let fork = Process::from_closure(move || println!("turn {turn}")).name("fork").stdout(to);
        let fork = fork.start().expect("forked");
        writeln!(input, "{turn}").expect("written");
        until("it was echoed", || taken(&lines) == [format!("echo: {turn}")]);
        fork.join().expect("returned");
        assert_eq!(taken(&own), [format!("fork: turn {turn}")]);
    }
    drop(input);
    child.join().expect("returned");
}

/// However few descriptors there are: it starts and all comes out, or there is an error and nothing
/// else.
fn want_of_descriptors_leaves_nothing_behind() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    listen(log::LevelFilter::Info);
    let limits = getrlimit(Resource::Nofile);
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        let warm = Process::new(|| (), ()).start_method(method);
        warm.start().expect("started").join().expect("returned");
        let before = open_fds();
        let lowest_free = rustix::io::dup(std::io::stdout()).expect("dup").as_raw_fd();
        let lowest_free = u64::try_from(lowest_free).expect("a number");
        let mut outcomes = [0, 0];
        for spare in 0..24 {
            let (lines, to) = gather();
            let process = Process::new(says, (2,)).name("it").start_method(method).stdout(to);
            let process = process.stderr(Stdio::null()).forward_logs(true);
            let mut few = limits;
            few.current = Some(lowest_free + spare);
            setrlimit(Resource::Nofile, few).expect("set");
            let started = process.start();
            setrlimit(Resource::Nofile, limits).expect("set");
            outcomes[usize::from(started.is_ok())] += 1;
            if let Ok(child) = started {
                assert_eq!(child.join().expect("returned"), 2);
                assert_eq!(taken(&lines), ["it: line 0", "it: line 1"]);
            }
            assert!(multiproc::active_children().is_empty());
            until("nothing is left", || open_fds().len() == before.len() && threads() == 1);
        }
        assert!(outcomes.iter().all(|count| *count > 0), "{method}: {outcomes:?}");
    }
}

fn waits_for_ever() {
    println!("up");
    std::thread::sleep(LIMIT);
}

fn says_at_last() {
    println!("first");
    std::io::stdin().read_line(&mut String::new()).expect("read");
    println!("last");
}

fn children_come_out_at_the_end_of_the_program() {
    if std::env::var_os(ROLE).is_some() {
        let (sender, up) = mpsc::channel();
        let to = Stdio::lines_to(move |line| {
            eprintln!("{line}");
            sender.send(()).expect("sent");
        });
        let daemon = Process::new(waits_for_ever, ()).name("daemon").daemon(true);
        let _daemon = daemon.stdout(to).start().expect("started");
        up.recv_timeout(LIMIT).expect("it is up");
        let process = Process::new(says_at_last, ()).name("it").stdin(Stdio::piped());
        // Its standard input is closed at the end of the program, which waits for it.
        std::mem::forget(process.stdout(Stdio::lines()).start().expect("started"));
        return;
    }
    let (out, err) = output_of("children_come_out_at_the_end_of_the_program");
    assert_eq!((out.as_str(), err.as_str()), ("it: first\nit: last\n", "daemon: up\n"));
}
