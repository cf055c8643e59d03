//! The end of a child: the kernel's word, and the child's own.
//!
//! The kernel says code or signal (`waitid(2)`); the child sends at most one report, and before it
//! notes ("it is untied", "it has reached a limit"). The two can contradict each other: a function
//! may return and an exit handler crash, or the status be taken by a `wait` elsewhere in the
//! program. The rules are in `exitcode`, `value` and `failure`: a value that was returned counts,
//! then a limit, then a panic, then the signal.
//!
//! What a child says is not trusted: it is decoded within limits, and garbage is a `BadResult`.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use crate::codec;
use crate::error::Failure;
use crate::limits::LimitReached;
use crate::signal::Signal;
use crate::start::wire::{self, Message, Payload, Report};
use crate::sys::ipc::socket::{self, Mode, Received};
use crate::sys::process::pidfd::Status;

/// Everything there is to know of an ended child.
#[derive(Debug)]
pub(crate) struct End {
    /// The kernel's word.
    status: Status,
    said: Said,
    /// The limit that it noted, or that we ended it for.
    limit: Option<LimitReached>,
}

/// The child's word.
#[derive(Debug)]
enum Said {
    /// It ended without a report: killed, or it left by `_exit`.
    Nothing,
    /// With the descriptors of the value, until somebody takes it.
    Report(Report, Payload, Mutex<Vec<Arc<OwnedFd>>>),
    /// It sent something that is no report.
    Garbage(String),
}

impl End {
    /// Reads what an ended child left in its socket. An error only for want of descriptors or
    /// memory: then it stays there, or in `unopened`, for the next time.
    pub(crate) fn read(
        status: Status,
        control: &OwnedFd,
        unopened: &mut Option<Received>,
        mut limit: Option<LimitReached>,
    ) -> io::Result<End> {
        loop {
            if unopened.is_none() {
                // Without room for its descriptors, the report would come without them, and be
                // lost.
                wire::room_for_next(control.as_fd())?;
                *unopened = match socket::recv(control.as_fd(), Mode::Now) {
                    Ok(received) => received,
                    // A process that the child left behind holds the other end, but does not speak
                    // for it.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                    Err(error) => {
                        return Ok(End { status, said: Said::Garbage(error.to_string()), limit });
                    }
                };
            }
            let Some(received) = unopened else {
                return Ok(End { status, said: Said::Nothing, limit });
            };
            let said = match wire::open::<Report>(received) {
                // Said at its beginning.
                Ok(Message { header: Report::Untied, .. }) => None,
                Ok(Message { header: Report::Limit, payload, .. }) => {
                    limit = limit.or(LimitReached::from_note(&payload));
                    None
                }
                Ok(Message { header, payload, fds }) => {
                    Some(Said::Report(header, payload, Mutex::new(codec::table(fds))))
                }
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => return Err(error),
                Err(error) => Some(Said::Garbage(error.to_string())),
            };
            *unopened = None;
            if let Some(said) = said {
                return Ok(End { status, said, limit });
            }
        }
    }

    /// Returns CPython's exit code: the code, or `-signal`; what the child said if the kernel's
    /// word was taken by somebody else.
    pub(crate) fn exitcode(&self) -> Option<i32> {
        match (self.status, &self.said) {
            (Status::Signalled { signal, .. }, _) => Some(-signal),
            // The kernel keeps 8 bits of a code; the child said all of it. Of a negative one, they
            // are what counts, as in CPython: it would look like a signal.
            (Status::Exited(short), Said::Report(Report::Exiting(code), ..))
                if *code > 0 && code & 0xff == short =>
            {
                Some(*code)
            }
            (Status::Exited(code), _) => Some(code),
            (Status::Taken, Said::Report(Report::Returned, ..)) => Some(0),
            (Status::Taken, Said::Report(Report::Exiting(code), ..)) => {
                Some(if *code < 0 { code & 0xff } else { *code })
            }
            (Status::Taken, Said::Report(..)) => Some(1),
            (Status::Taken, _) => None,
        }
    }

    /// Decodes the value that the child's function returned, or says why there is none. A result
    /// longer than `max_result` bytes is refused before it is decoded.
    ///
    /// The first call gets the descriptors of the value; a later one cannot decode a value that has
    /// any.
    pub(crate) fn value<T: DeserializeOwned>(&self, max_result: u64) -> Result<T, Failure> {
        match &self.said {
            Said::Report(Report::Returned, payload, _) if payload.len() as u64 > max_result => {
                let length = payload.len();
                Err(Failure::BadResult(format!(
                    "it is {length} bytes long, more than the {max_result} that it may be \
                     (Process::max_result)"
                )))
            }
            // It returned, whatever happened to the process after.
            Said::Report(Report::Returned, payload, fds) => {
                // The first to decode the value gets them.
                let fds = mem::take(&mut *fds.lock().unwrap_or_else(PoisonError::into_inner));
                codec::decode(payload, fds).map_err(Failure::BadResult)
            }
            _ => match self.failure() {
                // To leave with code 0 is as good as to return nothing, where nothing is what there
                // is to return.
                Failure::Exited(0) if size_of::<T>() == 0 => {
                    codec::decode(&[], Vec::new()).map_err(|_| Failure::Exited(0))
                }
                failure => Err(failure),
            },
        }
    }

    /// Says why there is no value.
    pub(crate) fn failure(&self) -> Failure {
        match (self.status, &self.said) {
            // Whatever it made of the signal.
            (Status::Signalled { .. }, _)
            | (_, Said::Nothing | Said::Report(Report::Exiting(_), ..))
                if self.limit.is_some() =>
            {
                self.limit.map_or(Failure::Exited(0), Failure::Limit)
            }
            // A panic that could not be caught: the process aborted itself, and said before why.
            (Status::Signalled { signal, .. }, Said::Report(Report::Panicked(panic), ..))
                if signal == Signal::ABRT.number() =>
            {
                Failure::Panicked(panic.clone())
            }
            (Status::Signalled { signal, core_dumped }, _) => {
                Failure::Signalled { signal: Signal::new(signal), core_dumped }
            }
            (_, Said::Report(Report::Panicked(panic), ..)) => Failure::Panicked(panic.clone()),
            (_, Said::Report(Report::BadArguments(reason), ..)) => {
                Failure::BadArguments(format!("cannot be decoded: {reason}"))
            }
            (_, Said::Report(Report::BadResult(reason), ..)) => Failure::BadResult(reason.clone()),
            (_, Said::Report(Report::NotRun(reason), ..)) => Failure::NotRun(reason.clone()),
            (_, Said::Garbage(reason)) => Failure::BadResult(reason.clone()),
            (Status::Taken, Said::Nothing) => Failure::Lost(
                "it has ended, but something else in this program took its exit status (SIGCHLD \
                 ignored, or a wait for any child)"
                    .into(),
            ),
            _ => Failure::Exited(self.exitcode().unwrap_or(0)),
        }
    }

    /// Returns `true` if the function returned or the process left with code 0.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.said, Said::Report(Report::Returned, ..)) || self.exitcode() == Some(0)
    }
}
