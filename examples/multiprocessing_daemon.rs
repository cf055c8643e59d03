//! A daemon does not keep the program from ending: it is terminated in the middle of its sleep, so
//! that its last line never comes. The other process, which is not one, is waited for.

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

    d.start()?;
    sleep(Duration::from_secs(1));
    n.start()?;
    Ok(())
}
