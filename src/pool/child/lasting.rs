//! Values of a thread that are not dropped as it ends.
//!
//! A value that is dropped then is entered in a list of the C library, which a worker would write
//! to: pages that it shares with the fork server would become its own. These are values of a
//! worker's main thread, which empties them or ends with its process.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

/// A place for a value in a `thread_local`.
pub(super) struct Lasting<T>(RefCell<ManuallyDrop<Option<T>>>);

impl<T> Lasting<T> {
    /// An empty place.
    pub(super) const fn new() -> Lasting<T> {
        Lasting(RefCell::new(ManuallyDrop::new(None)))
    }

    /// Puts a value there, and drops the one that was there.
    #[inline]
    pub(super) fn set(&self, value: T) {
        drop(ManuallyDrop::into_inner(self.0.replace(ManuallyDrop::new(Some(value)))));
    }

    /// Takes the value.
    #[inline]
    pub(super) fn take(&self) -> Option<T> {
        ManuallyDrop::into_inner(self.0.replace(ManuallyDrop::new(None)))
    }

    /// Calls `f` with the value, if there is one.
    #[inline]
    pub(super) fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.borrow_mut().as_mut().map(f)
    }

    /// Calls `f` with the value, if there is one that nobody else is at.
    pub(super) fn look<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.try_borrow().ok()?.as_ref().map(f)
    }
}
