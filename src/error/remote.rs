//! An error of any type as it was in the process that met it: texts, the chain of causes, and what
//! programs ask of an `io::Error`.
//!
//! What another process says is not trusted: the chain is bounded when it is taken and when it is
//! decoded, as each link of it is a pointer more to follow and to drop.

use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::io::ErrorKind;
use std::iter;

use serde::{Deserialize, Serialize};

use super::io_facts::IoFacts;
use crate::{text, unwind};

/// The most links of a chain. An error whose `source` never ends is cut here.
const LONGEST_CHAIN: usize = 128;

/// Bytes that stand before each text where an error shows its causes.
const LINK: usize = 16;

/// An error that another process met, of whatever type it was there: its text, its causes, each
/// with its text, and a backtrace if it had one. It implements [`std::error::Error`].
///
/// It comes from a [`PortableError`](crate::PortableError), which is what a function returns to
/// another process, by [`into_error`](crate::PortableError::into_error).
///
/// `Display` is the outermost text, `{:#}` all of them in one line, and `Debug` all of them with a
/// line for each, as `anyhow` has it.
///
/// ```
/// use multiproc::{PortableError, Process, RemoteError};
///
/// fn read() -> Result<String, PortableError> {
///     Ok(std::fs::read_to_string("/nowhere/settings")?)
/// }
///
/// let outcome: Result<String, RemoteError> =
///     Process::new(read, ()).start()?.join()?.map_err(PortableError::into_error);
/// let error = outcome.unwrap_err();
/// assert_eq!(error.to_string(), "No such file or directory (os error 2)");
/// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "Told", try_from = "Told")]
pub struct RemoteError {
    text: String,
    io: Option<IoFacts>,
    source: Option<Box<RemoteError>>,
    backtrace: Option<String>,
}

/// An error on its way: its links, outermost first. Flat, so that no depth is decoded.
#[derive(Serialize, Deserialize)]
struct Told {
    links: Vec<(String, Option<IoFacts>)>,
    backtrace: Option<String>,
}

impl RemoteError {
    /// Takes down an error with all its causes.
    pub(super) fn of(error: &(dyn StdError + 'static)) -> RemoteError {
        // Another process's, which passes through this one: it comes out as it went in.
        if let Some(remote) = error.downcast_ref::<RemoteError>() {
            return remote.clone();
        }
        let links = iter::successors(Some(error), |&error| error.source())
            .take(LONGEST_CHAIN)
            .map(|error| {
                let text = text::print(format_args!("{error}"));
                let io = match error.downcast_ref::<RemoteError>() {
                    Some(remote) => remote.io,
                    None => IoFacts::of(error, &text),
                };
                (text, io)
            })
            .collect::<Vec<(String, Option<IoFacts>)>>();
        let texts = links.iter().map(|(text, _)| text.len() + LINK).sum();
        RemoteError::from_links(links, backtrace_of(error, texts))
    }

    /// Makes the chain of what stands in a list, outermost first.
    fn from_links(links: Vec<(String, Option<IoFacts>)>, backtrace: Option<String>) -> RemoteError {
        let mut chain = None;
        for (text, io) in links.into_iter().rev() {
            chain = Some(Box::new(RemoteError { text, io, source: chain, backtrace: None }));
        }
        let mut outermost = match chain {
            Some(chain) => *chain,
            None => RemoteError { text: String::new(), io: None, source: None, backtrace: None },
        };
        outermost.backtrace = backtrace;
        outermost
    }

    /// Goes through the error and its causes, outermost first.
    ///
    /// ```
    /// use multiproc::PortableError;
    ///
    /// let error = anyhow::Error::msg("no luck").context("cannot start");
    /// let error = PortableError::from(error).into_error();
    /// let texts: Vec<String> = error.chain().map(ToString::to_string).collect();
    /// assert_eq!(texts, ["cannot start", "no luck"]);
    /// ```
    pub fn chain(&self) -> impl Iterator<Item = &RemoteError> {
        iter::successors(Some(self), |error| error.source.as_deref())
    }

    /// Returns the kind of the outermost `std::io::Error` in the chain, if there is one.
    ///
    /// The outermost error of an `anyhow::Error` tells what it is only if it came from the system;
    /// an `io::Error` that a library made ([`std::io::Error::new`]) is seen there from the second
    /// link on.
    ///
    /// ```
    /// use std::io::{Error, ErrorKind};
    /// use multiproc::PortableError;
    ///
    /// let error = PortableError::from(Error::new(ErrorKind::TimedOut, "nobody answers"));
    /// assert_eq!(error.io_kind(), Some(ErrorKind::TimedOut));
    /// assert_eq!(PortableError::from("no luck").io_kind(), None);
    /// ```
    #[must_use]
    pub fn io_kind(&self) -> Option<ErrorKind> {
        self.chain().find_map(|error| error.io).map(IoFacts::kind)
    }

    /// Returns the system's number (`errno`) of the outermost `std::io::Error` in the chain that
    /// came from the system.
    ///
    /// ```
    /// use multiproc::PortableError;
    ///
    /// let error = PortableError::from(std::io::Error::from_raw_os_error(13));
    /// assert_eq!(error.raw_os_error(), Some(13)); // EACCES
    /// ```
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.chain().find_map(|error| error.io.and_then(IoFacts::number))
    }

    /// Returns the text of the backtrace that the error had where it was met: those of `anyhow`
    /// have one if `RUST_BACKTRACE` was set there.
    ///
    /// ```
    /// let error = multiproc::PortableError::from("no luck");
    /// assert_eq!(error.backtrace(), None);
    /// ```
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }
}

