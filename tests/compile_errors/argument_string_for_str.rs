use multiproc::Process;

fn length(text: &str) -> usize {
    text.len()
}

fn main() {
    //~ expected `&str`, found `String`
    let _ = Process::new(length, ("text".to_owned(),));
}
