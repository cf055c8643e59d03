use multiproc::Process;

fn double(number: u32) -> u32 {
    number * 2
}

fn main() {
    //~ expected `(u32,)`, found
    //~ use a trailing comma to create a tuple with one element
    let _ = Process::new(double, 5);
}
