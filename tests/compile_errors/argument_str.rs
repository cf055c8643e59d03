use multiproc::Process;

fn length(text: &str) -> usize {
    text.len()
}

fn main() {
    // The compiler lets nobody say it better: a reference cannot be made from bytes that are gone.
    //~ implementation of `serde_core::de::Deserialize` is not general enough
    let _ = Process::new(length, ("text",));
}
