//! Threads of a process: there is one.

pub(crate) fn is_main() -> bool {
    true
}

pub(crate) fn is_own(_tid: u32) -> bool {
    false
}

pub(crate) fn cpu() -> u64 {
    0
}

pub(crate) fn pause() {
    crate::backend::yield_now();
}
