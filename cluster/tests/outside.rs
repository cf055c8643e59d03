//! What people met with other systems that give tasks to machines, tried here: see
//! `docs/outside-reports.md`. They need `nats-server`.

#![expect(unsafe_code, reason = "people fork programs with threads")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiproc::{Pool, Process, StartMethod};
use multiproc_cluster::Cluster;
use support::{Broker, Folder, MINUTE, Node, key, shell, wait_for};

fn connected(broker: &Broker) -> Cluster {
    Cluster::at(&broker.url()).key(key()).connect().expect("connected")
}

/// A node with this name and a worker.
fn node(broker: &Broker, name: &str) -> Node {
    Node::start(shell("exec \"$@\""), &broker.url(), &key(), name)
}

/// This very program as a node, which `text` starts: a shell's, which ends in `exec "$@"`.
fn program_as_node(broker: &Broker, text: &str) -> Command {
    let mut command = shell(text);
    command
        .arg(std::env::current_exe().expect("path"))
        .env("MULTIPROC_JOIN", broker.url())
        .env("MULTIPROC_KEY", key().text_for_tests())
        .env("MULTIPROC_HANDS", "1");
    command
}

fn long(length: usize) -> Vec<u8> {
    vec![7; length]
}

/// Writes so much to both streams.
fn print(length: usize) -> usize {
    let text = vec![b'.'; length];
    let written = std::io::stdout().write_all(&text).and_then(|()| std::io::stdout().flush());
    written.and_then(|()| std::io::stderr().write_all(&text)).expect("written");
    length
}

/// Has a pool run a task so often. Returns what came of it, which is waited for a minute.
fn outcomes(pool: &Pool, length: usize, count: usize) -> Vec<usize> {
    let tasks: Vec<_> = (0..count).map(|_| pool.submit(print, (length,))).collect();
    wait_for("tasks end", || tasks.iter().all(multiproc::Task::is_ready));
    tasks.into_iter().map(|task| task.join().expect("value")).collect()
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[test]
fn long_results_of_many_nodes_do_not_drown_their_owner() {
    let folder = Folder::new();
    // An eighth of what a broker has waiting for a client by default, for an eighth of the nodes.
    let broker = Broker::start("max_pending: 8388608", &folder.path("store"), None);
    let _nodes: Vec<Node> = (0..4).map(|n| node(&broker, &format!("node-{n}"))).collect();
    let cluster = connected(&broker);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    wait_for("nodes come", || cluster.nodes().len() == 4);
    let results = pool.tasks().chunk_size(1).map(long, [8_000_000; 8]).expect("values");
    assert!(results.iter().all(|result| result.len() == 8_000_000));
    let losses: u64 = cluster.nodes().iter().map(|node| node.losses).sum();
    assert_eq!(losses, 0, "{:?}", cluster.nodes());
}

#[test]
fn a_node_whose_log_nobody_reads_goes_on() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let mut command = shell("exec \"$@\"");
    // Held by the test, and not read.
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let _node = Node::start(command, &broker.url(), &key(), "unread");
    let cluster = connected(&broker);
    for _ in 0..2 {
        let pool = Pool::builder().on(&cluster).build().expect("pool");
        assert_eq!(outcomes(&pool, 100_000, 4), [100_000; 4]);
    }
}

#[test]
fn a_node_whose_log_s_reader_has_gone_goes_on() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let mut command = program_as_node(&broker, "exec \"$@\"");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut node = Node(child);
    drop((node.0.stdout.take(), node.0.stderr.take()));
    let cluster = connected(&broker);
    for _ in 0..2 {
        let pool = Pool::builder().on(&cluster).build().expect("pool");
        assert_eq!(outcomes(&pool, 10_000, 4), [10_000; 4]);
    }
    assert!(node.0.try_wait().expect("asked").is_none(), "it has ended");
}

#[test]
fn a_program_that_is_a_node_needs_no_standard_streams() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let cluster = connected(&broker);
    for closed in ["2>&-", "1>&-", "0<&- 1>&- 2>&-"] {
        let text = format!("exec \"$@\" {closed}");
        let node = Node(program_as_node(&broker, &text).spawn().expect("started"));
        let pool = Pool::builder().on(&cluster).build().expect("pool");
        assert_eq!(outcomes(&pool, 1000, 1), [1000], "{closed}");
        // Nothing else took their places.
        for number in 0..3 {
            let name = format!("/proc/{}/fd/{number}", node.0.id());
            let target = std::fs::read_link(name).expect("open");
            assert!(target.exists() || target.to_string_lossy().starts_with("pipe:"), "{target:?}");
        }
    }
}

