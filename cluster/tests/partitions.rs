//! Partitions at random: cables between nodes, the broker and the owner are cut and mended, and
//! nodes and the broker killed, while maps run. Every task has exactly one outcome, and the right
//! one. `MULTIPROC_CLUSTER_CUTS` is the dial. It needs `nats-server`, `ip`, `nsenter` and
//! `unshare`, and to be root; without these it says that it was skipped.
//!
//! Each node is in a network namespace of its own, behind a bridge, as is the broker. None of them
//! has a name: all are within a namespace of processes, and gone with its first, which is this very
//! program, run once more. So nothing is left, however the test ends.

mod support;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiproc::Pool;
use multiproc_cluster::{Cluster, Key};
use support::work::{Dice, map_until, once_until};
use support::{Folder, wait_for};

/// Cuts in a short run.
const CUTS: u32 = 6;

/// The variable of the program that is inside.
const INSIDE: &str = "TEST_INSIDE";

const OWNER: &str = "10.213.7.1";
const BROKER: &str = "10.213.7.2";

/// The number of cuts that is asked for.
fn cuts() -> u32 {
    let asked = std::env::var("MULTIPROC_CLUSTER_CUTS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(CUTS)
}

/// Runs a program in namespaces of its own, which are gone with it.
fn inside() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

#[test]
fn every_task_has_one_outcome_whatever_is_cut() {
    let has = |mut command: Command| {
        let output = command.stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    let mut probe = inside();
    probe.args(["ip", "link", "add", "probe", "type", "bridge"]);
    let mut nsenter = Command::new("nsenter");
    nsenter.arg("--version");
    if !has(probe) || !has(nsenter) {
        println!("skipped: no network namespaces here (as root, with ip, nsenter and unshare)");
        return;
    }
    let mut child = inside()
        .arg(std::env::current_exe().expect("path"))
        .args(["--exact", "what_is_inside", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .spawn()
        .expect("started");
    // Longer than a cut can take with what follows it, and the last maps.
    let limit = Duration::from_secs(300) + Duration::from_secs(20) * cuts();
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("waited") {
            break Some(status);
        }
        if since.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?} after {:?}",
        since.elapsed()
    );
}

/// Not a test but, with the variable, the program that the test above runs.
#[test]
fn what_is_inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    std::thread::spawn(|| {
        // Ends with the test; with it everything inside.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    let (folder, key) = (Folder::new(), Key::random().expect("key"));
    let mut machines = Machines::new(folder.path("store"), &key);
    let url = format!("nats://{BROKER}:4222");
    let cluster = wait_connected(&url, &key);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let is_over = AtomicBool::new(false);
    std::fs::create_dir_all(folder.path("once")).expect("a folder");
    std::thread::scope(|scope| {
        let maps = scope.spawn(|| map_until(&pool, &is_over));
        let text = folder.path("once").display().to_string();
        let once = scope.spawn(|| once_until(&pool, &is_over, text));
        machines.cut_at_random(cuts());
        is_over.store(true, Ordering::SeqCst);
        let tasks = maps.join().expect("maps");
        let (done, lost) = once.join().expect("tasks that run once");
        println!("{} cuts: {tasks} tasks done; once: {done} done, {lost} lost", cuts());
        assert!(tasks > 0 && done > 0);
    });
}

/// Connects as soon as the broker is there.
fn wait_connected(url: &str, key: &Key) -> Cluster {
    let connect = || Cluster::at(url).key(key.clone()).connect();
    wait_for("the broker is there", || connect().is_ok());
    connect().expect("connected")
}

/// A machine: a process in a network of its own, with a cable to the bridge.
struct Machine {
    number: u32,
    child: Child,
}

impl Machine {
    /// Starts a program on a machine of this number.
    fn start(number: u32, command: &mut Command) -> Machine {
        let child = command.stdin(Stdio::piped()).spawn().expect("started");
        let mut machine = Machine { number, child };
        let pid = machine.child.id().to_string();
        let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let own = network("self");
        wait_for("its network", || network(&pid).is_some_and(|there| Some(there) != own));
        let cable = machine.cable();
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        ip(&["link", "set", &cable, "master", "bridge", "up"]);
        let there = |arguments: &[&str]| {
            let mut command = Command::new("nsenter");
            command.args(["-t", &pid, "-n", "ip"]).args(arguments);
            assert!(command.status().expect("nsenter").success(), "{arguments:?}");
        };
        there(&["addr", "add", &format!("10.213.7.{number}/24"), "dev", "eth0"]);
        there(&["link", "set", "eth0", "up"]);
        there(&["link", "set", "lo", "up"]);
        // It waits for this.
        let mut input = machine.child.stdin.take().expect("input");
        input.write_all(b"\n").expect("told");
        machine.child.stdin = Some(input);
        machine
    }

    /// Its cable's end at the bridge.
    fn cable(&self) -> String {
        format!("cable{}", self.number)
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // By itself it would go only when connections of the dead have timed out.
        let _ = Command::new("ip").args(["link", "del", &self.cable()]).output();
    }
}

/// All of them.
struct Machines {
    broker: Machine,
    nodes: Vec<Machine>,
    next: u32,
    store: std::path::PathBuf,
    key: Key,
    dice: Dice,
}

/// Runs a program in a network of its own, once that is complete.
fn apart() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--kill-child", "--fork", "sh", "-c", "read go; exec \"$@\"", "sh"]);
    command
}

