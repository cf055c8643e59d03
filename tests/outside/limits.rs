//! Durations, limits and deadlines: each does what it says, whatever its size and whatever state the process is in.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
