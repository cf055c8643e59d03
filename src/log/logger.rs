//! The library's logger.
//!
//! Its records go to its own handlers (standard error, and what the program adds), and to whatever
//! logger the program installed for the `log` facade. If the program installed none,
//! `log_to_stderr` installs ours, so that the program's own records come out beside the library's,
//! in the same form, in every process.

use std::fmt;
use std::io::Write;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::Level;
use crate::identity;
use crate::{text, unwind};

/// The library's logger; there is one, from [`get_logger`].
pub struct Logger {
    level: AtomicU8,
    to_stderr: AtomicBool,
    /// The `log` facade's records come to us.
    is_facade: AtomicBool,
    handlers: RwLock<Vec<Handler>>,
}

/// A handler that the program added.
type Handler = Arc<dyn Fn(&LogRecord<'_>) + Send + Sync>;

/// One record, as a handler sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct LogRecord<'a> {
    /// The importance of the record.
    pub level: Level,
    /// The name of the process that made it.
    pub process: &'a str,
    /// Where it comes from: `multiproc`, or the module that logged through the facade.
    pub target: &'a str,
    /// The text of the record.
    pub message: fmt::Arguments<'a>,
    /// The source file that made it.
    pub file: Option<&'a str>,
    /// And the line there.
    pub line: Option<u32>,
}

static LOGGER: Logger = Logger {
    level: AtomicU8::new(Level::NotSet as u8),
    to_stderr: AtomicBool::new(false),
    is_facade: AtomicBool::new(false),
    handlers: RwLock::new(Vec::new()),
};

/// The target of the library's own records.
const TARGET: &str = "multiproc";

/// Returns the library's logger: to change its level, to add a handler, or to log with it.
/// CPython's `get_logger()`.
///
/// ```
/// use multiproc::{Level, get_logger};
///
/// get_logger().set_level(Level::Info);
/// assert_eq!(get_logger().level(), Level::Info);
/// # get_logger().set_level(Level::NotSet);
/// ```
#[must_use]
pub fn get_logger() -> &'static Logger {
    &LOGGER
}

/// Sends the logger's records to standard error, as `[INFO/Process-1] message`, and sets its level.
///
/// [`Level::NotSet`] leaves the level as it is. Children of every start method do the same. If the
/// program has no logger for the `log` facade, this one becomes it, so that `log::info!` comes out
/// in the same form.
///
/// Unlike CPython's, calling it again does not print every line twice.
///
/// ```
/// use multiproc::{Level, log_to_stderr};
///
/// log_to_stderr(Level::Info).info("hello"); // prints: [INFO/MainProcess] hello
/// ```
pub fn log_to_stderr(level: Level) -> &'static Logger {
    LOGGER.to_stderr.store(true, Ordering::Relaxed);
    LOGGER.become_facade();
    if level != Level::NotSet {
        LOGGER.set_level(level);
    }
    &LOGGER
}

impl Logger {
    /// Returns the level below which records are dropped; [`Level::NotSet`] if the facade's maximum
    /// decides.
    ///
    /// ```
    /// use multiproc::{Level, get_logger};
    ///
    /// assert_eq!(get_logger().level(), Level::NotSet); // the facade's maximum decides
    /// get_logger().set_level(Level::Debug);
    /// assert_eq!(get_logger().level(), Level::Debug);
    /// ```
    pub fn level(&self) -> Level {
        Level::from_number(self.level.load(Ordering::Relaxed))
    }

