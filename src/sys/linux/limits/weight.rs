//! The memory that a process has of its own, from `/proc`.
#![deny(clippy::arithmetic_side_effects, reason = "what others claim may be any number")]

use crate::sys::fd;

/// Returns the private memory of a process that is resident, in bytes: neither files nor shared
/// memory that it has mapped. `None` if there is no such process any more.
pub(crate) fn private(pid: u32) -> Option<u64> {
    let text = fd::read_small(&format!("/proc/{pid}/statm")).ok()?;
    let (resident, shared) = from_statm(text.as_bytes())?;
    Some(resident.saturating_sub(shared).saturating_mul(rustix::param::page_size() as u64))
}

/// Reads the pages that are resident, and those of them that are files or shared memory, from
/// `/proc/<pid>/statm`. Async-signal-safe.
pub(crate) fn from_statm(text: &[u8]) -> Option<(u64, u64)> {
    let mut fields = text.split(|byte| *byte == b' ').skip(1).map(number);
    Some((fields.next()?, fields.next()?))
}

/// Reads the bytes of private memory from `/proc/<pid>/smaps_rollup`. Async-signal-safe.
pub(crate) fn from_rollup(text: &[u8]) -> Option<u64> {
    let line =
        text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Anonymous:"))?;
    Some(number(line).saturating_mul(1024))
}

/// Reads the first number in a text; zero if there is none.
fn number(text: &[u8]) -> u64 {
    let digits = text
        .iter()
        .skip_while(|byte| !byte.is_ascii_digit())
        .take_while(|byte| byte.is_ascii_digit());
    digits
        .fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add((digit & 15).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_as_long_as_it_is_there() {
        assert!(private(std::process::id()).is_some_and(|bytes| bytes > 10_000));
        assert_eq!(private(u32::MAX), None);
    }

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert_eq!(from_statm(b"900 30 12 1 0 5 0\n"), Some((30, 12)));
        assert_eq!(from_statm(b""), None);
        assert_eq!(
            from_rollup(b"Rss:  900 kB\nAnonymous:      12 kB\nSwap: 0 kB\n"),
            Some(12 << 10)
        );
        assert_eq!(from_rollup(b"Rss: 900 kB\n"), None);
    }
}
