use multiproc::Process;

fn main() {
    let text = String::from("captured");
    //~ closure may outlive the current function
    //~ use the `move` keyword
    let _ = Process::from_closure(|| text.len());
}
