//! A program's settings for its fork server: functions to load ahead, and the time to replace it.
//!
//! A fork server that is up can be told nothing more. So each of these calls retires it, and the
//! next start makes a new one with what has been said until then.

use std::any::type_name;
use std::mem;

use crate::error::{Cause, Result};
use crate::start::{forkserver, preload};
use crate::sys::program::code::{Contentless, Offset};
use crate::target::{Captureless, Target, function_entry};

/// Runs `f` once in the fork server, before the first child: what it loads, all children share,
/// without copying it.
///
/// Several are run in the order in which they were given. A fork server that is running already is
/// replaced at the next start, so that it is best given before the first. `f` must not leave
/// threads behind: the children would be spawned then.
///
/// # What children get
/// Every child begins as a copy of the fork server, so what `f` put into statics is the same in
/// all.
///
/// - Thread-locals are not: `f` runs on a thread of its own, and a child initialises its own anew.
///   So generators of random numbers that a thread has (the keys of `HashMap`, `rand`'s
///   `ThreadRng`) start anew in each child, whatever `f` did.
/// - A generator in a `static`, or in a C library (`srand`), goes on from the same state in every
///   child: the children draw the same numbers. Leave it alone in `f`, or seed it anew in
///   [`at_forkserver_child`].
/// - Handlers of `pthread_atfork` that `f`, or a library that it loads, registers do not run:
///   children are not made by `fork(3)`. Locks need none, as the fork server has one thread. What
///   else such a handler does in a child (to open a connection anew, to forget a cache) belongs
///   into [`at_forkserver_child`].
/// - Its environment, streams and working directory are the caller's, whatever `f` did to them.
///
/// # Errors
/// The function is code of a library.
///
/// ```
/// use std::sync::OnceLock;
/// use multiproc::{Process, set_forkserver_preload};
///
/// static MODEL: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn load() {
///     MODEL.set((0..1000).collect()).unwrap();
/// }
///
/// set_forkserver_preload(load)?;
/// let child = Process::new(|i: usize| MODEL.get().unwrap()[i], (77,)).start()?;
/// assert_eq!(child.join()?, 77);
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn set_forkserver_preload<F: Target<(), Output = ()> + Captureless + Send>(f: F) -> Result<()> {
    let () = Contentless::<F>::PROOF;
    // Moved to the fork server, where it is made from nothing.
    mem::forget(f);
    let offset = Offset::of(function_entry::<F, ()>())
        .ok_or_else(|| Cause::ForeignCode { function: type_name::<F>().to_owned() })?;
    preload::add(offset);
    // It preloads at its start only.
    forkserver::retire();
    Ok(())
}

/// Runs `f` in each child of this fork server, before its function and on the same thread: to be
/// called by a [preload function](set_forkserver_preload), for what must not be the same in all
/// children.
///
/// Several are run in the order in which they were given. If one panics, the child ends as if its
/// function had. Called anywhere else than in a preload function, it does nothing.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use multiproc::{Process, at_forkserver_child, set_forkserver_preload};
///
/// static SEED: AtomicU64 = AtomicU64::new(0);
///
/// set_forkserver_preload(|| {
///     at_forkserver_child(|| SEED.store(std::process::id().into(), Ordering::Relaxed));
/// })?;
/// let child = Process::new(|| SEED.load(Ordering::Relaxed), ()).start()?;
/// assert_eq!(child.join()?, u64::from(child.pid()));
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn at_forkserver_child(f: impl Fn() + Send + Sync + 'static) {
    preload::add_for_child(Box::new(f));
}

/// Retires the fork server: the next start makes a new one. Processes that the old one made run on.
///
/// A fork server, and so its children, has the limits, priority, processors, umask, namespaces,
/// Landlock rules, security labels, bounding set of capabilities and control group that this
/// program had when it started it. Call this after a change of any of them that children are to
/// follow. (A change of users, groups, capabilities, seccomp filters or the root folder is followed
/// without.)
///
/// ```
/// use multiproc::{Process, restart_forkserver};
///
/// let before = Process::new(|| 1, ()).start()?;
/// // .. the program restricts itself by Landlock ..
/// restart_forkserver();
/// let after = Process::new(|| 2, ()).start()?;
/// assert_eq!((before.join()?, after.join()?), (1, 2));
/// # Ok::<(), multiproc::Error>(())
/// ```
pub fn restart_forkserver() {
    forkserver::retire();
}
