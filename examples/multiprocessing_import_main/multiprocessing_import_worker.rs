//! The module with the function that the processes run.

pub(crate) fn worker() {
    println!("Worker");
}
