//! Outcomes for users out of what was delivered.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::job::{self, Call, Content, Delivery};
use super::ledger;
use super::speech::{self, Verdict};
use crate::codec;
use crate::error::Failure;
use crate::task_error::TaskError;

/// A delivery whose outcomes are taken one by one, in order.
pub(crate) struct Opened {
    delivery: Delivery,
    /// How many were taken.
    taken: u32,
    /// Where the next is in the bytes.
    at: usize,
}

impl Opened {
    pub(crate) fn new(delivery: Delivery) -> Opened {
        Opened { delivery, taken: 0, at: 0 }
    }

    /// The outcome of the next task, if there is one.
    pub(crate) fn next<R: DeserializeOwned>(&mut self, call: &Call) -> Option<Result<R, TaskError>> {
        if self.taken == self.delivery.count {
            return None;
        }
        let number = self.delivery.first + u64::from(self.taken);
        self.taken += 1;
        let is_last = self.taken == self.delivery.count;
        let failure = match &mut self.delivery.content {
            Content::Answers(bytes) => match outcome(speech::next_answer(bytes, &mut self.at), Vec::new()) {
                Ok(value) => return Some(Ok(value)),
                Err(failure) => failure,
            },
            Content::Message { bytes, fds } => match outcome(speech::only_answer(bytes), std::mem::take(fds)) {
                Ok(value) => return Some(Ok(value)),
                Err(failure) => failure,
            },
            Content::Failed(failure) if is_last => {
                std::mem::replace(failure, Failure::Lost("its failure was told already".to_owned()))
            }
            Content::Failed(failure) => job::again(failure),
        };
        let worker = self.delivery.worker.as_ref().map(|tag| (tag.name.clone(), tag.pid));
        Some(Err(TaskError::new(call.label(number), worker, self.delivery.attempts, failure)))
    }
}

#[inline]
fn outcome<R: DeserializeOwned>(answer: Option<(Verdict, &[u8])>, fds: Vec<Arc<OwnedFd>>) -> Result<R, Failure> {
    match answer {
        Some((Verdict::Returned, value)) => codec::decode(value, fds).map_err(Failure::BadResult),
        Some((verdict, reason)) => Err(ledger::failure(verdict, reason)),
        None => Err(Failure::Lost("nothing came of it".to_owned())),
    }
}

/// The outcome of the only task of a delivery.
pub(crate) fn only<R: DeserializeOwned>(delivery: Delivery, call: &Call) -> Result<R, TaskError> {
    Opened::new(delivery)
        .next(call)
        .unwrap_or_else(|| Err(TaskError::new(call.label(0), None, 0, Failure::Lost("nothing came of it".to_owned()))))
}
