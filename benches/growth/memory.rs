//! How much memory there is, and what a process has of it.

/// So much is left to the machine.
const LEFT: u64 = 2 << 30;

/// Whether so many more bytes can be used, and 2 GiB are left.
pub(crate) fn has_room_for(bytes: u64) -> bool {
    available().saturating_sub(bytes) >= LEFT
}

/// What the machine can give without swapping.
pub(crate) fn available() -> u64 {
    bytes_of("/proc/meminfo", "MemAvailable:").unwrap_or(0)
}

/// The number of bytes in the line of a file that begins so.
pub(crate) fn bytes_of(file: &str, line: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|candidate| candidate.strip_prefix(line))?;
    let number = rest.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(number * 1024)
}

/// The proportional set size of a process, and what is its own alone.
pub(crate) fn pss_and_private(pid: u32) -> Option<(u64, u64)> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let own = bytes_of(&file, "Private_Clean:")? + bytes_of(&file, "Private_Dirty:")?;
    Some((bytes_of(&file, "Pss:")?, own))
}

/// Has the kernel forget how much memory this process had at most.
pub(crate) fn forget_peak() {
    // Where it is refused, the peak is that of the program's life.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

pub(crate) fn peak() -> u64 {
    bytes_of("/proc/self/status", "VmHWM:").unwrap_or(0)
}

pub(crate) fn resident() -> u64 {
    bytes_of("/proc/self/status", "VmRSS:").unwrap_or(0)
}
