//! Pools whose workers, their children and the fork server are killed at any moment, with
//! deadlines, cancels, panics and exits: each task has one outcome, the right one, and nothing is
//! left at the end.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use multiproc::{Failure, Pool, SharedMemory, Task};

use crate::dice::{self, Dice};
use crate::support::{METHODS, children_of, open_fds, send_signal};

const TASKS: usize = 300;

/// What a task is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Deed {
    Return,
    Nap(u64),
    Stick,
    Panic,
    Exit,
    Abort,
    StartChild,
    Big,
}

fn work(runs: SharedMemory, number: usize, deed: Deed) -> Vec<u8> {
    runs.atomics::<AtomicU32>()[number].fetch_add(1, Ordering::SeqCst);
    match deed {
        Deed::Return => {}
        Deed::Nap(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        Deed::Stick => std::thread::sleep(Duration::from_secs(600)),
        Deed::Panic => panic!("task {number}"),
        Deed::Exit => std::process::exit(9),
        Deed::Abort => std::process::abort(),
        Deed::StartChild => {
            let _ = Command::new("sleep").arg("600").spawn();
        }
        Deed::Big => return vec![7; 300_000],
    }
    number.to_le_bytes().to_vec()
}

fn deed(dice: &Dice) -> Deed {
    match dice.below(40) {
        0..6 => Deed::Nap(dice.below(4)),
        6 => Deed::Panic,
        7 => Deed::Exit,
        8 => Deed::Abort,
        9 => Deed::StartChild,
        10 => Deed::Big,
        11 if dice.below(4) == 0 => Deed::Stick,
        _ => Deed::Return,
    }
}

/// Kills what it finds: workers, what they started, the fork server.
fn hunt(round: u32, is_over: &AtomicBool) {
    let dice = Dice::of_round(round.wrapping_add(1_000_003));
    while !is_over.load(Ordering::Relaxed) {
        dice.pause(Duration::from_millis(20));
        let children = children_of(std::process::id());
        if children.is_empty() || dice.below(3) != 0 {
            continue;
        }
        let at = usize::try_from(dice.below(children.len() as u64)).expect("a place");
        let grandchildren = children_of(children[at]);
        let victim = *grandchildren.first().filter(|_| dice.below(2) == 0).unwrap_or(&children[at]);
        send_signal(victim, libc::SIGKILL);
    }
}

pub(crate) fn pools_survive_whoever_is_killed() {
    drop(Pool::new(1).expect("pool"));
    let before = open_fds();
    for round in 0..dice::own_rounds().div_ceil(4) {
        let dice = Dice::of_round(round);
        let method = METHODS[usize::try_from(dice.below(2)).expect("one")];
        let mut pool = Pool::builder().processes(1 + usize::try_from(dice.below(3)).expect("few"));
        pool = pool.start_method(method).grace(Duration::from_millis(50)).max_restarts(1000);
        if dice.below(3) == 0 {
            pool = pool.max_tasks_per_child(1 + dice.below(20));
        }
        let pool = pool.build().expect("pool");
        let runs = SharedMemory::new(4 * TASKS).expect("memory");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| hunt(round, &is_over));
            let deeds: Vec<_> = (0..TASKS).map(|_| deed(&dice)).collect();
            let tasks: Vec<Task<Vec<u8>>> = (0..TASKS)
                .map(|n| {
                    pool.tasks()
                        .deadline(Duration::from_millis(150))
                        .submit(work, (runs.clone(), n, deeds[n]))
                })
                .collect();
            dice.pause(Duration::from_millis(10));
            let cancelled: Vec<_> =
                tasks.iter().map(|task| dice.below(12) == 0 && task.cancel()).collect();
            for (n, task) in tasks.into_iter().enumerate() {
                let outcome = task
                    .join_timeout(Duration::from_secs(60))
                    .transpose()
                    .expect("it has an outcome");
                let ran = runs.atomics::<AtomicU32>()[n].load(Ordering::SeqCst);
                assert!(ran <= 1, "task {n} of round {round} ran {ran} times");
                let what = (deeds[n], cancelled[n]);
                match outcome {
                    Ok(value) => {
                        assert!(!cancelled[n] && ran == 1, "task {n} of round {round}");
                        match deeds[n] {
                            Deed::Big => {
                                assert!(value == vec![7; 300_000], "task {n} of round {round}")
                            }
                            Deed::Return | Deed::Nap(_) | Deed::StartChild => {
                                assert_eq!(value, n.to_le_bytes())
                            }
                            other => panic!("task {n} of round {round} was {other:?} and returned"),
                        }
                    }
                    Err(error) => match error.failure() {
                        Failure::Cancelled(_) => assert!(cancelled[n], "{what:?}: {error}"),
                        Failure::Panicked(_) => assert_eq!(what, (Deed::Panic, false)),
                        Failure::Exited(9) => assert_eq!(what, (Deed::Exit, false)),
                        // Killed by the hunt, or by itself; late because it sticks, or because the
                        // machine is busy.
                        Failure::Signalled { .. } | Failure::Limit(_) => {
                            assert!(!cancelled[n] && ran <= 1)
                        }
                        other => panic!("task {n} of round {round} ({what:?}): {other}"),
                    },
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        pool.close();
        assert!(pool.join_timeout(Duration::from_secs(60)).expect("closed"), "round {round}");
        drop(pool);
    }
    let left = open_fds();
    assert!(left.len() <= before.len() + 4, "descriptors: {before:?}, then {left:?}");
}
