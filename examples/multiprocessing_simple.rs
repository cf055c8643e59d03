//! The smallest program: five processes run the same function. Nobody keeps or joins them; the
//! program waits for its children before it ends, so nothing is lost.

use multiproc::Process;

fn worker() {
    println!("Worker");
}

fn main() -> multiproc::Result<()> {
    for _ in 0..5 {
        Process::new(worker, ()).start()?;
    }
    Ok(())
}
