use multiproc::Process;

fn double(number: i32) -> i32 {
    number * 2
}

fn main() {
    let chosen: fn(i32) -> i32 = double;
    //~ a variable of a type `fn(..)` names its function only in this process
    let _ = Process::new(chosen, (1,));
}