/// Has all processes of a node get a signal, as from a terminal or a batch system, while it runs a
/// task.
fn signalled(signal: &str) {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let mut command = shell("exec \"$@\"");
    command.process_group(0);
    let mut node = Node::start(command, &broker.url(), &key(), "leaver");
    let cluster = connected(&broker);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(pool.apply(nap, (1,)).expect("value"), 1);
    let task = pool.tasks().once().submit(nap, (1500,));
    wait_for("it begins", || cluster.nodes().iter().any(|node| node.tasks == 2));
    let all = format!("-{}", node.0.id());
    let sent = Command::new("kill").args([signal, "--", &all]).status();
    assert!(sent.expect("kill").success());
    wait_for("it ends", || task.is_ready());
    assert_eq!(task.join().expect("value"), 1500);
    let since = Instant::now();
    while node.0.try_wait().expect("asked").is_none() {
        assert!(since.elapsed() < MINUTE, "it does not leave");
        nap(5);
    }
}

#[test]
fn ctrl_c_at_a_node_lets_it_finish_what_it_runs() {
    signalled("-INT");
}

#[test]
fn a_signal_to_all_processes_of_a_node_lets_it_finish_what_it_runs() {
    signalled("-TERM");
}

#[test]
fn a_node_that_is_to_leave_while_a_pool_begins_leaves() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let mut command = shell("exec \"$@\"");
    let errors = command.stderr(Stdio::piped());
    errors.stdout(Stdio::null());
    let mut node = Node::start(command, &broker.url(), &key(), "leaver");
    let mut lines = BufReader::new(node.0.stderr.take().expect("piped")).lines();
    let cluster = connected(&broker);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(nap, (1,));
    let asked =
        lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.contains("works for")));
    assert!(asked.is_some(), "it has ended");
    // It fetches the program now, or executes it.
    let sent = Command::new("kill").args(["-TERM", &node.0.id().to_string()]).status();
    assert!(sent.expect("kill").success());
    let since = Instant::now();
    while node.0.try_wait().expect("asked").is_none() {
        assert!(since.elapsed() < MINUTE / 2, "it does not leave");
        nap(5);
    }
    // The pool is open all the time.
    task.cancel();
}

/// Leaves a process behind that has its standard error open.
fn leave_behind() -> u32 {
    // The shell ends at once, and tells whom it leaves.
    let mut shell = Command::new("sh");
    shell.args(["-c", "setsid sleep 20 > /dev/null & echo $!"]).stderr(Stdio::inherit());
    let told = shell.output().expect("started").stdout;
    String::from_utf8_lossy(&told).trim().parse().expect("a process")
}

#[test]
fn a_node_leaves_whatever_its_tasks_left_behind() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let mut node = node(&broker, "leaver");
    let cluster = connected(&broker);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let left = pool.apply(leave_behind, ()).expect("value");
    let sent = Command::new("kill").args(["-TERM", &node.0.id().to_string()]).status();
    assert!(sent.expect("kill").success());
    let since = Instant::now();
    while node.0.try_wait().expect("asked").is_none() {
        assert!(since.elapsed() < Duration::from_secs(15), "it does not leave");
        nap(5);
    }
    let _ = Command::new("kill").arg(left.to_string()).stderr(Stdio::null()).status();
}

/// The cluster that a copy of this process finds.
static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);

/// Tries to use what another process has connected, and drops it. Then connects itself.
fn in_a_copy(url: String) -> (String, u64) {
    let cluster = CLUSTER.lock().expect("locked").take().expect("a copy");
    let refused = Pool::builder().on(&cluster).build().map(drop).expect_err("refused");
    assert!(cluster.nodes().is_empty());
    drop(cluster);
    let own = Cluster::at(&url).key(key()).connect().expect("connected");
    let pool = Pool::builder().on(&own).build().expect("pool");
    (refused.to_string(), pool.apply(nap, (1,)).expect("value"))
}

#[test]
fn a_forked_copy_has_to_connect_itself() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let _node = node(&broker, "node");
    *CLUSTER.lock().expect("locked") = Some(connected(&broker));
    let process = Process::new(in_a_copy, (broker.url(),)).start_method(StartMethod::Fork);
    // SAFETY: what the copy uses of this process is locked by nobody: the allocator and the standard
    // library see to their own locks.
    let child = unsafe { process.start_unchecked() };
    let ended = child.expect("started").join_timeout(MINUTE).expect("value");
    let (refused, value) = ended.expect("in time");
    let own = format!("connected by process {}", std::process::id());
    assert!(refused.contains(&own), "{refused}");
    assert_eq!(value, 1);
    let cluster = CLUSTER.lock().expect("locked").take().expect("a cluster");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(pool.apply(nap, (2,)).expect("value"), 2);
}

