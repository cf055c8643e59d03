//! Brokers that ask for more, have less, or come back with what they had earlier. They need
//! `nats-server` and `openssl`.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use multiproc::Pool;
use multiproc_cluster::{Cluster, ClusterBuilder};
use support::{Broker, Folder, Node, key, shell, wait_for};

/// A node that finds the way to the broker in these variables.
fn node(url: &str, variables: &[(&str, &Path)]) -> Node {
    let mut command = shell("exec \"$@\"");
    command.envs(variables.iter().copied());
    Node::start(command, url, &key(), "node")
}

/// Has a cluster with one node do something.
fn works(builder: ClusterBuilder) {
    let cluster = builder.key(key()).connect().expect("connected");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    assert_eq!(pool.apply(u32::pow, (2, 3)).expect("value"), 8);
}

/// Returns why no cluster can be reached. The secrets of the test are not in it.
fn refusal(builder: ClusterBuilder) -> String {
    let text = builder.key(key()).connect().expect_err("refused").to_string();
    assert!(!text.contains("secret"), "{text}");
    text
}

/// Makes a certificate for this machine, with its key, in a folder. Returns the certificate's path.
fn certificate(folder: &Folder, name: &str) -> std::path::PathBuf {
    let path = folder.path(&format!("{name}.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=broker"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        // What is its own authority has to say that it is none, to be a server's.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.path(&format!("{name}.key")))
        .arg("-out")
        .arg(&path)
        .stderr(std::process::Stdio::null())
        .status();
    assert!(made.expect("openssl").success());
    path
}

#[test]
fn a_broker_is_reached_by_tls_and_known_by_its_certificate() {
    let folder = Folder::new();
    let (right, wrong) = (certificate(&folder, "right"), certificate(&folder, "wrong"));
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        right.display(),
        folder.path("right.key").display()
    );
    let broker = Broker::start(&tls, &folder.path("store"), None);
    let _node = node(&broker.url(), &[("MULTIPROC_TLS_CA", &right)]);
    works(Cluster::at(&broker.url()).tls(&right));
    let error = refusal(Cluster::at(&broker.url()).tls(&wrong));
    assert!(error.contains("certificate"), "{error}");
    let error = refusal(Cluster::at(&broker.url()).tls(folder.path("none.pem")));
    assert!(error.contains("No such file"), "{error}");
}

#[test]
fn a_name_and_a_password_are_asked_for_and_not_shown() {
    let folder = Folder::new();
    let users = "authorization { users: [ { user: me, password: secret } ] }";
    let broker = Broker::start(users, &folder.path("store"), None);
    let url = |login: &str| format!("nats://{login}@127.0.0.1:{}", broker.port);
    let _node = node(&url("me:secret"), &[]);
    works(Cluster::at(&broker.url()).user("me", "secret"));
    works(Cluster::at(&url("me:secret")));
    for wrong in [
        Cluster::at(&broker.url()),
        Cluster::at(&broker.url()).user("me", "secret2"),
        Cluster::at(&url("me:secret2")),
    ] {
        let error = refusal(wrong);
        assert!(error.contains("authorization"), "{error}");
    }
}

#[test]
fn a_token_is_asked_for_and_not_shown() {
    let folder = Folder::new();
    let broker = Broker::start("authorization { token: secret }", &folder.path("store"), None);
    let _node = node(&format!("nats://secret@127.0.0.1:{}", broker.port), &[]);
    works(Cluster::at(&broker.url()).token("secret"));
    assert!(refusal(Cluster::at(&broker.url()).token("secret2")).contains("authorization"));
}

/// An nkey made for this test alone: its seed, and what the broker is told of it.
const SEED: &str = "SUAIQTPHG4O6WM4QBJCHMTBAU6J2JUU677FDWN2PF4ERR7WGVCB6AI6MCI";
const PUBLIC: &str = "UAY5P6F6G3H6UJW53OTANLKPFZWETNXS74BEVA5NRUGKLOUPR7GDNJTK";

#[test]
fn an_nkey_is_asked_for() {
    let folder = Folder::new();
    let users = format!("authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}");
    let broker = Broker::start(&users, &folder.path("store"), None);
    let seed = folder.write("seed", &format!("{SEED}\n"));
    let _node = node(&broker.url(), &[("MULTIPROC_NKEY", &seed)]);
    works(Cluster::at(&broker.url()).nkey(&seed));
    assert!(refusal(Cluster::at(&broker.url())).contains("authorization"));
    let error = refusal(Cluster::at(&broker.url()).nkey(folder.path("none")));
    assert!(error.contains("cannot read the nkey"), "{error}");
}

#[test]
fn a_broker_for_short_messages_is_an_error() {
    let folder = Folder::new();
    let broker = Broker::start("max_payload: 65536", &folder.path("store"), None);
    let error = refusal(Cluster::at(&broker.url()));
    assert!(error.contains("max_payload"), "{error}");
}

#[test]
fn a_broker_without_room_for_the_program_is_an_error() {
    let folder = Folder::new();
    // In place of the block that every broker has here.
    let full = "jetstream { max_mem: 1048576 }";
    let broker = Broker::start(full, &folder.path("store"), None);
    let cluster = Cluster::at(&broker.url()).key(key()).connect().expect("connected");
    let error = Pool::builder().on(&cluster).build().unwrap_err().to_string();
    assert!(error.contains("cannot store this program at the broker"), "{error}");
}

#[test]
fn a_broker_without_a_store_is_an_error() {
    let folder = Folder::new();
    let broker = Broker::start("jetstream: false", &folder.path("store"), None);
    let cluster = Cluster::at(&broker.url()).key(key()).connect().expect("connected");
    let error = Pool::builder().on(&cluster).build().unwrap_err().to_string();
    assert!(error.contains("-js"), "{error}");
}

#[test]
fn a_node_that_the_broker_refuses_ends_and_one_that_waits_can_be_ended() {
    let folder = Folder::new();
    let broker = Broker::start("authorization { token: secret }", &folder.path("store"), None);
    let mut wrong = node(&broker.url(), &[]);
    assert_eq!(wrong.0.wait().expect("ended").code(), Some(1));
    let url = broker.url();
    drop(broker);
    let mut waits = node(&url, &[]);
    // Its handler is there once it has begun to wait for signals, soon after its start.
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", waits.0.id()));
        let line = status.expect("status");
        let line = line.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).expect("a line");
        u64::from_str_radix(line, 16).expect("a mask") & (1 << 14) != 0
    };
    wait_for("it awaits signals", caught);
    let killed = Command::new("kill").arg(waits.0.id().to_string()).status();
    assert!(killed.expect("kill").success());
    assert_eq!(waits.0.wait().expect("ended").code(), Some(0));
}

