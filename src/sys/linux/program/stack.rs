//! The rest of a thread's stack: asked for by the codec, before a hostile message overflows it.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

/// Bytes that have to be left: the code of users that runs between two looks needs some.
const RESERVE: usize = 128 * 1024;

/// Bytes that may be used of a stack whose end cannot be found, from where it was first looked at.
const UNKNOWN: usize = 128 * 1024;

/// A stack: its lowest address, the one that nothing may go below, and its end.
#[derive(Clone, Copy)]
struct Bounds {
    lowest: usize,
    floor: usize,
    end: usize,
}

thread_local! {
    /// Those of the stack that this thread ran on when it was last looked at.
    static BOUNDS: Cell<Bounds> = const { Cell::new(Bounds { lowest: 0, floor: 0, end: 0 }) };
}

/// Returns `true` if what is left of the stack that this thread runs on is too little to go on for
/// long.
pub(crate) fn is_low() -> bool {
    !has(0)
}

/// Returns `true` if there are so many bytes left, beside what code that runs between two looks
/// needs.
pub(crate) fn has(bytes: usize) -> bool {
    let here = 0_u8;
    let here = (&raw const here) as usize;
    let mut bounds = BOUNDS.get();
    if !(bounds.lowest..bounds.end).contains(&here) {
        bounds = measure(here);
        BOUNDS.set(bounds);
    }
    here.saturating_sub(bytes) >= bounds.floor
}

/// Finds the bounds of the stack that `here` is on.
#[cold]
fn measure(here: usize) -> Bounds {
    let unknown = || {
        let floor = here.saturating_sub(UNKNOWN);
        // Of a coroutine, say: what else is on its stack is not known, so that the next one looks
        // anew.
        Bounds { lowest: floor.saturating_sub(RESERVE), floor, end: here.saturating_add(1) }
    };
    let Some((lowest, size)) =
        of_thread().filter(|&(lowest, size)| (lowest..lowest.saturating_add(size)).contains(&here))
    else {
        return unknown();
    };
    Bounds { lowest, floor: lowest + RESERVE.min(size / 2), end: lowest.saturating_add(size) }
}

/// Returns the lowest address and the size of the stack of this thread, as the C library knows it
/// (`pthread_getattr_np(3)`).
fn of_thread() -> Option<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut size): (*mut c_void, usize) = (ptr::null_mut(), 0);
    // SAFETY: the thread is the caller; the attributes are written by the first call, or not used.
    let told = unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let told = libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        told
    };
    (told == 0 && size > 0).then_some((lowest as usize, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_gets_low_before_it_ends() {
        fn deeper(left: u32) -> u32 {
            let room = std::hint::black_box([0_u8; 256]);
            if is_low() || left == 0 { left } else { deeper(left - 1) + u32::from(room[0]) }
        }
        for size in [64 << 10, 256 << 10, 2 << 20] {
            let thread =
                std::thread::Builder::new().stack_size(size).spawn(move || deeper(1 << 30));
            let left = thread.expect("thread").join().expect("joined");
            assert!(left > 0 && left < (1 << 30) - 10, "{size}: {left}");
        }
    }
}
