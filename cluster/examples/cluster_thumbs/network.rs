//! Machines for an example: network namespaces behind a bridge, with a node in each, and a broker.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use multiproc_cluster::Key;

/// The bridge, whose address is the broker's.
const BRIDGE: &str = "mpthumbs";
const NETWORK: &str = "10.213.7";

/// Nodes in networks of their own, and the broker.
pub(super) struct Machines {
    children: Vec<Child>,
    names: Vec<String>,
    folder: PathBuf,
    broker: String,
}

impl Machines {
    /// Makes the networks, and starts all.
    pub(super) fn start(count: usize, key: &Key) -> Result<Machines, String> {
        let folder = std::env::temp_dir().join(format!("cluster-thumbs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let broker = format!("nats://{NETWORK}.1:4222");
        let mut machines = Machines { children: Vec::new(), names: Vec::new(), folder, broker };
        ip(&["link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{NETWORK}.1/24"), "dev", BRIDGE])?;
        ip(&["link", "set", BRIDGE, "up"])?;
        let server = std::env::var_os("MULTIPROC_NATS_SERVER");
        let server = Command::new(server.unwrap_or_else(|| "nats-server".into()))
            .args(["-js", "-a", &format!("{NETWORK}.1"), "-p", "4222", "-sd"])
            .arg(&machines.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        machines.children.push(server.map_err(|error| format!("no nats-server: {error}"))?);
        for number in 1..=count {
            machines.add(number, key)?;
        }
        Ok(machines)
    }

    /// Makes a network, and starts a node in it.
    fn add(&mut self, number: usize, key: &Key) -> Result<(), String> {
        let name = format!("mpthumbs{number}");
        ip(&["netns", "add", &name])?;
        self.names.push(name.clone());
        let near = format!("mpth{number}");
        ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        ip(&["link", "set", &near, "master", BRIDGE, "up"])?;
        let address = format!("{NETWORK}.{}/24", number + 10);
        ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let node = Command::new("ip")
            .args(["netns", "exec", &name])
            .arg(program)
            .env("MULTIPROC_JOIN", &self.broker)
            .env("MULTIPROC_KEY", key.text_for_tests())
            .env("MULTIPROC_NODE_NAME", &name)
            .env("MULTIPROC_HANDS", "1")
            // It ends with this program, however that ends.
            .env("MULTIPROC_TETHERED", "1")
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        self.children.push(node);
        Ok(())
    }

    /// The broker's address.
    pub(super) fn broker(&self) -> &str {
        &self.broker
    }

    /// Kills a node, and cuts its network, as if the machine were gone.
    pub(super) fn kill(&self, number: usize) -> Result<(), String> {
        ip(&["link", "set", &format!("mpth{number}"), "down"])?;
        let pid = self.children.get(number).map(|node| node.id().to_string()).unwrap_or_default();
        let killed = Command::new("kill").args(["-9", &pid]).status();
        killed.map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for (number, name) in (1..).zip(&self.names) {
            // By itself it would go only when the connections of a killed node have timed out.
            let _ = ip(&["link", "del", &format!("mpth{number}")]);
            let _ = ip(&["netns", "del", name]);
        }
        let _ = ip(&["link", "del", BRIDGE]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs `ip`.
fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), why.trim()))
}
