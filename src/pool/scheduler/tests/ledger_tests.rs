//! Tests of answers and claims that contradict a worker's ledger.

use std::sync::Arc;
use std::time::Instant;

use crate::codec;
use crate::error::Failure;
use crate::pool::host::map_results::MapResults;
use crate::pool::protocol::bulk::Bulk;
use crate::pool::scheduler::job::{Call, Job, Sink, Tag};
use crate::pool::scheduler::ledger::Ledger;

#[test]
fn answers_that_are_missing_are_delivered_as_such() {
    let (mut ledger, results) = with_two_jobs();
    // Two answers, it says, and gives none.
    ledger.hear_block(2, &[]);
    let delivered: u32 = results.take().iter().map(|delivery| delivery.count).sum();
    let (back, failed) = ledger.settle(4, || Failure::Exited(1));
    assert_eq!((delivered, tasks_of(&back), failed.is_some()), (2, 1, true));
}

/// A ledger with two jobs of two tasks each.
fn with_two_jobs() -> (Ledger, Arc<MapResults>) {
    let results = Arc::new(MapResults::new(Call::new(None, "f", Arc::default(), true)));
    let mut ledger = Ledger::new(
        Arc::new(Tag { name: "worker".to_owned(), pid: 1 }),
        codec::MAX_FDS,
        Instant::now(),
    );
    for first in [0, 2] {
        let sink = Arc::clone(&results) as Arc<dyn Sink>;
        ledger.enter(
            Job {
                sink,
                first,
                count: 2,
                failed: 0,
                put_off: 0,
                place: None,
                bytes: Bulk::new(vec![0; 2]),
                fds: Vec::new(),
            },
            Instant::now(),
        );
    }
    (ledger, results)
}

fn tasks_of(jobs: &[Job]) -> u32 {
    jobs.iter().map(|job| job.count).sum()
}

#[test]
fn what_a_worker_claims_to_have_begun_is_no_more_than_it_has() {
    for (claimed, back, left) in
        [(0, 4, 0), (1, 3, 1), (2, 2, 2), (3, 2, 2), (u64::MAX - 1, 2, 2), (u64::MAX, 2, 2)]
    {
        let (mut ledger, _) = with_two_jobs();
        assert_eq!(
            (tasks_of(&ledger.take_back(claimed)), ledger.tasks()),
            (back, left),
            "{claimed}"
        );
        let (mut ledger, _) = with_two_jobs();
        let (back, failed) = ledger.settle(claimed, || Failure::Exited(1));
        assert_eq!(
            (tasks_of(&back), failed.is_some()),
            if claimed == 0 { (4, false) } else { (3, true) },
            "{claimed}"
        );
    }
}

#[test]
fn what_a_worker_claims_to_have_finished_is_no_more_than_it_was_given() {
    for claimed in [5, 1000, u32::MAX] {
        let (mut ledger, results) = with_two_jobs();
        ledger.hear_block(claimed, &[0; 16]);
        assert!(ledger.is_garbled, "{claimed}");
        assert_eq!((ledger.finished, ledger.tasks()), (4, 0), "{claimed}");
        let delivered: u32 = results.take().iter().map(|delivery| delivery.count).sum();
        assert_eq!(delivered, 4, "{claimed}");
    }
}
