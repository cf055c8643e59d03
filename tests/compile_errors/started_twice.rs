use multiproc::Process;

fn main() {
    let process = Process::new(|| (), ());
    let _ = process.start();
    //~ use of moved value: `process`
    let _ = process.start();
}
