//! What people met with other systems that give tasks to machines, tried here: see
//! `docs/outside-reports.md`. They need `nats-server`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use multiproc::Pool;
use multiproc_cluster::{Cluster, Key};
use support::{Broker, Folder, MINUTE, Node, shell, wait_for};

fn key() -> Key {
    Key::new("the key of these tests").expect("key")
}

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
        let since = Instant::now();
        assert_eq!(pool.map(print, [100_000; 4]).expect("values"), [100_000; 4]);
        assert!(since.elapsed() < MINUTE / 3, "{:?}", since.elapsed());
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
        assert_eq!(pool.map(print, [10_000; 4]).expect("values"), [10_000; 4]);
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
        assert_eq!(pool.apply(print, (1000,)).expect("value"), 1000, "{closed}");
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
    let child = Command::new("setsid").args(["sleep", "20"]).spawn().expect("started");
    child.id()
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