impl Machines {
    fn new(store: std::path::PathBuf, key: &Key) -> Machines {
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", "bridge", "type", "bridge"]);
        ip(&["addr", "add", &format!("{OWNER}/24"), "dev", "bridge"]);
        ip(&["link", "set", "bridge", "up"]);
        let (broker, nodes) = (broker(&store), Vec::new());
        let (key, dice) = (key.clone(), Dice::new());
        let mut machines = Machines { broker, nodes, next: 10, store, key, dice };
        (0..3).for_each(|_| machines.add_node());
        machines
    }

    fn add_node(&mut self) {
        let number = self.next;
        self.next += 1;
        let mut command = apart();
        command
            .args([env!("CARGO_BIN_EXE_multiproc-node"), "--hands", "1"])
            .args(["--name", &format!("machine-{number}"), &format!("nats://{BROKER}:4222")])
            .env("MULTIPROC_KEY", self.key.text_for_tests());
        self.nodes.push(Machine::start(number, &mut command));
    }

    /// Cuts, mends, kills and replaces.
    fn cut_at_random(&mut self, cuts: u32) {
        for cut in 1..=cuts {
            std::thread::sleep(Duration::from_millis(300 + self.dice.roll(1200)));
            // Shorter and longer than the time after which a node is lost.
            let length = Duration::from_millis(200 + self.dice.roll(8000));
            let node = usize::try_from(self.dice.roll(self.nodes.len() as u64)).expect("few");
            match self.dice.roll(6) {
                0 => {
                    println!("{cut}: node {} is killed", self.nodes[node].number);
                    self.nodes.swap_remove(node).kill();
                    self.add_node();
                }
                1 => {
                    println!("{cut}: the broker is killed");
                    self.broker.kill();
                    let _ = std::fs::remove_dir_all(&self.store);
                    std::thread::sleep(length / 8);
                    self.broker = broker(&self.store);
                }
                2 => {
                    println!("{cut}: the owner is cut off for {length:?}");
                    let address = format!("{OWNER}/24");
                    ip(&["addr", "del", &address, "dev", "bridge"]);
                    std::thread::sleep(length);
                    ip(&["addr", "add", &address, "dev", "bridge"]);
                }
                3 => {
                    println!("{cut}: the broker is cut off for {length:?}");
                    pull(&self.broker.cable(), length);
                }
                _ => {
                    println!("{cut}: node {} is cut off for {length:?}", self.nodes[node].number);
                    pull(&self.nodes[node].cable(), length);
                }
            }
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Machine::kill);
        self.broker.kill();
    }
}

fn broker(store: &std::path::Path) -> Machine {
    let program = std::env::var_os("MULTIPROC_NATS_SERVER");
    let mut command = apart();
    command
        .arg(program.unwrap_or_else(|| "nats-server".into()))
        .args(["-js", "-a", BROKER, "-p", "4222", "-sd"])
        .arg(store)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Machine::start(2, &mut command)
}

/// Pulls a cable for so long.
fn pull(cable: &str, length: Duration) {
    ip(&["link", "set", cable, "down"]);
    std::thread::sleep(length);
    ip(&["link", "set", cable, "up"]);
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {why}", arguments.join(" "));
}
