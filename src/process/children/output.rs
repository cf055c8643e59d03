//! The output of a process, gathered beside its result.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::child::Child;
use super::registry;
use crate::error::JoinError;
use crate::sys::wait::poll::Deadline;

/// The result of a process with what it wrote: what [`Process::output`](crate::Process::output) and
/// [`Child::wait_with_output`] give.
///
/// ```
/// use multiproc::Process;
///
/// fn fails() {
///     println!("so far, so good");
///     panic!("no luck");
/// }
///
/// let output = Process::new(fails, ()).output()?;
/// assert_eq!(output.stdout, b"so far, so good\n");
/// assert!(String::from_utf8_lossy(&output.stderr).contains("no luck"));
/// assert_eq!(output.result.unwrap_err().exitcode(), Some(1));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Output<T> {
    /// What [`Child::join`] would have given: the value, or how the process failed.
    pub result: Result<T, JoinError>,
    /// What it wrote to standard output, if that was piped and nobody took the pipe.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, likewise.
    pub stderr: Vec<u8>,
    /// It wrote more than [`Process::max_output`](crate::Process::max_output) to one of them, and
    /// the rest was thrown away. Such a process is killed; it may have been faster.
    pub is_truncated: bool,
}

impl<T: DeserializeOwned> Child<T> {
    /// Waits until the process has ended, and meanwhile reads its piped standard output and error,
    /// both at once, so that it never waits for somebody to read them. Closes its piped standard
    /// input first, if nobody took that. Without a thread.
    ///
    /// It has all that the process itself wrote, and returns when it has ended: another process
    /// that holds the pipe open (one that it started and left behind) keeps nobody waiting, and
    /// what that one writes later is not read. A process that closes its streams and goes on is
    /// waited for. [`Process::max_output`](crate::Process::max_output) limits the memory that this
    /// takes, and [`Process::deadline`](crate::Process::deadline) the time.
    ///
    /// Each byte is given once: a second call has the result again, and no output.
    ///
    /// # Errors
    /// The system cannot be asked at the moment, as it lacks descriptors or memory
    /// ([`JoinError::os_error`]), or the process was started by another one than this. What was
    /// read is kept for the next call. How the process failed is in [`Output::result`].
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// fn talks() -> usize {
    ///     println!("{}", "much ".repeat(1_000_000)); // far more than a pipe holds
    ///     eprintln!("done");
    ///     7
    /// }
    ///
    /// let talker = Process::new(talks, ()).stdout(Stdio::piped()).stderr(Stdio::piped());
    /// let output = talker.start()?.wait_with_output()?;
    /// assert_eq!(output.stdout.len(), 5_000_001);
    /// assert_eq!(output.stderr, b"done\n");
    /// assert_eq!(output.result?, 7);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_with_output(&mut self) -> Result<Output<T>, JoinError> {
        loop {
            if let Some(output) = self.output_until(Deadline::Never)? {
                return Ok(output);
            }
        }
    }

    /// Waits and reads as [`wait_with_output`](Child::wait_with_output) does, but no longer than
    /// `timeout`. Returns `None` if the process runs on; what was read until then is kept for the
    /// next call.
    ///
    /// # Errors
    /// As for [`wait_with_output`](Child::wait_with_output).
    ///
    /// ```
    /// use std::time::Duration;
    /// use multiproc::{Process, Stdio};
    ///
    /// fn serves() {
    ///     println!("ready");
    ///     std::thread::sleep(Duration::from_secs(60));
    /// }
    ///
    /// let mut child = Process::new(serves, ()).stdout(Stdio::piped()).start()?;
    /// assert!(child.wait_with_output_timeout(Duration::from_millis(1))?.is_none());
    /// child.kill()?;
    /// let output = child.wait_with_output_timeout(Duration::from_secs(60))?.expect("killed");
    /// assert_eq!(output.result.unwrap_err().exitcode(), Some(-9));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_with_output_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Output<T>>, JoinError> {
        self.output_until(Deadline::after(timeout))
    }

    /// Waits and reads as [`wait_with_output`](Child::wait_with_output) does, but not beyond
    /// `deadline`.
    ///
    /// # Errors
    /// As for [`wait_with_output`](Child::wait_with_output).
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use multiproc::{Process, Stdio};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(60);
    /// let mut child = Process::new(|| print!("quick"), ()).stdout(Stdio::piped()).start()?;
    /// let output = child.wait_with_output_deadline(deadline)?.expect("it was quick");
    /// assert_eq!(output.stdout, b"quick");
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn wait_with_output_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Output<T>>, JoinError> {
        self.output_until(Deadline::at(deadline))
    }

    /// Gathers, takes the status of some others, and decodes the value.
    fn output_until(&mut self, deadline: Deadline) -> Result<Option<Output<T>>, JoinError> {
        self.close_stdin();
        let core = std::sync::Arc::clone(self.core());
        let end = self.capture.gather(&core, deadline)?;
        registry::sweep();
        let Some(end) = end else { return Ok(None) };
        let (stdout, stderr, is_truncated) = self.capture.take();
        Ok(Some(Output { result: core.value_of(&end), stdout, stderr, is_truncated }))
    }
}
