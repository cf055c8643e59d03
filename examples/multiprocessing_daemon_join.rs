//! `join` waits for a process until it has ended, so here even the daemon gets to its last line.

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
    sleep(Duration::from_secs(1));
    let n = n.start()?;

    d.join()?;
    n.join()?;
    Ok(())
}
