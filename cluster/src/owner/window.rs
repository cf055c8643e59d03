//! What a node has told of spans and events, and the pool has not passed on yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::wire;

/// What may wait of a node's, by its [cost](wire::cost): an honest one stays within
/// [`wire::WINDOW`] and a message.
const LIMIT: u64 = 2 * wire::WINDOW;

/// What a node is told of at a time, so that it is told seldom.
const STEP: u64 = wire::WINDOW / 8;

/// The account of one node.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// What the pool has and has not passed on.
    waiting: AtomicU64,
    /// What it has passed on, and the node does not know of.
    took: AtomicU64,
}

/// What the pool has been lent: counted as passed on when this is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    window: Arc<Window>,
    cost: u64,
    /// Wakes the desk.
    news: Arc<Notify>,
}

impl Window {
    /// Enters what came; `None` if it is more than the node may send.
    pub(crate) fn lend(self: &Arc<Window>, cost: u64, news: &Arc<Notify>) -> Option<Lent> {
        // Only the desk adds to it.
        if self.waiting.load(Ordering::Relaxed).saturating_add(cost) > LIMIT {
            return None;
        }
        self.waiting.fetch_add(cost, Ordering::Relaxed);
        Some(Lent { window: Arc::clone(self), cost, news: Arc::clone(news) })
    }

    /// Returns what the node is to be told now, if it is worth a message.
    pub(crate) fn took(&self) -> Option<u64> {
        let is_due = self.took.load(Ordering::Relaxed) >= STEP;
        is_due.then(|| self.took.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.window.waiting.fetch_sub(self.cost, Ordering::Relaxed);
        let before = self.window.took.fetch_add(self.cost, Ordering::Relaxed);
        if before + self.cost >= STEP {
            self.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_lent_than_fits_and_what_is_given_back_is_told() {
        let (window, news) = (Arc::new(Window::default()), Arc::new(Notify::new()));
        let first = window.lend(LIMIT - 1, &news).expect("it fits");
        assert!(window.lend(2, &news).is_none());
        assert!(window.lend(u64::MAX, &news).is_none());
        let second = window.lend(1, &news).expect("it fits");
        assert_eq!(window.took(), None);
        drop(second);
        assert_eq!(window.took(), None, "not worth a message");
        drop(first);
        assert_eq!(window.took(), Some(LIMIT));
        assert_eq!(window.took(), None);
        assert!(window.lend(LIMIT, &news).is_some());
    }
}
