//! Where a task or a child comes from: the span that was current, and the subscriber that is to
//! hear of it.
//!
//! A span's number means something to its own subscriber only, and a program may have several, each
//! set for a thread or a call: what is within a span goes to the subscriber of that span, whatever
//! the thread's is.

use std::ops::Deref;
use std::sync::Arc;

use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Id, Span, dispatcher};

use crate::unwind;

/// The span that was current when a call was made. Cheap to copy, without code of the subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin(Option<Arc<Kept>>);

impl Origin {
    /// Keeps the span that is current now, if there is one. It stays open as long as this.
    pub(crate) fn current() -> Origin {
        let span = Span::current();
        Origin((!span.is_none()).then(|| Arc::new(Kept::new(span))))
    }

    /// The place within the span.
    pub(super) fn place(&self) -> Place {
        self.0.as_ref().map(|span| Place::within(span)).unwrap_or_default()
    }
}

/// A span that may be let go of anywhere: what that closes is closed in its own subscriber.
/// (`tracing-subscriber` closes the parents of a span in the subscriber of the thread.)
#[derive(Debug)]
pub(super) struct Kept(Span);

impl Kept {
    pub(super) fn new(span: Span) -> Kept {
        Kept(span)
    }
}

impl Deref for Kept {
    type Target = Span;

    fn deref(&self) -> &Span {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let span = std::mem::replace(&mut self.0, Span::none());
        // A subscriber that panics must not do so in a destructor.
        let _ = unwind::catch(|| Place::within(&span).enter(|_| drop(span)));
    }
}

/// A place for spans and events: within a span of a subscriber, or at the top of this thread's.
/// Cheap to copy, without code of the subscriber.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    parent: Option<Id>,
    subscriber: Option<Dispatch>,
}

impl Place {
    /// The place within a span.
    pub(super) fn within(span: &Span) -> Place {
        span.with_subscriber(|(id, dispatch)| Place {
            parent: Some(id.clone()),
            subscriber: Some(dispatch.clone()),
        })
        .unwrap_or_default()
    }

    /// Whether this is within a span.
    pub(super) fn is_within(&self) -> bool {
        self.parent.is_some()
    }

    /// The top of the same subscriber.
    pub(super) fn top(&self) -> Place {
        Place { parent: None, subscriber: self.subscriber.clone() }
    }

    /// Calls `f` with the number of the span, whose subscriber is this thread's meanwhile.
    pub(super) fn enter<T>(self, f: impl FnOnce(Option<Id>) -> T) -> T {
        match self.subscriber {
            Some(subscriber) => dispatcher::with_default(&subscriber, || f(self.parent)),
            None => f(self.parent),
        }
    }
}

/// The subscriber of the thread that made a pool, for the pool's thread to use. `None` if there was
/// none: then the program's, once it has one.
#[derive(Debug)]
pub(crate) struct Listener(Option<Dispatch>);

impl Listener {
    /// The subscriber of this thread.
    pub(crate) fn current() -> Listener {
        Listener(dispatcher::get_default(|dispatch| {
            let is_any = dispatcher::has_been_set() || !dispatch.is::<NoSubscriber>();
            is_any.then(|| dispatch.clone())
        }))
    }

    /// Calls `f` with it as this thread's subscriber.
    pub(crate) fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(dispatch) => dispatcher::with_default(dispatch, f),
            None => f(),
        }
    }
}
