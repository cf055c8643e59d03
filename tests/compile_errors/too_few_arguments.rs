use multiproc::Process;

fn add(a: u32, b: u32) -> u32 {
    a + b
}

fn main() {
    //~ expected a tuple with 2 elements, found one with 1 element
    let _ = Process::new(add, (1,));
}
