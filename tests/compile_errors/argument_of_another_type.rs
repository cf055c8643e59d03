use multiproc::Process;

fn double(number: u32) -> u32 {
    number * 2
}

fn main() {
    //~ expected `u32`, found `String`
    let _ = Process::new(double, ("two".to_owned(),));
}
