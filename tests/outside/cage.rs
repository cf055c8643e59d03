//! What code that means harm can do to the program and to its other children.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
