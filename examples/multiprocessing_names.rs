//! Names: a process that is not given one is called after its number among the program's processes,
//! here `Process-3`. The function finds the name with `current_process`; it shows in `ps`, in panic
//! messages and in log lines, too.

use std::thread::sleep;
use std::time::Duration;

use multiproc::{Process, current_process};

fn worker() {
    let name = current_process().name();
    println!("{name} Starting");
    sleep(Duration::from_secs(2));
    println!("{name} Exiting");
}

fn my_service() {
    let name = current_process().name();
    println!("{name} Starting");
    sleep(Duration::from_secs(3));
    println!("{name} Exiting");
}

fn main() -> multiproc::Result<()> {
    let service = Process::new(my_service, ()).name("my_service");
    let worker_1 = Process::new(worker, ()).name("worker 1");
    let worker_2 = Process::new(worker, ()); // with the default name

    worker_1.start()?;
    worker_2.start()?;
    service.start()?;
    Ok(())
}
