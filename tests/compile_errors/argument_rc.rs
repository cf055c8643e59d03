use std::rc::Rc;

use multiproc::Process;

fn length(text: Rc<String>) -> usize {
    text.len()
}

fn main() {
    //~ the trait bound `Rc<String>: serde::Serialize` is not satisfied
    //~ check whether the crate offers a `serde` feature flag
    let _ = Process::new(length, (Rc::new(String::new()),));
}
