//! This process's lifeline, which all its children are tied to.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::sys::ipc::lifeline::Lifeline;
use crate::sys::per_process::PerProcess;

static CURRENT: PerProcess<Mutex<Option<&'static Lifeline>>> = PerProcess::new();

/// This process's lifeline, made when first asked for.
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
