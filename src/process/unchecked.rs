//! Forking beside other threads, on the caller's word. The only public function that asks for
//! `unsafe`.
#![expect(unsafe_code, reason = "the one function whose caller must promise something")]

use super::{Child, Process};
use crate::error::Result;
use crate::sys::process::clone::Promise;

impl<T> Process<T> {
    /// Forks a process even if this one has other threads.
    ///
    /// Only for the fork start method. See [`Process::from_closure`].
    ///
    /// # Safety
    /// The child is a copy of a process of which only this thread goes on. A lock that another
    /// thread held stays locked for ever in the child, that of the allocator (outside glibc) and
    /// those of the standard library included; data that another thread was changing stays half
    /// changed. The function must use nothing of the kind.
    ///
    /// # Errors
    /// As for [`Process::start`].
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let _other = std::thread::spawn(|| std::thread::park());
    /// let process = Process::from_closure(|| 6 * 7);
    /// // SAFETY: the closure takes no lock but the allocator's, which glibc makes ready again.
    /// let child = unsafe { process.start_unchecked()? };
    /// assert_eq!(child.join()?, 42);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub unsafe fn start_unchecked(self) -> Result<Child<T>> {
        // SAFETY: the caller's promise is the same.
        let promise = unsafe { Promise::new() };
        self.start_with(Some(promise))
    }
}
