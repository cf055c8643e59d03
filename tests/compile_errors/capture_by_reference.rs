use multiproc::Process;

fn main() {
    let text = String::from("captured");
    //~ a closure that captures nothing
    //~ `Process::new(|x: T| .., (x,))`
    //~ or fork with `Process::from_closure`
    let _ = Process::new(|| text.len(), ());
    drop(text);
}
