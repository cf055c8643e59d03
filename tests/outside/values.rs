//! Values, addresses and channel ends: what arrives is what was sent, or an error says why.

use crate::support::Test;

/// The tests of this file.
pub(crate) const TESTS: &[Test] = crate::tests![];
