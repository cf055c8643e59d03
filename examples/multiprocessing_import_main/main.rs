//! The function of a process may live in any module, or in another crate: nothing needs to be
//! registered, and `main` needs no guard against being run again in the children.

mod multiprocessing_import_worker;

use multiproc::Process;

fn main() -> multiproc::Result<()> {
    for _ in 0..5 {
        Process::new(multiprocessing_import_worker::worker, ()).start()?;
    }
    Ok(())
}
