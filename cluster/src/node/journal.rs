//! What a node writes to standard error.

use std::fmt::Display;
use std::io::Write;

/// Writes a line. One that cannot be written, as the disk is full or nobody reads any more, is no
/// reason to stop.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "multiproc-node: {line}");
}

/// Writes what a station wrote, as it is.
pub(super) fn pass_on(bytes: &[u8]) {
    let _ = std::io::stderr().write_all(bytes);
}
