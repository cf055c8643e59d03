use multiproc::Process;

fn main() {
    let process = Process::new(|| (), ());
    //~ no method named `join` found for struct `Process<T>`
    let _ = process.join();
}
