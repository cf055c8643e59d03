//! A cluster on this machine, for trying out and for tests: a broker and some nodes, which end with
//! the program.
//!
//! The program starts one process more, the *minder*, which is the program's own file. It starts
//! the broker and the nodes, tells where the broker is, and ends all of them when its standard
//! input ends: however the program ends, nothing is left.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{Error, Result};
use crate::key::{Id, Key};
use crate::node::config;

/// The variable that makes a program a minder: how many nodes, with how many workers each.
pub(crate) const MINDER: &str = "MULTIPROC_MINDER";

/// The variable with the path of the broker's program.
pub(crate) const SERVER: &str = "MULTIPROC_NATS_SERVER";

/// Time that the broker has to start.
const START: Duration = Duration::from_secs(20);

/// Pause between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// A broker and nodes on this machine. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Local {
    minder: Child,
    /// Its end ends the minder.
    input: Option<ChildStdin>,
    pub(crate) url: String,
    pub(crate) key: Key,
}

impl Local {
    /// Starts a broker, and so many nodes with so many workers each.
    ///
    /// # Errors
    /// There is no broker to be found, or it does not start.
    pub(crate) fn start(nodes: usize, hands: usize) -> Result<Local> {
        let what = "cannot start a cluster on this machine";
        let key = Key::random()?;
        let mut minder = Command::new("/proc/self/exe")
            .env(MINDER, format!("{nodes} {hands}"))
            .env(config::KEY, String::from_utf8_lossy(key.bytes()).into_owned())
            .env_remove(config::KEY_FILE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C is for the program alone, which may want to finish what it has begun.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::os(what, error))?;
        let input = minder.stdin.take();
        let mut line = String::new();
        if let Some(output) = minder.stdout.take() {
            // Ends with the minder, at the latest.
            let _ = BufReader::new(output).read_line(&mut line);
        }
        let mut local = Local { minder, input, url: String::new(), key };
        match line.trim_end().split_once(' ') {
            Some(("at", url)) => local.url = url.to_owned(),
            Some(("failed", why)) => return Err(Error::config(format!("{what}: {why}"))),
            _ => return Err(Error::config(format!("{what}: its minder has ended"))),
        }
        Ok(local)
    }

    /// Tells the minder to do something: see [`mind`].
    pub(crate) fn tell(&mut self, order: &str) -> Result<()> {
        let what = "cannot reach the minder of the cluster on this machine";
        let Some(input) = &mut self.input else { return Ok(()) };
        input.write_all(format!("{order}\n").as_bytes()).map_err(|error| Error::os(what, error))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.input.take());
        // In a forked copy of the program it is nobody's child.
        let _ = self.minder.wait();
    }
}

/// The broker and the nodes of a minder.
struct Minded {
    server: Child,
    nodes: Vec<Child>,
    folder: PathBuf,
}

impl Drop for Minded {
    fn drop(&mut self) {
        // Nodes end with their standard input as well; this does not wait for them to notice.
        self.nodes.iter().for_each(kill_group);
        for child in &mut self.nodes {
            let _ = child.kill();
            let _ = child.wait();
        }
        stop(&mut self.server);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The minder: starts all, says where the broker is, follows orders from standard input, and ends
/// all when that ends.
///
/// Orders, for tests of bad luck: `kill node N` (with its stations, as if its machine were gone),
/// `end node N` (the daemon alone), `start node`, `stop server`, `start server`, `die`.
pub(crate) fn mind() -> std::result::Result<(), String> {
    let asked = std::env::var(MINDER).unwrap_or_default();
    let numbers = asked.split_once(' ').and_then(|(nodes, hands)| {
        Some((nodes.parse::<usize>().ok()?, hands.parse::<usize>().ok()?))
    });
    let (nodes, hands) = numbers.ok_or_else(|| format!("{MINDER} makes no sense"))?;
    let started = Minded::start(nodes, hands);
    let (mut minded, url) = match started {
        Ok(started) => started,
        Err(error) => {
            println!("failed {error}");
            return Ok(());
        }
    };
    println!("at {url}");
    let _ = std::io::stdout().flush();
    for order in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        minded.follow(&order, &url, hands);
    }
    drop(minded);
    Ok(())
}

impl Minded {
    /// Starts the broker and the nodes. Returns the broker's address.
    fn start(nodes: usize, hands: usize) -> Result<(Minded, String)> {
        let folder = std::env::temp_dir().join(format!("multiproc-cluster-{}", Id::random()?));
        fs::create_dir_all(&folder)
            .map_err(|error| Error::os(format!("cannot make {}", folder.display()), error))?;
        let mut server = match server(&folder, None) {
            Ok(server) => server,
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                return Err(error);
            }
        };
        let port = port(&mut server, &folder);
        let mut minded = Minded { server, nodes: Vec::new(), folder };
        let url = format!("nats://127.0.0.1:{}", port?);
        for number in 1..=nodes {
            minded.nodes.push(node(number, &url, hands)?);
        }
        Ok((minded, url))
    }

