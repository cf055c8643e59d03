use multiproc::Process;

fn main() {
    let number = 7_u32;
    //~ a closure that captures nothing
    //~ `Process::new(|x: T| .., (x,))`
    //~ or fork with `Process::from_closure`
    let _ = Process::new(move |factor: u32| number * factor, (2,));
}
