//! Looking again and again by the clock of the reactor: what is left where no thread can be made.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use async_io::Timer;

/// Time between two looks.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The clock of a future, once it needs one. Seldom, and large.
#[derive(Debug, Default)]
pub(super) struct Rounds(Option<Box<Timer>>);

impl Rounds {
    /// Has the task called when it is time to look.
    pub(super) fn wait(&mut self, context: &mut Context<'_>) {
        let timer = self.0.get_or_insert_with(|| Box::new(Timer::after(LOOK_AGAIN)));
        while Pin::new(&mut **timer).poll(context).is_ready() {
            timer.set_after(LOOK_AGAIN);
        }
    }
}
