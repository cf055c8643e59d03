//! Sleeping on a word of shared memory, and waking who sleeps there: futex(2).
//!
//! Never the private kind, whatever the memory: the same word lies at other addresses in other
//! processes.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::poll::Deadline;

/// The most words that one thread can sleep on at once: the kernel's `FUTEX_WAITV_MAX`.
pub(crate) const MAX_WORDS: usize = 128;

/// Sleeps while `word` is `value` (`FUTEX_WAIT`): until somebody wakes it, a signal comes (EINTR)
/// or the deadline is over (ETIMEDOUT). It returns at once if the word has another value (EAGAIN).
/// It may also return for no reason; the caller looks again, so no error is told.
pub(crate) fn wait(word: &AtomicU32, value: u32, deadline: Deadline) {
    let timeout = deadline.left().map(timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word is alive and aligned, the timeout null or alive; the kernel writes to
    // neither.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, timeout) };
}

/// Wakes up to `count` threads that sleep on `word` (`FUTEX_WAKE`); returns how many it were.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: the kernel uses the address only to find who sleeps there.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    u32::try_from(woken).unwrap_or(0)
}

/// Sets a bit of `word` and wakes all who sleep on it, in one step (`FUTEX_WAKE_OP`): no death
/// comes between.
pub(crate) fn set_bit_and_wake(word: &AtomicU32, bit: u32) {
    if !change_and_wake(word, libc::FUTEX_OP_OR, bit) {
        word.fetch_or(bit, Ordering::AcqRel);
        wake(word, u32::MAX);
    }
}

/// Clears a bit of `word` and wakes all who sleep on it, in one step (`FUTEX_WAKE_OP`).
pub(crate) fn clear_bit_and_wake(word: &AtomicU32, bit: u32) {
    if !change_and_wake(word, libc::FUTEX_OP_ANDN, bit) {
        word.fetch_and(!bit, Ordering::AcqRel);
        wake(word, u32::MAX);
    }
}

/// `FUTEX_WAKE_OP` with the same word twice. False if the kernel does not do it (a sandbox that
/// forbids it): nothing has changed then.
fn change_and_wake(word: &AtomicU32, operation: i32, bit: u32) -> bool {
    // The bit is given by its number. Whom to wake by the old value does not matter: nobody is left
    // then.
    let how = ((operation | libc::FUTEX_OP_OPARG_SHIFT).cast_unsigned() << 28)
        | (bit.trailing_zeros() << 12);
    // SAFETY: the kernel changes the word as an atomic operation would.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_OP,
            i32::MAX,
            0_usize,
            word.as_ptr(),
            how,
        )
    };
    woken >= 0
}

/// `struct futex_waitv` of `linux/futex.h`
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// Sleeps while every word has its value; like `wait` else. False if the kernel cannot (before
/// Linux 5.16, or without memory): it did not sleep.
///
/// What is beyond the first `MAX_WORDS` words is not watched.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], deadline: Deadline) -> bool {
    /// `FUTEX2_SIZE_U32`, without `FUTEX2_PRIVATE`
    const SIZE_U32: u32 = 2;
    let mut waiters = [Waiter { value: 0, address: 0, flags: SIZE_U32, reserved: 0 }; MAX_WORDS];
    let count = words.len().min(MAX_WORDS);
    for (waiter, (word, value)) in waiters.iter_mut().zip(words) {
        waiter.value = u64::from(*value);
        waiter.address = word.as_ptr() as u64;
    }
    // This call wants a point in time.
    let until = deadline
        .left()
        .map(|left| timespec(crate::sys::wait::poll::monotonic().saturating_add(left)));
    let until = until.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `count` waiters are initialised and name living words; the timeout is null or alive.
    // The kernel writes to none.
    // ENOSYS before Linux 5.16, ENOMEM for want of memory: then it did not sleep.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            count,
            0,
            until,
            libc::CLOCK_MONOTONIC,
        )
    };
    let why = io::Error::last_os_error().raw_os_error();
    // Whatever else it says (that it has no memory, too): it did not sleep.
    result >= 0 || matches!(why, Some(libc::EAGAIN | libc::EINTR | libc::ETIMEDOUT))
}

/// A duration as `futex(2)` takes it.
fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(duration.subsec_nanos().cast_signed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_value_by_deadline_and_by_waking() {
        let word = AtomicU32::new(1);
        wait(&word, 0, Deadline::Never);
        wait(&word, 1, Deadline::after(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                word.store(2, Ordering::SeqCst);
                wake(&word, 1);
            });
            while word.load(Ordering::SeqCst) == 1 {
                wait(&word, 1, Deadline::Never);
            }
        });
    }

    #[test]
    fn a_bit_is_changed_and_all_are_woken() {
        for bit in [1, 1 << 31] {
            let word = AtomicU32::new(6);
            assert!(change_and_wake(&word, libc::FUTEX_OP_OR, bit));
            assert_eq!(word.load(Ordering::SeqCst), 6 | bit);
            assert!(change_and_wake(&word, libc::FUTEX_OP_ANDN, bit));
            assert_eq!(word.load(Ordering::SeqCst), 6);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while word.load(Ordering::SeqCst) & bit == 0 {
                            wait(&word, 6, Deadline::Never);
                        }
                    });
                }
                set_bit_and_wake(&word, bit);
            });
            clear_bit_and_wake(&word, bit);
            assert_eq!(word.load(Ordering::SeqCst), 6);
        }
    }

    #[test]
    fn any_of_several_words_ends_a_wait() {
        let words = [AtomicU32::new(0), AtomicU32::new(0)];
        let both = [(&words[0], 0), (&words[1], 0)];
        if !wait_any(&both, Deadline::after(Duration::from_millis(1))) {
            return; // an old kernel
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                words[1].store(1, Ordering::SeqCst);
                wake(&words[1], 1);
            });
            while words[1].load(Ordering::SeqCst) == 0 {
                assert!(wait_any(&both, Deadline::Never));
            }
        });
    }
}
