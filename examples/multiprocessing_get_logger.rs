//! `get_logger` gives the logger itself: to set its level, as here, to add handlers, or to log with
//! it.

use multiproc::{Level, Process, get_logger, log_to_stderr};

fn worker() {
    println!("Doing some work");
}

fn main() -> multiproc::Result<()> {
    log_to_stderr(Level::NotSet);
    let logger = get_logger();
    logger.set_level(Level::Info);
    let p = Process::new(worker, ()).start()?;
    p.join()?;
    Ok(())
}
