//! Ending this process's group from a signal handler. All functions here are async-signal-safe.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use crate::sys::wait::poll::monotonic;

/// Time to wait at first before looking for the others again.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Time to wait at the most.
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

/// Ends all of this process's group by SIGTERM, itself last.
///
/// Whoever has to end the others after `grace` must be there then. So a process that SIGTERM would
/// end at once waits for them:
///
/// 1. Continue the group: stopped processes meet SIGTERM only once they run.
/// 2. If this process handles or ignores SIGTERM, or there is nobody else in the group, or that
///    cannot be seen: signal the whole group. The timers of this process stay if it does.
/// 3. Else signal the others one by one, and wait until none is left.
/// 4. After `grace`, kill the whole group.
/// 5. Else end this process by SIGTERM.
pub(super) fn terminate(grace: Duration) {
    // SAFETY: system calls on integers, which are async-signal-safe.
    unsafe { libc::kill(0, libc::SIGCONT) };
    if !is_default(libc::SIGTERM) || signal_others(Some(libc::SIGTERM)) != Some(true) {
        // SAFETY: as above.
        unsafe { libc::kill(0, libc::SIGTERM) };
        return;
    }
    let end = monotonic().saturating_add(grace);
    let mut pause = FIRST_PAUSE;
    while signal_others(None) == Some(true) {
        if monotonic() >= end {
            // SAFETY: as above.
            unsafe { libc::kill(0, libc::SIGKILL) };
        }
        let time = libc::timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        // SAFETY: reads one timespec.
        unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
    // SAFETY: as above.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}

/// Returns `true` if a signal does to this process what it does by default.
fn is_default(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call fills in the action, of which all zero is a valid one.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

/// Sends a signal to all others in this process's group that have not ended; returns whether there
/// are any, or `None` if that cannot be seen. With `None` for a signal, it only looks.
fn signal_others(signal: Option<c_int>) -> Option<bool> {
    // SAFETY: system calls without arguments.
    let (own, group) = unsafe { (libc::getpid(), libc::getpgrp()) };
    let folder = open(b"/proc\0", libc::O_DIRECTORY)?;
    let mut found = false;
    // Not much: a signal may have a small stack of its own.
    let mut entries = [0_u64; 128];
    loop {
        // SAFETY: the kernel writes directory entries into memory of ours.
        let length = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                folder.0,
                entries.as_mut_ptr(),
                size_of_val(&entries),
            )
        };
        let length = usize::try_from(length).ok()?;
        if length == 0 {
            return Some(found);
        }
        let bytes = &bytemuck::bytes_of(&entries)[..length];
        let mut at = 0;
        // An entry: inode and offset (8 bytes each), its length (2), its type (1), its name and a
        // zero.
        while let Some(size) = bytes.get(at + 16..at + 18) {
            let size = usize::from(u16::from_ne_bytes([size[0], size[1]])).max(19);
            let name = bytes.get(at + 19..(at + size).min(length)).unwrap_or_default();
            at += size;
            let Some(pid) = number(name).filter(|pid| *pid != own) else { continue };
            if group_of(name) != Some(group) {
                continue;
            }
            found = true;
            if let Some(signal) = signal {
                send(pid, group, signal);
            }
        }
    }
}

/// Sends a signal to a process, if it is still in that group.
fn send(pid: c_int, group: c_int, signal: c_int) {
    // SAFETY: system calls on integers; the descriptor is closed by its owner. Behind the first,
    // the number is no stranger's.
    unsafe {
        let Ok(handle) = c_int::try_from(libc::syscall(libc::SYS_pidfd_open, pid, 0)) else {
            return;
        };
        if handle >= 0 {
            let handle = Open(handle);
            if libc::getpgid(pid) == group {
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    handle.0,
                    signal,
                    ptr::null::<libc::siginfo_t>(),
                    0,
                );
            }
        }
    }
}

/// Reads the group of a process, by its number in text; `None` if it has ended.
fn group_of(name: &[u8]) -> Option<c_int> {
    let mut path = [0_u8; 32];
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    path.get_mut(..6)?.copy_from_slice(b"/proc/");
    path.get_mut(6..6 + digits)?.copy_from_slice(&name[..digits]);
    path.get_mut(6 + digits..12 + digits)?.copy_from_slice(b"/stat\0");
    let file = open(&path, 0)?;
    let mut text = [0_u8; 256];
    // SAFETY: reads into memory of ours.
    let length = unsafe { libc::read(file.0, text.as_mut_ptr().cast(), text.len()) };
    let text = text.get(..usize::try_from(length).ok()?)?;
    // The name in brackets may hold anything. Behind it: state, parent, group.
    let behind = text.get(text.iter().rposition(|byte| *byte == b')')? + 1..)?;
    let mut fields = behind.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    if matches!(fields.next()?, b"Z" | b"X") {
        return None;
    }
    number(fields.nth(1)?)
}

/// Reads the number that a text begins with.
fn number(text: &[u8]) -> Option<c_int> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

/// A descriptor that is closed on drop.
struct Open(c_int);

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: opened here, and nobody else knows of it.
        unsafe { libc::close(self.0) };
    }
}

/// Opens a file for reading; the path ends with a zero.
fn open(path: &[u8], flags: c_int) -> Option<Open> {
    debug_assert!(path.contains(&0), "a path for the kernel ends with a zero");
    // SAFETY: the path ends with a zero, as callers see to.
    let fd = unsafe { libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC | flags) };
    (fd >= 0).then_some(Open(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_numbers_are_read() {
        assert_eq!((number(b"123\0"), number(b"self\0"), number(b"")), (Some(123), None, None));
        // SAFETY: system calls without arguments.
        let (own, group) = unsafe { (libc::getpid(), libc::getpgrp()) };
        assert_eq!(group_of(format!("{own}\0").as_bytes()), Some(group));
        assert_eq!(group_of(b"0\0"), None);
        assert!(signal_others(None).is_some());
    }
}
