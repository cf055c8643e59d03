//! What a child inherits from the process that it is a copy of.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
