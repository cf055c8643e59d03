//! Types with a `run` method: what a class derived from CPython's `Process` becomes.
//!
//! The value crosses as a function's arguments do, encoded; the entry is instantiated for the type.

use std::any::type_name;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Child, Process};
use crate::codec;
use crate::sys::program::code::{Entry, Refusal};

/// A type that does its work in a process of its own: what a class derived from CPython's `Process`
/// is.
///
/// Its fields cross to the child with serde. The default name of the process is that of the type
/// with a number: `Worker-1`.
///
/// ```
/// use multiproc::{Run, current_process};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Worker { greeting: String }
///
/// impl Run for Worker {
///     type Output = String;
///
///     fn run(self) -> String {
///         format!("{} from {}", self.greeting, current_process().name())
///     }
/// }
///
/// # fn main() -> multiproc::Result<()> {
/// let child = Worker { greeting: "hello".into() }.start()?;
/// assert_eq!(child.join()?, "hello from Worker-1");
/// # Ok(())
/// # }
/// ```
pub trait Run: Serialize + DeserializeOwned {
    /// The type of what it returns to the parent.
    type Output: Serialize + DeserializeOwned;

    /// Does the work, in the child. What it returns, the parent's [`join`](Child::join) gives.
    fn run(self) -> Self::Output;

    /// Makes a process for it that is not started yet: to set its name, daemon flag and so on.
    ///
    /// ```
    /// use multiproc::Run;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Square(u32);
    ///
    /// impl Run for Square {
    ///     type Output = u32;
    ///
    ///     fn run(self) -> u32 {
    ///         self.0 * self.0
    ///     }
    /// }
    ///
    /// let child = Square(6).process().name("six").daemon(true).start()?;
    /// assert_eq!((child.name(), child.join()?), ("six".to_owned(), 36));
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    fn process(self) -> Process<Self::Output>
    where
        Self: Sized,
    {
        Process::of(self)
    }

    /// Starts it in a process with the default settings.
    ///
    /// # Errors
    /// Those of [`Process::start`](Process::start).
    fn start(self) -> crate::Result<Child<Self::Output>>
    where
        Self: Sized,
    {
        self.process().start()
    }
}

/// The entry for a type with `run`: decodes the value, runs it, encodes what it returns.
pub(super) fn entry<W: Run>() -> Entry {
    |this, fds| {
        let this = codec::decode::<W>(this, fds).map_err(Refusal::Arguments)?;
        codec::encode(&this.run()).map_err(Refusal::Result)
    }
}

/// The last part of a type's path, without its parameters: `Worker` of
/// `my_crate::jobs::Worker<u8>`. Processes of the type are named after it.
pub(super) fn kind<W>() -> &'static str {
    let path = type_name::<W>();
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    struct Plain;
    struct Generic<T>(std::marker::PhantomData<T>);

    #[test]
    fn names_of_types_are_short() {
        assert_eq!(super::kind::<Plain>(), "Plain");
        assert_eq!(super::kind::<Generic<Option<Plain>>>(), "Generic");
    }
}
