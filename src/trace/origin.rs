//! Where a task or a child comes from: the span that was current, and the subscriber that is to
//! hear of it.

use std::sync::Arc;

use tracing::{Dispatch, Span, dispatcher};

/// The span that was current when a call was made. Cheap to copy, without code of the subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin(Option<Arc<Span>>);

impl Origin {
    /// Keeps the span that is current now, if there is one. It stays open as long as this.
    pub(crate) fn current() -> Origin {
        let span = Span::current();
        Origin((!span.is_none()).then(|| Arc::new(span)))
    }

    /// The span's number in its subscriber.
    pub(super) fn id(&self) -> Option<tracing::Id> {
        self.0.as_ref()?.id()
    }
}

/// The subscriber of the thread that made a pool, for the pool's thread to use.
#[derive(Debug)]
pub(crate) struct Listener(Dispatch);

impl Listener {
    /// The subscriber of this thread.
    pub(crate) fn current() -> Listener {
        Listener(dispatcher::get_default(Clone::clone))
    }

    /// Calls `f` with it as this thread's subscriber.
    pub(crate) fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        dispatcher::with_default(&self.0, f)
    }
}