/// Logs so many records of a kilobyte. Returns the most memory that its station has had, in KiB.
fn log_much(count: usize) -> u64 {
    let text = "x".repeat(1000);
    (0..count).for_each(|number| log::info!("{number} {text}"));
    let read = |pid: u32, name| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
    };
    // The station is the parent of the fork server, or this process's own.
    let mut station = std::process::id();
    loop {
        let parent = read(station, "PPid").expect("a parent") as u32;
        let arguments = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
        if !arguments.starts_with(b"multiproc-station") {
            return read(station, "VmHWM").expect("memory");
        }
        station = parent;
    }
}

/// Hears all records, and does nothing with them.
struct Listener;

static WERE_LOST: AtomicBool = AtomicBool::new(false);

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().to_string().contains("log records or events were lost") {
            WERE_LOST.store(true, Ordering::SeqCst);
        }
    }

    fn flush(&self) {
        // Nothing is kept.
    }
}

#[test]
fn records_that_nobody_can_take_do_not_fill_a_node() {
    // Other tests of this program do not mind.
    log::set_boxed_logger(Box::new(Listener)).expect("the only logger");
    log::set_max_level(log::LevelFilter::Info);
    let cluster = Cluster::local(1, 1).expect("a cluster");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let before = pool.apply(log_much, (0,)).expect("value");
    let task = pool.submit(log_much, (60_000,));
    wait_for("it begins", || cluster.nodes().iter().any(|node| node.tasks == 2));
    cluster.tell_minder("stop server").expect("told");
    // It logs all the while, as fast as it can.
    nap(8000);
    cluster.tell_minder("start server").expect("told");
    wait_for("it ends", || task.is_ready());
    let after = task.join().expect("value");
    assert!(after < before + (40 << 10), "{before} KiB, then {after}");
    assert_eq!(pool.apply(nap, (1,)).expect("value"), 1);
    wait_for("the loss is said", || {
        pool.apply(log_much, (1,)).expect("value");
        WERE_LOST.load(Ordering::SeqCst)
    });
}

#[test]
fn metrics_are_told_to_those_who_ask_in_parts_and_at_length() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = free.local_addr().expect("address");
    drop(free);
    let text = format!("exec \"$@\" --metrics {address}");
    let _node = Node::start(shell(&text), &broker.url(), &key(), "asked");
    let cluster = connected(&broker);
    wait_for("the node comes", || cluster.nodes().len() == 1);
    let long = format!("Cookie: {}\r\n", "c".repeat(20_000));
    for parts in [["GET /met", "rics HTTP/1.1\r\n", "\r\n"], ["GET / HTTP/1.1\r\n", &long, "\r\n"]]
    {
        let mut stream = std::net::TcpStream::connect(address).expect("connected");
        for part in parts {
            stream.write_all(part.as_bytes()).expect("asked");
            // Time for an answer that comes too early.
            nap(100);
        }
        let mut text = String::new();
        stream.shutdown(std::net::Shutdown::Write).expect("said all");
        stream.read_to_string(&mut text).expect("answered");
        assert!(text.contains("multiproc_node_connected 1"), "{text}");
    }
}

/// The variable that makes this test program one that handles Ctrl-C.
const HANDLER: &str = "TEST_HANDLER";

/// Not a test but, with the variable, the program of [`a_program_that_handles_ctrl_c_goes_on`].
#[test]
fn the_program_that_handles_ctrl_c() {
    if std::env::var_os(HANDLER).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let interrupt = tokio::signal::unix::SignalKind::interrupt();
    let signals = runtime.block_on(async { tokio::signal::unix::signal(interrupt) });
    let mut signals = signals.expect("awaited");
    let cluster = Cluster::local(1, 1).expect("a cluster");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(pool.apply(nap, (1,)).expect("value"), 1);
    let task = pool.submit(nap, (500,));
    println!("\nrunning");
    runtime.block_on(signals.recv());
    assert_eq!(task.join().expect("value"), 500);
    assert_eq!(pool.apply(nap, (2,)).expect("value"), 2);
    println!("\ndone");
}

/// Reads lines until there is this one.
fn read_until(child: &mut Child, wanted: &str) {
    let lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    let found = lines.map_while(Result::ok).any(|line| line == wanted);
    assert!(found, "not {wanted}");
}

#[test]
fn a_program_that_handles_ctrl_c_goes_on_with_its_cluster() {
    let child = Command::new(std::env::current_exe().expect("path"))
        .args(["--exact", "the_program_that_handles_ctrl_c", "--nocapture"])
        .env(HANDLER, "1")
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Node(child.expect("started"));
    read_until(&mut program.0, "running");
    let all = format!("-{}", program.0.id());
    let sent = Command::new("kill").args(["-INT", "--", &all]).status();
    assert!(sent.expect("kill").success());
    let mut rest = String::new();
    // Ends with the program, which has nothing to wait for that is not bounded.
    program.0.stdout.take().expect("piped").read_to_string(&mut rest).expect("read");
    assert!(rest.contains("\ndone"), "{rest}");
    assert!(program.0.wait().expect("ended").success());
}
