//! A pool's worker that says anything at any time. Whatever it says, every task has one outcome.

use std::sync::Arc;
use std::time::Instant;

use super::input::Input;
use crate::codec::{self, MAX_FDS};
use crate::error::Failure;
use crate::pool::Retry;
use crate::pool::host::decode::Opened;
use crate::pool::host::map_results::MapResults;
use crate::pool::protocol::bulk::Bulk;
use crate::pool::protocol::claim::ClaimHandle;
use crate::pool::protocol::messages::{self, Reply};
use crate::pool::scheduler::job::{Call, Job, Options, Sink, Tag};
use crate::pool::scheduler::ledger::Ledger;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let options = Options { retry: Retry::times((input.byte() % 3).into()), ..Options::default() };
    let results = Arc::new(MapResults::new(Call::new(None, "f", Arc::new(options), true)));
    let mut ledger =
        Ledger::new(Arc::new(Tag { name: "worker".to_owned(), pid: 1 }), MAX_FDS, Instant::now());
    let (mut word, mut gate) = (0_u64, ClaimHandle::default());
    let mut given = 0;
    let mut back = Vec::new();
    while !input.is_empty() && !ledger.is_garbled {
        match input.byte() % 8 {
            0 | 1 => {
                let count = u32::from(input.byte() % 20) + 1;
                ledger.enter(job(&results, given, count), Instant::now());
                given += u64::from(count);
            }
            2 => ledger.hear(&mut input.some().to_vec(), Vec::new()),
            3 => ledger.hear(&mut [&[Reply::Returned as u8], input.some()].concat(), Vec::new()),
            4 => {
                let answer = [vec![Reply::Panicked as u8], vec![7; 5000]].concat();
                ledger.hear(&mut { answer }, Vec::new());
            }
            5 => {
                let count = u16::from(input.byte());
                ledger.hear(
                    &mut [&messages::block_head(count)[..], input.some()].concat(),
                    Vec::new(),
                );
            }
            6 => word = input.word(),
            _ => {
                // The pool takes back what is not begun, by what the worker's word says.
                let shared = word.into();
                let (begun, _) = gate.close(&shared);
                word = shared.into_inner();
                back.append(&mut ledger.take_back(begun));
            }
        }
    }
    let (rest, failed) = ledger.settle(gate.begun(&word.into()), || Failure::Exited(1));
    back.extend(rest);
    back.append(&mut ledger.again);
    if let Some(failed) = failed {
        back.extend(failed.settle(&ledger.tag).err());
    }
    let mut outcomes = vec![0_u32; usize::try_from(given).unwrap_or_default()];
    for job in back {
        assert!(job.bytes.len() >= job.count as usize, "arguments were lost");
        (job.first..job.first + u64::from(job.count))
            .for_each(|number| seen(&mut outcomes, number));
    }
    for delivery in results.take() {
        let first = delivery.first;
        let mut opened = Opened::<u64>::new(delivery);
        let all = std::iter::from_fn(|| opened.next(results.call()));
        all.zip(first..).for_each(|(_, number)| seen(&mut outcomes, number));
    }
    assert!(
        outcomes.iter().all(|count| *count == 1),
        "a task has no outcome, or several: {outcomes:?}"
    );
}

fn seen(outcomes: &mut [u32], number: u64) {
    outcomes[usize::try_from(number).unwrap_or(usize::MAX)] += 1;
}

fn job(results: &Arc<MapResults>, first: u64, count: u32) -> Job {
    let mut bytes = Vec::new();
    for number in first..first + u64::from(count) {
        let encode =
            |onto: &mut Vec<u8>| codec::encode_within(&number, onto, usize::MAX, &mut Vec::new());
        messages::framed(&mut bytes, false, encode).expect("a number").keep();
    }
    let sink = Arc::clone(results) as Arc<dyn Sink>;
    Job {
        sink,
        first,
        count,
        failed: 0,
        put_off: 0,
        place: None,
        bytes: Bulk::new(bytes),
        fds: Vec::new(),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let value = |bytes: &[u8]| [&[3, bytes.len() as u8][..], bytes].concat();
    let block = |count: u8| [vec![5, count, 2 * count], [1, 7].repeat(count.into())].concat();
    // One by one, in blocks over several jobs, and taken back in the middle, by the honest word and
    // by another.
    let single = [vec![0, 0, 9], (0..10).flat_map(|n| value(&[n])).collect()].concat();
    let blocks =
        [vec![1, 0, 9, 0, 4, 0, 19], block(3), block(12), block(19), vec![2, 1, 2, 4]].concat();
    let taken = [
        vec![2, 0, 9],
        block(4),
        vec![6, 1, 6, 7],
        value(&[5]),
        value(&[6]),
        vec![0, 5, 7],
        block(2),
    ]
    .concat();
    let forged =
        [vec![0, 0, 15, 0, 3, 6, 2, 1, 7], block(9), vec![6, 7, 255, 255, 0, 0, 0, 0, 0, 128, 7]]
            .concat();
    vec![single, blocks, taken, forged]
}
