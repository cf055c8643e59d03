//! `log_to_stderr` shows what the library does, each line with the name of its process. Children
//! inherit the setting.

use multiproc::{Level, Process, log_to_stderr};

fn worker() {
    println!("Doing some work");
}

fn main() -> multiproc::Result<()> {
    log_to_stderr(Level::Debug);
    let p = Process::new(worker, ()).start()?;
    p.join()?;
    Ok(())
}
