//! Signals, by number and by name.

use std::fmt;

/// The number of a signal, which prints as its name.
///
/// ```
/// use multiproc::Signal;
///
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::new(35).to_string(), "signal 35");
/// ```
///
/// Numbers are Linux's on x86-64 and aarch64. Any number can be one; whether the kernel knows it is
/// seen when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

impl Signal {
    /// Hang-up of the terminal.
    pub const HUP: Signal = Signal(1);
    /// Ctrl-C.
    pub const INT: Signal = Signal(2);
    /// The process gave up by itself (`abort`), as Rust's does on a panic with `panic = "abort"`.
    pub const ABRT: Signal = Signal(6);
    /// The end without appeal, and what the kernel sends when memory runs out.
    pub const KILL: Signal = Signal(9);
    /// A reference to memory that is not there, a stack overflow included.
    pub const SEGV: Signal = Signal(11);
    /// The polite request to end.
    pub const TERM: Signal = Signal(15);
    /// To go on after a stop.
    pub const CONT: Signal = Signal(18);

    /// Makes the signal of a number.
    ///
    /// ```
    /// use multiproc::Signal;
    ///
    /// assert_eq!(Signal::new(15), Signal::TERM);
    /// assert_eq!(Signal::new(10).to_string(), "SIGUSR1");
    /// ```
    #[must_use]
    pub const fn new(number: i32) -> Signal {
        Signal(number)
    }

    /// Returns its number.
    ///
    /// ```
    /// assert_eq!(multiproc::Signal::KILL.number(), 9);
    /// ```
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Returns its name, such as `SIGTERM`; `None` for the real-time signals, which have none in
    /// CPython either.
    ///
    /// ```
    /// use multiproc::Signal;
    ///
    /// assert_eq!((Signal::KILL.name(), Signal::new(40).name()), (Some("SIGKILL"), None));
    /// ```
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let place = usize::try_from(self.0).ok()?.checked_sub(1)?;
        NAMES.get(place).copied()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// Linux on x86-64 and aarch64, from 1.
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];
