//! What a node writes to standard error.

use std::fmt::Display;
use std::io::Write;

/// Writes a line. One that cannot be written, as the disk is full or nobody reads any more, is no
/// reason to stop.
pub(crate) fn note(line: impl Display) {
    // At once, so that it does not mix with what stations write.
    let _ = std::io::stderr().write_all(format!("multiproc-node: {line}\n").as_bytes());
}

/// Writes what a station wrote, as it is.
pub(super) fn pass_on(bytes: &[u8]) {
    let _ = std::io::stderr().write_all(bytes);
}
