//! Failures of tasks as bytes, for pools whose workers are elsewhere: what a pool of another
//! machine says of a task is what its own program would have been told.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::Failure;
use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::unwind::Panic;

/// A failure in transit. An error of the system has no bytes; it becomes its text.
#[derive(Serialize, Deserialize)]
enum Told {
    Panicked(Panic),
    Exited(i32),
    Signalled(i32, bool),
    BadArguments(String),
    BadResult(String),
    NotRun(String),
    Limit(LimitReached),
    Cancelled(String),
    Lost(String),
    NodeLost(String),
}

/// Encodes a failure.
pub(crate) fn encode(failure: &Failure) -> Vec<u8> {
    let told = match failure {
        Failure::Panicked(panic) => Told::Panicked(panic.clone()),
        Failure::Exited(code) => Told::Exited(*code),
        Failure::Signalled { signal, core_dumped } => {
            Told::Signalled(signal.number(), *core_dumped)
        }
        Failure::BadArguments(reason) => Told::BadArguments(reason.clone()),
        Failure::BadResult(reason) => Told::BadResult(reason.clone()),
        Failure::NotRun(reason) => Told::NotRun(reason.clone()),
        Failure::Limit(limit) => Told::Limit(*limit),
        Failure::Cancelled(reason) => Told::Cancelled(reason.clone()),
        Failure::Lost(reason) => Told::Lost(reason.clone()),
        Failure::NodeLost(reason) => Told::NodeLost(reason.clone()),
    };
    let mut bytes = Vec::new();
    // Only a want of memory could fail it; what is then missing is told as such where it is read.
    let _ = codec::encode_plain(&told, &mut bytes);
    bytes
}

/// Decodes a failure. What is none is told as a task of which nothing is known.
pub(crate) fn decode(bytes: &[u8]) -> Failure {
    match codec::decode_plain(bytes) {
        Ok(Told::Panicked(panic)) => Failure::Panicked(panic),
        Ok(Told::Exited(code)) => Failure::Exited(code),
        Ok(Told::Signalled(signal, core_dumped)) => {
            Failure::Signalled { signal: Signal::new(signal), core_dumped }
        }
        Ok(Told::BadArguments(reason)) => Failure::BadArguments(reason),
        Ok(Told::BadResult(reason)) => Failure::BadResult(reason),
        Ok(Told::NotRun(reason)) => Failure::NotRun(reason),
        Ok(Told::Limit(limit)) => Failure::Limit(limit),
        Ok(Told::Cancelled(reason)) => Failure::Cancelled(reason),
        Ok(Told::Lost(reason)) => Failure::Lost(reason),
        Ok(Told::NodeLost(reason)) => Failure::NodeLost(reason),
        Err(reason) => Failure::Lost(format!("its failure cannot be understood: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failure_comes_out_as_it_went_in() {
        for failure in [
            Failure::Exited(3),
            Failure::Signalled { signal: Signal::SEGV, core_dumped: true },
            Failure::BadArguments("a".to_owned()),
            Failure::BadResult("b".to_owned()),
            Failure::NotRun("c".to_owned()),
            Failure::Limit(LimitReached::Deadline(Duration::from_millis(5))),
            Failure::Cancelled("d".to_owned()),
            Failure::Lost("e".to_owned()),
            Failure::NodeLost("f".to_owned()),
        ] {
            assert_eq!(decode(&encode(&failure)).to_string(), failure.to_string());
        }
        assert!(decode(&[250, 1, 2]).to_string().contains("cannot be understood"));
    }
}
