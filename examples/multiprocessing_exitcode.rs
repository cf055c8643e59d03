//! Exit codes: 0 if the function returned (whatever it returned: that is what `join` gives), 1 if
//! it panicked, the code that it left with, or minus the number of the signal that killed it.
//! Functions of different types are kept in one list by their handles.

use std::thread::sleep;
use std::time::Duration;

use multiproc::{Handle, Process};

fn exit_error() {
    std::process::exit(1);
}

fn exit_ok() {}

fn return_value() -> i32 {
    1
}

fn raises() {
    panic!("There was an error!");
}

fn terminated() {
    sleep(Duration::from_secs(10));
}

fn start<T>(process: Process<T>, name: &str) -> multiproc::Result<Handle> {
    println!("Starting process for {name}");
    Ok(process.name(name).start()?.handle())
}

fn main() -> multiproc::Result<()> {
    let jobs = [
        start(Process::new(exit_error, ()), "exit_error")?,
        start(Process::new(exit_ok, ()), "exit_ok")?,
        start(Process::new(return_value, ()), "return_value")?,
        start(Process::new(raises, ()), "raises")?,
        start(Process::new(terminated, ()), "terminated")?,
    ];
    jobs[4].terminate()?;

    for job in &jobs {
        let _ = job.join(); // an error for those that failed
        if let Some(code) = job.exitcode() {
            println!("{}.exitcode = {code}", job.name());
        }
    }
    Ok(())
}
