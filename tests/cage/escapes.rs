//! To come.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
