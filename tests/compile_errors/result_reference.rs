use multiproc::Process;

fn name() -> &'static str {
    "name"
}

fn main() {
    //~ `&str` must implement `serde_core::de::Deserialize
    let _ = Process::new(name, ());
}
