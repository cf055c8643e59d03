//! How much memory a process has.

use super::fd;

/// The resident memory of a process, in bytes; nothing if there is no such process any more.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let text = fd::read_small(&format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_memory_as_long_as_it_is_there() {
        assert!(super::resident(std::process::id()).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(super::resident(u32::MAX), None);
    }
}
