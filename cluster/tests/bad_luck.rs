//! Nodes, brokers and owners that are killed, stopped, away or not who they should be. They need
//! `nats-server`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use multiproc::{Failure, Pool, Signal};
use multiproc_cluster::{Cluster, Key};
use support::{MINUTE, cluster, wait_for};

/// A file that tasks and tests tell each other by: a byte for each run.
struct Mark(std::path::PathBuf);

impl Mark {
    fn new(name: &str) -> Mark {
        let mark = Mark(std::env::temp_dir().join(format!("{name}-{}", std::process::id())));
        let _ = std::fs::remove_file(&mark.0);
        mark
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }

    fn runs(&self) -> usize {
        std::fs::read(&self.0).map_or(0, |bytes| bytes.len())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn note(mark: &str) {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(mark);
    file.and_then(|mut file| file.write_all(b"x")).expect("noted");
}

/// Notes each beat of its life for a minute.
fn live(mark: String) {
    let since = Instant::now();
    while since.elapsed() < MINUTE {
        note(&mark);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Notes that it ran, then sleeps.
fn sleep_long(mark: String) {
    note(&mark);
    std::thread::sleep(MINUTE);
}

fn nap(n: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(20));
    n
}

/// Waits until the cluster has so many nodes, one of them not seen before.
fn nodes(cluster: &Cluster, count: usize) {
    wait_for("nodes come", || cluster.nodes().len() >= count);
}

#[test]
fn a_node_that_is_killed_loses_no_task() {
    let cluster = cluster(3, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    nodes(&cluster, 3);
    let taken = AtomicUsize::new(0);
    let mut values = Vec::new();
    for outcome in pool.tasks().chunk_size(2).imap(nap, 0..300) {
        values.push(outcome.expect("value"));
        match taken.fetch_add(1, Ordering::SeqCst) {
            60 => cluster.tell_minder("kill node 1").expect("told"),
            120 => cluster.tell_minder("start node").expect("told"),
            _ => {}
        }
    }
    assert!(values.iter().copied().eq(0..300), "{values:?}");
}

#[test]
fn what_is_to_run_once_is_not_run_again() {
    let cluster = cluster(1, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let mark = Mark::new("once");
    let task = pool.tasks().once().submit(sleep_long, (mark.text(),));
    wait_for("it begins", || mark.runs() == 1);
    cluster.tell_minder("kill node 1").expect("told");
    let since = Instant::now();
    let error = task.join().unwrap_err();
    assert!(matches!(error.failure(), Failure::NodeLost(_)), "{error}");
    assert!(error.to_string().contains("node local-1"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(7), "noticed after {:?}", since.elapsed());
    cluster.tell_minder("start node").expect("told");
    assert_eq!(pool.apply(u32::pow, (2, 2)).expect("value"), 4);
    assert_eq!(mark.runs(), 1);
}

#[test]
fn a_broker_that_comes_back_empty_has_lost_nothing() {
    let cluster = cluster(2, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let (mut values, mut back) = (Vec::new(), None);
    for outcome in pool.tasks().chunk_size(1).imap(nap, 0..200) {
        values.push(outcome.expect("value"));
        if values.len() == 50 {
            cluster.tell_minder("stop server").expect("told");
            std::thread::sleep(Duration::from_millis(500));
            cluster.tell_minder("start server").expect("told");
            back = Some(Instant::now());
        } else if values.len() == 60
            && let Some(back) = back
        {
            // More than was on its way back when the broker was killed.
            assert!(back.elapsed() < Duration::from_secs(5), "work again: {:?}", back.elapsed());
            println!("work again after {:?}", back.elapsed());
        }
    }
    assert!(values.iter().copied().eq(0..200), "{values:?}");
    // A node that joins now needs the program, which the broker has forgotten.
    cluster.tell_minder("start node").expect("told");
    nodes(&cluster, 3);
    wait_for("the new node works", || {
        let _ = pool.tasks().chunk_size(1).map(nap, 0..6).expect("values");
        cluster.nodes().iter().any(|node| node.name == "local-3" && node.tasks > 0)
    });
}

#[test]
fn a_broker_that_is_not_there_is_an_error() {
    let key = Key::random().expect("key");
    let since = Instant::now();
    let error = Cluster::at("nats://127.0.0.1:9").key(key).connect().unwrap_err();
    assert!(error.is_broker(), "{error}");
    assert!(error.to_string().contains("nats://127.0.0.1:9"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_program_with_another_key_gets_no_node() {
    let cluster = cluster(1, 1);
    let (url, _) = cluster.local_address().expect("local");
    let other = Cluster::at(&url).key(Key::random().expect("key")).connect().expect("connected");
    let pool = Pool::builder().on(&other).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 2));
    wait_for("announcements are refused", || other.strangers() >= 2);
    assert!(other.nodes().is_empty());
    assert!(!task.is_ready());
    // The node itself is unimpressed.
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(pool.apply(u32::pow, (2, 2)).expect("value"), 4);
}

#[test]
fn an_initializer_that_fails_there_is_told_here() {
    fn broken() {
        panic!("no such model")
    }
    let cluster = cluster(2, 1);
    let builder = Pool::builder().on(&cluster).initializer(broken, ());
    let pool = builder.max_restarts(0).build().expect("pool");
    let error = pool.apply(u32::pow, (2, 2)).unwrap_err();
    assert!(error.to_string().contains("no such model"), "{error}");
    assert!(error.to_string().contains("node local-"), "{error}");
}

#[test]
fn two_owners_share_nodes_and_nothing_else() {
    let cluster = cluster(2, 1);
    let (url, key) = cluster.local_address().expect("local");
    let other = Cluster::at(&url).key(key).connect().expect("connected");
    let run = |cluster: &Cluster, offset: u64| {
        let pool = Pool::builder().on(cluster).build().expect("pool");
        let values = pool.map(|n: u64| n + 1, offset..offset + 5000).expect("values");
        assert!(values.iter().copied().eq(offset + 1..offset + 5001));
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run(&cluster, 0));
        let second = scope.spawn(|| run(&other, 1 << 40));
        first.join().expect("first");
        second.join().expect("second");
    });
}

/// An owner that is a program of its own, which can be killed.
struct Owner {
    child: Child,
    _input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// The variable that makes this test program an owner.
const OWNER: &str = "TEST_OWNER";

impl Owner {
    fn start(url: &str, key: &Key, mark: &Mark) -> Owner {
        let path = std::env::temp_dir().join(format!("owner-key-{}", std::process::id()));
        std::fs::write(&path, key.text_for_tests()).expect("written");
        let mut child = Command::new(std::env::current_exe().expect("path"))
            .args(["--exact", "the_owner_that_is_killed", "--nocapture"])
            .env(OWNER, format!("{url} {}", mark.text()))
            .env("MULTIPROC_KEY_FILE", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("output"));
        Owner { child, _input: input, output }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test but, with the variable, the owner of [`tasks_of_an_owner_that_is_killed_end`].
#[test]
fn the_owner_that_is_killed() {
    let Ok(text) = std::env::var(OWNER) else { return };
    let (url, mark) = text.split_once(' ').expect("two words");
    let cluster = Cluster::connect(url).expect("connected");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(live, (mark.to_owned(),));
    println!("\nsubmitted");
    let mut all = Vec::new();
    // Ends with the test that started this.
    let _ = std::io::stdin().read_to_end(&mut all);
    drop(task);
}

#[test]
fn tasks_of_an_owner_that_is_killed_end() {
    let cluster = cluster(2, 1);
    let (url, key) = cluster.local_address().expect("local");
    let mark = Mark::new("owner");
    let mut owner = Owner::start(&url, &key, &mark);
    let mut line = String::new();
    while line.trim() != "submitted" {
        line.clear();
        assert!(owner.output.read_line(&mut line).expect("read") > 0, "the owner has ended");
    }
    wait_for("its task runs", || mark.runs() > 3);
    owner.child.kill().expect("killed");
    let since = Instant::now();
    loop {
        let before = mark.runs();
        std::thread::sleep(Duration::from_millis(200));
        if mark.runs() == before {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(6), "it still runs");
    }
    // The nodes are there for others.
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(pool.apply(u32::pow, (2, 2)).expect("value"), 4);
}

#[test]
fn a_station_that_is_stopped_too_long_finds_its_answers_refused() {
    fn station_of_this() -> u32 {
        // The worker's parent is the station.
        std::os::unix::process::parent_id()
    }
    let cluster = cluster(2, 1);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    nodes(&cluster, 2);
    let mark = Mark::new("stopped");
    let station = pool.apply(station_of_this, ()).expect("value");
    let task = pool.tasks().submit(sleep_and_count, (mark.text(),));
    wait_for("it begins", || mark.runs() == 1);
    send(station, Signal::new(19));
    // Whichever node runs it: on the other one it ends, or is run again when that one was stopped.
    let value = task.join().expect("value");
    assert!(value >= 1);
    send(station, Signal::CONT);
    assert_eq!(pool.map(nap, 0..20).expect("values").len(), 20);
}

/// Notes that it ran, and returns after a while how often it did.
fn sleep_and_count(mark: String) -> usize {
    note(&mark);
    std::thread::sleep(Duration::from_secs(1));
    std::fs::read(&mark).expect("mark").len()
}

/// Sends a signal to a process of this test's.
fn send(pid: u32, signal: Signal) {
    let number = signal.number().to_string();
    let killed = Command::new("kill").args([format!("-{number}"), pid.to_string()]).status();
    assert!(killed.expect("kill").success());
}

#[test]
fn a_node_that_is_told_to_leave_finishes_what_it_runs() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let metrics = free.local_addr().expect("address");
    drop(free);
    let cluster = cluster(0, 1);
    let (url, key) = cluster.local_address().expect("local");
    let path = std::env::temp_dir().join(format!("node-key-{}", std::process::id()));
    std::fs::write(&path, key.text_for_tests()).expect("written");
    let mut node = Command::new(env!("CARGO_BIN_EXE_multiproc-node"))
        .args(["--hands", "1", "--name", "leaver", "--status", "1"])
        .args(["--metrics", &metrics.to_string(), "--key-file"])
        .arg(&path)
        .arg(&url)
        .spawn()
        .expect("started");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let mark = Mark::new("leaves");
    let running = pool.submit(sleep_and_count, (mark.text(),));
    let behind = pool.tasks().once().submit(nap, (7,));
    wait_for("it begins", || mark.runs() == 1);
    let metric = |name: &str| {
        let text = ask(metrics);
        let line = text.lines().find(|line| line.starts_with(&format!("multiproc_node_{name} ")));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse::<f64>().ok())
    };
    assert_eq!(metric("hands"), Some(1.0));
    assert_eq!(metric("connected"), Some(1.0));
    send(node.id(), Signal::TERM);
    assert_eq!(running.join().expect("value"), 1);
    assert!(node.wait().expect("ended").success());
    // What it had not begun waits for another, also what is to run once.
    assert!(!behind.is_ready());
    cluster.tell_minder("start node").expect("told");
    assert_eq!(behind.join().expect("value"), 7);
    std::fs::remove_file(path).expect("removed");
}

/// Asks a node for its metrics.
fn ask(address: std::net::SocketAddr) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    text
}

/// A way between a node and the broker that can be cut without anybody being told, as by a cable.
struct Cable {
    address: String,
    is_cut: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Cable {
    /// A cable to the broker at this address.
    fn new(to: &str) -> Cable {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = format!("nats://{}", listener.local_addr().expect("address"));
        let is_cut = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let (to, cut) = (to.trim_start_matches("nats://").to_owned(), is_cut.clone());
        // Ends with this process.
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = std::net::TcpStream::connect(&to) else { continue };
                for (mut from, mut into) in
                    [(near.try_clone().expect("copy"), far.try_clone().expect("copy")), (far, near)]
                {
                    let cut = cut.clone();
                    std::thread::spawn(move || {
                        let mut buffer = vec![0; 1 << 16];
                        while let Ok(count @ 1..) = from.read(&mut buffer) {
                            // Held back, not refused: the ends see silence.
                            while cut.load(Ordering::SeqCst) {
                                std::thread::sleep(Duration::from_millis(10));
                            }
                            if into.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = into.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Cable { address, is_cut }
    }
}

#[test]
fn a_node_behind_a_cut_cable_is_lost_and_found() {
    let cluster = cluster(0, 1);
    let (url, key) = cluster.local_address().expect("local");
    let cable = Cable::new(&url);
    let path = std::env::temp_dir().join(format!("cable-key-{}", std::process::id()));
    std::fs::write(&path, key.text_for_tests()).expect("written");
    let mut node = Command::new(env!("CARGO_BIN_EXE_multiproc-node"))
        .args(["--hands", "1", "--name", "behind", "--key-file"])
        .arg(&path)
        .arg(&cable.address)
        .spawn()
        .expect("started");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let mark = Mark::new("cable");
    let task = pool.tasks().once().submit(sleep_long, (mark.text(),));
    wait_for("it begins", || mark.runs() == 1);
    cable.is_cut.store(true, Ordering::SeqCst);
    let since = Instant::now();
    let error = task.join().unwrap_err();
    assert!(matches!(error.failure(), Failure::NodeLost(_)), "{error}");
    assert!(error.to_string().contains("no sign of life"), "{error}");
    let noticed = since.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&noticed), "{noticed:?}");
    let waiting = pool.submit(u32::pow, (3, 2));
    assert!(!waiting.wait(Duration::from_millis(100)));
    cable.is_cut.store(false, Ordering::SeqCst);
    let since = Instant::now();
    assert_eq!(waiting.join().expect("value"), 9);
    assert!(since.elapsed() < Duration::from_secs(15), "found after {:?}", since.elapsed());
    assert_eq!(mark.runs(), 1);
    send(node.id(), Signal::TERM);
    send(node.id(), Signal::TERM);
    node.wait().expect("ended");
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn nothing_is_left_of_a_local_cluster_whose_minder_is_killed() {
    let cluster = cluster(1, 1);
    let (url, _) = cluster.local_address().expect("local");
    let address = url.trim_start_matches("nats://").to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let node = pool.apply(std::os::unix::process::parent_id, ()).expect("value");
    cluster.tell_minder("die").expect("told");
    wait_for("the broker ends", || std::net::TcpStream::connect(&address).is_err());
    // The station, and so all workers.
    wait_for("the node ends", || !std::path::Path::new(&format!("/proc/{node}")).exists());
}
