//! Start methods as objects, for code that should not depend on the program's own.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Process;
use crate::start::method::{StartMethod, start_method};
use crate::target::{Captureless, Target};

/// A start method as an object: CPython's contexts. Processes made from it use its method, whatever
/// the program's is.
///
/// ```
/// use multiproc::{Context, StartMethod};
///
/// let context = Context::new(StartMethod::Spawn);
/// let child = context.process(|x: i32| x + 1, (1,)).start()?;
/// assert_eq!(child.start_method(), StartMethod::Spawn);
/// assert_eq!(child.join()?, 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context(StartMethod);

impl Context {
    /// Makes the context of a start method. [`Context::default`] is that of the program's own.
    /// CPython's `get_context(method)`.
    ///
    /// ```
    /// use multiproc::{Context, StartMethod};
    ///
    /// let context = Context::new(StartMethod::Fork);
    /// assert_eq!(context.start_method(), StartMethod::Fork);
    /// assert_eq!(Context::default().start_method(), StartMethod::Forkserver);
    /// ```
    #[must_use]
    pub fn new(method: StartMethod) -> Context {
        Context(method)
    }

    /// Returns the start method of its processes.
    ///
    /// ```
    /// use multiproc::{Context, StartMethod};
    ///
    /// assert_eq!(Context::new(StartMethod::Spawn).start_method(), StartMethod::Spawn);
    /// ```
    #[must_use]
    pub fn start_method(self) -> StartMethod {
        self.0
    }

    /// Makes a process of this context that is not started yet, as [`Process::new`] does.
    ///
    /// ```
    /// use multiproc::{Context, StartMethod};
    ///
    /// // Code that takes a context works with every method.
    /// fn run(context: Context) -> multiproc::Result<u32> {
    ///     Ok(context.process(|a: u32, b: u32| a + b, (1, 2)).start()?.join()?)
    /// }
    ///
    /// for method in StartMethod::ALL {
    ///     assert_eq!(run(Context::new(*method))?, 3);
    /// }
    /// # Ok::<(), multiproc::Error>(())
    /// ```
    pub fn process<F, Args>(self, target: F, args: Args) -> Process<F::Output>
    where
        F: Target<Args> + Captureless + Send,
        Args: Serialize + DeserializeOwned,
        F::Output: Serialize + DeserializeOwned,
    {
        Process::new(target, args).start_method(self.0)
    }
}

impl Default for Context {
    /// The context of the program's start method, which is settled by this.
    fn default() -> Context {
        Context(start_method())
    }
}
