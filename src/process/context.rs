//! Start methods as objects.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Process;
use crate::start::method::{StartMethod, get_start_method};
use crate::target::{Captureless, Target};

/// A start method as an object: CPython's contexts. Processes made from it use its method, whatever
/// the program's is.
///
/// ```
/// use multiproc::{StartMethod, get_context};
///
/// let context = get_context(StartMethod::Spawn);
/// let child = context.process(|x: i32| x + 1, (1,)).start()?;
/// assert_eq!(child.start_method(), StartMethod::Spawn);
/// assert_eq!(child.join()?, 2);
/// # Ok::<(), multiproc::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context(StartMethod);

/// The context of a start method. For that of the program's own method, `Context::default()`.
#[must_use]
pub fn get_context(method: StartMethod) -> Context {
    Context::new(method)
}

impl Context {
    /// The context of a start method.
    #[must_use]
    pub fn new(method: StartMethod) -> Context {
        Context(method)
    }

    /// Its start method.
    #[must_use]
    pub fn start_method(self) -> StartMethod {
        self.0
    }

    /// A process of this context, not started yet: see [`Process::new`].
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
        Context(get_start_method())
    }
}
