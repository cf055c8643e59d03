//! A node: runs tasks of the pools of other machines.

use std::process::ExitCode;

fn main() -> ExitCode {
    multiproc_cluster::program_of_node::main()
}
