//! A type that implements `Run` is what a class derived from Python's `Process` is: its fields
//! cross to the child, its `run` does the work, and its name is the default name of its processes.

use multiproc::{Run, current_process};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Worker;

impl Run for Worker {
    type Output = ();

    fn run(self) {
        println!("In {}", current_process().name());
    }
}

fn main() -> multiproc::Result<()> {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(Worker.start()?);
    }
    for job in jobs {
        job.join()?;
    }
    Ok(())
}
