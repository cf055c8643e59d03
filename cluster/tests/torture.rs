//! Kills at random: nodes and the broker, while maps run. Every task has exactly one outcome, and
//! the right one. `MULTIPROC_CLUSTER_ROUNDS` is the dial: kills of nodes; one in ten is the
//! broker's. It needs `nats-server`.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use multiproc::Pool;
use multiproc_cluster::Cluster;
use support::work::{Dice, map_until, once_until};

/// Kills in a short run.
const ROUNDS: u32 = 6;

#[test]
fn every_task_has_one_outcome_whatever_is_killed() {
    let rounds = std::env::var("MULTIPROC_CLUSTER_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u32 = rounds.unwrap_or(ROUNDS);
    let cluster = Cluster::local(3, 1).expect("a cluster: is there a nats-server?");
    let folder = std::env::temp_dir().join(format!("torture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("folder");
    let is_over = AtomicBool::new(false);
    let pool = Pool::builder().on(&cluster).build().expect("pool");
    std::thread::scope(|scope| {
        let maps = scope.spawn(|| map_until(&pool, &is_over));
        let text = folder.display().to_string();
        let once = scope.spawn(|| once_until(&pool, &is_over, text));
        kill_at_random(&cluster, rounds);
        is_over.store(true, Ordering::SeqCst);
        let tasks = maps.join().expect("maps");
        let (done, lost) = once.join().expect("tasks that run once");
        println!("{rounds} kills: {tasks} tasks done; once: {done} done, {lost} lost");
        assert!(tasks > 0 && done > 0);
    });
    std::fs::remove_dir_all(folder).expect("removed");
}

/// Kills nodes, which others replace, and now and then the broker, which comes back empty.
fn kill_at_random(cluster: &Cluster, rounds: u32) {
    let mut dice = Dice::new();
    let mut alive = vec![1, 2, 3];
    let mut next = 4;
    for round in 1..=rounds {
        std::thread::sleep(Duration::from_millis(300 + dice.roll(1200)));
        if round % 10 == 5 {
            cluster.tell_minder("stop server").expect("told");
            std::thread::sleep(Duration::from_millis(dice.roll(800)));
            cluster.tell_minder("start server").expect("told");
            continue;
        }
        let at = usize::try_from(dice.roll(alive.len() as u64)).expect("small");
        let node: u32 = alive.swap_remove(at);
        // With its stations, or its daemon alone.
        let how = if dice.roll(2) == 0 { "kill" } else { "end" };
        cluster.tell_minder(&format!("{how} node {node}")).expect("told");
        cluster.tell_minder("start node").expect("told");
        alive.push(next);
        next += 1;
    }
}
