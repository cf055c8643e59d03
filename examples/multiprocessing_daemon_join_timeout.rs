//! `join_timeout` waits, but not for longer than it is told. The daemon sleeps for longer than
//! that, so it is still alive afterwards, and is terminated when the program ends.

use std::thread::sleep;
use std::time::Duration;

use multiproc::{Process, current_process};

fn daemon() {
    println!("Starting: {}", current_process().name());
    sleep(Duration::from_secs(2));
    println!("Exiting : {}", current_process().name());
}

fn non_daemon() {
    println!("Starting: {}", current_process().name());
    println!("Exiting : {}", current_process().name());
}

fn main() -> multiproc::Result<()> {
    let d = Process::new(daemon, ()).name("daemon").daemon(true);
    let n = Process::new(non_daemon, ()).name("non-daemon").daemon(false);

    let d = d.start()?;
    let n = n.start()?;

    d.join_timeout(Duration::from_secs(1))?;
    println!("d.is_alive() {}", d.is_alive());
    n.join()?;
    Ok(())
}
