//! Pools: no task waits for ever, and no worker holds up the others.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
