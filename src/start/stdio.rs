//! A child's standard streams: what the builder says, opened here and laid over the child's own.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::error::{Result, os};
use crate::relay::{Line, LinesTo};
use crate::sys::fd;
#[cfg(feature = "cage")]
use crate::sys::streams::{self, Parted};

/// The other side of one of a child's standard streams, as `std::process::Stdio` gives it for
/// commands. A `File` or an `OwnedFd` becomes one by `From`.
///
/// ```
/// use std::io::Read;
/// use multiproc::{Process, Stdio};
///
/// let mut child = Process::new(|| println!("heard"), ()).stdout(Stdio::piped()).start()?;
/// let mut text = String::new();
/// child.take_stdout().expect("piped").read_to_string(&mut text).unwrap();
/// assert_eq!(text, "heard\n");
/// child.join()?;
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Debug)]
pub struct Stdio(Kind);

/// The kinds of streams.
#[derive(Debug)]
enum Kind {
    Inherit,
    Null,
    Piped,
    Lines(LinesTo),
    Given(OwnedFd),
}

impl Stdio {
    /// Gives the process this process's stream, as it is when the process is started (`/dev/null`
    /// if that is closed then).
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let child = Process::new(|| println!("hello"), ()).stdout(Stdio::inherit()).start()?;
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn inherit() -> Stdio {
        Stdio(Kind::Inherit)
    }

    /// Gives the process `/dev/null`: what it writes is gone, what it reads is at its end.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let noise = Process::new(|| eprintln!("nobody sees this"), ());
    /// let child = noise.stderr(Stdio::null()).start()?;
    /// child.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn null() -> Stdio {
        Stdio(Kind::Null)
    }

    /// Gives the process a pipe whose other end the [`Child`](crate::Child) has: `take_stdin`,
    /// `take_stdout`, `take_stderr`. See [`Stdio`] for an example.
    ///
    /// A process that writes more than a pipe holds (64 KiB) waits for somebody to read it, as
    /// [`wait_with_output`](crate::Child::wait_with_output) does.
    #[must_use]
    pub fn piped() -> Stdio {
        Stdio(Kind::Piped)
    }

    /// Gives the process a pipe, and passes on what it writes to this program's own stream of the
    /// same kind: line by line, with `name: ` before each, the name being that with which the
    /// process was started. For standard output and error.
    ///
    /// Lines of several processes never mix: each is written whole. A last line without its end is
    /// passed on, too; one that is longer than 64 KiB is passed on in parts, each as a line.
    ///
    /// All that the process itself wrote has come out when [`join`](crate::Child::join) and its
    /// like return. Others that it started and left behind may go on writing; nobody waits for
    /// them. The bytes go past the buffers and the lock of [`std::io::Stdout`].
    ///
    /// One thread does this for all processes, as long as there are any; a process that writes
    /// faster than the stream takes it waits. It costs this program one descriptor for each stream.
    /// The process writes to a pipe, and not to a terminal, whatever this program's stream is; one
    /// that [outlives](crate::Process::die_with_parent) this program finds the pipe broken then.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let build = Process::new(|| println!("compiling"), ()).name("build");
    /// // Prints "build: compiling".
    /// build.stdout(Stdio::lines()).stderr(Stdio::lines()).start()?.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn lines() -> Stdio {
        Stdio(Kind::Lines(LinesTo::Own))
    }

    /// Gives the process a pipe, and calls `function` with each [`Line`] that it writes, as
    /// [`lines`](Stdio::lines) passes them on: to log them, say.
    ///
    /// The calls for one stream come one after the other, in the thread that reads the streams of
    /// all processes, or in one that sees the end of this process (by a `join`, or as an executor
    /// that awaits it). So the function should be quick: others wait meanwhile. It may start (but
    /// not fork) and join processes; joined in there, a process may have lines that come out later.
    /// With the feature `tracing`, it is called within the span of the process. A thread that holds
    /// a lock which the function takes must not join the process. If the function panics, the line
    /// is lost, and the next one comes.
    ///
    /// ```
    /// use multiproc::{Process, Stdio};
    ///
    /// let to_log = Stdio::lines_to(|line| log::warn!("{line}"));
    /// Process::new(|| eprintln!("disk full"), ()).name("backup").stderr(to_log).start()?.join()?;
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    #[must_use]
    pub fn lines_to(function: impl Fn(&Line<'_>) + Send + Sync + 'static) -> Stdio {
        Stdio(Kind::Lines(LinesTo::Function(Arc::new(function))))
    }

    /// Returns where the lines go, and makes it a pipe, if it is to be passed on line by line.
    pub(crate) fn take_lines(&mut self) -> Option<LinesTo> {
        if !matches!(self.0, Kind::Lines(_)) {
            return None;
        }
        match std::mem::replace(self, Stdio::piped()).0 {
            Kind::Lines(to) => Some(to),
            _ => None,
        }
    }

    /// Makes a pipe of what would be inherited.
    pub(crate) fn pipe_if_inherited(&mut self) {
        if matches!(self.0, Kind::Inherit) {
            *self = Stdio::piped();
        }
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        Stdio(Kind::Given(file.into()))
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio(Kind::Given(fd))
    }
}

