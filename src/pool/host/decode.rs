//! Decodes deliveries into outcomes for users.
//!
//! Values are decoded in the thread that asks for them, not in the supervisor: `Deserialize` is
//! code of the user's, may be slow and may panic, and nothing of the pool is locked meanwhile. A
//! value that cannot be decoded fails its own task only.

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

/// Values that are decoded under one `catch_unwind`, which costs more than to decode a number.
const AHEAD: usize = 64;

/// A delivery whose outcomes are taken one by one, in order. It gives exactly as many outcomes as
/// the delivery counts, whatever its bytes are.
pub(crate) struct Opened<R> {
    delivery: Delivery,
    /// Number of tasks that were looked at so far.
    taken: u32,
    /// Offset of the next answer.
    at: usize,
    /// Values that are decoded and not taken.
    ready: vec::IntoIter<R>,
    /// Failure of the task behind those values.
    failed: Option<Failure>,
}

impl<R: DeserializeOwned> Opened<R> {
    /// Opens a delivery. Decodes nothing yet.
    pub(crate) fn new(delivery: Delivery) -> Opened<R> {
        Opened { delivery, taken: 0, at: 0, ready: Vec::new().into_iter(), failed: None }
    }

    /// Returns whether an outcome is left.
    pub(crate) fn has_more(&self) -> bool {
        self.taken < self.delivery.count || self.ready.len() > 0 || self.failed.is_some()
    }

    /// Returns the outcome of the next task; `None` after the last.
    #[inline]
    pub(crate) fn next(&mut self, call: &Call) -> Option<Result<R, TaskError>> {
        match self.ready.next() {
            Some(value) => Some(Ok(value)),
            None => self.more(call),
        }
    }

    /// Decodes some more, or gives the failure that stands behind the values that were taken. Apart
    /// from `next`, which is inlined into the user's loop.
    #[cold]
    fn more(&mut self, call: &Call) -> Option<Result<R, TaskError>> {
        if self.failed.is_none() {
            self.decode();
            if let Some(value) = self.ready.next() {
                return Some(Ok(value));
            }
        }
        let failure = self.failed.take()?;
        // `taken` counts the failed one already.
        let number = self.delivery.first.saturating_add(self.taken.saturating_sub(1).into());
        let worker = self.delivery.worker.as_ref().map(|tag| (tag.name.clone(), tag.pid));
        Some(Err(TaskError::new(call.label(number), worker, self.delivery.attempts, failure)))
    }

    /// Decodes up to [`AHEAD`] values, and stops at the first task that failed.
    fn decode(&mut self) {
        let Opened { delivery, taken, at, .. } = self;
        let left = delivery.count.saturating_sub(*taken) as usize;
        if left == 0 {
            return;
        }
        // By what a delivery claims, but bounded: the count comes from the ledger, the bytes from a
        // worker.
        let mut values = Vec::with_capacity(left.min(AHEAD));
        let decoded = unwind::catch(|| {
            while values.len() < left.min(AHEAD) {
                // Before it is decoded: a panic in `Deserialize` fails this task and is not met
                // again.
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
                    // A delivery of one task, whose message was kept whole as it is long or has
                    // descriptors.
                    Content::Message { bytes, fds } => match messages::only_answer(bytes) {
                        Some((Reply::Returned, value)) => {
                            values.push(
                                codec::decode(value, mem::take(fds)).map_err(Failure::BadResult)?,
                            );
                        }
                        other => return Err(not_a_value(other)),
                    },
                    // `exit(0)` counts as returning a zero-sized result, as for a `Process`.
                    Content::Failed(Failure::Exited(0)) if size_of::<R>() == 0 => {
                        values
                            .push(codec::decode(&[], Vec::new()).map_err(|_| Failure::Exited(0))?);
                    }
                    // The last of them gets the original, which may hold an error of the system
                    // that has no copy.
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

/// The failure that an answer other than a value stands for.
#[cold]
fn not_a_value(answer: Option<(Reply, &[u8])>) -> Failure {
    match answer {
        Some((verdict, reason)) => ledger::failure(verdict, reason),
        // Fewer answers than tasks: garbage of a worker that counts wrongly.
        None => Failure::Lost("nothing came of it".to_owned()),
    }
}

/// Decodes the outcome of the only task of a delivery.
pub(crate) fn only<R: DeserializeOwned>(delivery: Delivery, call: &Call) -> Result<R, TaskError> {
    Opened::new(delivery).next(call).unwrap_or_else(|| {
        Err(TaskError::new(call.label(0), None, 0, Failure::Lost("nothing came of it".to_owned())))
    })
}
