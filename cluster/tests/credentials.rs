//! Brokers in operator mode, who know their clients by JWTs, and such as allow them little. They
//! need `nats-server`.

mod support;
#[path = "support/tokens.rs"]
mod tokens;

use std::path::Path;

use multiproc::{Pool, SharedSlice};
use multiproc_cluster::Cluster;
use support::{Broker, Folder, Journal, MINUTE, key, wait_for};
use tokens::Operator;

/// Has a cluster with one node do something.
fn works(cluster: &Cluster) {
    let pool = Pool::builder().on(cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    assert!(task.wait(MINUTE), "nothing comes back");
    assert_eq!(task.join().expect("value"), 8);
}

/// The lines of credentials that nobody else may see: the JWT, and the seed.
fn secrets(credentials: &str) -> Vec<&str> {
    let secrets = credentials.lines().filter(|line| line.len() > 50 && !line.contains("---"));
    secrets.collect()
}

/// A node that has credentials.
fn node(folder: &Folder, broker: &Broker, credentials: &Path) -> (support::Node, Journal) {
    Journal::of(folder, &broker.url(), &key(), &[("MULTIPROC_CREDENTIALS", credentials)])
}

#[test]
fn credentials_are_asked_for_and_not_shown() {
    let folder = Folder::new();
    let (operator, foreign) = (Operator::new(), Operator::new());
    let broker = Broker::start(&operator.config, &folder.path("store"), None);
    let good = folder.write("good.creds", &operator.user(None));
    let (_node, _journal) = node(&folder, &broker, &good);
    let cluster = Cluster::at(&broker.url()).key(key()).credentials(&good).connect();
    works(&cluster.expect("connected"));
    for text in [operator.user(Some(-10)), foreign.user(None)] {
        let wrong = folder.write("wrong.creds", &text);
        let cluster = Cluster::at(&broker.url()).key(key()).credentials(&wrong).connect();
        let error = cluster.expect_err("refused").to_string();
        assert!(error.contains("authorization violation"), "{error}");
        let (mut node, journal) = node(&folder, &broker, &wrong);
        assert_eq!(node.0.wait().expect("ended").code(), Some(1));
        assert!(journal.text().contains("authorization violation"), "{}", journal.text());
        for secret in secrets(&text) {
            assert!(!error.contains(secret) && !journal.text().contains(secret));
        }
    }
    let error = Cluster::at(&broker.url()).key(key()).connect().expect_err("refused").to_string();
    assert!(error.contains("authorization violation"), "{error}");
    let none = Cluster::at(&broker.url()).key(key()).credentials(folder.path("none")).connect();
    let error = none.expect_err("refused").to_string();
    assert!(error.contains("cannot read the credentials") && error.contains("/none"), "{error}");
}

#[test]
fn credentials_that_run_out_can_be_renewed() {
    let folder = Folder::new();
    let operator = Operator::new();
    let broker = Broker::start(&operator.config, &folder.path("store"), None);
    let text = operator.user(Some(3));
    let short = folder.write("short.creds", &text);
    let (node, journal) = node(&folder, &broker, &short);
    journal.wait_for("offers 1 workers");
    // Told by the broker, then again and again refused.
    journal.wait_for("is told by the broker: nats: User Authentication Expired");
    journal.wait_for("waits for the broker: nats: authorization violation");
    folder.write("renewed.creds", &operator.user(None));
    // As those do who renew it: at once, so that no half of it is seen.
    std::fs::rename(folder.path("renewed.creds"), &short).expect("renamed");
    journal.wait_for("is connected to the broker");
    let cluster = Cluster::at(&broker.url()).key(key()).credentials(&short).connect();
    works(&cluster.expect("connected"));
    assert!(secrets(&text).iter().all(|secret| !journal.text().contains(secret)));
    assert_eq!(node.leave(), Some(0));
}

/// The permissions that the documentation has, for a broker that writes what it forbids.
fn permissions(log: &Path) -> String {
    let text = include_str!("../README.md");
    let (_, text) = text.split_once("```nginx\n").expect("a block");
    let (block, _) = text.split_once("```").expect("its end");
    format!("{block}\nlog_file: \"{}\"\n", log.display())
}

#[test]
fn the_permissions_of_the_documentation_suffice() {
    let folder = Folder::new();
    let log = folder.path("broker.log");
    let broker = Broker::start(&permissions(&log), &folder.path("store"), None);
    let url = |login: &str| format!("nats://{login}@127.0.0.1:{}", broker.port);
    // The node first, so that it is the owner who makes the store.
    let (node, journal) = Journal::of(&folder, &url("node:secret-of-nodes"), &key(), &[]);
    journal.wait_for("offers 1 workers");
    let owner = url("owner:secret-of-owners");
    let cluster = Cluster::at(&owner).key(key()).connect().expect("connected");
    works(&cluster);
    // A second pool finds the program, memory is stored and removed, and settings are long.
    let slice = SharedSlice::from_slice(&vec![1_u8; 3_000_000]).expect("slice");
    let long = vec![7_u8; 400_000];
    let pool = Pool::builder().on(&cluster).initializer(|_: Vec<u8>| {}, (long,)).build();
    let pool = pool.expect("pool");
    let sum = |slice: SharedSlice<u8>| slice.iter().map(|n| u64::from(*n)).sum::<u64>();
    let task = pool.submit(sum, (slice,));
    assert!(task.wait(MINUTE), "nothing comes back");
    assert_eq!(task.join().expect("value"), 3_000_000);
    drop(pool);
    wait_for("the node sees that it is over", || cluster.nodes().len() == 1);
    assert_eq!(node.leave(), Some(0));
    drop(cluster);
    let said = std::fs::read_to_string(&log).expect("the broker's log");
    assert!(said.contains("Server is ready"), "{said}");
    assert!(!said.contains("Violation"), "{said}");
    // It does forbid, and who is forbidden something hears of it.
    let (node, journal) = Journal::of(&folder, &owner, &key(), &[]);
    journal.wait_for("is told by the broker: nats: Permissions Violation for Publish");
    assert!(!journal.text().contains("secret"), "{}", journal.text());
    assert_eq!(node.leave(), Some(0));
}

#[test]
fn a_node_that_waits_for_a_program_leaves_when_it_is_told() {
    let folder = Folder::new();
    // It is asked to work, and must not fetch what with.
    let users = "authorization { users: [ { user: owner, password: secret }, { user: node, \
                 password: secret, permissions: { publish: { deny: \"$JS.API.DIRECT.>\" } } } ] }";
    let broker = Broker::start(users, &folder.path("store"), None);
    let url = |user: &str| format!("nats://{user}:secret@127.0.0.1:{}", broker.port);
    let (node, journal) = Journal::of(&folder, &url("node"), &key(), &[]);
    let cluster = Cluster::at(&url("owner")).key(key()).connect().expect("connected");
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    let task = pool.submit(u32::pow, (2, 3));
    journal.wait_for("asks for");
    // Now it does not count what it tries, as the broker is to blame.
    drop(broker);
    journal.wait_for("waits for the broker");
    assert_eq!(node.leave(), Some(0));
    assert!(!task.wait(std::time::Duration::ZERO));
}
