//! `terminate` ends a process by force: it is asked by a signal, so it may take a moment until it
//! is seen to be dead, and is for sure after `join`, which says how it ended. (Kinder is `stop`, a
//! request that the function can see.)

use std::thread::sleep;
use std::time::Duration;

use multiproc::Process;

fn slow_worker() {
    println!("Starting worker");
    sleep(Duration::from_secs(10));
    println!("Finished worker");
}

fn main() -> multiproc::Result<()> {
    let p = Process::new(slow_worker, ());
    println!("BEFORE: {p} {}", p.is_alive());

    let p = p.start()?;
    println!("DURING: {p} {}", p.is_alive());

    p.terminate()?;
    println!("TERMINATED: {p} {}", p.is_alive());

    let _ = p.join(); // an error, as it was killed
    println!("JOINED: {p} {}", p.is_alive());
    Ok(())
}
