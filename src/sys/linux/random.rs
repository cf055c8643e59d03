//! Bytes that nobody can guess, for names and marks.

use std::io;

use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

/// Returns bytes of the kernel's generator (`getrandom(2)`), which waits for it to be seeded at
/// boot.
pub(crate) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_come_twice() {
        assert_ne!(bytes::<32>().expect("random"), bytes::<32>().expect("random"));
    }
}
