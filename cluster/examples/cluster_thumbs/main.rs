//! Thumbnails of many pictures, made on three nodes, one of which is killed in the middle: the
//! result is the same as on one machine. Some pictures are broken, and some mean harm.
//!
//! ```console
//! # cargo run --release -p multiproc-cluster --features cage --example cluster_thumbs
//! ```
//!
//! As root, each node is in a network of its own, as a machine would be: a namespace with an
//! address, behind a bridge. For other users the nodes are processes of this machine. It needs
//! `nats-server`.

mod network;
mod pictures;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use multiproc::{Cage, Failure, Limits, Pool, PoolBuilder, TaskError};
use multiproc_cluster::{Cluster, Key};

use network::Machines;

/// Pictures, unless an argument says how many.
const PICTURES: u64 = 600;

/// What one picture may take of a worker.
const DEADLINE: Duration = Duration::from_secs(2);
const MEMORY: u64 = 256 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cluster_thumbs: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(PICTURES);
    let key = Key::random()?;
    let machines = Machines::start(3, &key);
    let (cluster, machines) = match machines {
        Ok(machines) => (Cluster::at(machines.broker()).key(key).connect()?, Some(machines)),
        Err(why) => {
            println!("nodes are processes of this machine: {why}");
            (Cluster::local(3, 1)?, None)
        }
    };
    let pool = prepared().on(&cluster).build()?;
    let since = Instant::now();
    let there = thumbnails(&pool, count, |done| {
        if done == count / 3 {
            println!("{done} done: killing a node");
            match &machines {
                Some(machines) => machines.kill(1),
                None => cluster.tell_minder("kill node 1").map_err(|error| error.to_string()),
            }
            .unwrap_or_else(|why| println!("it cannot be killed: {why}"));
        }
    });
    println!("three nodes: {}", told(&there, since.elapsed()));
    for node in cluster.nodes() {
        println!("  {}: {} tasks", node.name, node.tasks);
    }
    drop(pool);
    let pool = prepared().processes(2).build()?;
    let since = Instant::now();
    let here = thumbnails(&pool, count, |_| ());
    println!("this machine: {}", told(&here, since.elapsed()));
    if there != here {
        return Err("the results differ".into());
    }
    println!("the results are the same");
    Ok(())
}

/// Workers that no picture can harm much.
fn prepared() -> PoolBuilder {
    Pool::builder().limits(Limits::new().resident(MEMORY)).cage(Cage::new())
}

/// Makes all thumbnails. Calls `each` with the number of those that are done.
fn thumbnails(pool: &Pool, count: u64, each: impl Fn(u64)) -> Vec<Result<Vec<u8>, String>> {
    let pictures = (0..count).map(pictures::picture);
    let tasks = pool.tasks().deadline(DEADLINE).chunk_size(1);
    let mut all = Vec::new();
    for outcome in tasks.imap(pictures::thumbnail, pictures) {
        // What the decoder refuses, and what the picture did to its worker.
        all.push(outcome.map_err(|error| reason(&error)).and_then(|made| made));
        each(all.len() as u64);
    }
    all
}

/// Says how a task failed, without what differs from worker to worker.
fn reason(error: &TaskError) -> String {
    match error.failure() {
        Failure::Limit(limit) => limit.to_string(),
        other => other.to_string(),
    }
}

fn told(all: &[Result<Vec<u8>, String>], time: Duration) -> String {
    let made = all.iter().filter(|outcome| outcome.is_ok()).count();
    let bytes: usize = all.iter().flatten().map(Vec::len).sum();
    format!(
        "{made} thumbnails of {bytes} bytes, {} pictures refused, in {:.1} s",
        all.len() - made,
        time.as_secs_f64()
    )
}
