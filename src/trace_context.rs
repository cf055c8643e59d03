//! The context of a trace that goes along with children and tasks: a text of the W3C's form
//! (`traceparent`), which the library neither makes nor reads.
//!
//! A child has it in its environment, where programs that it starts find it, too. A worker's
//! environment stays as it is, as other threads may read it: a task has its own for the thread that
//! runs it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The variable that programs know (the W3C's note on environment variables).
pub(crate) const VARIABLE: &str = "TRACEPARENT";

/// A longer context is none, in bytes; those of today have 55.
const LONGEST: usize = 512;

type Provider = Arc<dyn Fn() -> Option<String> + Send + Sync>;

static PROVIDER: RwLock<Option<Provider>> = RwLock::new(None);

/// There has been a provider, or a task with a context, in this process: spares all others the
/// rest.
static IS_USED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The context of the task that this thread runs.
    static TASK: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Sets the function that says which trace the calling thread is in. From now on, each process that
/// is started and each task that is submitted takes along what it says then. The last call counts.
///
/// The text is the `traceparent` of the [W3C](https://www.w3.org/TR/trace-context/), or whatever
/// both sides understand: printable ASCII, 512 bytes at the most; anything else is none. A process
/// has it as the variable `TRACEPARENT` (unless [`Process::env`](crate::Process::env) says
/// otherwise), so the programs that it starts have it, too. In both, [`trace_context`] gives it
/// back. Where there is no function, or it says `None`, what a task starts or submits has the
/// task's own, and a process inherits the variable.
///
/// The function is called in the thread that starts or submits, once for a call of a map. A fork
/// has it, other children do not.
///
/// With OpenTelemetry, it asks the propagator. A program whose subscriber has the layer of
/// `tracing-opentelemetry` needs only the first half for its workers, and for children that
/// [forward](crate::Process::forward_logs) what they tell: their spans come out in this program.
/// The second half is for a child with an exporter of its own.
///
/// ```ignore
/// use opentelemetry::propagation::TextMapPropagator;
/// use opentelemetry_sdk::propagation::TraceContextPropagator;
/// use tracing_opentelemetry::OpenTelemetrySpanExt;
///
/// multiproc::set_trace_context(|| {
///     let mut carrier = std::collections::HashMap::new();
///     let context = tracing::Span::current().context();
///     TraceContextPropagator::new().inject_context(&context, &mut carrier);
///     carrier.remove("traceparent")
/// });
///
/// // And in the child or the task, in front of what belongs to it:
/// let carrier = multiproc::trace_context().map(|text| ("traceparent".to_owned(), text));
/// let carrier: std::collections::HashMap<_, _> = carrier.into_iter().collect();
/// let span = tracing::info_span!("work");
/// let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
/// ```
///
/// ```
/// use multiproc::{Pool, Process, set_trace_context, trace_context};
///
/// let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// set_trace_context(move || Some(context.to_owned()));
/// assert_eq!(Process::new(trace_context, ()).start()?.join()?.as_deref(), Some(context));
/// assert_eq!(Pool::new(1)?.apply(trace_context, ())?.as_deref(), Some(context));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_trace_context(provider: impl Fn() -> Option<String> + Send + Sync + 'static) {
    let provider: Provider = Arc::new(provider);
    let mut place = PROVIDER.write().unwrap_or_else(PoisonError::into_inner);
    let before = place.replace(provider);
    drop(place);
    // A destructor of the user's, with nothing locked.
    drop(before);
    IS_USED.store(true, Ordering::Relaxed);
}

/// Returns the context that came along with the task that this thread runs, or else that of this
/// process: its variable `TRACEPARENT`. `None` if there is none. See [`set_trace_context`].
///
/// A worker's environment is not changed for its tasks, as other threads may read it. A program
/// that a task starts gets the context so:
///
/// ```no_run
/// use multiproc::trace_context;
///
/// let mut program = std::process::Command::new("convert");
/// program.envs(trace_context().map(|context| ("TRACEPARENT", context)));
/// ```
#[must_use]
pub fn trace_context() -> Option<String> {
    of_task().map(|context| context.to_string()).or_else(|| accept(std::env::var(VARIABLE).ok()?))
}

/// Returns what goes along with a process or task of this thread's: what the provider says, or the
/// context of its task.
pub(crate) fn to_pass_on() -> Option<Arc<str>> {
    if !IS_USED.load(Ordering::Relaxed) {
        return None;
    }
    // Called with nothing locked: it is code of the user's.
    let provider = PROVIDER.read().unwrap_or_else(PoisonError::into_inner).clone();
    let said = provider.and_then(|provider| provider()).and_then(accept);
    said.map(Arc::from).or_else(of_task)
}

/// Returns a text if it can be a context: one that crosses is not trusted to be.
pub(crate) fn accept(text: String) -> Option<String> {
    let is_context = !text.is_empty()
        && text.len() <= LONGEST
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    is_context.then_some(text)
}

/// Makes it the context of what this thread runs from now on: of a task, or of none.
pub(crate) fn enter(context: Option<String>) {
    let context: Option<Arc<str>> = context.and_then(accept).map(Arc::from);
    if context.is_some() {
        IS_USED.store(true, Ordering::Relaxed);
    } else if !IS_USED.load(Ordering::Relaxed) {
        return;
    }
    // The thread may be ending.
    let _ = TASK.try_with(|task| task.replace(context));
}

/// The context of the task that this thread runs.
fn of_task() -> Option<Arc<str>> {
    TASK.try_with(|task| task.try_borrow().ok()?.clone()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_printable_text_is_a_context() {
        for bad in ["", "a\nb", "a\0", "é", &"x".repeat(LONGEST + 1)] {
            assert_eq!(accept(bad.to_owned()), None, "{bad:?}");
        }
        let longest = "x".repeat(LONGEST);
        assert_eq!(accept(longest.clone()), Some(longest));
    }
}
