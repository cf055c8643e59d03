use multiproc::Process;

fn sum(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8) -> u8 {
    a + b + c + d + e + f + g + h + i
}

fn main() {
    //~ {sum}` cannot run in a process
    //~ of 0 to 8 arguments
    //~ to pass more, put them into a tuple or a struct
    let _ = Process::new(sum, (1, 2, 3, 4, 5, 6, 7, 8, 9));
}
