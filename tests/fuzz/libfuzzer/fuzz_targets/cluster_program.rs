#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multiproc_cluster::fuzz::run("cluster-program", data));
