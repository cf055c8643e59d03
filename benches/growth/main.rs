//! How costs grow: with the number of processes, the caller's memory, the size of a message, the
//! number of tasks and of workers, of those at a lock, of those at a queue, of those waited for.
//!
//!     cargo bench --bench growth                       everything, about five minutes
//!     cargo bench --bench growth -- --quick            a look whether it works
//!     cargo bench --bench growth -- messages locks     some sections
//!
//! A curve ends where less than 2 GiB of memory would be left, and says so.

#[path = "../lanes/mod.rs"]
mod lanes;
#[path = "../limits/mod.rs"]
mod limits;
#[path = "../support/mod.rs"]
mod support;

mod caller;
mod locks;
mod memory;
mod messages;
mod processes;
mod queues;
mod robust;
mod tasks;
mod waits;
mod workers;

use support::Options;

fn main() {
    limits::play_role();
    let options = Options::from_arguments();
    // Those that fork come before those that have threads.
    if options.wants("messages") {
        println!("{}", messages::curve(&options));
    }
    if options.wants("locks") {
        println!("{}", locks::curve(&options));
    }
    if options.wants("caller") {
        println!("{}", caller::curve(&options));
    }
    if options.wants("processes") {
        processes::curves(&options).iter().for_each(|curve| println!("{curve}"));
    }
    if options.wants("queues") {
        println!("{}", queues::curve(&options));
    }
    if options.wants("waits") {
        println!("{}", waits::curve(&options));
    }
    if options.wants("tasks") {
        tasks::curves(&options).iter().for_each(|curve| println!("{curve}"));
    }
    if options.wants("workers") {
        println!("{}", workers::curve(&options));
    }
}
