//! What a child says beside its result, hostile or not.

pub(super) mod lines;
pub(super) mod records;