/// The child's end of a stream: one of this process's own, or one that was opened for it.
#[derive(Debug)]
enum End {
    Borrowed(BorrowedFd<'static>),
    Owned(OwnedFd),
}

impl End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            End::Borrowed(fd) => *fd,
            End::Owned(fd) => fd.as_fd(),
        }
    }
}

/// The three streams, ready to hand over; `/dev/null` where there is nothing.
#[derive(Debug)]
pub(crate) struct Streams {
    ends: [Option<End>; 3],
    /// The other ends of those that are pipes, which the parent keeps.
    pub(crate) pipes: Pipes,
}

/// The parent's ends of the streams that are pipes.
#[derive(Debug, Default)]
pub(crate) struct Pipes(pub(crate) [Option<OwnedFd>; 3]);

impl Streams {
    /// Opens what the three settings say. Descriptors that are handed over are above 2, so that
    /// laying one over another in the child cannot close it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn open(settings: [Stdio; 3]) -> Result<Streams> {
        let mut ends = [None, None, None];
        let mut pipes = Pipes::default();
        for ((setting, number), place) in settings.into_iter().zip(0..).zip(0..3) {
            ends[place] = match setting.0 {
                Kind::Inherit => fd::standard(number).map(End::Borrowed),
                Kind::Null => None,
                Kind::Given(given) => {
                    let given =
                        fd::above_stdio(given).map_err(os("cannot pass on a standard stream"))?;
                    Some(End::Owned(given))
                }
                Kind::Piped | Kind::Lines(_) => {
                    let (read, write) =
                        fd::pipe().map_err(os("cannot open a pipe for a standard stream"))?;
                    let (theirs, ours) = if number == 0 { (read, write) } else { (write, read) };
                    pipes.0[place] = Some(ours);
                    Some(End::Owned(theirs))
                }
            };
        }
        Ok(Streams { ends, pipes })
    }

    /// Opens the streams anew as files of their own, so that status flags which a caged process
    /// sets (`O_NONBLOCK`, `O_APPEND`) are nobody else's. Returns whether that could be done for
    /// all.
    #[cfg(feature = "cage")]
    pub(crate) fn part(&mut self) -> Result<bool> {
        let mut all = true;
        for (number, place) in self.ends.iter_mut().enumerate() {
            let Some(end) = place else { continue };
            // A pipe that was made for the process has no other owner of this end.
            if self.pipes.0[number].is_some() {
                continue;
            }
            let parted = streams::part(end.as_fd(), number);
            match parted.map_err(os("cannot pass on a standard stream"))? {
                Parted::Own(own) => *place = Some(End::Owned(own)),
                Parted::Indifferent => {}
                Parted::Joint => all = false,
            }
        }
        Ok(all)
    }

    /// Closes all that is held for them, in a child that has laid them.
    pub(crate) fn close(&mut self) {
        self.ends = [None, None, None];
        self.pipes = Pipes::default();
    }

    /// Returns the child's ends, where there are any.
    pub(crate) fn as_fds(&self) -> [Option<BorrowedFd<'_>>; 3] {
        [0, 1, 2].map(|place| self.ends[place].as_ref().map(End::as_fd))
    }
}

/// Lays streams over this process's own, in a child (`dup2`). What is not given is left as it is.
pub(crate) fn lay<Fd: AsFd>(streams: [Option<Fd>; 3]) -> std::io::Result<()> {
    for (number, stream) in (0..).zip(streams) {
        if let Some(stream) = stream {
            fd::lay_over(stream.as_fd(), number as RawFd)?;
        }
    }
    Ok(())
}
