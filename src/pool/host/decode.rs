//! Outcomes for users out of what was delivered.

use std::any::type_name;
use std::mem;
use std::vec;

use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::Failure;
use crate::error::TaskError;
use crate::pool::protocol::messages::{self, Reply};
use crate::pool::scheduler::job::{self, Call, Content, Delivery};
use crate::pool::scheduler::ledger;
use crate::unwind;

/// Sets how many values are decoded at once: what `Deserialize` does may panic, and to catch each
/// for itself takes longer than to decode a number.
const AHEAD: usize = 64;

/// A delivery whose outcomes are taken one by one, in order.
pub(crate) struct Opened<R> {
    delivery: Delivery,
    /// Counts how many were decoded.
    taken: u32,
    /// Where the next is in the bytes.
    at: usize,
    /// Those that were decoded, and what befell the one behind them.
    ready: vec::IntoIter<R>,
    failed: Option<Failure>,
}

impl<R: DeserializeOwned> Opened<R> {
    pub(crate) fn new(delivery: Delivery) -> Opened<R> {
        Opened { delivery, taken: 0, at: 0, ready: Vec::new().into_iter(), failed: None }
    }

    /// The outcome of the next task, if there is one.
    #[inline]
    pub(crate) fn next(&mut self, call: &Call) -> Option<Result<R, TaskError>> {
        match self.ready.next() {
            Some(value) => Some(Ok(value)),
            None => self.more(call),
        }
    }

    #[cold]
    fn more(&mut self, call: &Call) -> Option<Result<R, TaskError>> {
        if self.failed.is_none() {
            self.decode();
            if let Some(value) = self.ready.next() {
                return Some(Ok(value));
            }
        }
        let failure = self.failed.take()?;
        let number = self.delivery.first.saturating_add(self.taken.saturating_sub(1).into());
        let worker = self.delivery.worker.as_ref().map(|tag| (tag.name.clone(), tag.pid));
        Some(Err(TaskError::new(call.label(number), worker, self.delivery.attempts, failure)))
    }

    /// Decodes some of those that are left, up to one that failed.
    fn decode(&mut self) {
        let Opened { delivery, taken, at, .. } = self;
        let left = delivery.count.saturating_sub(*taken) as usize;
        if left == 0 {
            return;
        }
        let mut values = Vec::with_capacity(left.min(AHEAD));
        let decoded = unwind::catch(|| {
            while values.len() < left.min(AHEAD) {
                *taken = taken.saturating_add(1);
                match &mut delivery.content {
                    Content::Answers(bytes) => match messages::next_answer(bytes, at) {
                        Some((Reply::Returned, value)) => {
                            values.push(
                                codec::decode(value, Vec::new()).map_err(Failure::BadResult)?,
                            );
                        }
                        other => return Err(not_a_value(other)),
                    },
                    Content::Message { bytes, fds } => match messages::only_answer(bytes) {
                        Some((Reply::Returned, value)) => {
                            values.push(
                                codec::decode(value, mem::take(fds)).map_err(Failure::BadResult)?,
                            );
                        }
                        other => return Err(not_a_value(other)),
                    },
                    // To leave with code 0 counts as returning nothing, where there is nothing to
                    // return: as for a `Process`.
                    Content::Failed(Failure::Exited(0)) if size_of::<R>() == 0 => {
                        values
                            .push(codec::decode(&[], Vec::new()).map_err(|_| Failure::Exited(0))?);
                    }
                    Content::Failed(failure) if *taken == delivery.count => {
                        return Err(mem::replace(
                            failure,
                            Failure::Lost("its failure was told already".to_owned()),
                        ));
                    }
                    Content::Failed(failure) => return Err(job::again(failure)),
                }
            }
            Ok(())
        });
        self.failed = match decoded {
            Ok(done) => done.err(),
            Err(panic) => {
                Some(Failure::BadResult(format!("{}: it panicked: {panic}", type_name::<R>())))
            }
        };
        self.ready = values.into_iter();
    }
}

#[cold]
fn not_a_value(answer: Option<(Reply, &[u8])>) -> Failure {
    match answer {
        Some((verdict, reason)) => ledger::failure(verdict, reason),
        None => Failure::Lost("nothing came of it".to_owned()),
    }
}

/// The outcome of the only task of a delivery.
pub(crate) fn only<R: DeserializeOwned>(delivery: Delivery, call: &Call) -> Result<R, TaskError> {
    Opened::new(delivery).next(call).unwrap_or_else(|| {
        Err(TaskError::new(call.label(0), None, 0, Failure::Lost("nothing came of it".to_owned())))
    })
}
