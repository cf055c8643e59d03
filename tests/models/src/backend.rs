//! Loom's threads and atomics, or the standard library's.

#[cfg(feature = "loom")]
mod kind {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::AtomicU32;
    pub(crate) use loom::sync::{Condvar, Mutex};
    pub(crate) use loom::thread::{JoinHandle, spawn, yield_now};
    pub(crate) use loom::thread_local;

    /// Runs `body` in every order of steps with up to `preemptions` switches that no thread asked
    /// for.
    pub(crate) fn explore(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound =
            Some(preemptions + super::dial("MULTIPROC_MODELS_PREEMPTIONS", 0));
        builder.max_branches = 100_000;
        builder.check(body);
    }

    /// Orders what loom takes for weaker than it is: accesses that are sequentially consistent.
    pub(crate) fn fence() {
        loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(not(feature = "loom"))]
mod kind {
    pub(crate) use std::sync::atomic::AtomicU32;
    pub(crate) use std::sync::{Condvar, Mutex};
    pub(crate) use std::thread::{JoinHandle, spawn, yield_now};
    pub(crate) use std::thread_local;

    /// With loom's methods; Miri sees whether two threads use it at once.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// Runs `body` in one order, Miri's or the kernel's choice.
    pub(crate) fn explore(_preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
        body();
    }

    /// The accesses themselves are in order.
    pub(crate) fn fence() {}
}

pub(crate) use kind::*;

/// What more than the short leg is asked for by a variable of the environment.
pub(crate) fn dial(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// A number that threads use one at a time, because a lock says so; the checkers see if it does
/// not.
#[derive(Debug)]
pub(crate) struct Plain(UnsafeCell<u64>);

// SAFETY: whether threads use it one at a time is what is tested; the checkers report it if not.
unsafe impl Sync for Plain {}
// SAFETY: a number.
unsafe impl Send for Plain {}

impl Plain {
    pub(crate) fn new(value: u64) -> Plain {
        Plain(UnsafeCell::new(value))
    }

    pub(crate) fn get(&self) -> u64 {
        // SAFETY: see the type.
        self.0.with(|value| unsafe { *value })
    }

    pub(crate) fn set(&self, value: u64) {
        // SAFETY: see the type.
        self.0.with_mut(|place| unsafe { *place = value });
    }
}
