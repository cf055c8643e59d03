#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multiproc::fuzz::run("records", data));
