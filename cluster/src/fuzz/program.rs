//! The file of a program that cannot be executed: what a node reads of it to say why.

use std::fs::File;
use std::io::Write;

use crate::node::execute;

pub(super) fn run(data: &[u8]) {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let Ok(file) = rustix::fs::memfd_create("fuzz", flags) else { return };
    let mut file = File::from(file);
    if file.write_all(data).is_ok() {
        let path = execute::interpreter(&file);
        assert!(path.is_none_or(|path| path.len() <= 3 * data.len()));
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut file = vec![0; 64 + 56 + 8];
    file[..5].copy_from_slice(b"\x7fELF\x02");
    // One segment, behind the head, with a path behind itself.
    file[32] = 64;
    (file[54], file[56]) = (56, 1);
    file[64] = 3;
    (file[72], file[96]) = (120, 8);
    file[120..].copy_from_slice(b"/lib/ld\0");
    vec![file]
}