#[test]
fn a_broker_that_comes_back_and_refuses_is_waited_for() {
    let folder = Folder::new();
    let broker = Broker::start("", &folder.path("store"), None);
    let (url, port) = (broker.url(), broker.port);
    let cluster = Cluster::at(&url).key(key()).connect().expect("connected");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    drop(broker);
    let strict = "authorization { token: secret }";
    let broker = Broker::start(strict, &folder.path("store"), Some(port));
    assert!(!task.wait(Duration::from_secs(1)));
    drop(broker);
    let _broker = Broker::start("", &folder.path("store"), Some(port));
    let _node = node(&url, &[]);
    assert_eq!(task.join().expect("value"), 8);
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

#[test]
fn a_broker_that_comes_back_as_it_was_earlier_has_lost_nothing() {
    let folder = Folder::new();
    let (store, earlier) = (folder.path("store"), folder.path("earlier"));
    let broker = Broker::start("", &store, None);
    let port = broker.port;
    let _first = node(&broker.url(), &[]);
    let cluster = Cluster::at(&broker.url()).key(key()).connect().expect("connected");
    // What it has on its disk before there is any pool.
    copy(&store, &earlier);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let url = broker.url();
    let mut broker = Some(broker);
    let mut values = Vec::new();
    let nap = |n: u64| {
        std::thread::sleep(Duration::from_millis(10));
        n
    };
    for outcome in pool.tasks().chunk_size(1).imap(nap, 0..200) {
        values.push(outcome.expect("value"));
        if values.len() == 50 {
            drop(broker.take());
            std::fs::remove_dir_all(&store).expect("removed");
            copy(&earlier, &store);
            broker = Some(Broker::start("", &store, Some(port)));
        }
    }
    assert!(values.into_iter().eq(0..200));
    // One that joins now needs the program, of which that broker never heard.
    let _second = node(&url, &[]);
    wait_for("the second works", || {
        let _ = pool.tasks().chunk_size(1).map(nap, 0..6).expect("values");
        cluster.nodes().iter().filter(|node| node.tasks > 0).count() == 2
    });
}
