//! The span of a child, in the program that started it.

use std::sync::{Mutex, PoisonError};

use tracing::Span;
use tracing::field::Empty;

use super::origin::{Kept, Place};
use crate::error::Failure;
use crate::unwind;

/// The span of a child, open until its end is seen.
#[derive(Debug, Default)]
pub(crate) struct ChildSpan(Mutex<Option<Kept>>);

impl ChildSpan {
    /// Opens the span of a child that was started just now, within the span that is current.
    pub(crate) fn open(&self, name: &str, pid: u32, function: &str) {
        // A subscriber that panics costs its span: the child is there, and goes to who started it.
        let span = unwind::catch(|| {
            tracing::info_span!(
                target: "multiproc::process",
                "process",
                process = name,
                pid,
                function,
                outcome = Empty
            )
        });
        let Ok(span) = span else { return };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept::new(span));
    }

    /// Returns it, for what the child tells to be within; none if it is not open.
    pub(crate) fn get(&self) -> Span {
        let span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        span.as_deref().cloned().unwrap_or_else(Span::none)
    }

    /// Notes how the child ended, with one event if it failed, and closes its span. Does nothing
    /// the second time.
    pub(crate) fn close(&self, name: &str, pid: u32, failure: Option<&Failure>) {
        let span = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(span) = span {
            // What is to be done about the end is done, whatever the subscriber does.
            let _ = unwind::catch(|| tell_end(&span, name, pid, failure));
        }
    }
}

/// Tells of the end of a child in its span.
fn tell_end(span: &Span, name: &str, pid: u32, failure: Option<&Failure>) {
    let Some(failure) = failure else {
        span.record("outcome", "returned");
        return;
    };
    let panic = match failure {
        Failure::Panicked(panic) => Some(panic),
        _ => None,
    };
    let place = panic.and_then(|panic| panic.location()).map(ToString::to_string);
    let message = panic.map_or_else(|| failure.to_string(), |panic| panic.message().to_owned());
    // The thread that sees the end may have another subscriber than the one that started it.
    Place::within(span).enter(|parent| {
        tracing::error!(
            target: "multiproc::process",
            parent: parent,
            process = name,
            pid,
            place,
            backtrace = panic.and_then(|panic| panic.backtrace()),
            "{message}"
        );
    });
    if panic.is_some() {
        span.record("outcome", "panicked");
    } else {
        span.record("outcome", message.as_str());
    }
}
