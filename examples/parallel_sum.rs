//! The sum of a shared array of 256 MiB: by one process, then by as many as there are processors,
//! each a part.
//!
//! The numbers are made once, frozen, and read by all without a copy: what crosses to each process
//! is a descriptor and a few bytes, however big its part is.

use multiproc::{Process, SharedBuffer, SharedSlice, cpu_count};

/// 256 MiB of numbers.
const COUNT: usize = (256 << 20) / size_of::<u64>();

fn sum(part: SharedSlice<u64>) -> u64 {
    part.iter().sum()
}

fn main() -> multiproc::Result<()> {
    let mut numbers = SharedBuffer::<u64>::new(COUNT)?;
    for (number, n) in numbers.iter_mut().zip(1..) {
        *number = n;
    }
    // From here on, nobody can change them: not this process, and not those that get them.
    let numbers = numbers.freeze()?;

    let alone = Process::new(sum, (numbers.clone(),)).start()?.join()?;
    println!("one process:    {alone}");

    let part = COUNT.div_ceil(cpu_count());
    let mut children = Vec::new();
    for start in (0..COUNT).step_by(part) {
        let part = numbers.slice(start..COUNT.min(start + part));
        children.push(Process::new(sum, (part,)).start()?);
    }
    let mut together = 0;
    for child in children {
        together += child.join()?;
    }
    println!("many processes: {together}");
    println!("{}", if alone == together { "the same" } else { "NOT THE SAME" });
    Ok(())
}
