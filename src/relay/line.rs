//! One line that a child wrote, and where lines go.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// One line that a process wrote to its standard output or error, as the function of
/// [`Stdio::lines_to`](crate::Stdio::lines_to) gets it.
///
/// It prints as `name: text`, what the process wrote being [lossy](String::from_utf8_lossy).
///
/// ```
/// use multiproc::{Process, Stdio};
/// use std::sync::mpsc;
///
/// let (sender, lines) = mpsc::channel();
/// let chatty = Process::new(|| println!("one\ntwo"), ()).name("chatty");
/// let to = Stdio::lines_to(move |line| sender.send(line.to_string()).unwrap());
/// chatty.stdout(to).start()?.join()?;
/// assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["chatty: one", "chatty: two"]);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Line<'a> {
    /// The name of the process, as it was started.
    pub process: &'a str,
    /// Its number.
    pub pid: u32,
    /// What it wrote, without the end of the line. It may be anything, UTF-8 or not.
    pub bytes: &'a [u8],
    /// The line goes on in the next one: it was longer than 64 KiB, and is told in parts.
    pub is_cut: bool,
}

impl<'a> Line<'a> {
    /// Returns what the process wrote as text, with the replacement character for what is not
    /// UTF-8.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let to = Stdio::lines_to(|line| assert_eq!(line.text(), "done"));
    /// Process::new(|| println!("done"), ()).stdout(to).start()?.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes)
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.process, self.text())
    }
}

/// Where the lines of a stream go.
#[derive(Clone)]
pub(crate) enum LinesTo {
    /// To this process's own stream of the same kind, with the name before each.
    Own,
    /// To a function of the user's.
    Function(Arc<dyn Fn(&Line<'_>) + Send + Sync>),
}

impl fmt::Debug for LinesTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinesTo::Own => "Own",
            LinesTo::Function(_) => "Function",
        })
    }
}
