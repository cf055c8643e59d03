//! This process's lifeline, which all its children are tied to.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::sys::creds::Credentials;
use crate::sys::lifeline::Lifeline;
use crate::sys::per_process::PerProcess;

/// The current one, and as whom it was made: another user's children could not open it.
static CURRENT: PerProcess<Mutex<Option<(Credentials, &'static Lifeline)>>> = PerProcess::new();

/// This process's lifeline. Made when first asked for, and anew when the process has become another user; the old one
/// stays for the children that are tied to it.
pub(super) fn current() -> io::Result<&'static Lifeline> {
    let mut current = CURRENT.get_or_init(|_| Mutex::new(None)).lock().unwrap_or_else(PoisonError::into_inner);
    let credentials = Credentials::now();
    match &*current {
        Some((made_as, lifeline)) if *made_as == credentials => Ok(*lifeline),
        _ => {
            let lifeline = Box::leak(Box::new(Lifeline::new()?));
            *current = Some((credentials, lifeline));
            Ok(lifeline)
        }
    }
}
