//! Where code of the user's runs that hears a child: for the subscriber of the thread that started
//! the child, and within the child's span.

#[cfg(feature = "tracing")]
use tracing::Span;

#[cfg(feature = "tracing")]
use crate::trace::origin::Listener;

/// The surroundings of a child. Without the feature `tracing`, there are none.
#[derive(Debug)]
pub(crate) struct Scene {
    #[cfg(feature = "tracing")]
    listener: Listener,
    #[cfg(feature = "tracing")]
    span: Span,
}

impl Scene {
    /// The subscriber of this thread, and no span.
    pub(crate) fn here() -> Scene {
        Scene {
            #[cfg(feature = "tracing")]
            listener: Listener::current(),
            #[cfg(feature = "tracing")]
            span: Span::none(),
        }
    }

    /// The same, within a span.
    #[cfg(feature = "tracing")]
    pub(crate) fn within(self, span: Span) -> Scene {
        Scene { span, ..self }
    }

    /// Calls `f` there.
    pub(super) fn call<T>(&self, f: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        return self.listener.with(|| self.span.in_scope(f));
        #[cfg(not(feature = "tracing"))]
        f()
    }

    /// Leaves the span for good, as the child has ended.
    pub(super) fn leave(&mut self) {
        #[cfg(feature = "tracing")]
        {
            let span = std::mem::replace(&mut self.span, Span::none());
            self.listener.with(|| drop(span));
        }
    }
}
