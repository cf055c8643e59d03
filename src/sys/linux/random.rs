//! Random bytes.

use std::io;

/// As many as asked for, fit for keys.
pub(crate) fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut done = 0;
    while done < N {
        // SAFETY: the kernel writes to what is left of the buffer only.
        let got = unsafe { libc::getrandom(bytes[done..].as_mut_ptr().cast(), N - done, 0) };
        match usize::try_from(got) {
            Ok(got) => done += got,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(bytes)
}