/// What stands above a backtrace.
const HEADING: &str = "\nStack backtrace:\n";

/// Bytes beside its texts that an error may print before its backtrace.
const SLACK: usize = 4096;

/// Bytes of a backtrace that are taken, at the most.
const LONGEST_BACKTRACE: usize = 1 << 20;

/// Returns the backtrace of an error, which std lets nobody ask for yet: errors that have one show
/// it at the end of their `Debug`, under a heading, behind their texts, which are `texts` bytes
/// long.
///
/// Nobody but this function asks for that `Debug`, so nothing of it may do harm. It is broken off
/// where the heading should have come: others print what they hold, which may be huge, or lead
/// back to itself and so never end but with the stack. A panic in it is caught.
fn backtrace_of(error: &(dyn StdError + 'static), texts: usize) -> Option<String> {
    // Further lines are indented there, and each cause is numbered.
    let most = texts.saturating_mul(4).saturating_add(SLACK);
    let mut shown = Shown { text: String::new(), most, has_heading: false };
    unwind::catch(|| write!(shown, "{error:?}").is_ok()).ok()?;
    let backtrace = shown.text.split_once(HEADING)?.1.trim_end();
    (!backtrace.is_empty()).then(|| backtrace.to_owned())
}

/// The `Debug` of an error, as far as it is taken.
struct Shown {
    text: String,
    most: usize,
    has_heading: bool,
}

impl Write for Shown {
    fn write_str(&mut self, mut part: &str) -> fmt::Result {
        loop {
            let room = self.most.saturating_sub(self.text.len()).min(part.len());
            let end = (0..=room).rev().find(|end| part.is_char_boundary(*end)).unwrap_or(0);
            let before = self.text.len().saturating_sub(HEADING.len());
            self.text.push_str(&part[..end]);
            part = &part[end..];
            // It may come in several parts.
            let new = &self.text.as_bytes()[before..];
            if !self.has_heading && new.windows(HEADING.len()).any(|at| at == HEADING.as_bytes()) {
                self.has_heading = true;
                self.most = self.text.len().saturating_add(LONGEST_BACKTRACE);
            } else if part.is_empty() {
                return Ok(());
            } else {
                return Err(fmt::Error);
            }
        }
    }
}

impl From<RemoteError> for Told {
    fn from(error: RemoteError) -> Told {
        let mut links = Vec::new();
        let backtrace = error.backtrace;
        let mut next = Some((error.text, error.io, error.source));
        while let Some((text, io, source)) = next {
            links.push((text, io));
            next = source.map(|source| (source.text, source.io, source.source));
        }
        Told { links, backtrace }
    }
}

impl TryFrom<Told> for RemoteError {
    type Error = String;

    fn try_from(told: Told) -> Result<RemoteError, String> {
        match told.links.len() {
            0 => Err("an error without a text".to_owned()),
            1..=LONGEST_CHAIN => Ok(RemoteError::from_links(told.links, told.backtrace)),
            more => Err(format!("an error with {more} causes, more than {LONGEST_CHAIN}")),
        }
    }
}

impl fmt::Display for RemoteError {
    /// The outermost text; with `{:#}`, its causes behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if f.alternate() {
            for cause in self.chain().skip(1) {
                write!(f, ": {}", cause.text)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RemoteError {
    /// As `anyhow` shows an error: its text, its causes one to a line, the backtrace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        let causes = self.chain().skip(1).count();
        if causes > 0 {
            f.write_str("\n\nCaused by:")?;
        }
        for (number, cause) in self.chain().skip(1).enumerate() {
            let number = if causes > 1 { format!("{number}: ") } else { String::new() };
            // Further lines of a text stand below its first.
            let text = cause.text.replace('\n', &format!("\n    {:1$}", "", number.len()));
            write!(f, "\n    {number}{text}")?;
        }
        if let Some(backtrace) = &self.backtrace {
            write!(f, "\n\nStack backtrace:\n{backtrace}")?;
        }
        Ok(())
    }
}

impl StdError for RemoteError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that is its own cause.
    #[derive(Debug)]
    struct Endless;

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("again")
        }
    }

    impl StdError for Endless {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(self)
        }
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let error = RemoteError::of(&Endless);
        assert_eq!(error.chain().count(), LONGEST_CHAIN);
        assert!(RemoteError::try_from(Told::from(error)).is_ok());
    }

    #[test]
    fn what_another_process_says_is_checked() {
        let links = |count| vec![("text".to_owned(), None); count];
        let told = |count| Told { links: links(count), backtrace: None };
        assert!(RemoteError::try_from(told(0)).is_err());
        assert!(RemoteError::try_from(told(LONGEST_CHAIN + 1)).is_err());
    }

    #[test]
    fn it_is_shown_as_others_show_theirs() {
        let links = ["outer", "first\nsecond line", "inner"].map(|text| (text.to_owned(), None));
        let error = RemoteError::from_links(links.to_vec(), Some("   0: main".to_owned()));
        assert_eq!(error.to_string(), "outer");
        assert_eq!(format!("{error:#}"), "outer: first\nsecond line: inner");
        assert_eq!(
            format!("{error:?}"),
            "outer\n\nCaused by:\n    0: first\n       second line\n    1: inner\n\n\
             Stack backtrace:\n   0: main"
        );
        let error = RemoteError::from_links(links[..2].to_vec(), None);
        assert_eq!(format!("{error:?}"), "outer\n\nCaused by:\n    first\n    second line");
    }
}
