//! Functions of the program, of which models have none.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offset(u64);

#[derive(Debug)]
pub(crate) enum Refusal {
    Arguments(String),
    Result(String),
}
