//! As much of the library's encoding of failures as a ledger needs. Nothing crosses here.

use crate::error::Failure;

pub(crate) fn decode(_: &[u8]) -> Failure {
    Failure::Lost("models have no codec".to_owned())
}
