//! All targets, by name.

use multiproc::fuzz::Target;

use super::{hands, line, messages, program};

/// All there are.
pub const TARGETS: &[Target] = &[
    Target { name: "cluster-hands", run: hands::run, seeds: hands::seeds },
    Target { name: "cluster-line", run: line::run, seeds: line::seeds },
    Target { name: "cluster-messages", run: messages::run, seeds: messages::seeds },
    Target { name: "cluster-program", run: program::run, seeds: program::seeds },
];

/// Does the target of this name once.
///
/// # Panics
/// There is none of this name; or it found something.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(data);
}