    /// Sets the level below which records are dropped. Children that start from now on inherit it.
    ///
    /// ```
    /// use multiproc::{Level, Process, get_logger};
    ///
    /// get_logger().set_level(Level::Info);
    /// let level = || get_logger().level();
    /// assert_eq!(Process::new(level, ()).start()?.join()?, Level::Info);
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        if self.is_facade.load(Ordering::Relaxed) && level != Level::NotSet {
            log::set_max_level(level.facade().to_level_filter());
        }
    }

    /// Returns `true` if a record of this level would be handled: to save making an expensive one.
    ///
    /// ```
    /// use multiproc::{Level, get_logger};
    ///
    /// get_logger().set_level(Level::Warning);
    /// assert!(get_logger().is_enabled_for(Level::Error));
    /// assert!(!get_logger().is_enabled_for(Level::Debug));
    /// ```
    pub fn is_enabled_for(&self, level: Level) -> bool {
        match self.level() {
            Level::NotSet => level.facade() <= log::max_level(),
            threshold => level >= threshold,
        }
    }

    /// Passes every record to `handler`, too. Children do not inherit it (as in CPython),
    /// except by fork. A panic in it is shown, and does no harm to who logs.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use multiproc::{Level, get_logger};
    ///
    /// static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    /// get_logger().add_handler(|record| LINES.lock().unwrap().push(record.message.to_string()));
    /// get_logger().set_level(Level::Info);
    /// get_logger().info("seen");
    /// get_logger().debug("not seen");
    /// assert_eq!(*LINES.lock().unwrap(), ["seen"]);
    /// ```
    pub fn add_handler(&self, handler: impl Fn(&LogRecord<'_>) + Send + Sync + 'static) {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(handler));
    }

    /// Logs `message` at a level. It is formatted only if it is handled.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use multiproc::{Level, get_logger};
    ///
    /// static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    /// get_logger().add_handler(|record| {
    ///     LINES.lock().unwrap().push(format!("{}: {}", record.level, record.message));
    /// });
    /// get_logger().set_level(Level::SubDebug);
    /// get_logger().log(Level::Critical, "the disk is full");
    /// get_logger().sub_debug("a");
    /// get_logger().debug("b");
    /// get_logger().info("c");
    /// get_logger().sub_warning("d");
    /// get_logger().warning("e");
    /// get_logger().error("f");
    /// assert_eq!(LINES.lock().unwrap().len(), 7);
    /// assert_eq!(LINES.lock().unwrap()[0], "CRITICAL: the disk is full");
    /// ```
    #[track_caller]
    pub fn log(&self, level: Level, message: impl fmt::Display) {
        let place = Location::caller();
        if self.is_enabled_for(level) {
            self.emit(level, place, format_args!("{message}"));
        }
    }

    /// Logs `message` at [`Level::SubDebug`].
    ///
    /// ```
    /// multiproc::get_logger().sub_debug("a worker was replaced");
    /// ```
    #[track_caller]
    pub fn sub_debug(&self, message: impl fmt::Display) {
        self.log(Level::SubDebug, message);
    }

    /// Logs `message` at [`Level::Debug`].
    ///
    /// ```
    /// multiproc::get_logger().debug("a worker was replaced");
    /// ```
    #[track_caller]
    pub fn debug(&self, message: impl fmt::Display) {
        self.log(Level::Debug, message);
    }

    /// Logs `message` at [`Level::Info`].
    ///
    /// ```
    /// multiproc::get_logger().info("a worker was replaced");
    /// ```
    #[track_caller]
    pub fn info(&self, message: impl fmt::Display) {
        self.log(Level::Info, message);
    }

    /// Logs `message` at [`Level::SubWarning`].
    ///
    /// ```
    /// multiproc::get_logger().sub_warning("a worker was replaced");
    /// ```
    #[track_caller]
    pub fn sub_warning(&self, message: impl fmt::Display) {
        self.log(Level::SubWarning, message);
    }

    /// Logs `message` at [`Level::Warning`].
    ///
    /// ```
    /// multiproc::get_logger().warning("a worker was replaced");
    /// ```
    #[track_caller]
    pub fn warning(&self, message: impl fmt::Display) {
        self.log(Level::Warning, message);
    }

    /// Logs `message` at [`Level::Error`].
    ///
    /// ```
    /// multiproc::get_logger().error("a worker was replaced");
    /// ```
    #[track_caller]
    pub fn error(&self, message: impl fmt::Display) {
        self.log(Level::Error, message);
    }

    /// Gives a record to our handlers, and to the program's own logger if it has one.
    fn emit(&self, level: Level, place: &Location<'_>, message: fmt::Arguments<'_>) {
        let process = identity::current().name();
        self.handle(&LogRecord {
            level,
            process: &process,
            target: TARGET,
            message,
            file: Some(place.file()),
            line: Some(place.line()),
        });
        // If we are the facade's logger, the record has been handled above.
        if !self.is_facade.load(Ordering::Relaxed) && level.facade() <= log::max_level() {
            let _ = unwind::catch(|| {
                log::logger().log(
                    &log::Record::builder()
                        .level(level.facade())
                        .target(TARGET)
                        .file(Some(place.file()))
                        .line(Some(place.line()))
                        .args(format_args!("[{process}] {message}"))
                        .build(),
                );
            });
        }
    }

    /// Writes a record to standard error, if that is on, and gives it to the program's handlers.
    fn handle(&self, record: &LogRecord<'_>) {
        if self.to_stderr.load(Ordering::Relaxed) {
            // One write a line, so that lines of several processes do not mix; to a closed stream,
            // nothing.
            let mut line = format!("[{}/{}] ", record.level, record.process);
            line.push_str(&text::print(record.message));
            line.push('\n');
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        // Called without the lock: a handler may add another, or log.
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner).clone();
        for handler in handlers {
            // A panic in it is shown, and is not that of who logs, as in CPython.
            let _ = unwind::catch(|| handler(record));
        }
    }

    /// Becomes the `log` facade's logger, unless the program has one.
    fn become_facade(&self) {
        if !self.is_facade.load(Ordering::Relaxed) && log::set_logger(&Facade).is_ok() {
            self.is_facade.store(true, Ordering::Relaxed);
            self.set_level(self.level());
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Logger {TARGET} ({})>", self.level())
    }
}

/// The logger that we install for the `log` facade.
struct Facade;

impl log::Log for Facade {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        LOGGER.is_enabled_for(metadata.level().into())
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGER.handle(&LogRecord {
                level: record.level().into(),
                process: &identity::current().name(),
                target: record.target(),
                message: *record.args(),
                file: record.file(),
                line: record.line(),
            });
        }
    }

    fn flush(&self) {}
}

/// The settings that a child inherits from this process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LogSettings {
    level: Level,
    to_stderr: bool,
    /// The facade's maximum, as the number of its level; 0 is off.
    facade: u8,
}

impl LogSettings {
    /// Returns those of this process, now.
    pub(crate) fn now() -> LogSettings {
        #[expect(clippy::cast_possible_truncation, reason = "0 to 5")]
        let facade = log::max_level() as usize as u8;
        LogSettings {
            level: LOGGER.level(),
            to_stderr: LOGGER.to_stderr.load(Ordering::Relaxed),
            facade,
        }
    }

    /// Makes them those of this process, a child.
    pub(crate) fn apply(self) {
        if self.to_stderr {
            log_to_stderr(Level::NotSet);
        }
        let facade = log::LevelFilter::iter().nth(self.facade.into());
        log::set_max_level(facade.unwrap_or(log::LevelFilter::Off));
        LOGGER.level.store(self.level as u8, Ordering::Relaxed);
    }
}
