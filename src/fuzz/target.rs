//! All targets, by name.

use super::relayed::{lines, records};
use super::{
    address, control, growable, handles, handshake, list, locks, pool, queue, ring, stream, values,
};

/// One thing to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the target.
    pub name: &'static str,
    /// Does it once.
    pub run: fn(&[u8]),
    /// Bytes that lead deep: honest work, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All there are.
pub const TARGETS: &[Target] = &[
    Target { name: "address", run: address::run, seeds: address::seeds },
    Target { name: "control", run: control::run, seeds: control::seeds },
    Target { name: "handles", run: handles::run, seeds: handles::seeds },
    Target { name: "handshake", run: handshake::run, seeds: handshake::seeds },
    Target { name: "growable", run: growable::run, seeds: growable::seeds },
    Target { name: "lines", run: lines::run, seeds: lines::seeds },
    Target { name: "list", run: list::run, seeds: list::seeds },
    Target { name: "locks", run: locks::run, seeds: locks::seeds },
    Target { name: "pool", run: pool::run, seeds: pool::seeds },
    Target { name: "queue", run: queue::run, seeds: queue::seeds },
    Target { name: "records", run: records::run, seeds: records::seeds },
    Target { name: "ring", run: ring::run, seeds: ring::seeds },
    Target { name: "stream", run: stream::run, seeds: stream::seeds },
    Target { name: "values", run: values::run, seeds: values::seeds },
];

/// Does the target of this name once.
///
/// # Panics
/// There is none of this name; or it found something.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(data);
}
