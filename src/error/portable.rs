//! The error type of functions that run in other processes: what `?` makes of any error.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::remote::RemoteError;

/// An error that can be carried to another process: what `?` makes, in a function that returns
/// `Result<T, PortableError>`, of `anyhow::Error`, `Box<dyn Error + Send + Sync>`,
/// [`std::io::Error`], a text, and any other error, whether serde knows it or not.
///
/// What crosses is its text, the texts of its causes ([`chain`](RemoteError::chain)), the kind and
/// the number of an `io::Error` among them, and the text of its backtrace. An error of your own
/// that serde knows needs no wrapper: it comes back as itself, as any value.
///
/// It answers through [`RemoteError`], to which it dereferences. It is no [`std::error::Error`]
/// itself, as `anyhow::Error` is none: that is what lets `?` make it of every one. Where one is
/// wanted, [`into_error`](PortableError::into_error) gives it:
/// `child.join()?.map_err(PortableError::into_error)?`.
///
/// CPython's pool carries the text of an exception's traceback in this way
/// (`ExceptionWithTraceback`).
///
/// ```
/// use anyhow::Context;
/// use multiproc::{Pool, PortableError, Process};
///
/// fn port_of(setting: String) -> anyhow::Result<u16> {
///     setting.parse().with_context(|| format!("{setting:?} is no port"))
/// }
///
/// fn checked(setting: String) -> Result<u16, PortableError> {
///     let port = port_of(setting)?;
///     if port < 1024 {
///         Err("it is reserved")?;
///     }
///     Ok(port)
/// }
///
/// # fn main() -> Result<(), PortableError> {
/// let child = Process::new(checked, ("http".to_owned(),)).start()?;
/// let error = child.join()?.unwrap_err();
/// assert_eq!(format!("{error:#}"), "\"http\" is no port: invalid digit found in string");
///
/// let pool = Pool::new(1)?;
/// assert_eq!(pool.apply(checked, ("8080".to_owned(),))??, 8080);
/// assert_eq!(pool.apply(checked, ("80".to_owned(),))?.unwrap_err().to_string(), "it is reserved");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortableError(Box<RemoteError>);

impl PortableError {
    /// Takes down a `Box<dyn Error>`, which `?` cannot convert, as it may not leave its thread.
    ///
    /// ```
    /// use std::error::Error;
    /// use multiproc::PortableError;
    ///
    /// fn parse(text: &str) -> Result<u32, Box<dyn Error>> {
    ///     Ok(text.parse()?)
    /// }
    ///
    /// fn task(text: String) -> Result<u32, PortableError> {
    ///     parse(&text).map_err(PortableError::from_boxed)
    /// }
    ///
    /// let error = task("seven".to_owned()).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// ```
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub fn from_boxed(error: Box<dyn StdError>) -> PortableError {
        PortableError(Box::new(RemoteError::of(&*error)))
    }

    /// Returns the error as one that implements [`std::error::Error`].
    ///
    /// ```
    /// use multiproc::{PortableError, Process};
    ///
    /// fn fails() -> Result<(), PortableError> {
    ///     Err("no luck")?
    /// }
    ///
    /// fn run() -> anyhow::Result<()> {
    ///     Process::new(fails, ()).start()?.join()?.map_err(PortableError::into_error)?;
    ///     Ok(())
    /// }
    ///
    /// assert_eq!(run().unwrap_err().to_string(), "no luck");
    /// ```
    #[must_use]
    pub fn into_error(self) -> RemoteError {
        *self.0
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for PortableError {
    fn from(error: E) -> PortableError {
        let error: Box<dyn StdError + Send + Sync> = error.into();
        PortableError(Box::new(RemoteError::of(&*error)))
    }
}

impl Deref for PortableError {
    type Target = RemoteError;

    fn deref(&self) -> &RemoteError {
        &self.0
    }
}

impl fmt::Display for PortableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PortableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
