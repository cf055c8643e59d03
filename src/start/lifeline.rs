//! This process's lifeline, to which all its children are tied, but those in a cage.
//!
//! One for all: a pipe whose writing end only this process holds. It is made with the first child
//! and never closed, as only the kernel's closing of it, at the death of this process, is to be
//! seen.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::sys::ipc::lifeline::Lifeline;
use crate::sys::per_process::PerProcess;

/// A forked copy makes its own: it is not the parent of these children.
static CURRENT: PerProcess<Mutex<Option<&'static Lifeline>>> = PerProcess::new();

/// Returns this process's lifeline, and makes it when first asked for.
pub(super) fn current() -> io::Result<&'static Lifeline> {
    let mut current =
        CURRENT.get_or_init(|_| Mutex::new(None)).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(lifeline) = *current {
        return Ok(lifeline);
    }
    let lifeline = Box::leak(Box::new(Lifeline::new()?));
    *current = Some(lifeline);
    Ok(lifeline)
}
