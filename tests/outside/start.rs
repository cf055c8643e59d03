//! Starting processes: the environment, the executable, namespaces, and what a child inherits from a copy.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
