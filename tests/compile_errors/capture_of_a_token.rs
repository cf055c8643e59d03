use multiproc::Process;

/// A value without bytes that proves something about this process, of which there is one.
struct Token;

fn main() {
    let token = Token;
    //~ a closure that captures nothing
    let _ = Process::new(move || drop(token), ());
}
