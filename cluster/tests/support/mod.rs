//! Nodes, brokers and helpers in C that a test starts by itself, and that end with it.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would fail in the programs that use all of it"
)]

pub(crate) mod work;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use multiproc_cluster::{Cluster, Key};

/// A minute: longer than any test waits for what is not to happen.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Waits until `is_so` holds. Returns how long that took.
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < MINUTE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    since.elapsed()
}

/// A cluster with so many nodes on this machine.
pub(crate) fn cluster(nodes: usize, hands: usize) -> Cluster {
    Cluster::local(nodes, hands).expect("a cluster: is there a nats-server?")
}

/// The key of brokers and nodes that a test starts by itself.
pub(crate) fn key() -> Key {
    Key::new("the key of these tests").expect("key")
}

/// A folder that is removed with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cluster-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file. Returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Compiles a C program. Returns its path.
    pub(crate) fn compile(&self, name: &str, source: &str, options: &[&str]) -> PathBuf {
        let (source, program) = (self.write(&format!("{name}.c"), source), self.path(name));
        let mut compiler = Command::new("cc");
        compiler.args(options).arg("-o").arg(&program).arg(&source);
        assert!(compiler.status().expect("a C compiler").success(), "{name}");
        program
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node, `multiproc-node`, which ends with the test.
pub(crate) struct Node(pub(crate) Child);

impl Node {
    /// Starts one with a worker: as `command` has it, which gets its program and arguments.
    pub(crate) fn start(mut command: Command, url: &str, key: &Key, name: &str) -> Node {
        let child = command
            .args([env!("CARGO_BIN_EXE_multiproc-node"), "--hands", "1", "--name", name, url])
            .env("MULTIPROC_KEY", key.text_for_tests())
            .spawn()
            .expect("started");
        Node(child)
    }

    /// Has it leave, and returns the code with which it ends.
    pub(crate) fn leave(mut self) -> Option<i32> {
        let killed = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(killed.expect("kill").success());
        self.0.wait().expect("ended").code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a node writes to standard error.
pub(crate) struct Journal(PathBuf);

impl Journal {
    /// Starts a node that finds the way to the broker in these variables.
    pub(crate) fn of(
        folder: &Folder,
        url: &str,
        key: &Key,
        way: &[(&str, &Path)],
    ) -> (Node, Journal) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = folder.path(&format!("journal-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut command = shell("exec \"$@\"");
        command.envs(way.iter().copied());
        command.stderr(std::fs::File::create(&path).expect("a file"));
        (Node::start(command, url, key, "node"), Journal(path))
    }

    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("read")
    }

    /// Waits until it has this.
    pub(crate) fn wait_for(&self, text: &str) {
        let since = Instant::now();
        while !self.text().contains(text) {
            assert!(since.elapsed() < MINUTE, "no {text:?} in: {}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Runs a shell with this text, which ends in `exec "$@"`.
pub(crate) fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", text, "sh"]);
    command
}

/// A broker with a configuration of its own.
pub(crate) struct Broker {
    child: Child,
    pub(crate) port: u16,
}

/// Ends the broker with its standard input, however the test ends.
const TETHER: &str = "\"$@\" & broker=$!; cat > /dev/null; kill -9 $broker; wait $broker";

impl Broker {
    /// Starts one with this configuration, on a port that was free a moment ago unless one is
    /// given. It keeps what it keeps in the folder `store`.
    pub(crate) fn start(config: &str, store: &Path, port: Option<u16>) -> Broker {
        let port = port.unwrap_or_else(|| {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
            free.local_addr().expect("address").port()
        });
        std::fs::create_dir_all(store).expect("a folder");
        let file = store.with_extension("conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{config}\n",
            store.display()
        );
        std::fs::write(&file, text).expect("written");
        let program = std::env::var_os("MULTIPROC_NATS_SERVER");
        let child = shell(TETHER)
            .arg(program.unwrap_or_else(|| "nats-server".into()))
            .arg("-c")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        wait_for("the broker starts", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Broker { child, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    /// Kills it.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
