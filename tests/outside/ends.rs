//! The ends of processes: nothing that a child started is left, and how it ended is told.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