    /// Follows an order.
    fn follow(&mut self, order: &str, url: &str, hands: usize) {
        let words: Vec<&str> = order.split_whitespace().collect();
        match *words {
            [how @ ("kill" | "end"), "node", number] => {
                let number = number.parse::<usize>().unwrap_or(0);
                if let Some(node) = self.nodes.get_mut(number.wrapping_sub(1)) {
                    if how == "kill" {
                        kill_group(node);
                    }
                    let _ = node.kill();
                    let _ = node.wait();
                }
            }
            ["start", "node"] => {
                let number = self.nodes.len() + 1;
                self.nodes.extend(node(number, url, hands));
            }
            ["stop", "server"] => stop(&mut self.server),
            ["die"] => std::process::abort(),
            ["start", "server"] => {
                let port = url.rsplit(':').next().unwrap_or_default();
                if let Ok(server) = server(&self.folder, Some(port)) {
                    self.server = server;
                }
            }
            _ => {}
        }
    }
}

/// Runs the broker, with its folder as the first argument. Kills it when standard input ends, and
/// removes the folder: a broker is not tied to its parent otherwise, which may be killed, too.
const TETHER: &str = "folder=$1; shift; \"$@\" & broker=$!; cat > /dev/null; kill -9 $broker; \
                      wait $broker; rm -rf \"$folder\"";

/// Kills the broker.
fn stop(server: &mut Child) {
    drop(server.stdin.take());
    let _ = server.wait();
}

/// Starts the broker: on a port that is free, unless one is given.
fn server(folder: &Path, port: Option<&str>) -> Result<Child> {
    let program = std::env::var_os(SERVER).unwrap_or_else(|| "nats-server".into());
    let cannot = |error| {
        let what = format!(
            "cannot run {}, the broker (Debian's package nats-server; {SERVER} names another path)",
            program.to_string_lossy()
        );
        Error::os(what, error)
    };
    // The shell below does not tell whether it is there.
    Command::new(&program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(cannot)?;
    Command::new("sh")
        .args(["-c", TETHER, "sh"])
        .arg(folder)
        .arg(&program)
        .args(["-js", "-a", "127.0.0.1", "-p", port.unwrap_or("-1")])
        .arg("-sd")
        .arg(folder.join("store"))
        .arg("--ports_file_dir")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)
}

/// Waits until the broker has written which port it has.
fn port(server: &mut Child, folder: &Path) -> Result<u16> {
    let since = Instant::now();
    loop {
        if let Some(port) = written_port(folder) {
            return Ok(port);
        }
        if let Ok(Some(status)) = server.try_wait() {
            return Err(Error::config(format!("the broker has ended with {status}")));
        }
        if since.elapsed() > START {
            return Err(Error::config("the broker does not start"));
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads the broker's file of ports: JSON, of which only the client's port is wanted.
fn written_port(folder: &Path) -> Option<u16> {
    let entries = fs::read_dir(folder).ok()?;
    let file = entries
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|extension| extension == "ports"))?;
    let mut text = String::new();
    fs::File::open(file.path()).ok()?.read_to_string(&mut text).ok()?;
    let behind = text.split("nats://127.0.0.1:").nth(1)?;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Kills a node and its stations, unless it was reaped.
fn kill_group(node: &Child) {
    let group = i32::try_from(node.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Starts a node: this program's own file.
fn node(number: usize, url: &str, hands: usize) -> Result<Child> {
    Command::new("/proc/self/exe")
        .env_remove(MINDER)
        .env(config::JOIN, url)
        .env(config::NAME, format!("local-{number}"))
        .env(config::HANDS, hands.to_string())
        .env(config::TETHERED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // With its stations, and apart from this process.
        .process_group(0)
        .spawn()
        .map_err(|error| Error::os("cannot start a node on this machine", error))
}
