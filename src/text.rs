//! Texts of values whose types are the user's.

use std::fmt::{self, Write};

/// Prints what may fail to print itself: `format!` and `to_string` would panic then. What was
/// printed before the failure is better than nothing.
pub(crate) fn print(what: fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    let _ = text.write_fmt(what);
    text
}
