//! Arguments: each process gets a number to print. Arguments are given as a tuple, and may be
//! whatever serde can encode. The processes run side by side, so their lines come in any order.

use multiproc::Process;

fn worker(num: u32) {
    println!("Worker: {num}");
}

fn main() -> multiproc::Result<()> {
    for i in 0..5 {
        Process::new(worker, (i,)).start()?;
    }
    Ok(())
}
