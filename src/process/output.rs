//! Running a process to its end for its result and its output.

use serde::de::DeserializeOwned;

use super::{Output, Process};
use crate::error::Result;

impl<T: DeserializeOwned> Process<T> {
    /// Starts the process, waits until it has ended, and returns its result with what it wrote to
    /// standard output and error. These are piped, unless they were set to something else than
    /// [`Stdio::inherit`](crate::Stdio::inherit). As `std::process::Command::output`.
    ///
    /// See [`Child::wait_with_output`](crate::Child::wait_with_output) for what is gathered, and
    /// [`max_output`](Process::max_output) and [`deadline`](Process::deadline) for limits.
    ///
    /// # Errors
    /// Those of [`start`](Process::start), and of
    /// [`wait_with_output`](crate::Child::wait_with_output). How the process failed is in
    /// [`Output::result`].
    ///
    /// ```
    /// use multiproc::Process;
    ///
    /// let output = Process::new(|| { println!("hello"); 7 }, ()).output()?;
    /// assert_eq!((output.result?, output.stdout), (7, b"hello\n".to_vec()));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn output(mut self) -> Result<Output<T>> {
        self.stdio[1].pipe_if_inherited();
        self.stdio[2].pipe_if_inherited();
        Ok(self.start()?.wait_with_output()?)
    }
}
