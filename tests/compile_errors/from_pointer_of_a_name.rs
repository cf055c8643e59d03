use multiproc::Process;

fn double(number: i32) -> i32 {
    number * 2
}

fn main() {
    //~ is not a function pointer
    //~ a function's name or a closure that captures nothing is a target for `Process::new`
    let _ = Process::from_pointer(double, (1,));
}
